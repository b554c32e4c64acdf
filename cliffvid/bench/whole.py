"""The whole pipeline: what it costs beside decoding and beside its engines, its memory, many small videos."""

import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from ..jobs import process
from ..options import Options
from .clips import bare_decode, clip, sha256
from .fakes import constant_models
from .harness import Case, Result, take_turns

HOST = "whole run, in bare decodes of the same film"


def host(repeats: int, people: tuple[int, ...] = (0, 1, 3, 10)) -> Result:
    """Host-bound: engines that cost nothing, beside the time that PyAV with all threads needs to decode alone."""
    film, frames = clip(), 240
    cases = [Case("PyAV, all threads, decoding alone", lambda: bare_decode(film), frames)]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "a.parquet"
        for count in people:
            models = constant_models(count)
            work = lambda models=models: process(film, out, Options(overwrite=True), models=models)  # noqa: E731
            cases.append(Case(f"cliffvid, {count} people a frame", work, frames))
        take_turns(cases, repeats)
    result = Result("host", "frame", {"repeats": repeats}, [case.facts() for case in cases])
    result.clips[film.name] = sha256(film)
    for count, case in zip(people, cases[1:], strict=True):
        name = f"{HOST}, {count} people"
        result.ratios[name] = case.median_s / cases[0].median_s
        result.goals[name] = "<= 1.5"
    return result


def start(repeats: int) -> Result:
    """How long until there is something: the help, and the first batch once the engines are open."""
    help_ = [sys.executable, "-m", "cliffvid", "--help"]
    film = clip()
    seen: list[float] = []

    def first() -> None:
        from ..pipeline import stream

        begin = perf_counter()
        rows = stream(film, Options(), constant_models(3))
        next(rows)
        seen.append(perf_counter() - begin)
        rows.close()

    cases = [
        Case("cliffvid --help", lambda: subprocess.run(help_, check=True, stdout=subprocess.DEVNULL), 1),
        Case("first rows, engines open", first, 1),
    ]
    take_turns(cases, repeats)
    result = Result("start", "start", {"repeats": repeats}, [case.facts() for case in cases])
    result.ratios = {"seconds to the help": cases[0].median_s, "seconds to the first rows": cases[1].median_s}
    result.goals = {"seconds to the help": "<= 0.5", "seconds to the first rows": "<= 2"}
    return result


MEASURED = """
import sys
from pathlib import Path
from cliffvid.bench.fakes import constant_models
from cliffvid.options import Options
from cliffvid.jobs import process
from cliffvid.summary import peak_memory_mb
process(sys.argv[1], sys.argv[2], Options(overwrite=True), models=constant_models(3))
print(peak_memory_mb())
"""


def memory(repeats: int) -> Result:
    """Peak memory of a process: ten times the length, four times the pixels."""
    cases = {"1080p, 240 frames": clip(), "1080p, 2,400 frames": clip(frames=2400), "4K, 120 frames": clip("4k", 120)}
    result = Result("memory", "MB", {"repeats": repeats})
    with tempfile.TemporaryDirectory() as folder:
        peaks = {}
        for name, film in cases.items():
            command = [sys.executable, "-c", MEASURED, str(film), f"{folder}/a.parquet"]
            peaks[name] = max(float(subprocess.check_output(command)) for _ in range(repeats))
            result.clips[film.name] = sha256(film)
    short, long, large = peaks.values()
    result.quality = {f"peak memory in MB, {name}": round(peak) for name, peak in peaks.items()}
    result.ratios = {"peak of ten times the length": long / short, "peak of 4K, in 1080p's": large / short}
    result.goals = {"peak of ten times the length": "<= 1.05", "peak of 4K, in 1080p's": "<= 4.5"}
    return result
