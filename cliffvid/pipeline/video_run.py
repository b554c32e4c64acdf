"""One video on its way through the chain: its frames, its counts, its tracks, and what its file records."""

import dataclasses
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ..files import Claim, check_free
from ..machine import version
from ..models.manifest import MODEL_FILES, canvas_shape
from ..options import Options
from ..tables import Bodies, Frames, Tracks, VideoInfo
from ..tracks.write import Writer, open_writer, output_format
from ..video.image_files import Images
from ..video.images.gpu import Surface
from ..video.open import open_source
from ..video.reader import Video
from ..video.shots import ShotDetector
from .batching import Batch, Part, rows_in
from .chain import Chain
from .counts import Counts
from .networks import Models, body_size
from .report import TRACK_AND_WRITE, Report, peak_memory_mb
from .track import Tracking, track
from .tracker import Tracker
from .upload import to_gpu_rgb

# Settings that change how a result is made but not the result: left out of the file, so that its bytes stay the same.
NOT_RECORDED = (
    "models_dir",
    "threads",
    "frame_batch",
    "person_batch",
    "prefetch",
    "videos_at_once",
    "gate_rotation_median_deg",
    "gate_rotation_p99_deg",
    "gate_persons_percent",
    "overwrite",
    "format",
    "max_frame_mpx",
    "allow_network",
)


class VideoRun:
    """One video on its way through a chain; a context manager, which opens it.

    ``parts`` is run by the decoder's thread, the rest by the one that takes what comes out of the chain.
    """

    def __init__(self, video: Path | str, chain: Chain) -> None:
        self.video, self.chain = video, chain
        self.options, self.models = chain.options, chain.models
        self.counts, self.cuts = Counts(), ShotDetector()
        self._source: Video | Images | None = None

    def __enter__(self) -> Self:
        # Networks see the decoder's own planes, or FFmpeg's RGB: that is not made on a GPU. Nor does bwdif run there.
        options = self.options
        stay = self.models.pictures_on_device and options.pixels == "planes" and not options.deinterlace
        self._source = open_source(self.video, options, surfaces=stay and options.decode_device == "cuda")
        return self

    def __exit__(self, *_: object) -> None:
        if self._source:
            self._source.__exit__()

    @property
    def source(self) -> Video | Images:
        assert self._source, "open it with a with statement"
        return self._source

    @property
    def info(self) -> VideoInfo:
        return self.source.info

    def parts(self) -> Iterator[Batch[Frames]]:
        """Yield all frames, in parts of a batch each, and then the end; to be called once."""
        options, size = self.options, self.chain.batch_sizes()["detect"]
        span = (options.start_s, options.end_s, options.stride, options.pixels == "planes")
        for frames in self.source.frames(size, self.counts.decode, *span):
            thumbs = None
            if isinstance(frames.images[0], Surface):  # made RGB at once: they are memory of the decoder
                frames, thumbs = to_gpu_rgb(frames, self.models.detector, self.info.path)
            self.counts.shots += self.cuts.find(frames, thumbs)
            yield [Part(self, frames)]
            del frames  # before the next are decoded: a batch of 4K is 100 MB
        yield [Part(self)]

    def bodies(self) -> Iterator[Bodies]:
        """Yield the bodies of all people in all frames, in order, without identities; to be called once."""
        return (part.rows for part in self.chain.bodies([self.parts()]) if part.rows is not None and len(part))

    def tracks(self) -> Iterator[Tracks]:
        """Yield the tracks of all frames with people, in order, in tables of one or more frames; to be called once."""
        for tracks in track(self.bodies(), Tracker(self.options), self.counts.shots):
            self.counts.add(tracks)
            yield tracks

    def meta(self) -> dict[str, Any]:
        """What the tracks file records about this run; nothing that differs between two runs of the same job."""
        settings = {k: v for k, v in dataclasses.asdict(self.options).items() if k not in NOT_RECORDED}
        settings["detector_shape"] = canvas_shape(self.models.detector.manifest, self.options)
        settings |= {"precision_chosen": list(self.models.chosen)} if self.models.chosen else {}
        settings["end_s"] = None if math.isinf(self.options.end_s) else self.options.end_s
        video = dataclasses.asdict(self.info) | {"first_pts": self.counts.decode.first_pts}
        del video["path"]
        video["name"] = self.info.name
        if not self.info.files:
            del video["files"]
        for name in ("rate", "time_base"):
            video[name] = str(video[name]) if video[name] else None
        joints, betas = body_size(self.models.regressor.manifest)
        body = self.models.regressor.manifest.body
        return {
            "software": f"cliffvid {version()}",
            "video": video,
            "settings": settings,
            "models": [
                {
                    "name": session.manifest.name,
                    "task": session.manifest.task,
                    "sha256": session.manifest.files[MODEL_FILES[session.precision]],
                    "licence": session.manifest.licence,
                    "backend": session.backend,
                    "device": session.device,
                    "precision": session.precision,
                }
                for session in (self.models.detector, self.models.regressor)
            ],
            "body": {
                "name": body,
                "joints": joints,
                "betas": betas,
                "note": f"pose and betas belong to the body {body!r} and to no other",
            },
            "counts": dataclasses.asdict(self.counts),
            "complete": self.counts.decode.damaged == 0,
        }


@contextmanager
def open_run(video: Path | str, options: Options, models: Models) -> Iterator[VideoRun]:
    """Open a video with a chain of its own. Raises InputError or BackendError."""
    chain = Chain(options, models)
    with VideoRun(video, chain) as run, chain:  # left in the other order: no thread decodes what is closed
        yield run


@dataclass(frozen=True)
class Outcome:
    """What became of one video of many: a report, or what went wrong."""

    video: Path | str
    output: Path
    report: Report | None
    error: Exception | None


class WrittenRun(VideoRun):
    """One video of many, from its opening to its file of tracks. What goes wrong is kept, and costs it alone."""

    def __init__(self, video: Path | str, out: Path, chain: Chain) -> None:
        super().__init__(video, chain)
        self.out = out
        self.error: Exception | None = None
        self.report: Report | None = None
        self._tracking, self._own_s = Tracking(Tracker(self.options), self.counts.shots), 0.0
        self._claim: Claim | None = None
        self._writer: Writer | None = None

    def parts(self) -> Iterator[Batch[Frames]]:
        """As of any run; an error is kept, and ends it."""
        self._start, self._before = time.perf_counter(), self._clocks()
        try:
            output_format(self.out, self.options.format)
            check_free(self.out, self.options.overwrite, self.video)
            self._claim = Claim(self.out)
            with self:
                self.chain.claimed.append(self.info.frames_claimed)
                for batch in super().parts():
                    if self.error:
                        break
                    if rows_in(batch):
                        yield batch
                    del batch
        except Exception as error:
            self.error = error
        yield [Part(self)]

    def take(self, bodies: Bodies | None) -> None:
        """Track and write some rows; None: there are no more."""
        start = time.perf_counter()
        try:
            if not self.error:
                self._write(bodies)
        except Exception as error:
            self.error = error
        self._own_s += time.perf_counter() - start
        if bodies is None or self.error:
            self.close()
        if bodies is None and not self.error:
            self.report = self._report()

    def _write(self, bodies: Bodies | None) -> None:
        manifest = self.models.regressor.manifest
        if self._writer is None:
            joints, betas = body_size(manifest)
            like = Tracks.empty(pose=3 * (joints - 1), shape=betas)
            kind = output_format(self.out, self.options.format)
            self._writer = open_writer(kind, self.out, like, self.meta(), self.options.overwrite)
        tracks = self._tracking.finish() if bodies is None else self._tracking.feed(bodies)
        if tracks is not None:
            self.counts.add(tracks)
            self.chain.rows += len(tracks)
            self._writer.write(tracks)
        if bodies is None:
            self._bytes = self._writer.finish(self.meta())

    def close(self) -> None:
        """Leave nothing half written, and the place to others; harmless once the file is whole."""
        if self._writer:
            self._writer.__exit__()
        if self._claim:
            self._claim.release()

    def outcome(self) -> Outcome:
        self.chain.done += 1
        return Outcome(self.video, self.out, self.report, self.error)

    def _clocks(self) -> tuple[dict[str, float], dict[str, float]]:
        """Seconds at work and waiting of each stage until now."""
        stages, models = self.chain.stages, self.models
        busy = stages.busy_s() | {TRACK_AND_WRITE: self._own_s}
        waiting = stages.waiting_s() | {TRACK_AND_WRITE: stages.stages[-1].consumer_wait_s}
        for name, session in (("detect", models.detector), ("regress", models.regressor)):
            busy[name] -= session.turn_wait_s
            waiting[name] += session.turn_wait_s
        return busy, waiting

    def _report(self) -> Report:
        seconds, models = time.perf_counter() - self._start, self.models
        busy, waiting = (
            {name: value - before[name] for name, value in now.items()}
            for now, before in zip(self._clocks(), self._before, strict=True)
        )
        return Report(
            video=self.video,
            output=self.out,
            complete=self.counts.decode.damaged == 0,
            frames=self.counts.decode.frames,
            people=self.counts.rows,
            tracks=self.counts.tracks,
            bytes=self._bytes,
            seconds=seconds,
            busy_s=busy,
            waiting_s=waiting,
            batch_sizes=self.chain.batch_sizes(),
            batch_fill=self.chain.batch_fill(),
            peak_memory_mb=peak_memory_mb(),
            detector=models.detector.manifest.name,
            regressor=models.regressor.manifest.name,
            precision_chosen=list(models.chosen),
            warnings=self.counts.warnings() + models.take_warnings(),
        )
