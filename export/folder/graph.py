"""Build ONNX graphs from named values; the model is pruned and checked."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, TypedDict, overload

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from cliffvid.tables import Array, Shape

OPSET = 17
IR_VERSION = 8
DTYPES = {
    "uint8": TensorProto.UINT8,
    "float16": TensorProto.FLOAT16,
    "float32": TensorProto.FLOAT,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
}

Constant: TypeAlias = float | Sequence[float] | Array
Attribute: TypeAlias = float | str | Sequence[int]


class Cells(TypedDict):
    """Attributes of a nearest-neighbour Resize."""

    mode: str
    nearest_mode: str
    coordinate_transformation_mode: str


class Graph:
    """Builder of a graph. Values are names (str); numbers and arrays given to ``op`` become shared constants.

    The same calls give the same bytes: nothing depends on time, versions or hash order.
    """

    def __init__(self, name: str, opset: int = OPSET) -> None:
        self.name, self.opset = name, opset
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self._shared: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._count = 0

    def input(self, name: str, dtype: str, shape: Shape) -> str:
        """Declare an input; a str in ``shape`` is a dynamic axis."""
        self.inputs.append(helper.make_tensor_value_info(name, DTYPES[dtype], shape))
        return name

    def output(self, value: str, name: str, dtype: str, shape: Shape) -> None:
        """Declare ``value`` as the output ``name``."""
        if value != name:
            self.op("Identity", value, name=name)
        self.outputs.append(helper.make_tensor_value_info(name, DTYPES[dtype], shape))

    @overload
    def op(  # type: ignore[overload-overlap]  # a non-literal count is above 1
        self, kind: str, *values: str | Constant, name: str = "", outputs: Literal[1] = 1, **attributes: Attribute
    ) -> str: ...
    @overload
    def op(
        self, kind: str, *values: str | Constant, name: str = "", outputs: int, **attributes: Attribute
    ) -> list[str]: ...
    def op(
        self, kind: str, *values: str | Constant, name: str = "", outputs: int = 1, **attributes: Attribute
    ) -> str | list[str]:
        """Add a node; return the name of its output, or a list of names if ``outputs`` > 1.

        A value may be a name, "" for an absent optional input, an array, a number or a list of numbers.
        """
        self._count += 1
        name = name or f"{kind.lower()}_{self._count}"
        results = [name] if outputs == 1 else [f"{name}_{part}" for part in range(outputs)]
        inputs = [value if isinstance(value, str) else self.constant(value) for value in values]
        given: dict[str, Any] = attributes  # for make_node; none has the name of another of its parameters
        self.nodes.append(helper.make_node(kind, inputs, results, name=name, **given))
        return name if outputs == 1 else results

    def constant(self, value: Constant) -> str:
        """Return the name of a constant: floats become float32, integers int64; equal ones are shared."""
        array = np.asarray(value)
        array = np.ascontiguousarray(array, np.float32 if array.dtype.kind == "f" else np.int64)
        array = array.reshape(np.shape(value))  # ascontiguousarray turns a scalar into a vector
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._shared:
            name = f"constant_{len(self._shared)}"
            self.initializers[name] = numpy_helper.from_array(array, name)
            self._shared[key] = name
        return self._shared[key]

    def weight(self, value: NDArray[np.floating], name: str, half: bool = True) -> str:
        """Return the name of a float32 weight tensor, stored as float16 if ``half`` (runtimes fold the Cast).

        For a known name, the tensor given first is used.
        """
        stored = f"{name}_half" if half else name
        if stored in self.initializers:
            return name
        array = np.ascontiguousarray(value, np.float16 if half else np.float32)
        self.initializers[stored] = numpy_helper.from_array(array, stored)
        return self.op("Cast", stored, name=name, to=TensorProto.FLOAT) if half else name

    def model(self) -> onnx.ModelProto:
        """Return the checked model without unused nodes and constants."""
        needed = {value.name for value in self.outputs}
        nodes = []
        for node in reversed(self.nodes):
            if needed & set(node.output):
                nodes.append(node)
                needed |= set(node.input)
        kept = [tensor for name, tensor in self.initializers.items() if name in needed]
        graph = helper.make_graph(nodes[::-1], self.name, self.inputs, self.outputs, kept)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=IR_VERSION)
        model.producer_name = "cliffvid"
        onnx.checker.check_model(model, full_check=True)
        return model


def image_input(graph: Graph, name: str, height_px: int | str, width_px: int | str) -> str:
    """Declare an input of uint8 RGB (N,h,w,3); return it as float32 (N,3,h,w) in 0..1. Named sides are dynamic."""
    pixels = graph.op("Cast", graph.input(name, "uint8", ("N", height_px, width_px, 3)), to=TensorProto.FLOAT)
    return graph.op("Div", graph.op("Transpose", pixels, perm=[0, 3, 1, 2]), 255.0)


def to_bytes(model: onnx.ModelProto) -> bytes:
    """Return the bytes of an .onnx file."""
    data: bytes = model.SerializeToString(deterministic=True)
    return data
