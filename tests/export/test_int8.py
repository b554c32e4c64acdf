"""Networks in 8 bits: what is rounded, what is not, and that each runtime reads it as it is meant."""

import json
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

import needs
from cliffvid.cli import app as cli
from cliffvid.errors import ModelError
from cliffvid.export.folder.graph import Graph, image_input, to_bytes
from cliffvid.export.folder.half import export_fp16
from cliffvid.export.folder.int8 import kept_float, quantise, with_float_weights
from cliffvid.models.manifest import BUNDLED, read_manifest
from cliffvid.models.parity import read_samples
from cliffvid.models.session import open_session
from clips import make_clip


@pytest.fixture(scope="module")
def network():
    """The bundled detector's graph: kernels kept as float16, a concatenation, two heads."""
    return onnx.load(BUNDLED / "yolov3-tiny" / "model.onnx")


@pytest.fixture(scope="module")
def frames():
    coarse = np.random.default_rng(0).integers(0, 256, (2, 6, 8, 3), np.uint8)
    return [{"image": coarse.repeat(32, axis=1).repeat(32, axis=2)[index : index + 1]} for index in (0, 1)]


@pytest.fixture(scope="module")
def rounded(network, frames):
    return quantise(network, frames)


def values(model):
    given = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
    return given, {name: node for node in model.graph.node for name in node.output}


def test_what_convolutions_take_is_symmetric_int8_and_the_rest_float(network, rounded):
    given, made = values(rounded)
    convolutions = [node for node in rounded.graph.node if node.op_type == "Conv"]
    kept = kept_float(network)
    assert len(convolutions) == 13 and sorted(kept) == ["layer_15", "layer_21", "layer_22"]
    for node in convolutions:
        sources = [made[name].op_type if name in made else "weight" for name in node.input]
        assert sources[0:2] == ["DequantizeLinear"] * 2 if node.name not in kept else "DequantizeLinear" not in sources
        assert given[node.input[2]].dtype == np.float32
        if node.name not in kept:
            kernel = made[node.input[1]]
            assert given[kernel.input[0]].dtype == np.int8 and len(given[kernel.input[1]]) == len(given[node.input[2]])
    for node in rounded.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = given[node.input[2]]
            assert zero.dtype == np.int8 and not zero.any()


def test_kernels_are_the_nearest_of_129_steps(network, rounded):
    floats, _ = values(with_float_weights(network))
    given, made = values(rounded)
    for node in rounded.graph.node:
        kernel = made.get(node.input[1]) if node.op_type == "Conv" else None
        if kernel is not None and kernel.op_type == "DequantizeLinear":
            scale = given[kernel.input[1]][:, None, None, None]
            wanted = floats[kernel.input[0].removesuffix("_quantized")]
            assert np.abs(given[kernel.input[0]] * scale - wanted).max() <= scale.max() * 0.501
            assert np.abs(given[kernel.input[0]]).max() == 64  # 2 * 255 * 64 fits into 16 bits, see quantise


def test_runtimes_agree_on_what_is_rounded(rounded, frames):
    """OpenVINO computes in 8 bits what onnxruntime computes in float32 with rounded values."""
    import onnxruntime
    import openvino

    model = onnx.ModelProto()
    model.CopyFrom(rounded)
    inner = [node.output[0] for node in model.graph.node if node.op_type == "LeakyRelu"]
    for name in inner:
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = session.run(inner, frames[0])
    core = openvino.Core()
    network = core.read_model(model.SerializeToString())
    compiled = core.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()
    request.infer(frames[0])
    for name, value in zip(inner, wanted, strict=True):
        off = np.abs(request.get_tensor(name).data - value).mean() / np.abs(value).mean()
        assert off < 0.12, name  # a value half way between two steps may go either way, and each layer adds to it


def test_tensorrt_takes_it(rounded):
    trt = needs.package("tensorrt_rtx")
    logger = trt.Logger(trt.Logger.ERROR)
    built = trt.Builder(logger).create_network(0)
    parser = trt.OnnxParser(built, logger)
    assert parser.parse(to_bytes(rounded)), [parser.get_error(i).desc() for i in range(parser.num_errors)]


def test_the_same_samples_give_the_same_bytes(network, frames, rounded):
    assert to_bytes(quantise(network, frames)) == to_bytes(rounded)


def test_a_network_without_convolutions_is_told():
    graph = Graph("plain")
    graph.output(image_input(graph, "image", 8, 8), "same", "float32", ("N", 3, 8, 8))
    with pytest.raises(ModelError, match="without convolutions"):
        quantise(graph.model(), [])


def test_the_command_calibrates_judges_and_keeps(tmp_path, monkeypatch, capfd):
    clip = make_clip(tmp_path / "clip.mp4", frames=6)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["cliffvid", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, *capfd.readouterr()

    code, out, err = run("export", "int8", "yolov3-tiny", clip)
    assert code == 0, err
    manifest = read_manifest(tmp_path / "data" / "cliffvid" / "engines" / "yolov3-tiny")
    assert onnx.load(manifest.path("model.int8.onnx")).graph.node and "calibrating on 3 frames" in err
    assert "int8 by openvino" in out and "judged on 0 people alone" in out  # blobs are no people to this detector
    assert {entry["precision"] for entry in manifest.quality} >= {"fp32", "int8"}
    assert {entry["clip"] for entry in manifest.quality} == {clip.name}
    code, out, _ = run("models", "quality", "yolov3-tiny", clip, "--json")
    assert code == 0 and {json.loads(line)["precision"] for line in out.splitlines()} >= {"fp32", "int8"}
    code, out, _ = run("models", "verify", "yolov3-tiny")
    assert code == 0 and "fp32: by onnxruntime" in out and "int8: runs; measure its difference" in out
    code, _, err = run("models", "quality", "yolov3-tiny", "missing.mp4")
    assert code == 1 and "missing.mp4: no such file" in err and "Traceback" not in err


def test_float16_is_made_of_a_bundled_model(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    bundled = read_manifest(BUNDLED / "person-open")
    with pytest.raises(ModelError, match="or make it: cliffvid export fp16 person-open"):
        bundled.network("fp16")
    made = export_fp16("person-open", None)
    assert made.folder.is_relative_to(tmp_path)
    graph = onnx.load(made.network("fp16")).graph
    types = {weight.name: weight.data_type for weight in graph.initializer}
    assert {types[n.input[1]] for n in graph.node if n.op_type == "Conv"} == {TensorProto.FLOAT16}
    assert sum(n.op_type == "Cast" for n in graph.node) < 20  # into the backbone and out of it, not around each Clip
    inputs, _ = read_samples(made)
    with open_session(made, precision="fp16") as half, open_session(bundled) as whole:
        found, want = half.run(inputs), whole.run(inputs)
    np.testing.assert_allclose(found["objectness"], want["objectness"], atol=1e-3)
