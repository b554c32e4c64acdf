"""Run the tasks of a worker, in a local process or a Ray actor."""

import dataclasses
import errno
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np

from ..errors import BackendError, CliffvidError, InputError, ModelError, UsageError
from ..options import Options
from ..pipeline.counts import Counts, DetectCounts, RegressCounts
from ..pipeline.networks import Models, open_models
from ..pipeline.track import track
from ..pipeline.tracker import Tracker
from ..pipeline.video_run import VideoRun, open_run
from ..tables import Array, Bodies, Float32, Int32, Tracks
from ..tracks.read import from_arrow
from ..video.image_files import Images
from ..video.open import open_source, source_of
from ..video.reader import DecodeCounts
from ..video.shots import ShotDetector
from ..video.split_points import cuts
from .content import content_of, unchanged
from .messages import Answer, Report, Task
from .networks import Line, distant_models
from .row_sink import Sink
from .store.records import CountsFacts

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
Plain: TypeAlias = Any  # counts as plain values: a number, a list, or a dict of these
TRANSIENT = (errno.EIO, errno.ESTALE, errno.EAGAIN, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE, errno.ECONNRESET)


class Worker:
    """Worker that runs one task after the other.

    The first task that needs the networks opens them, or connects to shared ones through ``lines``. The last attempt
    at a task uses separate networks, so that other workers cannot disturb it.

    The answer to a task is a report and the rows as an Arrow stream. If the rows are many, or other tasks need them,
    they are in a file in ``work`` that the report names.
    """

    def __init__(self, options: Options, work: Path, lines: Sequence[Line] = ()) -> None:
        self.options, self.work, self._lines = options, work, lines
        self._models: Models | None = None

    def do(self, task: Task) -> Answer:
        """Run a task and return its answer; exceptions are put into the report, see ``told``."""
        alone = self._lines and task.get("last")
        try:
            if alone:
                self._models = open_models(self.options)
            way: Callable[[Task], Answer] = getattr(self, f"_{task['do']}")
            return way(task)
        except Exception as error:
            return told(error), b""
        finally:
            if alone:
                self.close()

    def close(self) -> None:
        if self._models:
            self._models.__exit__()
        self._models = None

    def models(self) -> Models:
        if self._models is None and self._lines:
            self._models, self.options = distant_models(self._lines, self.options)
        self._models = self._models or open_models(self.options)
        return self._models

    def _probe(self, task: Task) -> Answer:
        """Return the facts about an input; only its content hash if that is the one ``known``."""
        source = source_of(task["video"])
        content = content_of(source)
        if content == task.get("known"):
            return {"content": content}, b""
        try:
            return {**self._facts(source, task["split_s"]), "content": content}, b""
        except CliffvidError as error:
            return {**told(error), "content": content}, b""

    def _facts(self, source: Path | str, split_s: float) -> Report:
        with open_source(source, self.options) as video:
            info = video.info
            frames = info.frames_claimed or (info.duration_s and info.rate and round(info.duration_s * info.rate))
            facts: Report = {
                "kind": "images" if isinstance(video, Images) else "video",
                "duration_s": info.duration_s,
                "frames": int(frames) if frames else None,
                "cuts": [],
            }
            if not isinstance(video, Images) and split_s and (info.duration_s or 0) >= 2 * split_s:
                facts["cuts"], total = cuts(video, split_s)
                facts["frames"] = total or facts["frames"]
                facts["kind"] = "long" if facts["cuts"] else "long, refuses cuts"
            return facts

    def _whole(self, task: Task) -> Answer:
        """Process an input from its first frame to its last."""
        start = time.perf_counter()
        with unchanged(task), open_run(source_of(task["video"]), self.options, self.models()) as run:
            return self._done(task, run.tracks(), run, start)

    def _segment(self, task: Task) -> Answer:
        """Process the frames between two split points; the rows have no track IDs."""
        start = time.perf_counter()
        span = dataclasses.replace(self.options, start_s=task["start_s"], end_s=task["end_s"] or float("inf"))
        with unchanged(task), open_run(source_of(task["video"]), span, self.models()) as run:
            kept: list[tuple[int, Array]] = []
            run.cuts.kept = kept  # shot boundaries are found once all segments are there
            rows = (Tracks(**bodies.columns(), track_id=_no_id(bodies)) for bodies in run.bodies())
            report, table = self._done(task, rows, run, start)
            report["counts"]["shots"] = []
            return {**report, "thumbs": self._keep(kept)}, table

    def _keep(self, thumbs: list[tuple[int, Array]]) -> str:
        path = self.work / f"{uuid.uuid4().hex}.npz"
        with path.open("wb") as file:
            indices, pictures = zip(*thumbs, strict=True)
            np.savez_compressed(file, frame_idx=np.array(indices), thumbs=np.stack(pictures))
            file.flush()
            os.fsync(file.fileno())
        return path.name

    def _join(self, task: Task) -> Answer:
        """Track the people of all segments of an input, as if it had not been split."""
        start, counts = time.perf_counter(), Counts()
        counts.shots = ShotDetector().find_in(_thumbs_of([self.work / file for file in task["thumbs"]]))
        bodies = _bodies_of([self.work / file for file in task["files"]])
        tracks = track(bodies, Tracker(self.options), counts.shots)
        sink = Sink(task["video"], self.work, at_once=True)
        with sink:
            for table in tracks:
                counts.add(table)
                sink.write(table)
            report, rows = sink.finish()
        return {**report, "counts": counts_facts(counts), "seconds": time.perf_counter() - start}, rows

    def _trial(self, task: Task) -> Answer:
        """Measure frames per second on the first frames of an input, with networks open."""
        models, start, frames = self.models(), time.perf_counter(), 0
        first: int | None = None
        with open_run(source_of(task["video"]), self.options, models) as run:
            for bodies in run.bodies():
                if first is None:
                    first = int(bodies.frame_idx[0]) if self.options.start_s else 0
                frames = (int(bodies.frame_idx[-1]) - first) // self.options.stride + 1
                if frames >= task["frames"]:
                    break
            else:
                frames = run.counts.decode.frames
            return {"frames_per_s": frames / (time.perf_counter() - start)}, b""

    def _done(self, task: Task, tables: Iterable[Tracks], run: VideoRun, start: float) -> Answer:
        with Sink(task["video"], self.work, at_once=task["do"] == "segment") as sink:
            for table in tables:
                sink.write(table)
            report, rows = sink.finish()
        video = run.meta()["video"]
        report |= {
            "counts": counts_facts(run.counts),
            "warnings": run.counts.warnings(),
            "seconds": time.perf_counter() - start,
            "codec": video["codec"],
            "width_px": video["width_px"],
            "height_px": video["height_px"],
            "rate": video["rate"],
        }
        return report, rows


def counts_facts(counts: Counts) -> CountsFacts:
    """Return counts as plain values; ``counts_of`` is the inverse."""
    return cast(CountsFacts, dataclasses.asdict(counts))


def counts_of(parts: list[CountsFacts]) -> Counts:
    """Return the sum of the counts of all parts of a video."""

    def added(plain: Sequence[Mapping[str, Plain]]) -> dict[str, Plain]:
        total: dict[str, Plain] = {}
        for name, value in plain[0].items():
            values = [part[name] for part in plain]
            if name == "first_pts":
                total[name] = value
            else:
                total[name] = added(values) if isinstance(value, dict) else sum(values, [] if name == "shots" else 0)
        return total

    total = added(parts)
    kinds = {"decode": DecodeCounts, "detect": DetectCounts, "regress": RegressCounts}
    return Counts(**total | {name: kind(**total[name]) for name, kind in kinds.items()})


def _no_id(bodies: Bodies) -> Int32:
    return np.zeros(len(bodies), np.int32)


def _thumbs_of(files: list[Path]) -> Iterator[tuple[int, Float32]]:
    for file in files:
        with np.load(file, allow_pickle=False) as kept:
            for index, thumb in zip(kept["frame_idx"].tolist(), kept["thumbs"], strict=True):
                yield index, thumb.astype(np.float32) / 255


def _bodies_of(files: list[Path]) -> Iterator[Bodies]:
    import pyarrow.parquet as pq

    for file in files:
        with pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False) as source:
            for group in range(source.num_row_groups):
                columns = from_arrow(source.read_row_group(group, use_threads=False)).columns()
                del columns["track_id"]
                yield Bodies(**columns)


def told(error: Exception) -> Report:
    """Return the report of an error: ``stop`` ends the whole job, ``transient`` allows a retry."""
    chain: BaseException | None = error
    codes: set[object] = set()
    while chain is not None:
        codes.add(getattr(chain, "errno", None))
        chain = chain.__cause__ or chain.__context__
    full = bool(codes & set(DISK_FULL))
    stop = full or isinstance(error, ModelError | BackendError | UsageError)
    own = isinstance(error, InputError) and not codes & set(TRANSIENT)
    if isinstance(error, CliffvidError):
        message = str(error)
    elif isinstance(error, OSError) and full:
        message = f"{error.strerror}: no room for the results; make room, then give the same command again"
    else:
        message = f"{type(error).__name__}: {error}"
    kind = "OutputError" if full else type(error).__name__
    return {"error": kind, "message": message, "stop": stop, "transient": not stop and not own}
