"""YOLOv3 from Darknet files: the official code's answers, OpenCV's own reader, and what wrong files get."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from cliffvid import InputError, ModelError, UsageError
from cliffvid.export.folder import proof
from cliffvid.export.open.sources import OPEN, sha256
from cliffvid.export.yolov3 import files as darknet_files
from cliffvid.export.yolov3.export import export_yolov3, find_cfg, load_yolov3
from cliffvid.export.yolov3.files import count_channels, read_cfg
from cliffvid.models import downloads as official
from cliffvid.models.manifest import read_manifest
from cliffvid.rules import Letterbox

GOLDEN = Path(__file__).parents[1] / "golden" / "yolov3.npz"


def synthetic_weights(path: Path, cfg: Path, person_bias: float = 0) -> Path:
    """The golden's random weights (its README tells the recipe) in the layout of a Darknet file."""
    rng = np.random.default_rng(0)
    layers = read_cfg(cfg)
    with path.open("wb") as file:
        np.array([0, 2, 0], "<i4").tofile(file)
        np.array([32013312], "<i8").tofile(file)
        for layer, (channels, filters) in zip(layers, count_channels(layers, cfg), strict=True):
            if layer.kind != "convolutional":
                continue
            size = layer.number("size")
            if layer.number("batch_normalize", 0):
                for low, high in ((-0.1, 0.1), (0.5, 1), (-0.1, 0.1), (0.5, 1.5)):
                    rng.uniform(low, high, filters).astype("<f4").tofile(file)
            else:
                bias = 0.5 * rng.standard_normal(filters)
                bias[5::85] += person_bias
                bias.astype("<f4").tofile(file)
            count = channels * size * size
            kernel = rng.standard_normal(filters * count) * np.sqrt(1.5 / count)
            kernel.astype("<f4").tofile(file)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """yolov3.weights of the official size, random."""
    return synthetic_weights(tmp_path_factory.mktemp("weights") / "yolov3.weights", OPEN / "yolov3.cfg")


def test_the_network_is_of_the_official_size(weights):
    assert weights.stat().st_size == 248_007_048
    assert find_cfg(weights).stem == "yolov3"
    layers = read_cfg(OPEN / "yolov3.cfg")
    kinds = [layer.kind for layer in layers]
    assert len(layers) == 107
    assert {k: kinds.count(k) for k in set(kinds)} == {
        "convolutional": 75,
        "shortcut": 23,
        "route": 4,
        "upsample": 2,
        "yolo": 3,
    }
    linear = [x.index for x in layers if x.kind == "convolutional" and x.options["activation"] == "linear"]
    assert linear == [81, 93, 105]


def test_whole_network_answers_as_the_official_code(weights):
    golden = np.load(GOLDEN)
    with torch.no_grad():
        rows = load_yolov3(weights)(torch.from_numpy(golden["x96"])).numpy()
    want = golden["pred96_every7"]
    got = rows[:, ::7]
    assert got.shape == want.shape
    np.testing.assert_allclose(got[..., :2], want[..., :2], atol=1e-3)
    np.testing.assert_allclose(got[..., 2:4], want[..., 2:4], rtol=1e-4)
    np.testing.assert_allclose(got[..., 4:], want[..., 4:], atol=1e-4)


@pytest.mark.parametrize("name", ["yolov3", "yolov3-spp"])
def test_opencvs_own_reader_agrees(name, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(darknet_files, "BATCH_NORM_EPSILON", 1e-6)  # OpenCV's; over 75 layers the difference is 1e-4
    cfg = OPEN / f"{name}.cfg"
    file = weights if name == "yolov3" else synthetic_weights(tmp_path / "spp.weights", cfg)
    text = cfg.read_text().replace("width=416\nheight=416", "width=96\nheight=96")
    (tmp_path / "small.cfg").write_text(text)
    image = np.random.default_rng(1).random((1, 3, 96, 96), np.float32)
    other = cv2.dnn.readNetFromDarknet(str(tmp_path / "small.cfg"), str(file))
    other.setInput(image)
    # OpenCV: box centre and size in parts of the picture, classes times objectness where that is over a threshold
    theirs = np.concatenate(other.forward(other.getUnconnectedOutLayersNames()))
    with torch.no_grad():
        ours = load_yolov3(file)(torch.from_numpy(image))[0].numpy()
    np.testing.assert_allclose(ours[:, :4] / 96, theirs[:, :4], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours[:, 4], theirs[:, 4], atol=1e-4)


@pytest.fixture(scope="module")
def folder(weights, tmp_path_factory):
    return export_yolov3(weights, tmp_path_factory.mktemp("engines"), size_px=96)


def test_the_folder_keeps_its_contract_and_tells_its_parity(folder, weights):
    manifest = read_manifest(folder)
    assert (manifest.name, manifest.task, manifest.inputs["image"].shape) == ("yolov3", "detect", ("N", "H", "W", 3))
    assert manifest.rules["letterbox"] == Letterbox(96, 96, "cubic", 128, least_px=96, step_px=32, shape="square")
    raw = json.loads((folder / "manifest.json").read_text())
    assert raw["selection"] == {"score": "objectness", "score_min": 0.5, "iou_max": 0.4, "iou_offset_px": 1}
    for file, bound in (("model.onnx", 5e-4), ("model.fp16.onnx", 0.01), ("float16 arithmetic", 0.01)):
        assert 0 < max(raw["parity"]["max_relative"][file].values()) < bound, file
    assert raw["parity"]["samples"]["model.onnx"] == 9 and {"cliffvid", "torch", "onnx", "opset"} == set(
        raw["exporter"]
    )
    assert [path.name for path in folder.parent.iterdir()] == ["yolov3"]
    assert {path.name for path in folder.iterdir()} == {"manifest.json", *manifest.files}


def test_only_the_backbone_is_half(folder):
    """Decoding, whose sizes are exponentials, stays in float32, and so do inputs and outputs."""
    model = onnx.shape_inference.infer_shapes(onnx.load(folder / "model.fp16.onnx"))
    values = [*model.graph.value_info, *model.graph.input, *model.graph.output]
    kinds = {value.name: value.type.tensor_type.elem_type for value in values}
    by_operator = {}
    for node in model.graph.node:
        by_operator.setdefault(node.op_type, set()).add(kinds[node.output[0]])
    half, single = {onnx.TensorProto.FLOAT16}, {onnx.TensorProto.FLOAT}
    assert all(by_operator[kind] == half for kind in ("Conv", "LeakyRelu", "Resize"))
    assert all(by_operator[kind] == single for kind in ("Sigmoid", "Exp", "Mul", "Sub", "Div"))
    assert [node.op_type for node in model.graph.node].count("Cast") == 6  # uint8, argmax, one in, three out
    assert [kinds[value.name] for value in model.graph.output] == [onnx.TensorProto.FLOAT] * 3


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Weights in which most things are people, and the folder made of them."""
    folder = tmp_path_factory.mktemp("tiny")
    weights = synthetic_weights(folder / "tiny.weights", OPEN / "yolov3-tiny.cfg", person_bias=1.5)
    return weights, export_yolov3(weights, folder / "engines", size_px=192)


@pytest.mark.parametrize(("output", "wrong"), [("box_px", 1), ("objectness", 0.01), ("class_prob", np.nan)])
def test_one_wrong_number_leaves_nothing(tiny, tmp_path, monkeypatch, output, wrong):
    run = proof.run_onnx

    def run_wrong(model, samples):
        answers = run(model, samples)
        answers[1][output][3, 0] += wrong
        return answers

    monkeypatch.setattr(proof, "run_onnx", run_wrong)
    with pytest.raises(ModelError, match=r"tiny\.weights: in \w+ the export \(model\.onnx\) differs"):
        export_yolov3(tiny[0], tmp_path / "out", size_px=96)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("height", "width"), [(192, 192), (160, 192), (192, 160), (160, 160)])
@pytest.mark.parametrize(("file", "relative"), [("model.onnx", 1e-4), ("model.fp16.onnx", 1e-2)])
def test_candidates_are_the_official_rows_of_people(tiny, height, width, file, relative):
    """The best candidates are just the rows whose likeliest class is person, best objectness first; on any canvas."""
    weights, folder = tiny
    manifest = read_manifest(folder)
    assert manifest.rules["letterbox"].least_px == 160
    session = onnxruntime.InferenceSession(manifest.path(file), providers=["CPUExecutionProvider"])
    image = np.random.default_rng(2).integers(0, 256, (2, height, width, 3), np.uint8)
    box, objectness, prob = session.run(["box_px", "objectness", "class_prob"], {"image": image})
    with torch.no_grad():
        rows = load_yolov3(weights)(torch.from_numpy(image).permute(0, 3, 1, 2).float() / 255).numpy()
    for b, o, p, all_rows in zip(box, objectness, prob, rows, strict=True):
        people = all_rows[all_rows[:, 5:].argmax(1) == 0]
        people = people[np.argsort(-people[:, 4], kind="stable")]
        n = min(len(people), len(o))
        assert 3 < n < len(all_rows) and (o[len(people) :] == 0).all()
        np.testing.assert_allclose(o[:n], people[:n, 4], atol=relative)
        np.testing.assert_allclose(np.sort(p[:n]), np.sort(people[:n, 5]), atol=relative)
        center, side = (b[:n, :2] + b[:n, 2:]) / 2, b[:n, 2:] - b[:n, :2]
        far = np.abs(np.c_[center, side][:, None] - people[None, :, :4]).max(-1).min(1)
        assert (far <= 10 * relative * side.max(1) + 1e-3).all()


@pytest.mark.parametrize("cut", [-4, 4, -200_000_000])
def test_weights_of_another_length_are_told(weights, tmp_path, cut):
    data = weights.read_bytes()
    (tmp_path / "bad.weights").write_bytes(data[:cut] if cut < 0 else data + bytes(cut))
    with pytest.raises(ModelError, match=r"bad\.weights: .* bytes, which is none of the known networks"):
        export_yolov3(tmp_path / "bad.weights", tmp_path / "out")
    with pytest.raises(ModelError, match=r"bad\.weights: expected 248,007,048 bytes"):
        load_yolov3(tmp_path / "bad.weights", OPEN / "yolov3.cfg")
    assert not (tmp_path / "out").exists()


def test_other_mistakes_are_told(weights, tmp_path):
    (tmp_path / "page.weights").write_text("<!DOCTYPE html><html>sign in</html>")
    with pytest.raises(ModelError, match=r"page\.weights: a web page, expected Darknet weights"):
        load_yolov3(tmp_path / "page.weights")
    with pytest.raises(InputError, match="no such file"):
        load_yolov3(tmp_path / "missing.weights")
    with pytest.raises(UsageError, match=r"'\.\./up': expected a plain folder name"):
        export_yolov3(weights, tmp_path / "out", name="../up")
    (tmp_path / "binary.cfg").write_bytes(bytes(range(256)))
    for cfg, error, told in (
        ("missing.cfg", InputError, "no such file"),
        (".", InputError, "a folder"),
        ("binary.cfg", ModelError, "no text"),
    ):
        with pytest.raises(error, match=rf"{cfg}: .*{told}"):
            load_yolov3(weights, tmp_path / cfg)
    for size_px in (100, 0, -32, 1 << 20):
        with pytest.raises(UsageError, match="multiple of 32, from 32"):
            export_yolov3(weights, tmp_path / "out", size_px=size_px)
    assert not (tmp_path / "out").exists()


def test_doctor_knows_how_long_the_published_files_are():
    sizes = {file.name: file.size for file in official.FILES if file.name.endswith(".weights")}
    for name, size in sizes.items():
        cfg = OPEN / name.replace(".weights", ".cfg")
        counts = darknet_files.convolution_counts(read_cfg(cfg), count_channels(read_cfg(cfg), cfg))
        assert size == f"{20 + 4 * sum(counts.values()):,} bytes"


def test_a_file_that_only_looks_like_the_published_one_is_told(weights, tmp_path, monkeypatch):
    said = []
    export_yolov3(weights, tmp_path, size_px=32, say=said.append)
    assert len(said) == 4 and "is not the published yolov3.weights" in said[1]
    known = [replace(file, sha256=sha256(weights)) for file in official.FILES if file.model == "yolov3"]
    monkeypatch.setattr(official, "FILES", known)
    export_yolov3(weights, tmp_path, size_px=32, say=said.append)
    assert len(said) == 7
