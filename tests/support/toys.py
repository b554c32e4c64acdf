"""Tiny networks that honour the real manifests, so that the real command line and a real onnxruntime run in a blink.

The detector sees one person in each of four colours; the regressor answers the mean colour of the crop as betas.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from clips import COLORS

CANVAS = 96
CROP_WH = (24, 32)
SCORES = (0.9, 0.8, 0.7, 0.6)


def make_toys(engines: Path) -> Path:
    """A folder with the models ``toy-detector`` and ``toy-regressor``."""
    _save(engines / "toy-detector", *_detector())
    _save(engines / "toy-regressor", *_regressor())
    return engines


def _save(folder: Path, graph: onnx.GraphProto, manifest: dict) -> None:
    folder.mkdir(parents=True)
    data = _model(graph)
    (folder / "model.onnx").write_bytes(data)
    manifest = {
        "schema": 1,
        "name": folder.name,
        "summary": "a toy",
        "licence": "CC0",
        "rank": 0,
        "files": {"model.onnx": hashlib.sha256(data).hexdigest()},
        **manifest,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2))


def _model(graph: onnx.GraphProto) -> bytes:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def rehash(folder: Path) -> None:
    """Make a manifest name the network that lies beside it."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"]["model.onnx"] = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    path.write_text(json.dumps(manifest, indent=2))


class _Graph:
    def __init__(self) -> None:
        self.nodes, self.constants = [], []

    def __call__(self, kind: str, *inputs, name: str | None = None, **attributes) -> str:
        names = [i if isinstance(i, str) else self.constant(i) for i in inputs]
        out = name or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [out], **attributes))
        return out

    def constant(self, value) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def _info(name: str, kind: int, shape: list) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _detector() -> tuple[onnx.GraphProto, dict]:
    g = _Graph()
    colors = np.array(list(COLORS.values()), np.float32).reshape(1, 4, 1, 1, 3)
    image = g("Unsqueeze", g("Cast", "image", to=TensorProto.FLOAT), np.array([1]))
    far = g("ReduceMax", g("Abs", g("Sub", image, colors)), axes=[4], keepdims=0)  # (N,4,S,S)
    mask = g("Cast", g("Less", far, np.float32(90)), to=TensorProto.FLOAT)
    edges = []
    for axis in (2, 3):  # columns seen from above, then rows seen from the side
        line = g("ReduceMax", mask, axes=[axis], keepdims=0)
        edges.append(g("ArgMax", line, axis=2, keepdims=0))
        edges.append(g("Add", g("ArgMax", line, axis=2, keepdims=0, select_last_index=1), np.int64(1)))
    x0, x1, y0, y1 = (g("Unsqueeze", g("Cast", edge, to=TensorProto.FLOAT), np.array([2])) for edge in edges)
    g("Concat", x0, y0, x1, y1, name="box_px", axis=2)
    seen = g("ReduceMax", mask, axes=[2, 3], keepdims=0)
    g("Mul", seen, np.array([SCORES], np.float32), name="objectness")
    g("Mul", seen, np.float32(1), name="class_prob")
    outputs = [_info(n, TensorProto.FLOAT, ["N", 4, *more]) for n, more in _DETECTOR_OUTPUTS.items()]
    graph = helper.make_graph(
        g.nodes, "toy", [_info("image", TensorProto.UINT8, ["N", "H", "W", 3])], outputs, g.constants
    )
    return graph, {
        "task": "detect",
        "inputs": {"image": {"dtype": "uint8", "shape": ["N", "H", "W", 3]}},
        "outputs": {n: {"dtype": "float32", "shape": ["N", 4, *more]} for n, more in _DETECTOR_OUTPUTS.items()},
        "letterbox": {
            **{"width_px": CANVAS, "height_px": CANVAS, "interpolation": "area", "fill": 128},
            **{"least_px": 32, "shape": "frame"},
        },
        "selection": {"score": "product", "score_min": 0.25, "iou_max": 0.45, "iou_offset_px": 0},
    }


_DETECTOR_OUTPUTS = {"box_px": [4], "objectness": [], "class_prob": []}
_REGRESSOR_OUTPUTS = {"rotmat": [24, 3, 3], "betas": [10], "camera": [3], "presence": []}


def _regressor() -> tuple[onnx.GraphProto, dict]:
    g = _Graph()
    width, height = CROP_WH
    color = g("ReduceMean", g("Cast", "crop", to=TensorProto.FLOAT), axes=[1, 2], keepdims=0)  # (N,3)
    rest = g("Mul", g("ReduceMean", color, axes=[1], keepdims=1), np.zeros((1, 7), np.float32))
    g("Concat", g("Div", color, np.float32(255)), rest, name="betas", axis=1)
    zero = g("Slice", rest, np.array([0]), np.array([1]), np.array([1]))  # (N,1)
    g(
        "Add",
        g("Reshape", zero, np.array([-1, 1, 1, 1])),
        np.eye(3, dtype=np.float32).repeat(24, 0).reshape(3, 24, 3).transpose(1, 0, 2)[None],
        name="rotmat",
    )
    g("Add", zero, np.array([[0.9, 0.0, 0.0]], np.float32), name="camera")
    g("Add", g("Squeeze", zero, np.array([1])), np.float32(1), name="presence")
    g("Identity", "bbox_info", name="unused")
    graph = helper.make_graph(
        g.nodes,
        "toy",
        [_info("crop", TensorProto.UINT8, ["N", height, width, 3]), _info("bbox_info", TensorProto.FLOAT, ["N", 3])],
        [_info(n, TensorProto.FLOAT, ["N", *shape]) for n, shape in _REGRESSOR_OUTPUTS.items()],
        g.constants,
    )
    return graph, {
        "task": "regress",
        "body": "open-body",
        "inputs": {
            "crop": {"dtype": "uint8", "shape": ["N", height, width, 3]},
            "bbox_info": {"dtype": "float32", "shape": ["N", 3]},
        },
        "outputs": {n: {"dtype": "float32", "shape": ["N", *shape]} for n, shape in _REGRESSOR_OUTPUTS.items()},
        "crop": {"width_px": width, "height_px": height, "box_scale": 1.1, "size_side": "height"},
        "bbox_info": {"centre_scale": 2.8, "size_offset": 0.24, "size_scale": 0.06},
    }


def make_convolved(engines: Path) -> Path:
    """Write toys of two convolutions each, whose answers mean nothing."""
    make_toys(engines)
    inputs = [_info("image", TensorProto.UINT8, ["N", "H", "W", 3])]
    replace_network(engines / "toy-detector", _convolved(inputs, {n: [4, *s] for n, s in _DETECTOR_OUTPUTS.items()}))
    inputs = [
        _info("crop", TensorProto.UINT8, ["N", *CROP_WH[::-1], 3]),
        _info("bbox_info", TensorProto.FLOAT, ["N", 3]),
    ]
    replace_network(engines / "toy-regressor", _convolved(inputs, _REGRESSOR_OUTPUTS))
    return engines


def _convolved(inputs: list[onnx.ValueInfoProto], outputs: dict[str, list[int]]) -> bytes:
    g = _Graph()
    sizes = np.array([int(np.prod(shape)) for shape in outputs.values()])
    image = g("Transpose", g("Cast", inputs[0].name, to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
    first = g("Relu", g("Conv", image, np.ones((8, 3, 3, 3), np.float32)))
    flat = g("ReduceMean", g("Conv", first, np.ones((sizes.sum(), 8, 3, 3), np.float32)), axes=[2, 3], keepdims=0)
    for (name, shape), size, end in zip(outputs.items(), sizes, sizes.cumsum(), strict=True):
        part = g("Slice", flat, end[None] - size, end[None], np.array([1]))
        g("Reshape", part, np.array([-1, *shape]), name=name)
    made = [_info(name, TensorProto.FLOAT, ["N", *shape]) for name, shape in outputs.items()]
    return _model(helper.make_graph(g.nodes, "toy", inputs, made, g.constants))


def toy_people(rows: int) -> dict[str, np.ndarray]:
    """Inputs of the toy regressor."""
    rng = np.random.default_rng(rows)
    crop = rng.integers(0, 256, (rows, CROP_WH[1], CROP_WH[0], 3)).astype(np.uint8)
    return {"crop": crop, "bbox_info": rng.normal(size=(rows, 3)).astype(np.float32)}


def replace_network(folder: Path, model: bytes) -> None:
    """Put another network into a model folder, and its hash into the manifest."""
    (folder / "model.onnx").write_bytes(model)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["model.onnx"] = hashlib.sha256(model).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
