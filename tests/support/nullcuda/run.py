"""Run a scenario on the null CUDA, in a process that has onnxruntime-gpu.

By hand: ``PYTHONPATH=tests:tests/support python -m nullcuda.run SCRIPT WORD...``
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import needs

from .build import build
from .fetch import fetched

TESTS = Path(__file__).parents[2]
FETCHED = Path(sys.prefix) / "nullcuda"
TIMEOUT_S = 220  # beside other tests


def run(script: Path, *words: str):
    """Return the JSON that the script prints as its last line. Raises AssertionError with its words if it fails."""
    if not fetched(FETCHED):
        needs.lacks("nullcuda", f"{FETCHED} is not there: python -m nullcuda.fetch {FETCHED}")
    if not shutil.which("gcc"):
        needs.lacks("nullcuda", "gcc is not installed")
    with tempfile.TemporaryDirectory() as scratch:
        libraries = build(FETCHED, Path(scratch))
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(map(str, (FETCHED, TESTS / "support", TESTS, TESTS.parent))),
            "LD_LIBRARY_PATH": str(libraries),
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-P", str(script), *words]  # modules beside the script are not meant
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, f"{script.name} ended with {done.returncode}\n{done.stderr[-4000:]}"
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), *sys.argv[2:]), indent=1))
