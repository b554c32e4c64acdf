"""Bulk annotation on a Ray cluster: the same data set, whatever is lost meanwhile."""

import os
import random
import secrets
import subprocess
import sys
import time

import pytest

from bulk import annotate, ended, kill_group, make_inputs, rows, start, videos
from clips import make_clip

KILLS = int(os.environ.get("CLIFFVID_RAY_KILLS", "2"))

CLUSTER = """
import ray, sys
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
ray.shutdown()
"""

# While an actor is at the long film its process is killed, and at the second attempt the actor.
LOSSES = """
import os, signal, sys, time
from pathlib import Path
import ray
from cliffvid import Options
from cliffvid.annotate.job import annotate
from cliffvid.annotate.messages import Whole
from cliffvid.annotate.options import BulkOptions

lost, pids = [], {}

def watch(event, progress):
    seats = progress.pool._seats
    if event["type"] == "found":
        pids.update({i: ray.get(seat.actor.hello.remote()) for i, seat in enumerate(seats)})
    for i, seat in enumerate(seats):
        task = seat.task
        if isinstance(task, Whole) and task.video == "in/long.mp4" and time.monotonic() - seat.since > 0.2:
            if len(lost) < 2 and task.attempt > len(lost):
                os.kill(pids[i], signal.SIGKILL) if not lost else ray.kill(seat.actor, no_restart=False)
                lost.append(task)

options = Options(models_dir=Path(sys.argv[1]), detector="toy-detector", regressor="toy-regressor")
summary = annotate(["in"], "lossy", options, BulkOptions(runner="ray", address=sys.argv[2]), watch)
sys.exit(10 + summary.exit_code if len(lost) == 2 else f"lost {lost}")
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory, toys):
    """A folder with inputs under ``in``, and the data set ``local`` of them."""
    base = tmp_path_factory.mktemp("ray")
    make_inputs(base / "in", clips=max(15, 3 * KILLS))  # each kill waits for one more
    make_clip(base / "in" / "long.mp4", frames=500, people=4, options={"g": "25"})
    annotate("in", "-o", "local", cwd=base, toys=toys, check=1)
    return base


@pytest.fixture(scope="module")
def cluster():
    """``(address, environment)`` of a cluster of two cores."""
    env = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16), "RAY_USAGE_STATS_ENABLED": "0"}
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        env=os.environ | env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    yield process.stdout.readline().strip(), env
    process.communicate()


def same(out, data) -> bool:
    return rows(out).equals(rows(data / "local")) and videos(out) == videos(data / "local")


def test_a_cluster_of_its_own_makes_the_same_data_set(data, toys):
    done = annotate("in", "-o", "own", "--runner", "ray", "--split", 5, "--json", cwd=data, toys=toys, check=1)
    assert done.stdout.count('"type": "segment"') == 4
    assert same(data / "own", data)


@pytest.mark.timeout(60 + 30 * KILLS)
def test_killed_again_and_again_it_makes_the_same_data_set(data, toys, cluster):
    args = ("in", "-o", "killed", "--runner", "ray", "--address", cluster[0])
    moments, done = random.Random(8), []
    journal = data / "killed" / "journal.jsonl"

    def shards() -> int:
        return journal.read_bytes().count(b'"done"') if journal.exists() else 0

    for _ in range(KILLS):
        before, running = shards(), start(*args, "--checkpoint", 0, cwd=data, toys=toys, env=cluster[1])
        while running.poll() is None and shards() == before:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.1))
        assert running.poll() is None, running.stderr.read()
        kill_group(running)
        done.append(shards())
    assert len(set(done)) > KILLS // 2
    annotate(*args, cwd=data, toys=toys, env=cluster[1], check=1)
    assert same(data / "killed", data) and not list((data / "killed" / "work").iterdir())


def test_a_killed_process_and_a_killed_actor_cost_nothing(data, toys, cluster):
    command = [sys.executable, "-c", LOSSES, str(toys), cluster[0]]
    done = subprocess.run(command, cwd=data, env=os.environ | cluster[1], capture_output=True, text=True, timeout=100)
    assert done.returncode == 11, done.stderr  # five inputs cannot be read
    assert same(data / "lossy", data)
    attempts = {video["video"]: video["attempts"] for video in ended(data / "lossy")}
    assert {name: count for name, count in attempts.items() if count > 1} == {"in/long.mp4": 3}


def test_what_is_not_there_is_told(data, toys):
    done = annotate("in", "-o", "x", "--runner", "ray", "--address", "127.0.0.1:1", cwd=data, toys=toys, check=1)
    assert "--address 127.0.0.1:1: no Ray cluster answers there" in done.stderr
    env = {"PYTHONPATH": str(data / "hidden")}
    (data / "hidden").mkdir()
    (data / "hidden" / "ray.py").write_text("raise ModuleNotFoundError(name='ray')")
    done = annotate("in", "-o", "x", "--runner", "ray", cwd=data, toys=toys, env=env, check=1)
    assert 'pip install "cliffvid[ray]"' in done.stderr
    assert not list((data / "x" / "tracks").iterdir())
