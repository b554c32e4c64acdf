"""A job over very many inputs: when work begins, what its plan and its journal cost, how it goes on after a kill."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cliffvid.cli.console import say

from .constant_nets import constant_nets
from .harness import Result

INPUTS = int(os.environ.get("CLIFFVID_BENCH_INPUTS", "1000000"))
STATUS = """
import sys, time
from bench.plan_run import peak_mb
from cliffvid.cli.app import main
try:
    main()
finally:
    print(peak_mb(), file=sys.stderr)
"""


def planning(repeats: int) -> Result:
    """Seconds and megabytes of the driver for a manifest of tiny inputs, whose workers answer at once.

    The inputs need not exist: only the workers look at them, and these are faked. Run once: it takes minutes.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        nets = constant_nets(folder / "engines", people=1)
        manifest, out = folder / "inputs.csv", folder / "out"
        lines = (f"/data/set/part-{i // 1000:04d}/clip-{i:08d}.mp4\n" for i in range(INPUTS))
        manifest.write_text("path\n" + "".join(lines))
        work = [sys.executable, "-m", "bench.plan_run", manifest, out, folder / "engines", *nets]
        first = _told([*work, str(INPUTS // 2)], "until killed")
        second = _told([*work, "0"], "resumed")
        status_s, status_mb = _status(out)
        journal_bytes = (out / "journal.jsonl").stat().st_size
    result = Result("annotate-plan", "input", {"repeats": 1, "inputs": INPUTS})
    result.ratios = {
        "s until the first worker is busy": first["first worker busy"],
        "s until the first film is begun": first["first film begun"],
        "MB of memory when the first film is begun": first["first film begun, MB"],
        "s until the first film is begun, resumed after a kill at 50 %": second["first film begun"],
        "s of annotate-status": status_s,
    }
    bounds = (10, 10, 500, 30, 5)
    result.goals = {name: f"<= {bound}" for name, bound in zip(result.ratios, bounds, strict=True)}
    result.quality = {
        "MB of memory at the kill": round(first["killed, MB"]),
        "MB of memory when the first film is begun, resumed": round(second["first film begun, MB"]),
        "MB of memory at the end": round(second["end, MB"]),
        "us of writing the journal an input": round(
            1e6 * (first["writing the journal"] + second["writing the journal"]) / INPUTS, 1
        ),
        "bytes of journal an input": round(journal_bytes / INPUTS),
        "MB of memory of annotate-status": round(status_mb),
        "s of the whole, both runs": round(first["killed"] + second["end"]),
    }
    return result


def _told(command: list, what: str) -> dict:
    begun = time.monotonic()
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr[-2000:]
    facts = json.loads(done.stdout.splitlines()[-1])
    say(f"{what}: {time.monotonic() - begun:.0f} s")
    return facts


def _status(out: Path) -> tuple[float, float]:
    begun = time.perf_counter()
    command = [sys.executable, "-c", STATUS, "annotate-status", str(out), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - begun
    facts = json.loads(done.stdout)
    assert facts["statuses"] == {"ok": INPUTS} and facts["inputs"] == INPUTS, facts
    return seconds, float(done.stderr.split()[-1])
