"""What a confined process can still do, as whoever runs the tests, be it root."""

import subprocess
import sys
from pathlib import Path

import pytest

import cliffvid

ROOT = Path(cliffvid.__file__).parents[1]
TRIES = {
    "open a file": "open('/etc/passwd')",
    "make a file": "os.open('ran', os.O_CREAT | os.O_WRONLY)",
    "open a socket": "socket.socket()",
    "start a program": "os.execv('/bin/true', ['true'])",
    "fork": "os.fork()",
    "signal another process": "os.kill(os.getppid(), 0)",
    "remove a file": "os.unlink('kept')",
    "raise its limits": "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))",
    "take memory": "bytearray(1 << 30)",
    "write a large file": "os.write(os.lseek(1, 1 << 40, 0) and 1, b'x')",
}
CODE = """
import json, os, resource, socket, sys
sys.path.insert(0, {root!r})
from cliffvid.models import confine
confine.CPU_S = 1
confine.confine(1)
try:
    {trial}
except (OSError, MemoryError, ValueError) as error:
    os.write(2, type(error).__name__.encode())
os._exit(0)
"""


@pytest.mark.parametrize("trial", TRIES)
def test_it_can_do_nothing_but_read_and_write_what_is_open(trial, tmp_path):
    (tmp_path / "kept").touch()
    code = CODE.format(root=str(ROOT), trial=TRIES[trial])
    with (tmp_path / "out").open("wb") as out:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", code],
            cwd=tmp_path,
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            check=True,
        )
    assert done.stderr in ("PermissionError", "OSError", "MemoryError", "ValueError"), done.stderr
    assert (tmp_path / "kept").exists() and not (tmp_path / "ran").exists()


def test_it_ends_when_its_time_is_up():
    code = CODE.format(root=str(ROOT), trial="exec('while True: pass')")
    assert subprocess.run([sys.executable, "-I", "-S", "-c", code], check=False, timeout=30).returncode < 0
