"""TensorRT plans: built by the real TensorRT-RTX, which needs no GPU for it; proven on tests/support/fake_gpu.py."""

import fcntl
import json
import shutil
import sys

import numpy as np
import onnx
import pytest

import fake_gpu
from cliffvid.cli import app as cli
from cliffvid.errors import BackendError, ModelError, UsageError
from cliffvid.models.backends import trt_plans as plans
from cliffvid.models.backends.trt import build_plans
from cliffvid.models.backends.trt_plans import MAX_BATCH, build, maker_for
from cliffvid.models.manifest import BUNDLED, read_manifest, sealed
from fake_gpu import FakeGpu, Wrapped, open_on_gpu, put_in_place
from toys import replace_network, toy_people


def plan_files(folder):
    return sorted(path.name for path in folder.glob("*.plan"))


def change_network(folder, change):
    model = onnx.load(folder / "model.onnx")
    change(model.graph)
    replace_network(folder, model.SerializeToString())


# -- building, by the real TensorRT-RTX ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "capability", "most"),
    [("person-open", "8.9", 3.3), ("yolov3-tiny", "8.0", 2.2), ("cliff-open", "8.9", 3.3), ("cliff-open", "12.0", 3.3)],
)
def test_the_open_models_build(name, capability, most):
    manifest = read_manifest(BUNDLED / name)
    plan = build(maker_for(capability), manifest, "fp32", MAX_BATCH)
    # Weights are kept as float16 in these files, as float32 in plans, once; kernels are the rest
    assert plan[:4] == b"vtrt" and 1.9 < len(plan) / manifest.path("model.onnx").stat().st_size < most


def test_what_tensorrt_does_not_build_for_is_told():
    manifest = read_manifest(BUNDLED / "cliff-open")
    with pytest.raises(BackendError, match=r"capability 9.0: .* builds for 7.5, .*12.* alone; pip install .*tensorrt"):
        maker_for("9.0")
    with pytest.raises(BackendError, match=r"cannot build it for sm75 \(.*FP32 GEMM is not supported.*another --back"):
        build(maker_for("7.5"), manifest, "fp32", 2)
    with pytest.raises(UsageError, match="--compute-capability ada: expected a number"):
        maker_for("ada")


def test_profiles_that_cannot_be_are_told(folder, monkeypatch):
    import tensorrt_rtx

    maker, manifest = maker_for("8.9"), read_manifest(folder)
    with pytest.raises(BackendError, match=r"refuses batches of 1 to 0 \(.*MIN<=OPT<=MAX"):
        build(maker, manifest, "fp32", 0)
    shapes = plans.shape_range
    monkeypatch.setattr(plans, "shape_range", lambda m, n, b: tuple((s[0], 33, *s[2:]) for s in shapes(m, n, b)))
    with pytest.raises(BackendError, match=r"cannot build it for sm89 \(.*profile has min=33, .* but tensor has 32"):
        build(maker, manifest, "fp32", 2)

    class Forgetful(Wrapped):
        def build_serialized_network(self, network, config):
            return self.wrapped.build_serialized_network(network, self.wrapped.create_builder_config())

    real = tensorrt_rtx.Builder
    monkeypatch.setattr(tensorrt_rtx, "Builder", lambda log: Forgetful(real(log)))
    with pytest.raises(BackendError, match=r"cannot build it for sm89 \(.*no optimization profile has been defined"):
        build(maker, manifest, "fp32", 2)


def test_networks_that_cannot_be_are_told(folder):
    def invent(graph):
        graph.node[0].op_type, graph.node[0].name = "Guess", "the-node"

    change_network(folder, invent)
    with pytest.raises(ModelError, match=r"model\.onnx: .*cannot read it \(node 'the-node' \(Guess\): .*--backend"):
        build(maker_for("8.9"), read_manifest(folder), "fp32", 2)
    (folder / "model.onnx").write_bytes(b"no network")
    with pytest.raises(ModelError, match="damaged or exchanged"):
        build(maker_for("8.9"), read_manifest(folder), "fp32", 2)


def test_fp32_is_float32_and_not_tensor_float(folder, monkeypatch):
    """TensorRT rounds to 10 bits on its own accord unless it is told not to."""
    import tensorrt_rtx

    seen = []

    class Watched(Wrapped):
        def build_serialized_network(self, network, config):
            seen.append((config.get_flag(tensorrt_rtx.BuilderFlag.TF32), network.flags))
            return self.wrapped.build_serialized_network(network, config)

    real = tensorrt_rtx.Builder
    monkeypatch.setattr(tensorrt_rtx, "Builder", lambda log: Watched(real(log)))
    build(maker_for("8.9"), read_manifest(folder), "fp32", 2)
    strongly_typed = 1 << int(tensorrt_rtx.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    assert seen == [(False, strongly_typed)]


# -- plans -----------------------------------------------------------------------------------------------------------


def test_a_plan_is_built_once_and_proven_once(gpu, folder, caplog):
    caplog.set_level("INFO", "cliffvid")
    open_on_gpu(folder).close()
    (name,) = plan_files(folder)
    assert name == f"tensorrt-rtx-{fake_gpu.real.__version__}-sm89-fp32-b32.plan"
    assert f"building {name}" in caplog.text
    facts = json.loads((folder / f"{name}.json").read_text())
    assert facts["proven_on"] == ["NVIDIA L4"] and facts["max_batch"] == 32
    assert facts["model_sha256"] == read_manifest(folder).files["model.onnx"]
    assert 32 in gpu.batches  # the proof
    gpu.batches.clear()
    caplog.clear()
    open_on_gpu(folder).close()
    assert not caplog.messages and gpu.batches == []
    gpu.name = "NVIDIA L40S"  # the same architecture, another GPU
    open_on_gpu(folder).close()
    assert not caplog.messages and gpu.batches
    assert not list(folder.glob("*.part"))


def test_wrong_answers_are_refused_and_the_plan_is_gone(gpu, folder):
    gpu.scale = 1.01
    with pytest.raises(ModelError, match=r"by tensorrt-rtx on cuda in fp32 is .* from the reference \(onnxruntime"):
        open_on_gpu(folder)
    assert plan_files(folder) == [] and not list(folder.glob("*.plan.json")) and gpu.allocated == {}


def test_wrong_answers_to_kept_samples_are_refused(gpu):
    gpu.scale = 1.01
    with pytest.raises(ModelError, match=r"reference \(LiteRT.*over the bound of 0\.002"):
        open_on_gpu(BUNDLED / "cliff-open")


@pytest.mark.parametrize("model", ["toy-detector", "person-open"])
def test_wrong_answers_to_a_wide_canvas_are_refused(gpu, toys, model, monkeypatch):
    monkeypatch.setattr("cliffvid.models.backends.trt.MAX_BATCH", 2)
    folder = toys / model if model.startswith("toy") else BUNDLED / model
    open_on_gpu(folder).close()
    gpu.built.clear()
    gpu.scale_wide = 1.02
    with pytest.raises(ModelError, match=r"box_px by .* from the reference \(onnxruntime on the CPU\), over the bound"):
        open_on_gpu(folder)


@pytest.mark.parametrize(("error", "good"), [(0.01, True), (0.5, False)])
def test_what_a_manifest_tells_no_bound_of_is_held_to_onnxruntime(gpu, tmp_path, error, good, monkeypatch):
    """As files of int8: how far they may be from float32 is told in what a user would notice."""
    monkeypatch.setattr("cliffvid.models.backends.trt.MAX_BATCH", 2)
    folder = shutil.copytree(BUNDLED / "cliff-open", tmp_path / "model")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["model.int8.onnx"] = manifest["files"]["model.onnx"]
    (folder / "manifest.json").write_text(json.dumps(sealed(manifest)))
    (folder / "model.onnx").rename(folder / "model.int8.onnx")
    gpu.scale = 1 + error
    if good:
        open_on_gpu(folder, "int8").close()
    else:
        with pytest.raises(ModelError, match=r"in int8 is .* from the reference \(onnxruntime.*over the bound of 0\.1"):
            open_on_gpu(folder, "int8")


def test_one_process_builds_while_others_wait(folder):
    with plans.locked(folder), open(folder / ".plans.lock") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with open(folder / ".plans.lock") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("what", ["network", "plan", "facts", "driver"])
def test_a_plan_that_does_not_fit_any_more_is_built_again(gpu, folder, what, caplog):
    caplog.set_level("INFO", "cliffvid")
    open_on_gpu(folder).close()
    (name,) = plan_files(folder)
    if what == "network":
        change_network(folder, lambda graph: setattr(graph, "name", "changed"))
    elif what == "plan":
        (folder / name).write_bytes((folder / name).read_bytes()[:-1])
        assert plans.read_plan(folder / name) is None  # TensorRT is not asked
    elif what == "facts":
        (folder / f"{name}.json").write_text('{"proven_on": 3}')
    else:
        gpu.built.clear()
    caplog.clear()
    with open_on_gpu(folder) as session:
        assert f"building {name}" in caplog.text
        assert np.isfinite(session.run(toy_people(3))["betas"]).all()


def test_each_gpu_has_its_own_plan(monkeypatch, folder):
    put_in_place(monkeypatch, FakeGpu("NVIDIA H100 80GB HBM3", "9.0"), "tensorrt")
    open_on_gpu(folder).close()
    put_in_place(monkeypatch, FakeGpu("NVIDIA A100-SXM4-80GB", "8.0"), "tensorrt")
    open_on_gpu(folder).close()
    assert plan_files(folder) == [
        "tensorrt-10.13.3.9-sm80-nvidia-a100-sxm4-80gb-fp32-b32.plan",
        "tensorrt-10.13.3.9-sm90-nvidia-h100-80gb-hbm3-fp32-b32.plan",
    ]
    put_in_place(monkeypatch, FakeGpu("NVIDIA H100 80GB HBM3", "9.0"), "tensorrt-rtx")
    with pytest.raises(BackendError, match=r"H100 80GB HBM3 of compute capability 9.0: .*pip install .*\[tensorrt\]"):
        open_on_gpu(folder)


def test_plans_of_models_that_are_not_ours_go_to_the_cache(gpu, tmp_path):
    before = sorted((BUNDLED / "cliff-open").iterdir())
    open_on_gpu(BUNDLED / "cliff-open").close()
    assert sorted((BUNDLED / "cliff-open").iterdir()) == before
    assert len(plan_files(tmp_path / "cache" / "cliffvid" / "plans" / "cliff-open")) == 1


def test_plans_for_other_gpus_are_built_without_one_and_proven_there(gpu, folder, caplog):
    caplog.set_level("INFO", "cliffvid")
    gpu.missing = True
    manifest = read_manifest(folder)
    paths = list(build_plans([manifest], ["fp32", "fp16"], 16, ["8.6", "8.9"]))
    assert [path.name.split("-", 3)[3] for path in paths] == ["sm86-fp32-b16.plan", "sm89-fp32-b16.plan"]
    assert json.loads((folder / f"{paths[1].name}.json").read_text())["proven_on"] == []
    with pytest.raises(BackendError, match="no GPU 0 that CUDA can use: CUDA error 35: CUDA driver version is insuff"):
        open_on_gpu(folder)
    gpu.missing = False
    caplog.clear()
    with open_on_gpu(folder) as session:
        assert not caplog.messages and gpu.batches
        gpu.batches.clear()
        session.run(toy_people(20))
        assert gpu.batches == [16, 4]
    assert json.loads((folder / f"{paths[1].name}.json").read_text())["proven_on"] == ["NVIDIA L4"]


def test_the_command_builds_what_it_is_told(gpu, folder, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["cliffvid", "export", "plans", "--models", str(folder.parent), *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, *capsys.readouterr()

    version = fake_gpu.real.__version__
    code, out, err = run(
        "toy-regressor", "--compute-capability", "8.6", "--compute-capability", "12.0", "--max-batch", "4"
    )
    assert code == 0 and out.splitlines() == [
        str(folder / f"tensorrt-rtx-{version}-{arch}-fp32-b4.plan") for arch in ("sm86", "sm120")
    ]
    assert err.count("building") == 2 and gpu.batches == []
    code, out, _ = run("toy-regressor")
    assert code == 0 and out == f"{folder}/tensorrt-rtx-{version}-sm89-fp32-b32.plan\n" and 32 in gpu.batches
    assert run("toy-regressor", "--precision", "fp64")[::2] == (
        2,
        "error: --precision fp64: did you mean fp16? choose one of fp32, fp16, int8\n",
    )
    assert run("nobody")[0] == 2


def test_no_tensorrt_builds_for_gpus_that_are_not_here(monkeypatch, folder):
    put_in_place(monkeypatch, FakeGpu(), "tensorrt")
    with pytest.raises(BackendError, match="tensorrt builds for the GPU it runs on alone"):
        list(build_plans([read_manifest(folder)], ["fp32"], 16, ["8.6"]))
    with pytest.raises(UsageError, match="--max-batch 0"):
        list(build_plans([read_manifest(folder)], ["fp32"], 0))
