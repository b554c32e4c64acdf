"""Bulk annotation that is killed, starved, interrupted, or given what crashes a decoder."""

import json
import random
import time

import pytest

from bulk import annotate, kill_group, make_inputs, rows, start, videos

KILLS = 20

# Put first on PYTHONPATH, Python runs this in every process: it breaks the decoder for inputs of certain names.
SITE = """
import os, signal, sys
if "cliffvid.bulk.local" in sys.orig_argv or os.environ.get("CLIFFVID_BREAK") == "all":
    from cliffvid import decode

    def broken(method, word):
        def call(self, *args, **kwargs):
            if word in str(self.path):
                flag = os.environ["FLAGS"] + "/" + os.path.basename(str(self.path))
                if "once" not in word or not os.path.exists(flag):
                    open(flag, "a").write("x")
                    if "fault" in word:
                        raise OSError(5, "Input/output error")
                    os.kill(os.getpid(), signal.SIGSEGV)
            return method(self, *args, **kwargs)
        return call

    def opening(method, word):
        def call(self, path, *args, **kwargs):
            if word in str(path):
                os.kill(os.getpid(), signal.SIGSEGV)
            return method(self, path, *args, **kwargs)
        return call

    for word in ("crash-decode", "crash-once", "fault-once", "fault-always"):
        decode.Video.frames = broken(decode.Video.frames, word)
    decode.Video.__init__ = opening(decode.Video.__init__, "crash-open")
"""


@pytest.fixture
def breaking(tmp_path):
    """The environment in which decoders break, and the folder that counts how often."""
    for name in ("site", "flags"):
        (tmp_path / name).mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
    return {"PYTHONPATH": str(tmp_path / "site"), "FLAGS": str(tmp_path / "flags")}


@pytest.mark.timeout(300)
def test_killed_twenty_times_it_makes_the_same_data_set(tmp_path, toys):
    make_inputs(tmp_path / "in")
    annotate("in", "-o", "undisturbed", cwd=tmp_path, toys=toys, check=1)
    moments, cut_off, done = random.Random(8), 0, []
    journal = tmp_path / "out" / "journal.jsonl"

    def shards() -> int:
        return journal.read_bytes().count(b'"done"') if journal.exists() else 0

    for _ in range(KILLS):
        before = shards()
        running = start("in", "-o", "out", "--checkpoint", 0.01, cwd=tmp_path, toys=toys)
        late = moments.random() < 0.6  # at work, or at any moment before it
        while late and running.poll() is None and shards() == before:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.05 if late else 1.2))
        cut_off += running.poll() is None
        kill_group(running)
        done.append(shards())
    assert cut_off >= KILLS * 3 // 4 and len(set(done)) > KILLS // 3, done  # killed at work, and it got on
    annotate("in", "-o", "out", cwd=tmp_path, toys=toys, check=1)
    assert rows(tmp_path / "out").equals(rows(tmp_path / "undisturbed"))
    assert videos(tmp_path / "out") == videos(tmp_path / "undisturbed")
    assert not list((tmp_path / "out" / "work").iterdir())
    named = {json.loads(line).get("file") for line in journal.read_text().splitlines()}
    assert {f"tracks/{path.name}" for path in (tmp_path / "out" / "tracks").iterdir()} <= named
