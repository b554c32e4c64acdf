"""Convert a TensorFlow.js graph model (nodes in a .json, weights in a .bin) to ONNX nodes."""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from cliffvid.errors import ModelError
from cliffvid.tables import Array

from ..folder.graph import Graph
from .blazepose import SAME, same_pads

DTYPES = {"float16": np.float16, "float32": np.float32, "int32": np.int32}
CHANNELS_LAST, CHANNELS_FIRST = [0, 3, 1, 2], [0, 1, 2, 3]  # positions of the axes (N,C,H,W)
LARGE = 60_000  # weights of a kernel; smaller kernels are a small part of the file, and accuracy depends on them
LOWEST = float(np.finfo(np.float32).min)


class Listed(TypedDict, total=False):
    """A list of an attribute: integers, which are strings in the file, or encoded strings."""

    i: list[str]
    s: list[str]


class NodeAttribute(TypedDict, total=False):
    """An attribute of a node: one of an encoded string, a boolean, a number and a list."""

    s: str
    b: bool
    f: float
    list: Listed


class GraphNode(TypedDict):
    """A node of the graph; an input is the name of another node, with ":" and the number of an output if not 0."""

    name: str
    op: str
    input: list[str]
    attr: dict[str, NodeAttribute]


class Stored(TypedDict):
    """How a constant is stored."""

    dtype: str


class Weight(Stored):
    """A constant in the file of weights; they follow each other without gaps."""

    name: str
    shape: list[int]
    quantization: NotRequired[Stored]  # if stored with another dtype


class WindowRule(TypedDict):
    """ONNX attributes of a window operator."""

    kernel_shape: list[int]
    strides: list[int]
    pads: list[int]


@dataclass(frozen=True)
class Value:
    """Tensor of the network: (N,C,H,W) in the ONNX graph, whatever its axis order in the source."""

    name: str
    size: Array  # rows and columns for the source's canvas
    axes: list[int]
    margin: tuple[int, ...] = (0, 0, 0, 0)  # pending padding: top, left, bottom, right
    fill: float = 0.0


class TfjsNetwork:
    """Converter of a graph model to nodes of ``graph``: only nodes that the requested tensors need."""

    def __init__(self, graph: Graph, model: bytes, weights: bytes, file: str, fraction_bits: int = 10) -> None:
        self.graph, self.file, self.fraction_bits = graph, file, fraction_bits  # the bits are of LARGE kernels
        try:
            described = json.loads(model)
            self.nodes: dict[str, GraphNode] = {node["name"]: node for node in described["modelTopology"]["node"]}
            (group,) = described["weightsManifest"]
            self.constants = read_weights(group["weights"], weights, file)
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{file}: not a TensorFlow.js graph model that is known ({error!r})") from error
        self.values: dict[str, Value] = {}

    def value(self, name: str) -> Value:
        """Return a tensor after converting all nodes it needs. Raises ModelError for an unsupported operator."""
        node = self.node(name)
        if node["name"] not in self.values:
            if node["op"] not in LAYERS:
                raise ModelError(f"{self.file}: {node['name']} is {node['op']}, which the export does not know")
            self.values[node["name"]] = LAYERS[node["op"]](self, node)
        return self.values[node["name"]]

    def node(self, name: str) -> GraphNode:
        """Return the node that computes a tensor, skipping Identity nodes."""
        node = self.nodes[name.split(":")[0]]
        return self.node(node["input"][0]) if node["op"] == "Identity" else node

    def constant(self, name: str) -> Array | None:
        """Return a constant; None for any other tensor."""
        return self.constants.get(self.node(name)["name"])

    def required_constant(self, name: str) -> Array:
        """Return a constant. Raises ModelError for any other tensor."""
        array = self.constant(name)
        if array is None:
            raise ModelError(f"{self.file}: {name} is computed; the export knows only constants there")
        return array

    def weight(self, array: Array, name: str, half: bool = True) -> str:
        """Return the ONNX name of a kernel, which is stored as float16, or of a bias."""
        array = shortened(array, self.fraction_bits) if array.size >= LARGE else array
        return self.graph.weight(array, f"{self.file}/{name}", half)

    def whole(self, value: Value) -> Value:
        """Return a tensor with its pending padding applied."""
        if not any(value.margin):
            return value
        top, left, bottom, right = value.margin
        name = self.graph.op("Pad", value.name, [0, 0, top, left, 0, 0, bottom, right], value.fill)
        return Value(name, value.size + (top + bottom, left + right), value.axes)


def shortened(array: Array, bits: int) -> NDArray[np.float16]:
    """Return a float16 array with mantissas rounded to ``bits`` of their 10 bits, so that it compresses better."""
    drop = 10 - bits
    whole = array.astype(np.float16).view(np.uint16).astype(np.uint32)
    return ((whole + (1 << drop >> 1)) >> drop << drop).astype(np.uint16).view(np.float16)


def read_weights(table: list[Weight], data: bytes, file: str) -> dict[str, Array]:
    """Return the constants by name. Raises ModelError unless they fill the file exactly."""
    constants, at = {}, 0
    for entry in table:
        stored = np.dtype(DTYPES[entry.get("quantization", entry)["dtype"]])
        count = int(np.prod(entry["shape"], dtype=np.int64))
        end = at + count * stored.itemsize
        if end > len(data):
            raise ModelError(f"{file}: cut short: {len(data):,} bytes, too few for {entry['name']}")
        values = np.frombuffer(data[at:end], stored).reshape(entry["shape"])
        constants[entry["name"]] = values.astype(DTYPES[entry["dtype"]])
        at = end
    if at != len(data):
        raise ModelError(f"{file}: {len(data):,} bytes of weights, expected {at:,}")
    return constants


def numbers(node: GraphNode, name: str) -> list[int]:
    """Return a node's attribute that is a list of integers."""
    return [int(number) for number in node["attr"][name]["list"]["i"]]


def word(text: str) -> str:
    """Return the decoded form of a string in the file."""
    return base64.b64decode(text).decode()


def lay_convolution(net: TfjsNetwork, node: GraphNode, bias: str = "") -> Value:
    """Append a convolution with its bias and fused activation."""
    fused = [word(each) for each in node["attr"].get("fused_ops", {}).get("list", {}).get("s", [])]
    _, kernel_name, *more = node["input"]
    kernel, group = net.required_constant(kernel_name), 1
    if "Depthwise" in node["op"]:
        group = kernel.shape[2]
        kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
    inputs = [net.weight(kernel.transpose(3, 2, 0, 1), kernel_name)]
    if bias := (more[0] if "BiasAdd" in fused else bias):
        inputs.append(net.weight(net.required_constant(bias), bias, half=False))
    value, rule, size = look(net, node, kernel.shape[:2], fill=0.0)
    result = net.graph.op("Conv", value.name, *inputs, group=group, **rule)
    for kind in fused:
        if kind != "BiasAdd":
            result = activated(net, kind, node, result)
    return Value(result, size, CHANNELS_LAST)


def look(net: TfjsNetwork, node: GraphNode, kernel: Sequence[int], fill: float) -> tuple[Value, WindowRule, Array]:
    """Return a window operator's input, its ONNX attributes, and the output size.

    Canvas sides are multiples of the network's largest stride, so that TensorFlow's SAME is the same on all.
    """
    value = net.value(node["input"][0])
    if any(value.margin) and value.fill != fill:
        value = net.whole(value)
    padding, strides = word(node["attr"]["padding"]["s"]), numbers(node, "strides")[1:3]
    if value.axes != CHANNELS_LAST or padding not in ("SAME", "VALID") or "2" in str(node["attr"].get("dilations")):
        raise ModelError(f"{net.file}: {node['name']} is of a kind that the export does not know")
    pads = np.array(value.margin)
    size = value.size + pads[:2] + pads[2:]
    if padding == "SAME":
        more = np.array(same_pads(size.tolist(), list(kernel), strides, SAME))
        pads, size = pads + more, size + more[:2] + more[2:]
    size = (size - kernel) // strides + 1
    return value, {"kernel_shape": list(kernel), "strides": strides, "pads": pads.tolist()}, size


def lay_max_pool(net: TfjsNetwork, node: GraphNode) -> Value:
    value, rule, size = look(net, node, numbers(node, "ksize")[1:3], fill=LOWEST)
    return Value(net.graph.op("MaxPool", value.name, **rule), size, CHANNELS_LAST)


def activated(net: TfjsNetwork, kind: str, node: GraphNode, value: str) -> str:
    """Append an activation."""
    if kind == "Relu6":
        return net.graph.op("Clip", value, 0.0, 6.0)
    if kind == "LeakyRelu":
        return net.graph.op("LeakyRelu", value, alpha=node["attr"]["alpha"]["f"])
    if kind not in ("Relu", "Sigmoid"):
        raise ModelError(f"{net.file}: {node['name']} carries {kind}, which the export does not know")
    return net.graph.op(kind, value)


def lay_activation(net: TfjsNetwork, node: GraphNode) -> Value:
    value = net.whole(net.value(node["input"][0]))
    return replace(value, name=activated(net, node["op"], node, value.name))


def lay_sum(net: TfjsNetwork, node: GraphNode) -> Value:
    """Append a sum of two tensors, or merge an added bias into a convolution."""
    left, right = node["input"]
    bias, before = net.constant(right), net.node(left)
    if bias is None:
        one, other = net.whole(net.value(left)), net.whole(net.value(right))
        return replace(one, name=net.graph.op("Add", one.name, other.name))
    if before["op"] not in CONVOLUTIONS:
        raise ModelError(
            f"{net.file}: {node['name']} adds a constant to {before['op']}, which the export does not know"
        )
    return lay_convolution(net, before, right)


def lay_transpose(net: TfjsNetwork, node: GraphNode) -> Value:
    """Return a tensor with another axis order of the source; the ONNX graph needs no node."""
    value = net.value(node["input"][0])
    order = net.required_constant(node["input"][1]).tolist()
    return replace(value, axes=[order.index(axis) for axis in value.axes])


def lay_pad(net: TfjsNetwork, node: GraphNode) -> Value:
    """Defer padding, so that the next operator can include it."""
    value = net.whole(net.value(node["input"][0]))
    before_after = net.required_constant(node["input"][1])[value.axes]
    fill = float(net.required_constant(node["input"][2])) if node["op"] == "PadV2" else 0.0
    if before_after[:2].any():
        raise ModelError(f"{net.file}: {node['name']} pads channels, which the export does not know")
    return replace(value, margin=tuple(before_after[2:].T.ravel().tolist()), fill=fill)


def lay_concatenation(net: TfjsNetwork, node: GraphNode) -> Value:
    values = [net.whole(net.value(name)) for name in node["input"][:-1]]
    axis = values[0].axes.index(int(net.required_constant(node["input"][-1])) % 4)
    return replace(values[0], name=net.graph.op("Concat", *(value.name for value in values), axis=axis))


def lay_resize(net: TfjsNetwork, node: GraphNode) -> Value:
    """Append a resize by the factor that it has for the source's canvas."""
    value, size = net.whole(net.value(node["input"][0])), net.constant(node["input"][1])
    if size is None:  # a multiple of the input's size
        size = net.required_constant(net.node(node["input"][1])["input"][1]) * value.size
    if value.axes != CHANNELS_LAST or not node["attr"]["half_pixel_centers"]["b"]:
        raise ModelError(f"{net.file}: {node['name']} resizes in a way that the export does not know")
    scales = np.array([1.0, 1.0, *(size / value.size)])
    name = net.graph.op("Resize", value.name, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")
    return replace(value, name=name, size=size)


CONVOLUTIONS = ("Conv2D", "_FusedConv2D", "DepthwiseConv2dNative", "FusedDepthwiseConv2dNative")
LAYERS: dict[str, Callable[[TfjsNetwork, GraphNode], Value]] = {
    **dict.fromkeys(CONVOLUTIONS, lay_convolution),
    **dict.fromkeys(("Relu", "Relu6", "LeakyRelu", "Sigmoid"), lay_activation),
    **dict.fromkeys(("Add", "AddV2", "BiasAdd"), lay_sum),
    **dict.fromkeys(("Pad", "PadV2"), lay_pad),
    "MaxPool": lay_max_pool,
    "ConcatV2": lay_concatenation,
    "ResizeBilinear": lay_resize,
    "Transpose": lay_transpose,
}
