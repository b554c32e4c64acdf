"""TensorRT builds what exports of official checkpoints make, with every convolution in float32 or in float16."""

import pytest
from darknet_files import random_weights

from cliffvid.backends.plans import MAX_BATCH, build, maker_for
from cliffvid.export.sources import OPEN
from cliffvid.export.yolo import export_yolov3
from cliffvid.models import read_manifest

trt = pytest.importorskip("tensorrt_rtx")
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detector")
    cfg = OPEN / "yolov3-tiny.cfg"
    (folder / "yolov3-tiny.weights").write_bytes(random_weights(cfg.read_text(), 0))
    return export_yolov3(folder / "yolov3-tiny.weights", folder, cfg, size_px=96)


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


@pytest.mark.parametrize(
    ("name", "count"), [("yolov3-tiny", 13), ("res50", 53), pytest.param("hr48", 325, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_official_networks_build(made, request, name, count, precision):
    folder = request.getfixturevalue("detector") if name == "yolov3-tiny" else made(name)[1]
    manifest = read_manifest(folder)
    found = convolutions(manifest.network(precision))
    assert found == [{trt.DataType.FLOAT if precision == "fp32" else trt.DataType.HALF}] * count
    plan = build(maker_for("8.9"), manifest, precision, MAX_BATCH)
    # the weights are kept as they are in the file
    assert plan[:4] == b"vtrt" and 0.95 < len(plan) / manifest.network(precision).stat().st_size < 1.15
