"""Bulk annotation on several Ray nodes: lost while at work and brought back, with models of their own."""

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from bulk import annotate, ended, make_inputs, rows, videos
from cliffvid.annotate.messages import Fault, Whole, reply_of, to_json
from cliffvid.annotate.plan import recipe
from cliffvid.annotate.ray_pool import _Actor
from clips import make_clip

# A cluster of three nodes on this machine, the head without cores for work. While the second node is at the long film
# it is killed; once that is tried again elsewhere a new node comes.
LOSING_A_NODE = """
import json, os, secrets, sys
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from cliffvid import Options
from cliffvid.annotate.job import annotate
from cliffvid.annotate.messages import Segment, Whole
from cliffvid.annotate.options import BulkOptions

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
nodes = [cluster.add_node(num_cpus=1, include_dashboard=False) for _ in range(2)]
ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
at = {node.node_id: node for node in nodes}
lost, again = [], []

def home(pool, i):
    seat = pool._seats[i]
    return ray.get(seat.actor.__ray_call__.remote(lambda self: ray.get_runtime_context().get_node_id()))

def watch(event, progress):
    pool = progress.pool
    if event["type"] == "found":
        assert pool.count == 2, pool.count
        ray.get([seat.asked for seat in pool._seats])
        homes.extend(home(pool, i) for i in range(2))
        assert set(homes) == set(at), (homes, at)
    for name, task, seconds in pool.at_work():
        if not lost and isinstance(task, Whole) and "long" in task.video and seconds > 0.3:
            lost.append(int(name))
            cluster.remove_node(at[homes[int(name)]], allow_graceful=False)
    if event["type"] == "retry":
        again.append((event["video"], event["error"]))
        if len(again) == 1:
            cluster.add_node(num_cpus=1, include_dashboard=False, wait=False)

homes = []
options = Options(models_dir=Path(sys.argv[1]), detector="toy-detector", regressor="toy-regressor")
summary = annotate(["in"], "lossy", options, BulkOptions(runner="ray", checkpoint_s=0), watch)
Path("facts.json").write_text(json.dumps({"code": summary.exit_code, "lost": lost, "again": again}))
"""

# Two nodes with a GPU each, as far as Ray knows: how actors are placed, and what each sees.
GPUS = """
import json, os, sys
import ray
from ray.cluster_utils import Cluster
from pathlib import Path
from cliffvid import Options
from cliffvid.annotate.ray_pool import RayPool

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 8, "num_gpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=8, num_gpus=1, include_dashboard=False)
ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
found = []
for workers in (0, 4):
    pool = RayPool(workers, None, Options(device="cuda"), Path("work"))
    ray.get([seat.asked for seat in pool._seats])
    look = lambda self: (ray.get_runtime_context().get_node_id(), os.environ["CUDA_VISIBLE_DEVICES"])
    found.append(ray.get([seat.actor.__ray_call__.remote(look) for seat in pool._seats]))
    pool.close()
Path("facts.json").write_text(json.dumps(found))
"""

# A node that sees neither the working directory nor the models of the driver, but has models elsewhere.
ELSEWHERE = """
import os, sys
from pathlib import Path
from ray.cluster_utils import Cluster
import ray

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
os.environ["CLIFFVID_ENGINES"] = sys.argv[1]
cluster.add_node(num_cpus=2, include_dashboard=False)
del os.environ["CLIFFVID_ENGINES"]
ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
from cliffvid import Options
from cliffvid.annotate import ray_pool
from cliffvid.annotate.job import annotate
from cliffvid.annotate.options import BulkOptions

start = ray_pool._Actor.__init__
def far_away(self, hello):
    start(self, hello | {"cwd": "/nowhere", "options": hello["options"] | {"models_dir": "/nowhere/models"}})
ray_pool._Actor.__init__ = far_away
ray.cloudpickle.register_pickle_by_value(ray_pool)
options = Options(models_dir=Path(sys.argv[2]), detector="toy-detector", regressor="toy-regressor")
inputs = [str(path) for path in sorted(Path("in").resolve().rglob("*.mp4"))]
try:
    summary = annotate(inputs, sys.argv[3], options, BulkOptions(runner="ray", split_s=5))
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
sys.exit(10 + summary.exit_code)
"""


def run(script: str, *args, cwd) -> subprocess.CompletedProcess:
    """A script in a process of its own, whose cluster no other Ray finds."""
    command = [sys.executable, "-c", script, *map(str, args)]
    with tempfile.TemporaryDirectory(
        prefix="r", dir="/tmp", ignore_cleanup_errors=True
    ) as place:  # sockets: short names
        env = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": place}
        return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=150)


@pytest.fixture(scope="module")
def data(tmp_path_factory, toys):
    """A folder with inputs under ``in``, and the data set ``local`` of them."""
    base = tmp_path_factory.mktemp("nodes")
    make_inputs(base / "in", clips=6)
    make_clip(base / "in" / "long.mp4", frames=500, people=4, options={"g": "25"})
    annotate("in", "-o", "local", cwd=base, toys=toys, check=1)
    return base


def test_a_node_lost_at_work_and_another_that_comes_leave_the_same_data_set(data, toys):
    done = run(LOSING_A_NODE, toys, cwd=data)
    assert done.returncode == 0, done.stderr
    facts = json.loads((data / "facts.json").read_text())
    assert facts["code"] == 1 and len(facts["lost"]) == 1 and ["in/long.mp4", "Crashed"] in facts["again"]
    assert rows(data / "lossy").equals(rows(data / "local")) and videos(data / "lossy") == videos(data / "local")
    names = [video["video"] for video in ended(data / "lossy")]
    assert len(names) == len(set(names)) > 6


def test_each_actor_has_a_gpu_or_an_even_share_of_one(data):
    done = run(GPUS, cwd=data)
    assert done.returncode == 0, done.stderr
    alone, shared = ([tuple(each) for each in found] for found in json.loads((data / "facts.json").read_text()))
    assert len(alone) == len(set(alone)) == 2
    assert sorted(shared) == sorted(2 * alone)


def test_a_node_needs_no_path_of_the_driver(data, toys, tmp_path):
    done = run(ELSEWHERE, shutil.copytree(toys, tmp_path / "models"), toys, tmp_path / "out", cwd=data)
    assert done.returncode == 11, done.stderr
    local = rows(data / "local")
    local = local.filter(pc.ends_with(local["video"], ".mp4")).combine_chunks()
    names = pa.array([f"{data.resolve()}/{name}" for name in local["video"].to_pylist()])
    at = local.column_names.index("video")
    assert rows(tmp_path / "out").equals(local.set_column(at, local.schema.field("video"), names))
    assert '"segment"' in (tmp_path / "out" / "journal.jsonl").read_text()


def test_a_node_with_another_version_of_a_model_stops_the_job(toys, toy_options, tmp_path, monkeypatch):
    there = shutil.copytree(toys, tmp_path / "models")
    manifest = there / "toy-regressor" / "manifest.json"
    facts = json.loads(manifest.read_text())
    facts["files"]["model.onnx"] = "0" * 64
    manifest.write_text(json.dumps(facts))
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.chdir(tmp_path)
    ours = recipe(toy_options()).models
    monkeypatch.setenv("CLIFFVID_ENGINES", str(there))
    options = toy_options().to_json() | {"models_dir": "/nowhere/models"}
    actor = _Actor({"options": options, "models": ours, "cwd": str(tmp_path)})
    task = Whole(video="in/long.mp4", content="")
    reply, rows, files = actor.do(json.dumps(to_json(task)), {})
    fault = reply_of(json.loads(reply))
    assert isinstance(fault, Fault) and fault.stop and not rows and not files
    assert "its model toy-regressor is not the job's toy-regressor" in fault.message
