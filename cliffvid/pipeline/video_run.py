"""Run one video through the chain: its frames, counts, tracks and file metadata."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ..files import Claim, check_free
from ..options import Options
from ..tables import Bodies, Frames, Tracks, VideoInfo
from ..tracks.boxes import Boxes, check_fit, check_frames, read_boxes
from ..tracks.write import Writer, open_writer, output_format
from ..video.open import VideoInput, name_of, open_input_video
from ..video.reader import Source
from ..video.shots import CameraMotion, ShotDetector
from .batching import Batch, Part, rows_in
from .chain import Chain
from .counts import Counts
from .crop import check_camera, with_camera
from .file_meta import file_meta
from .networks import Models, no_tracks
from .report import Report, Times, elapsed, peak_memory_mb, stage_times
from .track import Tracking, tracker_of


class VideoRun:
    """One video in a chain: a context manager that opens the video.

    ``parts`` runs in the decoder thread; everything else runs in the thread that consumes the chain's output.
    """

    def __init__(self, video: VideoInput, chain: Chain) -> None:
        self.input, self.video, self.chain = video, name_of(video), chain
        self.options, self.models = chain.options, chain.models
        self.counts, self.cuts = Counts(), ShotDetector()
        self.boxes: Boxes | None = None  # of all people, where they are given
        self._last: int | None = None  # the last frame that boxes may have so far
        self._source: Source | None = None

    def __enter__(self) -> Self:
        # GPU decoding needs YUV planes: FFmpeg's RGB conversion (--pixels exact) and bwdif do not run on a GPU.
        options = self.options
        stay = self.models.pictures_on_device and options.pixels == "planes" and not options.deinterlace
        stay = stay and options.decode_device == "cuda"
        self._source = open_input_video(self.input, options, self.models.sessions[0].pictures if stay else None)
        try:
            self.boxes = self.known_boxes()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._source:
            self._source.__exit__()

    @property
    def source(self) -> Source:
        assert self._source, "open it with a with statement"
        return self._source

    @property
    def info(self) -> VideoInfo:
        return self.source.info

    def known_boxes(self) -> Boxes | None:
        """Return the boxes of ``options.boxes``. Raises InputError."""
        if self.options.boxes is None:
            return None
        self._box_file = read_boxes(self.options.boxes, self.info.files)
        return self._box_file.boxes

    def check_boxes(self, frames: Frames | None) -> None:
        """Raise InputError if boxes do not fit some frames; None: if they are of frames after the last."""
        path, options = self.options.boxes, self.options
        if path is None:
            return
        if frames is not None:
            self._last = int(frames.frame_idx[-1]) + options.stride - 1
            check_fit(path, self._box_file, frames.frame_idx, frames.size_wh)
        elif self._last is not None and math.isinf(options.end_s) and not self.counts.decode.damaged:
            check_frames(path, self._box_file.boxes, self._last)

    def camera_motion(self) -> CameraMotion:
        """Return what watches the frames for the camera's motion."""
        rate, stride = self.info.rate, self.options.stride
        return CameraMotion(self.counts.shots, self.counts.moving, float(rate) if rate else None, stride)

    def with_camera(self, frames: Frames) -> Frames:
        """Return the frames with the camera of this video's options, if they are not the chain's."""
        return frames if self.options is self.chain.options else with_camera(frames, self.options)

    def parts(self) -> Iterator[Batch[Frames]]:
        """Yield all frames, one batch per part, then an end marker. Call it only once."""
        options, size = self.options, self.chain.batch_sizes()["detect"]
        span = (options.start_s, options.end_s, options.stride, options.pixels == "planes")
        motion = self.camera_motion()
        for frames in self.source.frames(size, self.counts.decode, *span):
            self.counts.shots += self.cuts.find(frames)
            motion.watch(frames)
            self.check_boxes(frames)
            check_camera(self.options, self.video, frames.size_wh)
            frames = self.with_camera(frames)
            yield [Part(self, frames)]
            del frames  # free them before the next batch is decoded: a batch of 4K frames is 100 MB
        self.check_boxes(None)
        yield [Part(self)]

    def bodies(self) -> Iterator[Bodies]:
        """Yield the bodies of all people in all frames, in order, without track ids. Call it only once."""
        return (part.rows for part in self.chain.bodies([self.parts()]) if part.rows is not None and len(part))

    def tracks(self) -> Iterator[Tracks]:
        """Yield the tracks of all frames with people, in order, in tables of one or more frames. Call it only once."""
        tracking = Tracking(tracker_of(self.options, self.boxes), self.counts.shots)
        for part in self.chain.bodies([self.parts()]):
            tracks = tracking.finish() if part.rows is None else tracking.feed(part.rows, part.cut)
            if tracks is not None:
                self.counts.add(tracks)
                yield tracks

    def meta(self) -> dict[str, Any]:
        """Return the metadata for the tracks file, see ``file_meta``."""
        return file_meta(self.info, self.options, self.models, self.counts)


@contextmanager
def open_run(video: VideoInput, options: Options, models: Models) -> Iterator[VideoRun]:
    """Open a video in its own chain. Raises InputError or BackendError."""
    chain = Chain(options, models)
    with VideoRun(video, chain) as run, chain:  # exits in reverse order: the threads stop before the video closes
        yield run


@dataclass(frozen=True)
class Outcome:
    """Result for one video of many: a report or an error."""

    video: Path | str
    output: Path
    report: Report | None
    error: Exception | None


class GuardedRun(VideoRun):
    """One video of many in a chain. An error is stored and fails this video only."""

    def __init__(self, video: VideoInput, chain: Chain) -> None:
        super().__init__(video, chain)
        self.error: Exception | None = None

    @property
    def over(self) -> bool:
        """Return whether no more frames are needed."""
        return self.error is not None

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Open the video for as long as its frames are read."""
        with self:
            yield

    def parts(self) -> Iterator[Batch[Frames]]:
        """Yield the parts as VideoRun does. An error is stored and ends the run."""
        try:
            with self.reading():
                for batch in super().parts():
                    if self.over:
                        break
                    if rows_in(batch):
                        yield batch
                    del batch
        except Exception as error:
            self.error = self.error or error
        yield [Part(self)]

    def take(self, bodies: Bodies | None) -> None:
        """Write some rows; None marks the end. An error is stored."""
        try:
            if not self.error:
                self.write(bodies)
        except Exception as error:
            self.error = error
        if bodies is None or self.error:
            self.close()

    def write(self, bodies: Bodies | None) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Remove what is unfinished. Has no effect on a finished result."""
        raise NotImplementedError


class WrittenRun(GuardedRun):
    """One video of many, from opening it to writing its tracks file."""

    def __init__(self, video: VideoInput, out: Path, chain: Chain) -> None:
        super().__init__(video, chain)
        self.out = out
        self.report: Report | None = None
        self._own_s = 0.0
        self._tracking: Tracking | None = None
        self._claim: Claim | None = None
        self._writer: Writer | None = None

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Open the video for as long as its frames are read; the output path is claimed first."""
        self._start, self._before = time.perf_counter(), self._times()
        output_format(self.out, self.options.format)
        check_free(self.out, self.options.overwrite, self.video)
        self._claim = Claim(self.out)
        with super().reading():
            self.chain.claimed.append(self.info.frames_claimed)
            yield

    def take(self, bodies: Bodies | None) -> None:
        """Track and write some rows; None marks the end."""
        start = time.perf_counter()
        super().take(bodies)
        self._own_s += time.perf_counter() - start
        if bodies is None and not self.error:
            self.report = self._report()

    def write(self, bodies: Bodies | None) -> None:
        if self._writer is None:
            like = no_tracks(self.models.regressor.manifest)
            kind = output_format(self.out, self.options.format)
            self._writer = open_writer(kind, self.out, like, self.meta(), self.options.overwrite)
            self._tracking = Tracking(tracker_of(self.options, self.boxes), self.counts.shots)
        assert self._tracking  # begun with the writer
        tracks = self._tracking.finish() if bodies is None else self._tracking.feed(bodies)
        if tracks is not None:
            self.counts.add(tracks)
            self.chain.rows += len(tracks)
            self._writer.write(tracks)
        if bodies is None:
            self._bytes = self._writer.finish(self.meta())

    def close(self) -> None:
        """Remove a partial file and release the claim on the path. Has no effect on a finished file."""
        if self._writer:
            self._writer.__exit__()
        if self._claim:
            self._claim.release()

    def outcome(self) -> Outcome:
        self.chain.done += 1
        return Outcome(self.video, self.out, self.report, self.error)

    def _times(self) -> Times:
        return stage_times(self.chain.stages, self.models, self._own_s)

    def _report(self) -> Report:
        seconds, models = time.perf_counter() - self._start, self.models
        busy_s, waiting_s = elapsed(self._before, self._times())
        return Report(
            video=self.video,
            output=self.out,
            complete=self.counts.decode.damaged == 0,
            frames=self.counts.decode.frames,
            frames_detected=self.counts.detect.frames,
            people=self.counts.rows,
            tracks=self.counts.tracks,
            bytes=self._bytes,
            seconds=seconds,
            busy_s=busy_s,
            waiting_s=waiting_s,
            batch_sizes=self.chain.batch_sizes(),
            batch_fill=self.chain.batch_fill(),
            peak_memory_mb=peak_memory_mb(),
            detector=models.detector.manifest.name if models.detector else None,
            regressor=models.regressor.manifest.name,
            precision_chosen=list(models.chosen),
            warnings=self.counts.warnings() + models.take_warnings(),
        )
