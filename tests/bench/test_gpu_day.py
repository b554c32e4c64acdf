import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bench import fakes
from bench.gpu_day import __main__ as command
from bench.gpu_day import gil, machine, nets, runs, same
from bench.gpu_day.notes import Notes, Watch, timed
from bench.gpu_day.plan import STEPS, read_plan
from cliffvid.models.manifest import read_manifest
from cliffvid.models.session import open_session
from nullcuda.run import run

NAMES = ["env", "roof", "torch", "compile", "nets", "sessions", "shapes", "pictures", "same", "e2e", "ways", "py"]
no_gpu = pytest.mark.skipif(os.path.exists("/dev/nvidia0"), reason="a GPU is here")


@pytest.fixture
def day(tmp_path, toys):
    """Run steps with the toy networks; answers the exit code and what each step has left in its file."""

    def run(*words, device="cpu"):
        networks = ["--nets", str(toys), "--detector", "toy-detector", "--regressor", "toy-regressor"]
        places = ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work"), "--device", device]
        code = command.main(read_plan([*words, *networks, *places, "--quick"]))
        return code, {path.stem: json.loads(path.read_text()) for path in sorted((tmp_path / "out").iterdir())}

    return run


@pytest.fixture
def films(monkeypatch, clip):
    """The films of whole runs are the toy networks' clip."""
    monkeypatch.setattr(runs, "clip", lambda size, frames: clip)


def test_it_lists_its_steps():
    told = subprocess.check_output([sys.executable, "-m", "bench.gpu_day", "--help"], text=True, cwd=_tests())
    assert list(STEPS) == NAMES
    assert all(f"  {name} " in told and step.what in told for name, step in STEPS.items())


WITHOUT = """
import sys
for name in ("av", "onnxruntime", "lap", "onnxscript", "platformdirs"):
    sys.modules[name] = None
from bench.gpu_day.__main__ import main
from bench.gpu_day.plan import read_plan
sys.exit(main(read_plan([*"roof torch nets same --skeletons . --out".split(), sys.argv[1], "--work", sys.argv[1]])))
"""


@no_gpu
@pytest.mark.slow
@pytest.mark.skipif(not find_spec("torch"), reason="torch is not installed")
def test_what_measures_in_torch_needs_nothing_else_that_runs_networks(tmp_path):
    """The packages for videos and onnxruntime may still be missing when these steps run; here a GPU is missing too."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(tmp_path)], cwd=_tests(), stdout=subprocess.PIPE, text=True
    )
    errors = {path.stem: json.loads(path.read_text())["error"] for path in tmp_path.iterdir()}
    assert done.returncode == 1 and done.stdout.count("---") == 4
    assert errors.keys() == {"roof", "torch", "nets", "same"} and errors["same"].startswith("ModuleNotFoundError")
    assert "holds no *.manifest.json" in errors["nets"]
    for name in ("roof", "torch"):
        assert "CUDA" in errors[name] or "NVIDIA" in errors[name], errors


def test_all_are_the_steps_in_order_and_each_once():
    assert read_plan(["e2e", "all", "e2e"]).steps[:2] == ("e2e", "env")
    assert read_plan(["all"]).steps == tuple(STEPS)


@pytest.mark.parametrize("words", [["nonsense"], [], ["env", "--device", "auto"], ["env", "--device", "tpu"]])
def test_what_cannot_be_meant_is_told(words, capsys):
    with pytest.raises(SystemExit) as end:
        read_plan(words)
    assert end.value.code == 2 and "usage" in capsys.readouterr().err


def test_the_networks_and_pictures_are_measured(day, monkeypatch, capsys):
    monkeypatch.setattr(machine, "COMMANDS", {"cpu": "nproc"})
    code, found = day("env", "sessions", "shapes", "pictures")
    assert code == 0 and found.keys() == {"env", "sessions", "shapes", "pictures"}
    assert all(step["ended"] and "error" not in step for step in found.values())
    assert not [row for step in found.values() for row in step["rows"] if "error" in row]
    assert [row["batch"] for row in found["sessions"]["rows"]] == [1, 2, 1, 2]
    assert all(row["per_s"] > 0 for row in found["sessions"]["rows"])
    assert all(len(row["calls_s"]) == 3 for row in found["shapes"]["rows"])
    *works, profile = found["pictures"]["rows"]
    assert len(works) == 8 and all(row["ms_a_frame"] > 0 for row in works) and profile["us"]
    assert "toy-detector" in capsys.readouterr().out


def test_ways_that_do_not_run_cost_only_themselves(day):
    """The toys have no network of float16."""
    code, found = day("sessions", "--ways", "fp16,product fp32")
    rows = found["sessions"]["rows"]
    assert code == 0 and ["error" in row for row in rows] == [True, True, False, False, False, False]
    code, found = day("sessions", "--ways", "fp17")
    assert code == 1 and "no such way: fp17; there are product fp32" in found["sessions"]["error"]


def test_a_run_is_compared_with_the_cpus(day, monkeypatch, toy_options, clip):
    monkeypatch.setattr(same, "Options", toy_options)
    code, found = day("same", "--clip", str(clip))
    exact, planes = found["same"]["rows"]
    assert code == 0 and exact["pairs"] > 0 and exact["rows"] == f"{exact['pairs']}/{exact['pairs']}"
    assert all(exact[name]["max"] == 0 for name in same.COMPARED)
    assert planes["by"] == "cpu planes" and planes["box_px"]["max"] < 8


def test_whole_runs_are_measured(day, films):
    code, found = day("ways")
    rows = found["ways"]["rows"]
    assert code == 0 and [(row["videos"], row["frames"]) for row in rows] == [(1, 30), (2, 60)]
    assert all(row["people_found"] == 3 * row["frames"] and row["frames_s"] > 0 for row in rows)
    assert all(set(row["fill"]) == {"detect", "regress"} for row in rows)


def test_the_table_is_of_sizes_videos_and_people(day, films):
    """And what each stage takes stands beside it."""
    code, found = day("e2e")
    rows = found["e2e"]["rows"]
    assert code == 0 and [(row["videos"], row["people"]) for row in rows] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    for row in rows:
        assert row["people_found"] == row["people"] * row["frames"] and row["frames"] == 30 * row["videos"]
        assert row["each_s"] == pytest.approx(row["frames_s"] / row["videos"])
        assert all(row[f"{stage}_ms"] >= 0 for stage in ("decode", "detect", "crop", "regress"))
    assert (runs.SIZES, runs.COUNTS) == (("720p", "1080p", "4k"), (1, 2, 4, 8))
    assert set(rows[0]) >= set(STEPS["e2e"].columns) - {"upload_ms"}  # of frames on a GPU


def test_a_day_is_25_minutes():
    assert sum(step.seconds for step in STEPS.values()) <= 25 * 60


@pytest.fixture(scope="module")
def null_day(tmp_path_factory):
    """Steps with the toy networks by onnxruntime-gpu, on a CUDA without kernels."""
    return run(Path(__file__).with_name("on_null_cuda.py"), str(tmp_path_factory.mktemp("day")))


@pytest.mark.parametrize("step", ["sessions", "shapes", "pictures", "e2e", "ways"])
def test_onnxruntime_gpu_runs_a_step_as_a_whole(null_day, step):
    found = null_day["steps"][step]
    assert found["code"] == 0 and found["ended"] and not [row for row in found["rows"] if "error" in row]
    assert len(found["rows"]) >= 4 and found["counts"]["launches"] > 0


def test_networks_are_called_with_what_is_on_the_device(null_day):
    """No answer comes back: what does are a few numbers as networks are opened."""
    counts = null_day["steps"]["sessions"]["counts"]
    assert counts["d2h_bytes"] < 1000 and counts["graph_launches"] > 0


def test_whole_runs_make_pictures_where_the_networks_run(null_day):
    rows = [*null_day["steps"]["e2e"]["rows"], *null_day["steps"]["ways"]["rows"]]
    assert [row["pictures_on_device"] for row in rows] == [True] * 8


@pytest.mark.parametrize("name", ["use_tf32", "prefer_nhwc", "enable_cuda_graph", "fuse_conv_bias"])
def test_options_of_the_provider_are_those_of_the_way(null_day, name):
    """The first way is cliffvid's own."""
    found = [options[name] for options in null_day["options"]]
    assert found[0] == "0" and set(found) == {"0", "1"}


@no_gpu
def test_a_step_that_needs_a_gpu_leaves_its_error(day):
    code, found = day("sessions", "shapes", "pictures", "e2e", "env", device="cuda")
    assert code == 1 and found.keys() == {"sessions", "shapes", "pictures", "e2e", "env"}
    assert all(step["ended"] for step in found.values()) and "error" not in found["env"]
    assert "CUDA" in found["pictures"]["error"] and "Traceback" in found["pictures"]["trace"]
    for name in ("sessions", "shapes", "e2e"):
        assert found[name]["rows"] and all(row["error"] for row in found[name]["rows"]), name


@pytest.mark.needs_cuda
def test_on_a_gpu(day):
    """Needs cliffvid[gpu] and a torch with CUDA."""
    code, found = day("roof", "sessions", "pictures", "--ways", "product fp32,tf32", device="cuda")
    assert code == 0 and not [row for step in found.values() for row in step["rows"] if "error" in row]


def test_the_file_is_there_from_the_start_and_grows_with_each_row(tmp_path):
    notes = Notes(tmp_path / "a.json", ("what",), 60, {})
    read = lambda: json.loads((tmp_path / "a.json").read_text())  # noqa: E731
    assert read()["ended"] is False and read()["rows"] == []
    with notes.row(what="good") as row:
        row["far"] = np.float32(2)
    with notes.row(what="bad"):
        raise ValueError("no\nmore")
    assert [row.get("error") for row in read()["rows"]] == [None, "ValueError: no\nmore"]
    with pytest.raises(KeyboardInterrupt), notes.ending():
        raise KeyboardInterrupt
    assert read()["ended"] is True and read()["error"] == "KeyboardInterrupt: " and len(read()["rows"]) == 2


def test_nothing_new_begins_when_the_time_is_up(tmp_path):
    notes = Notes(tmp_path / "a.json", ("what",), 0, {})
    assert list(notes.in_time(range(3))) == [] and notes.facts["out_of_time"] is True


def test_calls_are_timed_and_their_end_awaited():
    calls = []
    times = timed(lambda: calls.append("run"), False, lambda: calls.append("wait"), least_s=0.01)
    assert calls[:5] == ["run", "wait", "run", "run", "wait"] and times.first_s >= 0 and times.each_s > 0


@no_gpu
def test_of_a_gpu_that_does_not_tell_the_reason_is_kept():
    with Watch("cpu") as watch:
        pass
    assert watch.facts() == {}
    with Watch("cuda") as watch:
        pass
    assert list(watch.facts()) == ["gpu"]


def test_graphs_without_weights_are_filled_again(tmp_path, toys):
    """Drawn with the same spread, and each time the same."""
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "one.manifest.json").write_text((toys / "toy-regressor" / "manifest.json").read_text())
    small = numpy_helper.from_array(np.arange(3.0, dtype=np.float32), "small")
    for file, kind in (("model", onnx.TensorProto.FLOAT), ("model.fp16", onnx.TensorProto.FLOAT16)):
        kernel = onnx.TensorProto(name="kernel", data_type=kind, dims=(8, 3, 5, 5))
        graph = onnx.helper.make_graph([], "one", [], [], [kernel, small])
        (bare / f"one.{file}.skeleton").write_bytes(onnx.helper.make_model(graph).SerializeToString())
        (bare / f"one.{file}.spread.json").write_text('{"kernel": [1, 2]}')
    plan = read_plan(["nets", "--skeletons", str(bare), "--work", str(tmp_path)])
    for _ in range(2):
        nets.nets(plan, Notes(tmp_path / "nets.json", STEPS["nets"].columns, 60, {}))
    made = read_manifest(tmp_path / "nets" / "one")
    networks = [onnx.load(made.network(precision)).graph.initializer for precision in ("fp32", "fp16")]
    (full, kept), (half, _) = (map(numpy_helper.to_array, tensors) for tensors in networks)
    np.testing.assert_array_equal(kept, [0, 1, 2])
    assert abs(full.mean() - 1) < 0.3 and abs(full.std() - 2) < 0.3 and half.dtype == np.float16
    np.testing.assert_array_equal(full.astype(np.float16), half)


def test_a_whole_run_is_watched_while_it_is_repeated(day, films, monkeypatch, tmp_path):
    spy = tmp_path / "py-spy"
    spy.write_text(
        '#!/bin/sh\nwhile [ "$1" != --output ]; do shift; done; echo "main;run (cliffvid/a.py:1) 3" > "$2"\n'
    )
    spy.chmod(0o755)
    monkeypatch.setattr(gil, "py_spy", lambda: str(spy))
    monkeypatch.setattr(gil, "QUICK_SECONDS", 0.2)
    code, found = day("py")
    first, second, *_, last = found["py"]["rows"]
    assert code == 0 and first["frames_s"] > 0 and second["frames_s"] > 0
    assert last == {"function": "run (cliffvid/a.py:1)", "share": 1.0} and found["py"]["samples"] == 3
    spy.write_text("#!/bin/sh\necho not allowed >&2\n")
    code, found = day("py")
    assert code == 1 and "no samples: not allowed" in found["py"]["error"]


def test_samples_of_the_lock_are_shared_out():
    text = "main;run (cliffvid/a.py:1);dumps (json.py:2) 3\nmain;run (cliffvid/a.py:1) 1\nthread;idle (b.py:1) 4\n"
    ours, deepest, total = gil.shares(text)
    assert total == 8 and ours == {"run (cliffvid/a.py:1)": 0.5, "thread": 0.5}
    assert deepest == {"idle (b.py:1)": 0.5, "dumps (json.py:2)": 0.375, "run (cliffvid/a.py:1)": 0.125}


def test_a_detector_that_is_told_what_to_see_has_its_own_pictures(toys):
    with open_session(read_manifest(toys / "toy-detector"), device="cpu") as real:
        seeing = fakes.Injected(real, lambda canvas_wh: fakes.people_seen(2, 4, canvas_wh))
        assert seeing.pictures is real.pictures is not None
        assert seeing.run({"image": np.zeros((3, 64, 96, 3), np.uint8)})["objectness"].shape == (3, 4)


def _tests() -> Path:
    return Path(__file__).parents[1]
