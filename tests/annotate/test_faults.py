"""Bulk annotation that is killed, starved, interrupted, or given what crashes a decoder."""

import errno
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from unittest.mock import ANY

import pyarrow.parquet as pq
import pytest

from bulk import annotate, kill_group, make_inputs, rows, start, truth, videos
from cliffvid import Options, OutputError
from cliffvid.annotate import messages
from cliffvid.annotate.job import annotate as annotate_here
from cliffvid.annotate.local_pool import LocalPool
from cliffvid.annotate.messages import LOG_LINES
from cliffvid.annotate.options import BulkOptions
from cliffvid.annotate.status import status
from cliffvid.annotate.store.journal import read_state
from cliffvid.cli.annotate_view import status_text
from clips import make_clip

KILLS = int(os.environ.get("CLIFFVID_KILLS", "6"))  # half of them while the networks are shared
FULL_DISKS = int(os.environ.get("CLIFFVID_FULL_DISKS", "1"))

# Put first on PYTHONPATH, Python runs this in every process: it breaks the decoder for inputs of certain names.
SITE = """
import os, signal, sys
if "cliffvid.annotate.local_pool" in sys.orig_argv or os.environ.get("CLIFFVID_BREAK") == "all":
    from cliffvid.video import reader as decode

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


@pytest.mark.timeout(90 + 15 * KILLS)
@pytest.mark.slow
def test_killed_again_and_again_it_makes_the_same_data_set(tmp_path, toys):
    make_inputs(tmp_path / "in", clips=max(25, 9 * KILLS // 4))
    annotate("in", "-o", "undisturbed", cwd=tmp_path, toys=toys, check=1)
    moments, cut_off, done = random.Random(8), 0, []
    journal = tmp_path / "out" / "journal.jsonl"

    def shards() -> int:
        return journal.read_bytes().count(b'"done"') if journal.exists() else 0

    for turn in range(KILLS):
        before, networks = shards(), ("own", "shared")[turn % 2]
        args = ("in", "-o", "out", "--checkpoint", 0.01, "--networks", networks)
        running = start(*args, cwd=tmp_path, toys=toys)
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


@pytest.mark.slow
def test_what_breaks_the_decoder_costs_its_own_input_alone(tmp_path, toys, breaking):
    names = ("good 1", "crash-decode", "crash-once", "fault-once", "fault-always", "crash-open", "good 2")
    (tmp_path / "in").mkdir()
    for name in names:
        make_clip(tmp_path / "in" / f"{name}.mp4")
    done = annotate("in", "-o", "out", cwd=tmp_path, toys=toys, env=breaking, check=1)
    ended = {video["video"][3:-4]: video for video in pq.read_table(tmp_path / "out" / "videos.parquet").to_pylist()}
    assert [ended[name]["attempts"] for name in names] == [1, 3, 2, 2, 3, 0, 1]
    assert {name: video["error"] for name, video in ended.items() if video["status"] != "ok"} == {
        "crash-decode": "Crashed",
        "crash-open": "Crashed",
        "fault-always": "OSError",
    }
    assert "SIGSEGV" in ended["crash-decode"]["message"] and "SIGSEGV" in ended["crash-open"]["message"]
    logs = {name: video["log"] for name, video in ended.items() if video["log"]}
    assert logs.keys() == {"crash-decode", "crash-open", "fault-always"}
    assert all("Segmentation fault" in logs[name] for name in ("crash-decode", "crash-open"))
    assert logs["fault-always"].splitlines()[-1] == "OSError: [Errno 5] Input/output error"
    assert all(len(text.splitlines()) <= LOG_LINES and len(text) < LOG_LINES * 201 for text in logs.values())
    assert "Segmentation fault" not in done.stderr and "reader.py" not in done.stderr
    tries = {path.name: len(path.read_text()) for path in (tmp_path / "flags").iterdir()}
    assert tries == {"crash-decode.mp4": 3, "crash-once.mp4": 1, "fault-once.mp4": 1, "fault-always.mp4": 3}
    good = [f"in/{name}.mp4" for name in names if ended[name]["status"] == "ok"]
    assert len(good) == 4 and rows(tmp_path / "out").equals(truth(good, tmp_path, toys))
    assert "again in a moment" in done.stderr and "--retry-failed tries them again" in done.stderr
    annotate("in", "-o", "out", "--retry-failed", cwd=tmp_path, toys=toys)  # without what breaks it
    assert rows(tmp_path / "out").equals(truth([f"in/{name}.mp4" for name in names], tmp_path, toys))


# Ends workers at their start: all of them, or the second alone.
STARTS = """
import os, sys
if "cliffvid.annotate.local_pool" in sys.orig_argv:
    starts = os.environ["FLAGS"] + "/starts"
    open(starts, "a").write("x")
    if os.environ["ENDS"] in ("all", str(os.path.getsize(starts))):
        os._exit(3)
"""


def test_workers_that_cannot_start_are_told_and_one_that_once_does_not_is_replaced(tmp_path, toys, breaking):
    (tmp_path / "in").mkdir()
    names = [f"in/{name}.mp4" for name in ("crash-once", "good")]
    for name in names:
        make_clip(tmp_path / name)
    (tmp_path / "site" / "sitecustomize.py").write_text(STARTS + SITE)
    args = ("in", "-o", "out", "--workers", 1)
    done = annotate(*args, cwd=tmp_path, toys=toys, env=breaking | {"ENDS": "all"}, check=1)
    assert "a worker's process ended with exit code 3 before it began; does `cliffvid doctor` work here?" in done.stderr
    (tmp_path / "flags" / "starts").unlink()
    done = annotate(*args, cwd=tmp_path, toys=toys, env=breaking | {"ENDS": "2"})
    assert (tmp_path / "flags" / "starts").read_text() == "xxx" and "with exit code 3" in done.stderr
    assert rows(tmp_path / "out").equals(truth(names, tmp_path, toys))


def children(running: subprocess.Popen, module: str) -> list[int]:
    """Processes that the command has begun with a module."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == running.pid and module.encode() in (place / "cmdline").read_bytes():
                found.append(int(place.name))
    return found


def finished(out: Path) -> int:
    journal = out / "journal.jsonl"
    return journal.read_bytes().count(b'"done"') if journal.exists() else 0


SHARED = ("in", "-o", "out", "--networks", "shared", "--workers", 2, "--checkpoint", 0)


def test_a_worker_that_is_killed_with_several_inputs_costs_none_of_them(tmp_path, toys):
    make_inputs(tmp_path / "in", clips=15)
    running, killed = start(*SHARED, cwd=tmp_path, toys=toys), []
    while len(killed) < 2 and running.poll() is None:
        before = finished(tmp_path / "out")
        while running.poll() is None and finished(tmp_path / "out") < before + 3:
            time.sleep(0.005)
        killed += children(running, "cliffvid.annotate.local_pool")
        os.kill(killed[-1], signal.SIGKILL)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 1 and "Traceback" not in err and len(set(killed)) == 2, err
    ended = [video["video"] for video in videos(tmp_path / "out")]
    assert rows(tmp_path / "out").equals(truth(ended, tmp_path, toys))
    assert Counter(video["status"] for video in videos(tmp_path / "out"))["failed"] == 5


def test_what_crashes_beside_others_is_alone_in_failing(tmp_path, toys, breaking):
    (tmp_path / "in").mkdir()
    names = [f"in/{name}.mp4" for name in ("crash-decode", "good 1", "good 2", "good 3", "good 4")]
    for name in names:
        make_clip(tmp_path / name, people=2)
    annotate(*SHARED, cwd=tmp_path, toys=toys, env=breaking, check=1)
    crashed, *good = pq.read_table(tmp_path / "out" / "videos.parquet").to_pylist()
    assert (crashed["error"], crashed["attempts"]) == ("Crashed", 3) and "SIGSEGV" in crashed["message"]
    assert {video["status"] for video in good} == {"ok"} and good[0]["attempts"] > 1
    assert rows(tmp_path / "out").equals(truth(names[1:], tmp_path, toys))


def test_a_worker_that_hangs_is_ended_and_its_inputs_are_tried_again(tmp_path, toys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in "abc":
        make_clip(tmp_path / f"{name}.mp4", people=2)
    retried = []

    def watch(event, progress):
        if event["type"] == "retry":
            retried.append(event["error"])
            monkeypatch.undo()
            monkeypatch.chdir(tmp_path)
        elif not retried and progress.phase == "annotate" and (at_work := progress.pool.at_work()):
            os.kill(int(at_work[0][0].split(".")[0]), signal.SIGSTOP)
            monkeypatch.setattr(messages, "LEAST_LIMIT_S", 0)
            monkeypatch.setattr(messages, "LIMIT_PER_S", 0)

    options = Options(models_dir=toys, detector="toy-detector", regressor="toy-regressor")
    summary = annotate_here(["."], "out", options, BulkOptions(networks="shared", workers=2), watch)
    assert summary.exit_code == 0 and set(retried) == {"TimedOut"}
    assert rows(tmp_path / "out").equals(truth(["a.mp4", "b.mp4", "c.mp4"], tmp_path, toys))


def test_nothing_is_left_running_when_the_command_alone_is_killed(tmp_path, toys):
    make_inputs(tmp_path / "in", clips=30)
    running = start(*SHARED, cwd=tmp_path, toys=toys)
    while running.poll() is None and finished(tmp_path / "out") < 2:
        time.sleep(0.005)
    left = children(running, "cliffvid.annotate.local_pool")
    running.kill()
    running.communicate(timeout=60)
    until = time.monotonic() + 20
    while time.monotonic() < until and any("cliffvid" in command_line(pid) for pid in left):
        time.sleep(0.01)
    assert len(left) == 1 and not [pid for pid in left if "cliffvid" in command_line(pid)]


def test_a_job_at_work_is_told_from_one_that_was_killed(tmp_path, toys):
    make_inputs(tmp_path / "in", clips=30)
    out = tmp_path / "out"
    running = start("in", "-o", "out", "--workers", 1, "--checkpoint", 0, cwd=tmp_path, toys=toys)
    while running.poll() is None and finished(out) < 2:
        time.sleep(0.005)
    os.kill(running.pid, signal.SIGSTOP)  # or it might end before it is looked at
    facts = status(out)
    assert (facts["at_work"], facts["ended"]) == (True, None)
    assert "last run (at work):" in status_text(facts)
    running.kill()
    running.wait()
    facts, state = status(out), read_state(out)
    assert (facts["at_work"], facts["ended"]) == (False, None)
    assert "last run (broken off; the same command goes on from there):" in status_text(facts)
    last = max(video["finished"] for video in state.live.values())
    assert facts["run"]["seconds"] == last - state.jobs[-1]["started"]
    kill_group(running)
    annotate("in", "-o", "out", cwd=tmp_path, toys=toys, check=1)
    facts = status(out)
    assert (facts["at_work"], facts["ended"]) == (False, "all done")


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_a_signal_ends_it_cleanly_and_it_goes_on_from_there(tmp_path, toys):  # SIGTERM: see test_clusters.py
    make_inputs(tmp_path / "in", clips=3)
    running = start("in", "-o", "out", "--workers", 1, "--checkpoint", 0, cwd=tmp_path, toys=toys)
    journal = tmp_path / "out" / "journal.jsonl"
    while running.poll() is None and (not journal.exists() or b'"done"' not in journal.read_bytes()):
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: the workers get it too
    _, err = running.communicate(timeout=20)
    assert running.returncode == 130 and "the same command goes on from there" in err and "Traceback" not in err
    states = Counter(video["status"] for video in videos(tmp_path / "out"))
    assert states["skipped"] > 0 and sum(states.values()) == 18
    first = rows(tmp_path / "out")
    finished = [video["video"] for video in videos(tmp_path / "out") if video["status"] in ("ok", "partial")]
    assert first.equals(truth(finished, tmp_path, toys)) and not list((tmp_path / "out" / "work").iterdir())
    annotate("in", "-o", "out", cwd=tmp_path, toys=toys, check=1)
    everything = [video["video"] for video in videos(tmp_path / "out")]
    assert rows(tmp_path / "out").equals(truth(everything, tmp_path, toys))


def test_a_key_that_ends_the_job_ends_no_worker_that_begins(tmp_path, toy_options):
    clip = make_clip(tmp_path / "a.mp4", frames=3)
    pool = LocalPool(1, toy_options(), tmp_path)
    try:
        pool.submit(messages.Probe(video=str(clip), known=None, split_s=0.0))
        for number in (signal.SIGINT, signal.SIGTERM):  # a terminal sends it to all processes
            os.kill(int(pool.at_work()[0][0]), number)
        while not (answers := pool.wait(10)):
            pass
    finally:
        pool.close()
    assert answers[0].reply.frames == 3


def test_failures_can_stop_it(tmp_path, toys):
    make_inputs(tmp_path / "in", clips=3)
    for flags, most in ((["--max-failures", 0], 1), (["--max-failures", 2], 3)):
        done = annotate("in", "-o", f"out{most}", *flags, "--json", cwd=tmp_path, toys=toys, check=1)
        events = [json.loads(line) for line in done.stdout.splitlines()]
        assert events[-1] | {"seconds": 0} == {"type": "end", "stopped": "failures", "statuses": ANY, "seconds": 0}
        assert events[-1]["statuses"]["failed"] >= most and events[-1]["statuses"]["skipped"] > 0
    annotate("in", "-o", "out", "--allow-failures", cwd=tmp_path, toys=toys, check=0)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB. Skips where none may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.slow
def test_a_full_disk_stops_it_and_nothing_is_lost(tmp_path, toys, small_disk):
    make_inputs(tmp_path / "in")
    out = small_disk / "out"
    for turn in range(FULL_DISKS):
        (small_disk / "ballast").write_bytes(bytes(850_000 - 8_192 * turn))
        done = annotate("in", "-o", "disk/out", "--checkpoint", 0, cwd=tmp_path, toys=toys, check=1)
        assert "No space left on device" in done.stderr and "make room" in done.stderr
        state = read_state(out)
        assert 0 < len(state.live) < 60 and state.shards()
        for file, held in state.shards().items():
            assert pq.read_table(out / file).num_rows == sum(state.live[name]["rows"] for name in held)
    (small_disk / "ballast").unlink()
    annotate("in", "-o", "disk/out", cwd=tmp_path, toys=toys, check=1)
    assert rows(out).equals(truth([video["video"] for video in videos(out)], tmp_path, toys))


def test_no_room_for_the_journal_or_a_shard_is_told_and_undone(tmp_path, toys, monkeypatch):
    make_clip(tmp_path / "a.mp4", people=2)
    monkeypatch.chdir(tmp_path)
    options = Options(models_dir=toys, detector="toy-detector", regressor="toy-regressor")
    sync = os.fsync

    for full in range(1, 8):

        def fsync(handle, calls=iter(range(1, 99)), full=full):  # noqa: B008
            if next(calls) == full:
                raise OSError(errno.ENOSPC, "No space left on device")
            sync(handle)

        monkeypatch.setattr(os, "fsync", fsync)
        try:
            annotate_here(["a.mp4"], "out", options, BulkOptions(workers=1))
            break
        except OutputError as error:
            assert "cannot write there (No space left on device)" in str(error)
        monkeypatch.setattr(os, "fsync", sync)
        read_state(tmp_path / "out")  # is sound
    monkeypatch.setattr(os, "fsync", sync)
    assert full > 4 and annotate_here(["a.mp4"], "out", options).exit_code == 0
    assert rows(tmp_path / "out").equals(truth(["a.mp4"], tmp_path, toys))
    assert len(list((tmp_path / "out" / "tracks").iterdir())) == 1 and not list((tmp_path / "out" / "work").iterdir())
