"""Who holds Python's lock, the GIL, in a whole run: py-spy's samples of it. Python's profilers see one thread alone."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import TextIO

from cliffvid.errors import BackendError

from .notes import Notes
from .plan import Plan
from .runs import ON_CPU, WATCHED, Case, run_cases

RATE, SECONDS, QUICK_SECONDS = 250, 30, 1
SHOWN = 25


def py(plan: Plan, notes: Notes) -> None:
    """The share of samples with the lock of each function: the deepest one of cliffvid, and the deepest of all."""
    raw, log, seconds = plan.work / "gil.txt", plan.work / "gil.log", QUICK_SECONDS if plan.quick else SECONDS
    raw.unlink(missing_ok=True)
    command = [py_spy(), "record", "--gil", "--nonblocking", "--function", "--format", "raw", "--output", str(raw)]
    command += ["--rate", str(RATE), "--duration", str(seconds), "--pid", str(os.getpid())]
    with log.open("w", encoding="utf-8") as words, ExitStack() as stack:
        run_cases(plan, notes, _again_and_again(plan, notes, seconds, command, words, stack))
        if "error" in notes.rows[-1]:
            raise BackendError(f"the run failed: {notes.rows[-1]['error']}")
    notes.facts["py-spy"] = said = log.read_text(encoding="utf-8")[-500:].strip()
    if not raw.is_file():
        raise BackendError(f"py-spy has no samples: {said}; it needs the right to trace processes")
    ours, deepest, total = shares(raw.read_text(encoding="utf-8"))
    notes.facts |= {"samples": total, "of": RATE * seconds, "deepest": deepest}
    for function, share in ours.items():
        notes.add({"function": function, "share": share})


def _again_and_again(
    plan: Plan, notes: Notes, seconds: float, command: list[str], words: TextIO, stack: ExitStack
) -> Iterator[Case]:
    """One case over and over, watched from the second time on: the first one opens the networks."""
    case = WATCHED if plan.on_gpu else ON_CPU[0]
    yield case
    if "error" in notes.rows[-1]:
        return
    spy = stack.enter_context(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=words))
    stack.callback(spy.kill)
    end = perf_counter() + seconds
    while perf_counter() < end and "error" not in notes.rows[-1]:
        yield case
    spy.wait(seconds + 20)


def shares(text: str) -> tuple[dict[str, float], dict[str, float], int]:
    """The share of each of cliffvid's functions, and of each deepest function, of py-spy's samples; and their number.

    A line is a stack, the deepest function last, and how often it was seen.
    """
    ours: Counter[str] = Counter()
    deepest: Counter[str] = Counter()
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        deepest[frames[-1]] += int(count)
        ours[next((frame for frame in reversed(frames) if "cliffvid/" in frame), frames[0])] += int(count)
    total = sum(ours.values())
    mine, all_of_them = (
        {name: round(n / total, 4) for name, n in found.most_common(SHOWN)} for found in (ours, deepest)
    )
    return mine, all_of_them, total


def py_spy() -> str:
    """The program; a wheel that was only unzipped has it elsewhere. Raises BackendError without it."""
    unzipped = (path for folder in sys.path if folder for path in Path(folder).glob("py_spy-*.data/scripts/py-spy"))
    found = shutil.which("py-spy") or next(unzipped, None)
    if found is None:
        raise BackendError("py-spy is not installed: pip install py-spy")
    if isinstance(found, Path):
        found.chmod(0o755)
    return str(found)
