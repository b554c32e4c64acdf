"""Videos to files of tracks: one, or many that share the networks' batches."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from operator import length_hint
from pathlib import Path

from .concurrency import closed_at_exit
from .files import Claim, check_free
from .options import Options
from .pipeline import Flow, Models, Run, body_size, open_models
from .summary import TRACK_AND_WRITE, Counts, Report, peak_memory_mb
from .tables import Bodies, Piece, Tracks
from .track import Tracker, Tracking
from .tracks.write import Writer, open_writer, output_format
from .video.open import source_of


def process(
    video: str | Path,
    out: str | Path,
    options: Options | None = None,
    *,
    models: Models | None = None,
    watch: Callable[[Flow], None] = lambda flow: None,
) -> Report:
    """Write the tracks of a video to ``out`` and report.

    ``models``: open networks to use again and again; ``watch`` is handed the flow when it starts.
    Raises UsageError, InputError, ModelError, BackendError or OutputError; then nothing of ``out`` is left behind.
    """
    options = options or Options()
    output_format(Path(out), options.format)
    check_free(Path(out), options.overwrite, source_of(video))
    (outcome,) = process_many([(video, out)], options, models=models, watch=watch)
    if outcome.error:
        raise outcome.error
    return outcome.report


@closed_at_exit
def process_many(
    jobs: Iterable[tuple[str | Path, str | Path]],
    options: Options | None = None,
    *,
    models: Models | None = None,
    watch: Callable[[Flow], None] = lambda flow: None,
) -> Generator["Outcome"]:
    """Write the tracks of each video of ``(video, out)`` pairs, and tell of each as soon as it is done.

    ``videos_at_once`` of them are decoded at a time into shared batches; none needs to be there before its turn.
    A video that fails costs only itself, and leaves nothing of its ``out``. Raises ModelError or BackendError.
    """
    options = options or Options()
    with ExitStack() as stack:
        models = models or stack.enter_context(open_models(options))
        begun: set[VideoJob] = set()
        stack.callback(lambda: [job.close() for job in begun])
        flow = stack.enter_context(Flow(options, models))
        flow.expected = length_hint(jobs)
        watch(flow)

        def begin(video: str | Path, out: str | Path) -> Iterator[list[Piece]]:
            job = VideoJob(source_of(video), Path(out), flow)
            begun.add(job)
            return job.pieces()

        for piece in flow.bodies(begin(*job) for job in jobs):
            piece.run.take(piece.rows)
            if piece.rows is None:
                begun.remove(piece.run)
                yield piece.run.outcome()


@dataclass(frozen=True)
class Outcome:
    """What became of one video of many: a report, or what went wrong."""

    video: Path | str
    output: Path
    report: Report | None
    error: Exception | None


class VideoJob:
    """One video of many, from its opening to its file: ``pieces`` runs in the decoder's thread, the rest in another."""

    def __init__(self, video: Path | str, out: Path, flow: Flow) -> None:
        self.video, self.out, self.flow, self.options = video, out, flow, flow.options
        self.counts = Counts()
        self.error: Exception | None = None
        self.report: Report | None = None
        self._tracking, self._own_s = Tracking(Tracker(self.options), self.counts.shots), 0.0
        self._claim: Claim | None = None
        self._writer: Writer | None = None

    def pieces(self) -> Iterator[list[Piece]]:
        """As Run.pieces; an error is kept, and ends it."""
        self._start, self._before = time.perf_counter(), self._clocks()
        try:
            output_format(self.out, self.options.format)
            check_free(self.out, self.options.overwrite, self.video)
            self._claim = Claim(self.out)
            with Run(self.video, self.options, self.flow.models) as self._run:
                self._run.counts = self.counts
                self.flow.claimed.append(self._run.info.frames_claimed)
                for (piece,) in self._run.pieces():
                    if self.error:
                        break
                    if len(piece):
                        yield [Piece(self, piece.rows)]
        except Exception as error:
            self.error = error
        yield [Piece(self)]

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
        manifest = self.flow.models.regressor.manifest
        if self._writer is None:
            joints, betas = body_size(manifest)
            like = Tracks.empty(pose=3 * (joints - 1), shape=betas)
            kind = output_format(self.out, self.options.format)
            self._writer = open_writer(kind, self.out, like, self._run.meta(), self.options.overwrite)
        tracks = self._tracking.finish() if bodies is None else self._tracking.feed(bodies)
        if tracks is not None:
            self.counts.add(tracks)
            self.flow.rows += len(tracks)
            self._writer.write(tracks)
        if bodies is None:
            self._bytes = self._writer.finish(self._run.meta())

    def close(self) -> None:
        """Leave nothing half written, and the place to others; harmless once the file is whole."""
        if self._writer:
            self._writer.__exit__()
        if self._claim:
            self._claim.release()

    def outcome(self) -> Outcome:
        self.flow.done += 1
        return Outcome(self.video, self.out, self.report, self.error)

    def _clocks(self) -> tuple[dict[str, float], dict[str, float]]:
        """Seconds at work and waiting of each stage until now."""
        stages, models = self.flow.stages, self.flow.models
        busy = stages.busy_s() | {TRACK_AND_WRITE: self._own_s}
        waiting = stages.waiting_s() | {TRACK_AND_WRITE: stages.stages[-1].consumer_wait_s}
        for name, session in (("detect", models.detector), ("regress", models.regressor)):
            busy[name] -= session.turn_wait_s
            waiting[name] += session.turn_wait_s
        return busy, waiting

    def _report(self) -> Report:
        seconds, models = time.perf_counter() - self._start, self.flow.models
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
            batch_sizes=self.flow.batch_sizes(),
            batch_fill=self.flow.batch_fill(),
            peak_memory_mb=peak_memory_mb(),
            detector=models.detector.manifest.name,
            regressor=models.regressor.manifest.name,
            precision_chosen=list(models.chosen),
            warnings=self.counts.warnings() + models.take_warnings(),
        )
