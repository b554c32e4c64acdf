"""Darknet's cfg and weights files (YOLOv3 and its kin) -> an ONNX person detector.

File layout and layer rules are Darknet's (parser.c, convolutional_layer.c, maxpool_layer.c), the decoding is
YOLOv3's (Redmon and Farhadi 2018, section 2.1).
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from cliffvid.errors import InputError, ModelError, UsageError

from .graph import Graph, image_input

PERSON = 0  # index of the class in the COCO list the weights were trained with
BATCH_NORM_EPSILON = 1e-5  # added to the variance, as Darknet's CUDA code and the PyTorch ports do
CANDIDATES = 300
STEP_PX = 32  # the sides of a canvas are multiples of it: what the deepest layers make one cell of
REPEAT_CELLS = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}


@dataclass(frozen=True)
class Layer:
    """One section of a cfg file."""

    index: int  # counted from 0 after [net], as route and shortcut count
    kind: str
    options: dict[str, str]

    def number(self, key: str, default: int | None = None) -> int:
        return int(self.options[key] if default is None else self.options.get(key, default))

    def numbers(self, key: str) -> list[float]:
        return [float(part) for part in self.options[key].split(",")]


@dataclass(frozen=True)
class Convolution:
    """The numbers of one convolutional layer, batch normalisation folded in."""

    weight: np.ndarray  # float64 (filters, channels, size, size)
    bias: np.ndarray  # float64 (filters,)


def read_network(cfg: Path) -> tuple[list[Layer], list[tuple[int, int]]]:
    """The layers of a cfg file, and (channels in, channels out) of each.

    Raises InputError if it cannot be read, ModelError if it does not describe a detector of a kind that is known.
    """
    layers = read_cfg(cfg)
    try:
        widths = count_channels(layers, cfg)
        count_strides(layers)
        check_heads(cfg, layers, widths)
        convolution_counts(layers, widths)
    except (KeyError, ValueError, IndexError, OverflowError) as error:
        raise ModelError(f"{cfg}: an option is missing or wrong ({error!r}); take the published cfg") from error
    return layers, widths


def read_cfg(path: Path) -> list[Layer]:
    """The layers of a cfg file, without [net]. Raises InputError or ModelError if it is not one."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the path of a Darknet cfg") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: no text, expected a Darknet cfg; weights and cfg exchanged?") from error
    sections: list[tuple[str, dict[str, str]]] = []
    for number, line in enumerate(lines, start=1):
        line = line.split("#")[0].strip()
        if line.startswith("[") and line.endswith("]"):
            sections.append((line[1:-1].strip(), {}))
        elif "=" in line and sections:
            key, value = line.split("=", 1)
            sections[-1][1][key.strip()] = value.strip()
        elif line:
            raise ModelError(f"{path}, line {number}: expected [section] or key=value, found {line!r}")
    if not sections or sections[0][0] not in ("net", "network"):
        raise ModelError(f"{path}: expected a Darknet cfg that begins with [net]")
    return [Layer(index, kind, options) for index, (kind, options) in enumerate(sections[1:])]


def count_channels(layers: list[Layer], path: Path) -> list[tuple[int, int]]:
    """(channels in, channels out) of every layer. Raises ModelError for a layer that is not supported."""
    widths: list[tuple[int, int]] = []
    current = 3
    for layer in layers:
        entering = current
        sources = route_sources(layer) if layer.kind == "route" else []
        sources += [layer.index + layer.number("from")] if layer.kind == "shortcut" else []
        if not all(0 <= source < layer.index for source in sources):
            raise ValueError(f"layer {layer.index} [{layer.kind}] reads layers {sources}")
        if any(layer.number(key, 1) < 1 for key in ("filters", "size", "stride", "classes")):
            raise ValueError(f"layer {layer.index} [{layer.kind}] has a number below 1")
        if layer.kind == "convolutional":
            current = layer.number("filters")
        elif layer.kind == "route":
            current = sum(widths[source][1] for source in sources)
        elif layer.kind == "shortcut" and widths[sources[0]][1] != current:
            raise ValueError(f"layer {layer.index} [shortcut] adds {current} and {widths[sources[0]][1]} channels")
        elif layer.kind not in ("maxpool", "upsample", "shortcut", "yolo"):
            raise ModelError(f"{path}: layer {layer.index} is [{layer.kind}], which the export does not know")
        if layer.number("groups", 1) != 1 or layer.options.get("activation", "linear") not in ("linear", "leaky"):
            raise ModelError(
                f"{path}: layer {layer.index} [{layer.kind}] has groups or an activation other than "
                "linear and leaky, which the export does not know"
            )
        widths.append((entering, current))
    return widths


def count_strides(layers: list[Layer]) -> list[int]:
    """Canvas pixels per cell of every layer. Raises ValueError if a cell would be larger than STEP_PX."""
    strides: list[int] = []
    current = 1
    for layer in layers:
        if layer.kind in ("convolutional", "maxpool"):
            current *= layer.number("stride", 1)
        elif layer.kind == "upsample":
            current //= layer.number("stride", 2)
        elif layer.kind == "route":
            current = strides[route_sources(layer)[0]]
        if not 1 <= current <= STEP_PX:
            raise ValueError(f"layer {layer.index} [{layer.kind}] has {current} px a cell")
        strides.append(current)
    return strides


def canvas_limits(layers: list[Layer], size_px: int) -> tuple[int, int]:
    """``(least_px, candidates)``: how many candidates are told of any canvas with sides from least_px to size_px."""
    strides = count_strides(layers)
    heads = [layer for layer in layers if layer.kind == "yolo"]
    in_a_step = sum(len(head.numbers("mask")) * (STEP_PX // strides[head.index]) ** 2 for head in heads)
    steps = size_px // STEP_PX
    candidates = min(CANDIDATES, in_a_step * steps**2)
    return next(n for n in range(1, steps + 1) if in_a_step * n**2 >= candidates) * STEP_PX, candidates


def route_sources(layer: Layer) -> list[int]:
    """The indices of the layers that a [route] joins; negative ones count back from the layer itself."""
    return [int(part) + (layer.index if part < 0 else 0) for part in layer.numbers("layers")]


def header_bytes(weights: Path) -> int:
    """The length of a weights file's header: 20 from version 0.2 on, 16 before."""
    with weights.open("rb") as file:
        major, minor = struct.unpack("<2i", file.read(8).ljust(8, b"\0"))
    return 20 if major * 10 + minor >= 2 else 16


def convolution_counts(layers: list[Layer], widths: list[tuple[int, int]]) -> dict[int, int]:
    """How many numbers a weights file holds for each convolutional layer, by index."""
    counts = {}
    for layer, (channels, filters) in zip(layers, widths, strict=True):
        if layer.kind == "convolutional":
            per_filter = channels * layer.number("size") ** 2 + (4 if layer.number("batch_normalize", 0) else 1)
            counts[layer.index] = filters * per_filter
    return counts


def weights_bytes(weights: Path, layers: list[Layer], widths: list[tuple[int, int]]) -> int:
    """The length that a weights file of these layers has, with the header that this one has."""
    return header_bytes(weights) + 4 * sum(convolution_counts(layers, widths).values())


def read_weights(path: Path, layers: list[Layer], widths: list[tuple[int, int]]) -> dict[int, Convolution]:
    """The convolutions of a weights file by layer index. Raises ModelError unless it has just the bytes the cfg needs.

    The header is three int32 (major, minor, revision) and the count of images seen: int64 from version 0.2
    on, int32 before. Float32 follow in layer order: biases, (scales, means, variances,) kernel.
    """
    data = path.read_bytes()
    header, counts = header_bytes(path), convolution_counts(layers, widths)
    expected = header + 4 * sum(counts.values())
    if len(data) != expected:
        raise ModelError(
            f"{path}: expected {expected:,} bytes (a header of {header} and the {len(counts)} convolutional "
            f"layers of the cfg), found {len(data):,}; the file is cut, or belongs to another cfg"
        )
    values = np.frombuffer(data, "<f4", offset=header)
    convolutions, start = {}, 0
    for index, count in counts.items():
        block, start = values[start : start + count].astype(np.float64), start + count
        convolutions[index] = fold(block, layers[index], *widths[index])
    return convolutions


def fold(block: np.ndarray, layer: Layer, channels: int, filters: int) -> Convolution:
    """One layer's numbers as kernel and bias, its batch normalisation folded in."""
    size = layer.number("size")
    vectors = 4 if layer.number("batch_normalize", 0) else 1
    bias, *normalisation = block[: vectors * filters].reshape(vectors, filters)
    weight = block[vectors * filters :].reshape(filters, channels, size, size)
    if normalisation:
        scale, mean, variance = normalisation
        gain = scale / np.sqrt(variance + BATCH_NORM_EPSILON)
        weight, bias = weight * gain[:, None, None, None], bias - mean * gain
    return Convolution(weight, bias)


class Detector:
    """Lays the layers of one cfg into a graph."""

    def __init__(self, graph: Graph, size_px: int, fields: int, half: bool):
        self.graph = graph
        self.size_px = size_px
        self.fields = fields  # channels kept per anchor: x y w h objectness person (other classes)
        self.half = half
        self.values: list[str] = []  # output of every layer
        self.heads: list[str] = []  # (N, fields, anchors of the head)
        self.anchors: list[str] = []  # (5, anchors of the head): cell x, cell y, stride, half width px, half height px

    def add(self, layer: Layer, value: str, stride: int, convolution: Convolution | None, head: Layer | None) -> None:
        """Append one layer of that stride, which follows ``value``; ``head``: the [yolo] that a convolution feeds."""
        if layer.kind == "convolutional":
            value = self.convolve(layer, value, convolution, head)
        elif layer.kind == "maxpool":
            value = self.pool(layer, value)
        elif layer.kind == "upsample":
            factor = layer.number("stride", 2)
            value = self.graph.op("Resize", value, "", np.array([1.0, 1.0, factor, factor]), **REPEAT_CELLS)
        elif layer.kind == "route":
            sources = [self.values[source] for source in route_sources(layer)]
            value = self.graph.op("Concat", *sources, axis=1) if len(sources) > 1 else sources[0]
        elif layer.kind == "shortcut":
            value = self.graph.op("Add", value, self.values[layer.index + layer.number("from")])
            value = self.activate(layer, value)
        else:
            self.read_head(layer, value, stride)
        self.values.append(value)

    def activate(self, layer: Layer, value: str) -> str:
        leaky = layer.options.get("activation", "linear") == "leaky"
        return self.graph.op("LeakyRelu", value, alpha=0.1) if leaky else value

    def convolve(self, layer: Layer, value: str, convolution: Convolution, head: Layer | None) -> str:
        weight, bias = convolution.weight, convolution.bias
        if head:  # only the channels the outputs need, all anchors of one field together: no transpose later
            anchors = len(head.numbers("mask"))
            order = np.arange(len(bias)).reshape(anchors, 5 + head.number("classes"))[:, : self.fields].T.ravel()
            weight, bias = weight[order], bias[order]
        size, stride = layer.number("size"), layer.number("stride", 1)
        pad = size // 2 if layer.number("pad", 0) else layer.number("padding", 0)
        value = self.graph.op(
            "Conv",
            value,
            self.graph.weight(weight, f"kernel_{layer.index}", self.half),
            self.graph.weight(bias, f"bias_{layer.index}", half=False),
            name=f"layer_{layer.index}",
            kernel_shape=[size, size],
            strides=[stride, stride],
            pads=[pad] * 4,
        )
        return self.activate(layer, value)

    def pool(self, layer: Layer, value: str) -> str:
        size, stride = layer.number("size"), layer.number("stride", 1)
        pad = layer.number("padding", size - 1)  # the sum of both sides; the odd one goes right and bottom
        return self.graph.op(
            "MaxPool",
            value,
            kernel_shape=[size, size],
            strides=[stride, stride],
            pads=[pad // 2, pad // 2, pad - pad // 2, pad - pad // 2],
        )

    def read_head(self, layer: Layer, value: str, stride: int) -> None:
        chosen = np.array(layer.numbers("anchors")).reshape(-1, 2)[[int(part) for part in layer.numbers("mask")]]
        self.heads.append(self.graph.op("Reshape", value, [0, self.fields, -1]))
        # A table for the largest canvas, cut to the cells that this one has.
        cells = self.size_px // stride
        y, x = np.mgrid[:cells, :cells]
        rows = [np.broadcast_arrays(x, y, stride, width / 2, height / 2) for width, height in chosen]
        table = np.array(rows, np.float64).transpose(1, 0, 2, 3)
        here = self.graph.op("Slice", table, [0, 0], self.graph.op("Shape", value, start=2, end=4), [2, 3])
        self.anchors.append(self.graph.op("Reshape", here, [5, -1]))


def decode(graph: Graph, raw: str, anchors: str, fields: int, person_must_be_argmax: bool) -> tuple[str, ...]:
    """Boxes (N,4,A) in canvas pixels xyxy, objectness (N,1,A) and person probability (N,1,A) of raw (N,fields,A)."""
    sizes = [2, 2, 1, 1, fields - 6] if fields > 6 else [2, 2, 1, 1]
    centre, extent, objectness, person, *others = graph.op("Split", raw, sizes, outputs=len(sizes), axis=1)
    cell, stride, half_anchor = graph.op("Split", anchors, [2, 1, 2], outputs=3, axis=0)
    centre = graph.op("Mul", graph.op("Add", graph.op("Sigmoid", centre), cell), stride)
    half = graph.op("Mul", graph.op("Exp", extent), half_anchor)
    boxes = graph.op("Concat", graph.op("Sub", centre, half), graph.op("Add", centre, half), axis=1)
    objectness, person = graph.op("Sigmoid", objectness), graph.op("Sigmoid", person)
    if person_must_be_argmax and others:
        rival = graph.op("Sigmoid", graph.op("ReduceMax", others[0], axes=[1], keepdims=1))
        wins = graph.op("Cast", graph.op("GreaterOrEqual", person, rival), to=TensorProto.FLOAT)
        objectness = graph.op("Mul", objectness, wins)
    return boxes, objectness, person


def rank(graph: Graph, boxes: str, objectness: str, person: str, score: str, count: int) -> None:
    """Declare the outputs: the best ``count`` candidates, best first."""
    key = graph.op("Mul", objectness, person) if score == "product" else objectness
    _, order = graph.op("TopK", graph.op("Squeeze", key, [1]), [count], outputs=2, axis=1)
    table = graph.op("Transpose", graph.op("Concat", boxes, objectness, person, axis=1), perm=[0, 2, 1])
    best = graph.op("GatherND", table, graph.op("Unsqueeze", order, [2]), batch_dims=1)
    box, first, second = graph.op("Split", best, [4, 1, 1], outputs=3, axis=2)
    graph.output(box, "box_px", "float32", ("N", count, 4))
    graph.output(graph.op("Squeeze", first, [2]), "objectness", "float32", ("N", count))
    graph.output(graph.op("Squeeze", second, [2]), "class_prob", "float32", ("N", count))


def export_darknet(
    cfg: Path,
    weights: Path,
    size_px: int = 608,
    score: str = "product",
    person_must_be_argmax: bool = False,
    half: bool = True,
) -> onnx.ModelProto:
    """The detector as a graph: ``image`` uint8 (N,H,W,3) RGB -> ``box_px`` ``objectness`` ``class_prob``.

    H and W are multiples of STEP_PX between the ``canvas_limits``. Boxes are xyxy in canvas pixels, (N,K,4)
    float32, K = 300 or all anchors if fewer, sorted by ``score``: "product" of objectness and class_prob (the person's
    probability), or "objectness" alone. With ``person_must_be_argmax`` a candidate that is more likely something else
    has objectness 0. ``half`` stores the kernels as float16. Raises ModelError for files it cannot read to the last
    byte, UsageError for a size that is no multiple of STEP_PX.
    """
    check_size(size_px)
    layers, widths = read_network(cfg)
    heads = {layer.index - 1: layer for layer in layers if layer.kind == "yolo"}
    convolutions = read_weights(weights, layers, widths)
    fields = 5 + max(layer.number("classes") for layer in heads.values()) if person_must_be_argmax else 6
    graph = Graph("darknet")
    net = Detector(graph, size_px, fields, half)
    value = image_input(graph, "image", "H", "W")
    for layer, stride in zip(layers, count_strides(layers), strict=True):
        net.add(layer, value, stride, convolutions.get(layer.index), heads.get(layer.index))
        value = net.values[-1]
    raw, anchors = (
        graph.op("Concat", *parts, axis=axis) if len(parts) > 1 else parts[0]
        for parts, axis in ((net.heads, 2), (net.anchors, 1))
    )
    candidates = decode(graph, raw, anchors, fields, person_must_be_argmax)
    rank(graph, *candidates, score, canvas_limits(layers, size_px)[1])
    return graph.model()


def check_size(size_px: int) -> None:
    """Raise UsageError for a canvas that no network of this family takes."""
    if size_px % STEP_PX or not STEP_PX <= size_px <= 4096:
        raise UsageError(f"detector size {size_px}: it must be a multiple of {STEP_PX}, from {STEP_PX} to 4096")


def check_heads(cfg: Path, layers: list[Layer], widths: list[tuple[int, int]]) -> None:
    """Raise ModelError unless each [yolo] reads a linear convolution of its own that has the right width."""
    heads = {layer.index - 1: layer for layer in layers if layer.kind == "yolo"}
    if not heads:
        raise ModelError(f"{cfg}: no [yolo] layer, so no detector")
    routed = {source for layer in layers if layer.kind == "route" for source in route_sources(layer)}
    classes = {head.number("classes") for head in heads.values()}
    for index, head in heads.items():
        anchors = np.array(head.numbers("anchors")).reshape(-1, 2)[[int(part) for part in head.numbers("mask")]]
        expected = len(anchors) * (5 + head.number("classes"))
        if head.options.get("scale_x_y", "1") not in ("1", "1.0") or head.number("new_coords", 0):
            raise ModelError(
                f"{cfg}: the [yolo] layer {head.index} decodes as YOLOv4 does, which the export does not know"
            )
        plain = layers[index].kind == "convolutional" and layers[index].options.get("activation") == "linear"
        if not plain or widths[index][1] != expected or routed & {index, index + 1} or len(classes) > 1:
            raise ModelError(
                f"{cfg}: the [yolo] layer {head.index} must follow a linear [convolutional] of {expected} filters "
                "that nothing else reads, and all [yolo] layers must have the same classes"
            )
