"""Damaged films: no crash, hang, traceback or row of no number, and the same result whatever the decoder's threads."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[1] / "support" / "fuzz.py"
CASES = int(os.environ.get("CLIFFVID_FUZZ", "100"))  # make fuzz runs 2,000
WORKER = 50


def run(first: int, count: int, folder: Path) -> list[dict]:
    folder.mkdir()
    command = [sys.executable, str(FUZZ), str(first), str(count), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30 + 20 * count)
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"case {cases[-1] if cases else first}: {done.stderr[-2000:]}"
    return [case for case in cases if "status" in case]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_damaged_films_end_well(tmp_path):
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as workers:
        jobs = [workers.submit(run, first, WORKER, tmp_path / str(first)) for first in range(0, CASES, WORKER)]
        cases = [case for job in jobs for case in job.result()]
    assert [case["case"] for case in cases] == list(range(CASES))
    for case in cases:
        assert case["same"], f"depends on the threads: {case}"
        if case["status"] == "failed":
            assert case["kind"] in ("UnreadableError", "NoVideoError", "RefusedError", "EmptyError"), case
        else:
            assert case["finite"] and case["status"] in ("ok", "partial"), case
    seen = {(case["seed"], case["status"]) for case in cases}
    assert len(seen) >= 10, seen  # the damage is neither harmless nor deadly
