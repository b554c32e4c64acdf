"""Bulk annotation beside ``process`` on one long film: what many small clips cost, and what a second worker brings."""

import os
import shutil
import tempfile
import time
from pathlib import Path

from cliffvid.annotate.job import annotate
from cliffvid.annotate.options import BulkOptions
from cliffvid.annotate.progress import Progress
from cliffvid.cli.console import say
from cliffvid.machine import usable_cores
from cliffvid.options import Options
from cliffvid.pipeline.networks import open_models
from cliffvid.pipeline.process import process

from .clips import RATE, repeated, sha256, small_clip
from .harness import Case, Result, take_turns
from .nets import constant_nets

CLIPS = int(os.environ.get("CLIFFVID_BENCH_CLIPS", "1000"))
LONG = int(os.environ.get("CLIFFVID_BENCH_LONG", "10"))
LONG_S = 60
TURNS = 2  # one takes minutes
TELL_S = 15.0


def bulk(repeats: int) -> Result:
    """Frames a second of annotate over one-second clips and long ones, in those of process on one long film.

    Networks that cost nothing, so that nothing hides what a clip costs beside its frames; 640 x 360, three people.
    """
    short, repeats = small_clip(), min(repeats, TURNS)
    frames, alone_frames = (CLIPS + LONG * LONG_S) * RATE, LONG * LONG_S * RATE
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = constant_nets(folder / "engines", people=3)
        inputs = _inputs(folder / "in", short)
        film = repeated(short, LONG * LONG_S, folder / "film.mp4")
        numbers = (1, usable_cores())
        with open_models(options) as models:
            whole = lambda: process(film, folder / "a.parquet", options, models=models)  # noqa: E731
            cases = [Case("process, one long film", whole, alone_frames)]
            for number in numbers:
                work = lambda number=number: _annotated(inputs, folder / f"out{number}", options, number, frames)  # noqa: E731
                cases.append(Case(f"annotate, {number} workers", work, frames))
            take_turns(cases, repeats, warm_up=False)
    settings = {"repeats": repeats, "clips of one second": CLIPS, f"films of {LONG_S} seconds": LONG}
    result = Result("annotate", "frame", settings, [case.facts() for case in cases])
    result.clips = {short.name: sha256(short)}
    alone, one, many = cases
    best = max(one.rate, many.rate)
    result.ratios = {
        "frames/s of annotate in those of process": best / alone.rate,
        f"frames/s of {numbers[1]} workers in those of 1": many.rate / one.rate,
    }
    result.goals = {"frames/s of annotate in those of process": ">= 0.8"}
    more_s = (1 / best - 1 / alone.rate) * frames / CLIPS
    result.quality = {"ms more a clip than its frames take in a long film": round(1000 * more_s, 1)}
    return result


def _inputs(folder: Path, short: Path) -> Path:
    folder.mkdir()
    for index in range(CLIPS):
        os.symlink(short, folder / f"clip {index}.mp4")
    if LONG:
        repeated(short, LONG_S, folder / "long 0.mp4")
    for index in range(1, LONG):
        os.symlink("long 0.mp4", folder / f"long {index}.mp4")
    return folder


def _annotated(inputs: Path, out: Path, options: Options, workers: int, frames: int) -> None:
    told = time.monotonic()

    def watch(event: dict, progress: Progress) -> None:
        nonlocal told
        if time.monotonic() - told > TELL_S:
            told = time.monotonic()
            say(f"{workers} workers: {progress.frames} of {frames} frames")

    shutil.rmtree(out, ignore_errors=True)
    summary = annotate([str(inputs)], out, options, BulkOptions(workers=workers), watch)
    if summary.stopped == "interrupted":
        raise KeyboardInterrupt
    assert summary.exit_code == 0 and summary.frames == frames, summary
