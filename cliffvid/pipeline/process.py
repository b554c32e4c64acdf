"""Videos to files of tracks: one, or many that share the networks' batches."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack
from operator import length_hint
from pathlib import Path

from ..concurrency import closed_at_exit
from ..files import check_free
from ..options import Options
from ..tables import Frames, Tracks
from ..tracks.write import output_format
from ..video.open import source_of
from .batching import Batch
from .chain import Chain
from .networks import Models, open_models
from .report import Report
from .track import by_frame
from .video_run import Outcome, WrittenRun, open_run


def process(
    video: str | Path,
    out: str | Path,
    options: Options | None = None,
    *,
    models: Models | None = None,
    watch: Callable[[Chain], None] = lambda chain: None,
) -> Report:
    """Write the tracks of a video to ``out`` and report.

    ``models``: open networks to use again and again; ``watch`` is handed the chain when it starts.
    Raises UsageError, InputError, ModelError, BackendError or OutputError; then nothing of ``out`` is left behind.
    """
    options = options or Options()
    output_format(Path(out), options.format)
    check_free(Path(out), options.overwrite, source_of(video))
    (outcome,) = process_many([(video, out)], options, models=models, watch=watch)
    if outcome.error:
        raise outcome.error
    assert outcome.report  # as there was no error
    return outcome.report


@closed_at_exit
def process_many(
    jobs: Iterable[tuple[str | Path, str | Path]],
    options: Options | None = None,
    *,
    models: Models | None = None,
    watch: Callable[[Chain], None] = lambda chain: None,
) -> Generator["Outcome"]:
    """Write the tracks of each video of ``(video, out)`` pairs, and tell of each as soon as it is done.

    ``videos_at_once`` of them are decoded at a time into shared batches; none needs to be there before its turn.
    A video that fails costs only itself, and leaves nothing of its ``out``. Raises ModelError or BackendError.
    """
    options = options or Options()
    with ExitStack() as stack:
        models = models or stack.enter_context(open_models(options))
        begun: set[WrittenRun] = set()
        stack.callback(_close, begun)
        chain = stack.enter_context(Chain(options, models))
        chain.expected = length_hint(jobs)
        watch(chain)

        def begin(video: str | Path, out: str | Path) -> Iterator[Batch[Frames]]:
            run = WrittenRun(source_of(video), Path(out), chain)
            begun.add(run)
            return run.parts()

        for part in chain.bodies(begin(*job) for job in jobs):
            run = part.video
            assert isinstance(run, WrittenRun)
            run.take(part.rows)
            if part.rows is None:
                begun.remove(run)
                yield run.outcome()


def _close(runs: set[WrittenRun]) -> None:
    for run in runs:
        run.close()


@closed_at_exit
def stream(video: str | Path, options: Options | None = None, models: Models | None = None) -> Generator[Tracks]:
    """The tracks of each frame with people, lazily, as they become ready. Raises what ``process`` raises."""
    options = options or Options()
    with ExitStack() as stack:
        models = models or stack.enter_context(open_models(options))
        for tracks in stack.enter_context(open_run(source_of(video), options, models)).tracks():
            yield from by_frame(tracks)
