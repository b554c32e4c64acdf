"""Convert a Darknet detector (YOLOv3 family) to an ONNX detector of people.

The decoding is YOLOv3's (Redmon and Farhadi 2018, section 2.1).
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from cliffvid.errors import UsageError

from ..folder.graph import Cells, Graph, image_input
from .files import STEP_PX, Convolution, Layer, count_strides, read_network, read_weights, route_sources

PERSON = 0  # class index in the COCO list of the weights
CANDIDATES = 300
REPEAT_CELLS: Cells = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}


def canvas_limits(layers: list[Layer], size_px: int) -> tuple[int, int]:
    """Return ``(least_px, candidates)``: the number of candidates for any canvas with sides least_px to size_px."""
    strides = count_strides(layers)
    heads = [layer for layer in layers if layer.kind == "yolo"]
    in_a_step = sum(len(head.numbers("mask")) * (STEP_PX // strides[head.index]) ** 2 for head in heads)
    steps = size_px // STEP_PX
    candidates = min(CANDIDATES, in_a_step * steps**2)
    return next(n for n in range(1, steps + 1) if in_a_step * n**2 >= candidates) * STEP_PX, candidates


class Detector:
    """Converter of the layers of one cfg to ONNX nodes."""

    def __init__(self, graph: Graph, size_px: int, fields: int, half: bool) -> None:
        self.graph = graph
        self.size_px = size_px
        self.fields = fields  # channels kept per anchor: x y w h objectness person (other classes)
        self.half = half
        self.values: list[str] = []  # output of every layer
        self.heads: list[str] = []  # (N, fields, anchors of the head)
        self.anchors: list[str] = []  # (5, anchors of the head): cell x, cell y, stride, half width px, half height px

    def add(self, layer: Layer, value: str, stride: int, convolution: Convolution | None, head: Layer | None) -> None:
        """Append one layer of this stride after ``value``; ``head``: the [yolo] that a convolution feeds."""
        if convolution is not None:
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
        if head:  # only channels that the outputs need, grouped by field over all anchors: no transpose later
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
        pad = layer.number("padding", size - 1)  # sum of both sides; the odd pixel goes right and bottom
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
        # A table for the largest canvas, sliced to the cells of this one.
        cells = self.size_px // stride
        y, x = np.mgrid[:cells, :cells]
        rows = [np.broadcast_arrays(x, y, stride, width / 2, height / 2) for width, height in chosen]
        table = np.array(rows, np.float64).transpose(1, 0, 2, 3)
        here = self.graph.op("Slice", table, [0, 0], self.graph.op("Shape", value, start=2, end=4), [2, 3])
        self.anchors.append(self.graph.op("Reshape", here, [5, -1]))


def decode(graph: Graph, raw: str, anchors: str, fields: int, person_must_be_argmax: bool) -> tuple[str, str, str]:
    """Decode raw (N,fields,A) to boxes (N,4,A) xyxy in canvas px, objectness and person probability, both (N,1,A)."""
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
    """Return the detector as a graph: ``image`` uint8 (N,H,W,3) RGB -> ``box_px``, ``objectness``, ``class_prob``.

    H and W are multiples of STEP_PX between the ``canvas_limits``. Boxes are xyxy in canvas pixels, (N,K,4)
    float32, K = 300 or all anchors if fewer, sorted by ``score``: "product" of objectness and class_prob (the person's
    probability), or "objectness". With ``person_must_be_argmax``, a candidate with a likelier other class has
    objectness 0. ``half`` stores the kernels as float16. Raises ModelError for files that do not match exactly,
    UsageError for a size that is no multiple of STEP_PX.
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
    """Raise UsageError for a canvas size that this network family does not support."""
    if size_px % STEP_PX or not STEP_PX <= size_px <= 4096:
        raise UsageError(f"detector size {size_px}: it must be a multiple of {STEP_PX}, from {STEP_PX} to 4096")
