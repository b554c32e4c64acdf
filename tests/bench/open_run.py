"""The example clip with the open models, as a user runs it: frames/s, what ``--pixels planes`` changes, memory."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from cliffvid.options import Options
from cliffvid.pipeline.networks import open_models
from cliffvid.pipeline.process import process
from cliffvid.tracks.read import read_tracks

from .clips import sha256
from .every import differences
from .harness import Case, Result, take_turns
from .shapes import EXAMPLE

LOOK_S = 0.05
COMMANDS = {
    "process": ("process", "clip.mp4", "-o", "a.parquet"),
    "process --overlay": ("process", "clip.mp4", "-o", "b.parquet", "--overlay", "b.mp4"),
    "annotate of two copies, --networks own": ("annotate", "in", "-o", "own", "--networks", "own", "--workers", "2"),
    "annotate of two copies, --networks shared": ("annotate", "in", "-o", "shared", "--networks", "shared"),
}


def open_run(repeats: int) -> Result:
    """Return frames/s with both kinds of pixels and how their rows differ, and each command's peak memory, once."""
    result = Result("open", "frame", {"repeats": repeats}, clips={EXAMPLE.name: sha256(EXAMPLE)})
    with tempfile.TemporaryDirectory() as name, open_models(Options()) as models:
        folder, kinds = Path(name), ("exact", "planes")
        cases = []
        for kind in kinds:
            options = Options(pixels=kind, overwrite=True)
            work = partial(process, EXAMPLE, folder / f"{kind}.parquet", options, models=models)
            cases.append(Case(f"--pixels {kind}", work, work().frames))
        take_turns(cases, repeats, warm_up=False)
        result.rows = [case.facts() for case in cases]
        exact, planes = (read_tracks(folder / f"{kind}.parquet") for kind in kinds)
        result.quality = {f"planes, {name}": value for name, value in differences(exact, planes).items()}
        shutil.copy(EXAMPLE, folder / "clip.mp4")
        (folder / "in").mkdir()
        for copy in ("0.mp4", "1.mp4"):
            shutil.copy(EXAMPLE, folder / "in" / copy)
        for case, words in COMMANDS.items():
            result.quality[f"peak memory in MB, {case}"] = round(peak_mb(words, folder))
    return result


def peak_mb(words: tuple[str, ...], folder: Path) -> float:
    """Return the most memory that a command and its processes have together; what they share counts once."""
    command, peak = [sys.executable, "-m", "cliffvid", *words, "--quiet"], 0.0
    with subprocess.Popen(command, cwd=folder, start_new_session=True) as running:
        while running.poll() is None:
            peak = max(peak, sum(map(_held_mb, _session(running.pid))))
            time.sleep(LOOK_S)
    assert running.returncode == 0, words
    return peak


def _session(leader: int) -> list[Path]:
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(place.name)) == leader:
                found.append(place)
        except ProcessLookupError:
            continue
    return found


def _held_mb(place: Path) -> float:
    try:
        lines = (place / "smaps_rollup").read_text().splitlines()
    except OSError:  # it has just ended
        return 0.0
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith("Pss:")), 0.0)
