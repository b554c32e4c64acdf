"""One body of promises for every runtime and precision that works here: see cliffvid.models.session.Session."""

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import needs
from cliffvid.errors import BackendError, ModelError
from cliffvid.export.folder.graph import Graph, image_input, to_bytes
from cliffvid.export.folder.half import halve
from cliffvid.export.folder.int8 import quantise
from cliffvid.export.folder.model_folder import with_manifest
from cliffvid.files import write_folder
from cliffvid.models.manifest import BUNDLED, MODEL_FILES, read_manifest
from cliffvid.models.parity import check_samples
from cliffvid.models.session import KNOWN, open_session

COMBINATIONS = [
    (flavour, precision)
    for backend, known in KNOWN.items()
    for flavour in ((backend, "tensorrt-rtx") if backend == "tensorrt" else (backend,))
    for precision in known.precisions
]
ON_CPU = [combination for combination in COMBINATIONS if "tensorrt" not in combination[0]]
EXACT = [combination for combination in ON_CPU if combination[1] == "fp32"]


@pytest.fixture(params=COMBINATIONS, ids="-".join)
def run_on(request, tmp_path_factory, monkeypatch):
    """Function of a manifest: an open session of this backend and precision, one thread; caches are thrown away."""
    backend, precision = request.param
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    device = KNOWN[backend.removesuffix("-rtx")].devices[0]
    if device == "cuda":
        from fake_gpu import FakeGpu, put_in_place

        put_in_place(monkeypatch, FakeGpu(), backend)
        monkeypatch.setattr("cliffvid.models.backends.trt.MAX_BATCH", 8)  # less than some batches here
    else:
        needs.package(backend)

    def run(manifest, threads=1):
        try:
            session = open_session(manifest, backend.removesuffix("-rtx"), device, threads, precision)
        except BackendError as error:
            assert re.search("this processor has no bfloat16|tf32: arithmetic of NVIDIA GPUs", str(error))
            pytest.skip(str(error))
        assert (session.backend, session.precision, session.device) == (backend, precision, device)
        return session

    return run


@pytest.fixture(scope="module")
def whole_toys(toys, tmp_path_factory):
    """The toys with a network for each precision: without convolutions they are one and the same."""
    folder = shutil.copytree(toys, tmp_path_factory.mktemp("engines"), dirs_exist_ok=True)
    for file in folder.glob("*/manifest.json"):
        content = json.loads(file.read_text())
        for name in set(MODEL_FILES.values()) - {"model.onnx"}:
            shutil.copy(file.parent / "model.onnx", file.parent / name)
            content["files"][name] = content["files"]["model.onnx"]
        file.write_text(json.dumps(content))
    return folder


def toy_inputs(manifest, rows):
    rng = np.random.default_rng(0)
    return {
        name: (rng.integers(0, 256, (rows, *row)) if len(row) == 3 else rng.random((rows, *row)))
        .astype(manifest.inputs[name].dtype)
        for name, row in manifest.row_shapes().items()
    }  # fmt: skip


@pytest.mark.parametrize("name", ["toy-detector", "toy-regressor"])
def test_any_number_of_rows_by_name_dtype_and_shape(run_on, whole_toys, name):
    manifest = read_manifest(whole_toys / name)
    inputs = toy_inputs(manifest, 19)
    with run_on(manifest) as session:
        whole = session.run(inputs)
        kept = {key: value.copy() for key, value in whole.items()}
        for rows in (0, 1, 2, 7, 18):
            part = session.run({key: value[:rows] for key, value in inputs.items()})
            assert part.keys() == manifest.outputs.keys()
            for key, spec in manifest.outputs.items():
                assert part[key].dtype == spec.dtype and part[key].shape == (rows, *spec.shape[1:])
                np.testing.assert_allclose(part[key], whole[key][:rows], rtol=1e-5, atol=1e-6)
        for key, value in whole.items():
            np.testing.assert_array_equal(value, kept[key])  # later runs leave earlier answers alone


def test_inputs_need_not_be_contiguous(run_on, whole_toys):
    manifest = read_manifest(whole_toys / "toy-regressor")
    inputs = toy_inputs(manifest, 6)
    with run_on(manifest) as session:
        every_other = session.run({key: value[::2] for key, value in inputs.items()})
        copied = session.run({key: value[::2].copy() for key, value in inputs.items()})
    for key, value in copied.items():
        np.testing.assert_array_equal(every_other[key], value)


def test_bytes_do_for_floats_but_floats_not_for_bytes(run_on, whole_toys):
    for name in ("toy-detector", "toy-regressor"):
        manifest = read_manifest(whole_toys / name)
        floats = {key for key, tensor in manifest.inputs.items() if tensor.dtype == "float32"}
        inputs = {key: value.round() for key, value in toy_inputs(manifest, 5).items()}
        with run_on(manifest) as session:
            wanted = session.run(inputs)
            as_bytes = session.run({key: value.astype(np.uint8) for key, value in inputs.items()})
            for key, value in wanted.items():
                np.testing.assert_array_equal(as_bytes[key], value)
            for key in inputs.keys() - floats:
                with pytest.raises(TypeError, match="safe"):
                    session.run(inputs | {key: inputs[key].astype(np.float32)})
        assert floats or name == "toy-detector"


def test_two_at_once_and_closed_twice(run_on, whole_toys):
    first, second = read_manifest(whole_toys / "toy-detector"), read_manifest(whole_toys / "toy-regressor")
    with run_on(first) as a, run_on(second) as b:
        for _ in range(3):
            assert a.run(toy_inputs(first, 2)).keys() == first.outputs.keys()
            assert b.run(toy_inputs(second, 3)).keys() == second.outputs.keys()
        b.close()
        b.close()
        assert len(a.run(toy_inputs(first, 4))["box_px"]) == 4


def test_two_in_two_threads_as_in_a_run(run_on, whole_toys):
    manifests = [read_manifest(whole_toys / name) for name in ("toy-detector", "toy-regressor")]
    with run_on(manifests[0]) as a, run_on(manifests[1]) as b, ThreadPoolExecutor(2) as threads:
        asked = [toy_inputs(manifest, 5) for manifest in manifests]
        alone = [session.run(inputs) for session, inputs in zip((a, b), asked, strict=True)]
        for _ in range(10):
            answers = threads.map(lambda pair: pair[0].run(pair[1]), zip((a, b), asked, strict=True))
            for found, wanted in zip(answers, alone, strict=True):
                for name, value in wanted.items():
                    np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize("run_on", EXACT, ids="-".join, indirect=True)
@pytest.mark.parametrize(("name", "bound"), [("person-open", 5e-3), ("yolov3-tiny", 5e-3), ("cliff-open", 1e-4)])
def test_answers_are_the_references(run_on, name, bound):
    """float32 indeed: in bfloat16 the regressor's rotations would be off by 0.5."""
    with run_on(read_manifest(BUNDLED / name)) as session:
        assert max(check_samples(session).values()) < bound


def test_what_follows_the_convolutions_is_float32(run_on, tmp_path):
    """And so are the last convolutions: in bfloat16 or int8 their answers would be too coarse for heads."""
    manifest = read_manifest(convolutions(tmp_path / "net"))
    inputs = toy_inputs(manifest, 5)
    with run_on(manifest) as session, open_session(manifest, session.backend.removesuffix("-rtx"), threads=1) as exact:
        wanted, found = exact.run(inputs)["betas"], session.run(inputs)["betas"]
    assert 0.3 < np.abs(wanted).max() < 3
    off = np.abs(found - wanted).max() / np.abs(wanted).max()
    low, high = {"fp32": (0, 1e-6), "fp16": (0, 0.1), "bf16": (1e-4, 0.01), "int8": (1e-4, 0.1)}[session.precision]
    assert low <= off < high


@pytest.mark.parametrize("run_on", ON_CPU, ids="-".join, indirect=True)
def test_a_row_does_not_depend_on_its_batch_nor_on_threads(run_on, request, tmp_path):
    """Bit for bit, so that tracks are the same to the byte."""
    precision = request.node.callspec.params["run_on"][1]
    manifests = [read_manifest(convolutions(tmp_path / "net"))]
    if precision in ("fp32", "bf16"):  # the others have a file of their own, which it lacks
        manifests.append(read_manifest(BUNDLED / "cliff-open"))
    for manifest in manifests:
        inputs, first = toy_inputs(manifest, 9), None
        for threads in (1, 2):
            with run_on(manifest, threads) as session:
                for size in (1, 2, 5, 9):
                    parts = [session.run({k: v[at : at + size] for k, v in inputs.items()}) for at in range(0, 9, size)]
                    found = {name: np.concatenate([part[name] for part in parts]) for name in manifest.outputs}
                    first = first or found
                    for name, value in found.items():
                        np.testing.assert_array_equal(value, first[name], err_msg=f"{size}, {threads} threads")


def convolutions(folder):
    """A model folder: three convolutions, then the mean over pixels."""
    rng = np.random.default_rng(0)
    graph = Graph("convolutions")
    value = image_input(graph, "crop", 32, 32)
    for inputs, outputs in ((3, 8), (8, 8)):
        kernel = rng.normal(0, 0.3, (outputs, inputs, 3, 3))
        value = graph.op("Relu", graph.op("Conv", value, kernel, rng.normal(0, 0.1, outputs), pads=[1, 1, 1, 1]))
    # of kernels so alike bfloat16 leaves no difference, and differences are what the head answers
    kernels = 1 + np.arange(10).reshape(10, 1, 1, 1) % 3 / 150 * rng.uniform(0.5, 1, (10, 8, 1, 1))
    mean = graph.op("ReduceMean", graph.op("Conv", value, kernels), axes=[2, 3], keepdims=0)
    graph.output(graph.op("MatMul", mean, 64 * (np.eye(10) - np.roll(np.eye(10), 1, 0))), "betas", "float32", ("N", 10))
    model = graph.model()
    asked = [{"crop": rng.integers(0, 256, (4, 32, 32, 3), np.uint8)}]
    files = {
        "model.onnx": to_bytes(model),
        "model.fp16.onnx": to_bytes(halve(model, folder)),
        "model.int8.onnx": to_bytes(quantise(model, asked)),
    }
    manifest = {
        "name": "convolutions", "task": "regress", "rank": 0, "summary": "", "licence": "",
        "inputs": {"crop": {"dtype": "uint8", "shape": ["N", 32, 32, 3]}},
        "outputs": {"betas": {"dtype": "float32", "shape": ["N", 10]}},
        "crop": {"width_px": 32, "height_px": 32, "box_scale": 1.0, "size_side": "height"},
        "bbox_info": {"centre_scale": 1, "size_offset": 0, "size_scale": 1},
    }  # fmt: skip
    write_folder(folder, with_manifest(manifest, files))
    return folder


def test_a_network_that_is_not_what_its_manifest_says(run_on, whole_toys):
    manifest = read_manifest(whole_toys / "toy-regressor")
    manifest.outputs["extra"] = manifest.outputs["betas"]
    with pytest.raises(ModelError, match="'extra': the manifest promises"):
        run_on(manifest)


def test_what_a_backend_does_not_have_is_told(toys):
    manifest = read_manifest(toys / "toy-regressor")
    with pytest.raises(BackendError, match="--device cuda: openvino has cpu here"):
        open_session(manifest, "openvino", "cuda")
    with pytest.raises(BackendError, match="--precision fp16: openvino has fp32"):
        open_session(manifest, "openvino", precision="fp16")
    with pytest.raises(
        ModelError,
        match=r"toy-regressor: has no model\.int8.*, which --precision int8 needs; .* int8 toy-regressor VIDEO",
    ):
        open_session(read_manifest(toys / "toy-regressor"), precision="int8")


def test_a_runtime_that_is_not_installed_is_named(toys, monkeypatch):
    import sys

    manifest = read_manifest(toys / "toy-regressor")
    for backend, extra in (("onnxruntime", "cpu"), ("openvino", "openvino")):
        monkeypatch.setitem(sys.modules, backend, None)
        with pytest.raises(BackendError, match=rf"{backend} is not installed: pip install .*\[{extra}\]"):
            open_session(manifest, backend)
