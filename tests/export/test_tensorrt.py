"""TensorRT builds what ships and what exports of official checkpoints make, every convolution in float32 or float16."""

import json

import onnx
import pytest

import needs
from cliffvid.export.cliff.export import export_cliff
from cliffvid.export.folder.half import halve
from cliffvid.export.folder.int8 import with_float_weights
from cliffvid.export.open.sources import OPEN, sha256
from cliffvid.export.yolov3.export import export_yolov3
from cliffvid.models.backends.trt_plans import MAX_BATCH, build, maker_for
from cliffvid.models.manifest import BUNDLED, read_manifest, sealed
from synthetic import make_tiny_checkpoint
from test_yolo import synthetic_weights

trt = needs.package("tensorrt_rtx")
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """Function of a network: the folder exported from random weights of it, made once."""
    folder, done = tmp_path_factory.mktemp("detectors"), {}

    def make(name):
        if name not in done:
            weights = synthetic_weights(folder / f"{name}.weights", OPEN / f"{name}.cfg")
            done[name] = export_yolov3(weights, folder / "engines", size_px=96)
            weights.unlink()
        return done[name]

    return make


def convolutions(path):
    """The types of what each convolution answers and of its kernel, as TensorRT's parser understands the file."""
    log = trt.Logger(trt.Logger.ERROR)
    network = trt.Builder(log).create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    assert trt.OnnxParser(network, log).parse(path.read_bytes())
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    return [
        {layer.get_input(0).dtype, layer.get_output(0).dtype}
        for layer in layers
        if layer.type == trt.LayerType.CONVOLUTION
    ]


SLOW = {name: pytest.param(name, count, marks=pytest.mark.slow) for name, count in (("yolov3", 75), ("hr48", 325))}


@pytest.mark.parametrize(("name", "count"), [("yolov3-tiny", 13), ("res50", 53), *SLOW.values()])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_official_networks_build(made, detector, name, count, precision):
    folder = detector(name) if name.startswith("yolo") else made(name)[1]
    assert 0.95 < built(read_manifest(folder), precision, count) < 1.15


@pytest.mark.parametrize(("name", "count"), [("cliff-res50-mmhuman3d", 5), ("cliff-bedlam", 2), ("cliff-bedlam-x", 2)])
def test_other_kinds_of_cliff_build(monkeypatch, tmp_path, name, count):
    """Small backbones, all else as published."""
    folder = export_cliff(make_tiny_checkpoint(monkeypatch, tmp_path / "cliff.pt", name), tmp_path)
    for precision in ("fp32", "fp16"):
        built(read_manifest(folder), precision, count)


@pytest.mark.parametrize(
    ("name", "count", "most"), [("person-open", 105, 1.5), ("yolov3-tiny", 13, 1.15), ("cliff-open", 74, 2.3)]
)
def test_what_ships_builds_in_float16_too(tmp_path, name, count, most):
    """Nothing is shipped in it: what it changes was tried on no GPU."""
    manifest = json.loads((BUNDLED / name / "manifest.json").read_text())
    model = halve(with_float_weights(onnx.load(BUNDLED / name / "model.onnx")), tmp_path)
    onnx.save(model, tmp_path / "model.fp16.onnx")
    manifest["files"] = {"model.fp16.onnx": sha256(tmp_path / "model.fp16.onnx")}
    (tmp_path / "manifest.json").write_text(json.dumps(sealed(manifest)))
    assert 0.95 < built(read_manifest(tmp_path), "fp16", count) < most


def built(manifest, precision, count):
    """Hold a network to the number of its convolutions and their types, and build it: its plan's bytes in its file's.

    They are about as many, since weights are kept as they are in the file.
    """
    found = convolutions(manifest.network(precision))
    assert found == [{trt.DataType.FLOAT if precision == "fp32" else trt.DataType.HALF}] * count
    plan = build(maker_for("8.9"), manifest, precision, MAX_BATCH)
    assert plan[:4] == b"vtrt"
    return len(plan) / manifest.network(precision).stat().st_size
