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
    print(time.process_time(), peak_mb(), file=sys.stderr)
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
        half = _status(out, done=False)
        second = _told([*work, "0"], "resumed")
        whole = _status(out, done=True)
        journal_bytes = (out / "journal.jsonl").stat().st_size
    result = Result("annotate-plan", "input", {"repeats": 1, "inputs": INPUTS})
    result.ratios = {
        "s until the first worker is busy": first["first worker busy"],
        "MB of memory when the first film is begun": first["first film begun, MB"],
        "s until the first film is begun, resumed after a kill at 50 %": second["first film begun"],
        "s of annotate-status, all done": whole["s"],
    }
    bounds = (10, 500, 30, 5)
    result.goals = {name: f"<= {bound}" for name, bound in zip(result.ratios, bounds, strict=True)}
    writing_s = first["writing the journal"] + second["writing the journal"]
    result.quality = {
        "s of a processor until the first worker is busy": round(first["first worker busy, processor s"], 1),
        "s until the first film is begun": round(first["first film begun"], 1),
        "s of a processor until the first film is begun": round(first["first film begun, processor s"], 1),
        "s of a processor until the first film is begun, resumed": round(second["first film begun, processor s"], 1),
        "MB of memory at the kill": round(first["killed, MB"]),
        "MB of memory when the first film is begun, resumed": round(second["first film begun, MB"]),
        "MB of memory at the end": round(second["end, MB"]),
        "us of writing the journal an input": round(1e6 * writing_s / INPUTS, 1),
        "bytes of journal an input": round(journal_bytes / INPUTS),
        "annotate-status, half done": half,
        "annotate-status, all done": whole,
        "s of a processor, both runs": round(first["killed, processor s"] + second["end, processor s"]),
    }
    return result


def _told(command: list, what: str) -> dict:
    begun = time.monotonic()
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr[-2000:]
    facts = json.loads(done.stdout.splitlines()[-1])
    say(f"{what}: {time.monotonic() - begun:.0f} s")
    say(*(f"  {name}: {value:.1f}" for name, value in facts.items()))
    return facts


def _status(out: Path, done: bool) -> dict[str, float]:
    begun = time.perf_counter()
    command = [sys.executable, "-c", STATUS, "annotate-status", str(out), "--json"]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, facts = time.perf_counter() - begun, json.loads(said.stdout)
    assert facts["inputs"] == INPUTS and (not done or facts["statuses"] == {"ok": INPUTS}), facts
    processor_s, mb = map(float, said.stderr.split()[-2:])
    measured = {"s": round(seconds, 1), "s of a processor": round(processor_s, 1), "MB of memory": round(mb)}
    say(f"annotate-status: {measured}")
    return measured
