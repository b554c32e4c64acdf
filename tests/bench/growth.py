"""How cost grows with frames, people, pixels, videos at once and workers; networks cost nothing."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from cliffvid.annotate.job import annotate
from cliffvid.annotate.options import BulkOptions
from cliffvid.options import Options
from cliffvid.pipeline.process import process, process_many

from .clips import RATE, SIZES, clip, repeated, sha256, small_clip
from .fakes import constant_models
from .harness import Case, Result, take_turns
from .nets import constant_nets

PIECE, LENGTHS = 240, (240, 960, 3840)  # frames: of the clip, and of what it is repeated to
PEOPLE = (0, 1, 3, 10, 30)  # a frame
PIXELS, FRAMES = ("720p", "1080p", "4k"), 60
AT_ONCE, SHORT = (1, 2, 4, 8), 32  # videos, and how many there are of one second each
WORKERS, BULK = (1, 2, 4), 100  # processes, and clips of one second


def growth(repeats: int) -> Result:
    """What each of five numbers costs while all others stay; each row has its ``plot``, and ``x`` in it."""
    repeats = min(repeats, 3)
    result = Result("growth", "frame", {"repeats": repeats, "people a frame": 3})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for plot in (_frames, _people, _pixels, _at_once, _workers):
            cases = plot(folder)
            take_turns([case for _, case in cases], repeats)
            result.rows += [case.facts() | {"plot": plot.__name__[1:], "x": x} for x, case in cases]
    films = [small_clip(), clip(frames=PIECE), *(clip(size, FRAMES) for size in PIXELS)]
    result.clips = {film.name: sha256(film) for film in films}
    return result


def _frames(folder: Path) -> list[tuple[float, Case]]:
    films = {frames: repeated(clip(frames=PIECE), frames // PIECE, folder / f"{frames}.mp4") for frames in LENGTHS}
    return [(frames, Case(f"{frames} frames", _run(film, folder, 3), frames)) for frames, film in films.items()]


def _run(film: Path, folder: Path, people: int) -> Callable[[], object]:
    models = constant_models(people)
    return lambda: process(film, folder / "a.parquet", Options(overwrite=True), models=models)


def _people(folder: Path) -> list[tuple[float, Case]]:
    film = clip(frames=PIECE)
    return [(count, Case(f"{count} people", _run(film, folder, count), PIECE)) for count in PEOPLE]


def _pixels(folder: Path) -> list[tuple[float, Case]]:
    sizes = {size: SIZES[size][0] * SIZES[size][1] / 1e6 for size in PIXELS}
    return [(mpx, Case(size, _run(clip(size, FRAMES), folder, 3), FRAMES)) for size, mpx in sizes.items()]


def _at_once(folder: Path) -> list[tuple[float, Case]]:
    jobs, models = [(small_clip(), folder / f"{index}.parquet") for index in range(SHORT)], constant_models(3)

    def work(count: int) -> None:
        for _ in process_many(jobs, Options(overwrite=True, videos_at_once=count), models=models):
            pass

    return [
        (count, Case(f"{count} videos at once", lambda count=count: work(count), SHORT * RATE)) for count in AT_ONCE
    ]


def _workers(folder: Path) -> list[tuple[float, Case]]:
    (folder / "in").mkdir()
    for index in range(BULK):
        (folder / "in" / f"{index}.mp4").symlink_to(small_clip())
    options, runs = constant_nets(folder / "engines", people=3), iter(range(1000))

    def work(count: int) -> None:
        done = annotate([str(folder / "in")], folder / f"out{next(runs)}", options, BulkOptions(workers=count))
        assert done.frames == BULK * RATE

    return [(count, Case(f"{count} workers", lambda count=count: work(count), BULK * RATE)) for count in WORKERS]
