"""Iterators that are still open when Python ends: it ends cleanly, and nothing half-written is left behind."""

import os
import subprocess
import sys

import pytest

from clips import make_clip

RUNS = int(os.environ.get("CLIFFVID_EXITS", "1"))  # of each kind

BEGIN = """
import os, sys, threading, time
from pathlib import Path
from cliffvid import Options, process_many, stream
options = Options(models_dir=Path(sys.argv[1]), detector="toy-detector", regressor="toy-regressor", frame_batch=1)
"""
KINDS = {
    "a variable": "tracks = stream('a.mp4', options); next(tracks)",
    "a module": "os.kept = stream('a.mp4', options); next(os.kept)",
    "a cycle": "kept = [stream('a.mp4', options)]; next(kept[0]); kept.append(kept); del kept",
    "two": "tracks = [stream('a.mp4', options) for _ in range(2)]; [next(each) for each in tracks]",
    "an error": "tracks = stream('a.mp4', options); next(tracks); sys.exit()",
    "a thread": """
def read():
    for each in stream('a.mp4', options):
        begun.set()
begun = threading.Event()
threading.Thread(target=read, daemon=True).start()
begun.wait()
""",
    "files": "made = process_many([('b.mp4', 'b.npz'), ('a.mp4', 'a.npz')], options); next(made)",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exit")
    make_clip(folder / "a.mp4", frames=250, people=3)
    make_clip(folder / "b.mp4", frames=3)
    return folder


@pytest.mark.parametrize("kept", KINDS)
def test_an_open_iterator_does_not_trouble_the_end(kept, place, toys):
    for _ in range(RUNS):
        command = [sys.executable, "-X", "faulthandler", "-c", BEGIN + KINDS[kept], toys]
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert {path.name for path in place.iterdir()} - {"b.npz"} == {"a.mp4", "b.mp4"}
        (place / "b.npz").unlink(missing_ok=True)
