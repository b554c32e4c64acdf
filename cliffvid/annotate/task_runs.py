"""Run single tasks: each yields its frames for the chain, takes the bodies, and ends with an answer."""

import dataclasses
import errno
import os
import time
import traceback
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np

from ..errors import BackendError, CliffvidError, InputError, ModelError, UsageError
from ..names import public
from ..options import Options
from ..pipeline.batching import Batch, Part
from ..pipeline.chain import Chain
from ..pipeline.counts import Counts
from ..pipeline.track import Tracking, track
from ..pipeline.tracker import Tracker
from ..pipeline.video_run import GuardedRun
from ..tables import Bodies, Float32, Frames, Int64, Tracks, UInt8
from ..tracks.read import from_arrow
from ..video.image_files import Images
from ..video.open import open_source, source_of
from ..video.seek import cuts
from ..video.shots import CameraMotion, ShotDetector
from .content import content_of, unchanged
from .messages import (
    Answer,
    Fault,
    Join,
    Probe,
    Probed,
    Processed,
    Segment,
    Trial,
    TrialSpeed,
    Whole,
    last_lines,
)
from .row_sink import Sink
from .store.records import CountsFacts

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
TRANSIENT = (errno.EIO, errno.ESTALE, errno.EAGAIN, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE, errno.ECONNRESET)


class WholeRun(GuardedRun):
    """Process an input from its first frame to its last."""

    def __init__(self, task: Whole | Segment, chain: Chain, work: Path) -> None:
        super().__init__(source_of(task.source), chain)
        if task.focal_px or task.fov_deg:
            self.options = dataclasses.replace(self.options, camera_wh_px=None, **task.camera)
        self.task, self.work, self._start = task, work, time.perf_counter()
        self._sink = Sink(task.video, work, at_once=isinstance(task, Segment))
        self._tracking = Tracking(Tracker(self.options), self.counts.shots)
        self._done: Answer | None = None

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Open the input for as long as its frames are read. Raises ChangedError if it changes meanwhile."""
        with unchanged(self.task.source, self.task.content, self.options), super().reading():
            yield

    def write(self, bodies: Bodies | None) -> None:
        tracks = self._tracking.finish() if bodies is None else self._tracking.feed(bodies)
        if tracks is not None:
            self.counts.add(tracks)
            self._sink.write(tracks)
        if bodies is None:
            self._done = self._finish()

    def _finish(self, thumbs: str | None = None) -> Answer:
        rows, file, stream = self._sink.finish()
        video = self.meta()["video"]
        processed = Processed(
            {
                "rows": rows,
                "file": file,
                "counts": counts_facts(self.counts),
                "warnings": self.counts.warnings(),
                "seconds": time.perf_counter() - self._start,
                "codec": video["codec"],
                "width_px": video["width_px"],
                "height_px": video["height_px"],
                "rate": video["rate"],
            },
            thumbs,
        )
        return Answer(self.task, processed, stream)

    def close(self) -> None:
        self._sink.close()

    def answer(self) -> Answer:
        """Return the answer to the task, after its end marker was taken."""
        return self._done or Answer(self.task, fault_of(cast(Exception, self.error)))


class SegmentRun(WholeRun):
    """Process the frames between two split points; the rows have no track ids."""

    def __init__(self, task: Segment, chain: Chain, work: Path) -> None:
        super().__init__(task, chain, work)
        self.options = dataclasses.replace(self.options, start_s=task.start_s, end_s=task.end_s or float("inf"))
        self._kept: list[tuple[int, UInt8]] = []
        self._grays: list[tuple[int, UInt8]] = []
        self.cuts.kept = self._kept  # shot boundaries are found once all segments are there

    def camera_motion(self) -> CameraMotion:
        """Return what keeps images to find the camera's motion in once all segments are there."""
        motion = super().camera_motion()
        motion.kept = self._grays
        return motion

    def write(self, bodies: Bodies | None) -> None:
        if bodies is not None:
            self._sink.write(Tracks(**bodies.columns(), track_id=np.zeros(len(bodies), np.int32)))
            return
        self.counts.shots.clear()
        self.counts.moving.clear()
        self._done = self._finish(self._keep())

    def _keep(self) -> str:
        path = self.work / f"{uuid.uuid4().hex}.npz"
        with path.open("wb") as file:
            indices, pictures = zip(*self._kept, strict=True)
            at, grays = [index for index, _ in self._grays], [gray for _, gray in self._grays]
            np.savez_compressed(file, frame_idx=indices, thumbs=pictures, gray_idx=at, grays=grays)
            file.flush()
            os.fsync(file.fileno())
        return path.name


class TrialRun(GuardedRun):
    """Measure frames per second on the first frames of an input, with networks open."""

    def __init__(self, task: Trial, chain: Chain) -> None:
        super().__init__(source_of(task.source), chain)
        self.task, self._start = task, time.perf_counter()
        self._first: int | None = None if self.options.start_s else 0
        self._rate: float | None = None

    @property
    def over(self) -> bool:
        return self._rate is not None or super().over

    def write(self, bodies: Bodies | None) -> None:
        frames = self.counts.decode.frames if bodies is None else 0
        if bodies is not None and len(bodies):
            self._first = int(bodies.frame_idx[0]) if self._first is None else self._first
            frames = (int(bodies.frame_idx[-1]) - self._first) // self.options.stride + 1
        if self._rate is None and (bodies is None or frames >= self.task.frames):
            self._rate = frames / (time.perf_counter() - self._start)

    def close(self) -> None: ...

    def answer(self) -> Answer:
        return Answer(self.task, fault_of(self.error) if self.error else TrialSpeed(self._rate or 0.0))


Steps: TypeAlias = Generator[Batch[Frames], None, Answer]


class JoinRun:
    """Track the people of all segments of an input, in the thread and in the turns of a decoder."""

    def __init__(self, task: Join, options: Options, work: Path) -> None:
        self.task, self.options, self.work = task, options, work
        self.counts, self.boxes = Counts(), None
        self._done: Answer | None = None

    def parts(self) -> Iterator[Batch[Frames]]:
        """Yield an empty batch after each table of rows, so that other inputs go on, then an end marker."""
        try:
            self._done = yield from self._steps()
        except Exception as error:
            self._done = Answer(self.task, fault_of(error))
        yield [Part(self)]

    def _steps(self) -> Steps:
        start, counts = time.perf_counter(), self.counts
        pictures, cuts = [self.work / file for file in self.task.thumbs], ShotDetector()
        counts.shots = [cut for file in pictures for cut in cuts.find_in(*_thumbs_of(file))]
        CameraMotion(counts.shots, counts.moving).watch_in(_grays_of(pictures))
        bodies = _bodies_of([self.work / file for file in self.task.files])
        with Sink(self.task.video, self.work, at_once=True) as sink:
            for table in track(bodies, Tracker(self.options), counts.shots):
                counts.add(table)
                sink.write(table)
                yield []
            rows, file, stream = sink.finish()
        processed = Processed(
            {
                "rows": rows,
                "file": file,
                "counts": counts_facts(counts),
                "warnings": [],
                "seconds": time.perf_counter() - start,
                "codec": None,
                "width_px": None,
                "height_px": None,
                "rate": None,
            }
        )
        return Answer(self.task, processed, stream)

    def take(self, bodies: Bodies | None) -> None: ...
    def close(self) -> None: ...

    def answer(self) -> Answer:
        return cast(Answer, self._done)


TaskRun: TypeAlias = WholeRun | TrialRun | JoinRun


def probed(task: Probe, options: Options) -> Iterator[Answer]:
    """Yield the facts about an input; only its content hash if that is the one ``known``."""
    content = None
    try:
        source = source_of(task.source)
        content = content_of(source, options)
        facts = Probed(content) if content == task.known else _facts(source, content, task.split_s, options)
        yield Answer(task, facts)
    except Exception as error:
        fault = fault_of(error)
        own = isinstance(error, CliffvidError)
        yield Answer(task, dataclasses.replace(fault, content=content) if own else fault)


def _facts(source: Path | str, content: str, split_s: float, options: Options) -> Probed:
    with open_source(source, options) as video:
        info, points = video.info, list[float]()
        frames = info.frames_claimed or (info.duration_s and info.rate and round(info.duration_s * info.rate))
        kind = "images" if isinstance(video, Images) else "video"
        if not isinstance(video, Images) and split_s and (info.duration_s or 0) >= 2 * split_s:
            points, total = cuts(video, split_s)
            frames = total or frames
            kind = "long" if points else "long, refuses cuts"
        return Probed(content, kind, info.duration_s, int(frames) if frames else None, tuple(points))


def counts_facts(counts: Counts) -> CountsFacts:
    """Return counts as plain values."""
    return cast(CountsFacts, dataclasses.asdict(counts))


def _thumbs_of(file: Path) -> tuple[Int64, Float32]:
    with np.load(file, allow_pickle=False) as kept:
        return kept["frame_idx"], kept["thumbs"].astype(np.float32) / 255


def _grays_of(files: list[Path]) -> Iterator[tuple[int, UInt8]]:
    for file in files:
        with np.load(file, allow_pickle=False) as kept:
            if "grays" in kept:  # an earlier version kept none
                yield from zip(kept["gray_idx"].tolist(), kept["grays"], strict=True)


def _bodies_of(files: list[Path]) -> Iterator[Bodies]:
    import pyarrow.parquet as pq

    for file in files:
        with pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False) as source:
            for group in range(source.num_row_groups):
                columns = from_arrow(source.read_row_group(group, use_threads=False)).columns()
                del columns["track_id"]
                yield Bodies(**columns)


def fault_of(error: Exception) -> Fault:
    """Return an error as a message: whether it would end every task, and whether a retry may succeed."""
    chain: BaseException | None = error
    codes: set[object] = set()
    while chain is not None:
        codes.add(getattr(chain, "errno", None))
        chain = chain.__cause__ or chain.__context__
    full = bool(codes & set(DISK_FULL))
    stop = full or isinstance(error, ModelError | BackendError | UsageError)
    own = isinstance(error, InputError) and not codes & set(TRANSIENT)
    log = None
    if isinstance(error, CliffvidError):
        message = str(error)
    elif isinstance(error, OSError) and full:
        message = f"{error.strerror}: no room for the results; make room, then give the same command again"
    else:
        message = f"{type(error).__name__}: {error}"
        log = last_lines("".join(traceback.format_exception(error)).splitlines())
    kind = "OutputError" if full else type(error).__name__
    return Fault(kind, public(message), stop, transient=not stop and not own, log=log)
