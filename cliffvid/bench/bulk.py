"""Bulk annotation beside ``process`` on one long film: what many small clips cost, and what a second worker brings."""

import os
import shutil
import tempfile
from pathlib import Path

from ..bulk.job import annotate
from ..jobs import process
from ..options import BulkOptions, Options, usable_cores
from ..pipeline import open_models
from .clips import RATE, clip, sha256
from .harness import Case, Result, take_turns

# A day's measurement asks for 1000 and 10; each turn of that takes hours on few cores.
CLIPS = int(os.environ.get("CLIFFVID_BENCH_CLIPS", "1000"))
LONG = int(os.environ.get("CLIFFVID_BENCH_LONG", "10"))
LONG_FRAMES = 300


def bulk(repeats: int) -> Result:
    """Frames a second of annotate over one-second clips and long ones, in those of process on one long film."""
    short, long = clip("720p", RATE), clip("720p", LONG_FRAMES)
    frames = CLIPS * RATE + LONG * LONG_FRAMES
    with tempfile.TemporaryDirectory() as folder, open_models(Options()) as models:
        inputs = Path(folder) / "in"
        inputs.mkdir()
        for index in range(CLIPS):
            os.symlink(short, inputs / f"clip {index}.mp4")
        for index in range(LONG):
            os.symlink(long, inputs / f"long {index}.mp4")

        def bulk_of(workers: int):
            def work() -> None:
                out = Path(folder) / f"out{workers}"
                shutil.rmtree(out, ignore_errors=True)
                summary = annotate([str(inputs)], out, Options(), BulkOptions(workers=workers))
                if summary.stopped == "interrupted":
                    raise KeyboardInterrupt
                assert summary.exit_code == 0 and summary.frames == frames

            return work

        whole = lambda: process(long, Path(folder) / "a.parquet", Options(overwrite=True), models=models)  # noqa: E731
        numbers = (1, usable_cores())
        cases = [Case("process, one long film", whole, LONG_FRAMES)]
        cases += [Case(f"annotate, {n} workers", bulk_of(n), frames) for n in numbers]
        take_turns(cases, repeats, warm_up=False)
    settings = {"repeats": repeats, "clips of one second": CLIPS, "films of ten seconds": LONG}
    result = Result("bulk", "frame", settings, [case.facts() for case in cases])
    result.clips = {path.name: sha256(path) for path in (short, long)}
    alone, one, many = cases
    best = max(one.rate, many.rate)
    result.ratios = {
        "frames/s of annotate in those of process": best / alone.rate,
        f"frames/s of {numbers[1]} workers in those of 1": many.rate / one.rate,
    }
    result.goals = {"frames/s of annotate in those of process": ">= 0.8"}
    result.quality = {
        "ms more a clip than in a long film": round(1000 * (1 / best - 1 / alone.rate) * frames / CLIPS, 1)
    }
    return result
