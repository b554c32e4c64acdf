"""Process videos into tracks files: one video, or many that share the networks' batches."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from operator import length_hint
from pathlib import Path
from typing import Unpack

from ..concurrency import closed_at_exit
from ..files import check_free
from ..option import check, given
from ..options import Options, RunKeywords
from ..tables import Frames
from ..tracks.meta import Meta, known
from ..tracks.video_tracks import VideoTracks
from ..tracks.write import OF_ALL_ROWS, output_format
from ..video.open import VideoInput, name_of
from .batching import Batch
from .chain import Chain
from .networks import Models, open_models
from .report import Report
from .short_tracks import by_frame
from .video_run import Outcome, WrittenRun, open_run


def process(
    video: VideoInput,
    out: str | Path,
    options: Options | None = None,
    *,
    models: Models | None = None,
    watch: Callable[[Chain], None] = lambda chain: None,
    **keywords: Unpack[RunKeywords],
) -> Report:
    """Write the tracks of a video to a file. After an error no partial file is left behind.

    Args:
        video: A video file, an image, a folder or pattern of images, or a URL; a file open as binary, which
            is read to its end first; or a FrameSource.
        out: The tracks file to write. Its suffix selects the format, unless ``options.format`` does.
        options: The settings; the defaults if None.
        models: Networks opened with ``open_models``, to reuse across calls. If None, they are opened for this call.
        watch: Called with the chain when it starts, to show progress.
        **keywords: The fields of Options, instead of ``options``: ``device="cuda", score=0.4``.

    Returns:
        The report of the run.

    Raises:
        UsageError: An option is invalid, or ``out`` exists and ``options.overwrite`` is not set.
        InputError: The video cannot be read.
        ModelError: A model is missing or unsuitable.
        BackendError: The inference backend or device fails.
        OutputError: ``out`` cannot be written.
    """
    options = given(Options, options, keywords)
    output_format(Path(out), options.format)
    check_free(Path(out), options.overwrite, name_of(video))
    (outcome,) = process_many([(video, out)], options, models=models, watch=watch)
    if outcome.error:
        raise outcome.error
    assert outcome.report  # always set if there was no error
    return outcome.report


@closed_at_exit
def process_many(
    jobs: Iterable[tuple[VideoInput, str | Path]],
    options: Options | None = None,
    *,
    models: Models | None = None,
    watch: Callable[[Chain], None] = lambda chain: None,
    **keywords: Unpack[RunKeywords],
) -> Generator["Outcome"]:
    """Write the tracks of many videos, with batches shared between them.

    Up to ``options.videos_at_once`` videos are decoded at a time. A video need not exist before its turn.

    Args:
        jobs: Pairs of ``(video, out)``, consumed lazily.
        options: The settings; the defaults if None.
        models: Networks opened with ``open_models``, to reuse across calls. If None, they are opened for this call.
        watch: Called with the chain when it starts, to show progress.
        **keywords: The fields of Options, instead of ``options``: ``device="cuda", score=0.4``.

    Yields:
        The outcome of each video as soon as it is done: its report or its error. A failed video leaves no ``out``.

    Raises:
        UsageError: The options contradict each other or the models.
        ModelError: A model is missing or unsuitable.
        BackendError: The inference backend or device fails.
    """
    options = given(Options, options, keywords)
    expected = length_hint(jobs)
    if options.boxes is not None:
        jobs = list(islice(jobs, 2))
        check(
            len(jobs) < 2, f"--boxes {options.boxes}: is of one input, more are given; process each with its own boxes"
        )
    with ExitStack() as stack:
        models = models or stack.enter_context(open_models(options))
        begun: set[WrittenRun] = set()
        stack.callback(_close, begun)
        chain = stack.enter_context(Chain(options, models))
        chain.expected = expected
        watch(chain)

        def begin(video: VideoInput, out: str | Path) -> Iterator[Batch[Frames]]:
            run = WrittenRun(video, Path(out), chain)
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
def stream(
    video: VideoInput, options: Options | None = None, models: Models | None = None, **keywords: Unpack[RunKeywords]
) -> Generator[VideoTracks]:
    """Yield the tracks of each frame that has people, as soon as they are ready.

    Args:
        video: A video file, an image, a folder or pattern of images, or a URL; a file open as binary, which
            is read to its end first; or a FrameSource.
        options: The settings; the defaults if None.
        models: Networks opened with ``open_models``, to reuse across calls. If None, they are opened for this call.
        **keywords: The fields of Options, instead of ``options``.

    Yields:
        One table per frame with people, in order, rows sorted by track id, with the metadata known by then.

    Raises:
        UsageError: The options contradict each other or the models.
        InputError: The video cannot be read.
        ModelError: A model is missing or unsuitable.
        BackendError: The inference backend or device fails.
    """
    options = given(Options, options, keywords)
    with ExitStack() as stack:
        models = models or stack.enter_context(open_models(options))
        run = stack.enter_context(open_run(video, options, models))
        meta: Meta | None = None
        for tracks in run.tracks():
            meta = meta or known({name: value for name, value in run.meta().items() if name not in OF_ALL_ROWS})
            for rows in by_frame(tracks):
                yield VideoTracks.of(rows, meta)
