"""Convert MediaPipe's pose_landmark network (BlazePose GHUM, a .tflite flatbuffer) to ONNX nodes."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np
import tflite

from cliffvid.errors import ModelError
from cliffvid.tables import Array

from ..folder.graph import Graph

DTYPES = {0: np.float32, 1: np.float16, 2: np.int32}  # tflite's TensorType
OUTPUTS = {"Identity": "landmarks", "Identity_1": "presence", "Identity_4": "world"}
OPERATORS = {code: name for name, code in vars(tflite.BuiltinOperator).items() if name.isupper()}
SAME = 0  # tflite's Padding: 0 SAME, 1 VALID
NO_ACTIVATION, RELU, RELU6 = 0, 1, 3  # tflite's ActivationFunctionType


class FlatTable(Protocol):
    """A table of a flatbuffer: where it is in which bytes."""

    Bytes: bytes
    Pos: int

    def Init(self, buf: bytes, pos: int) -> None: ...


class Operator(Protocol):
    """An operator of a tflite network."""

    def OpcodeIndex(self) -> int: ...
    def InputsLength(self) -> int: ...
    def Inputs(self, j: int) -> int: ...
    def Outputs(self, j: int) -> int: ...
    def BuiltinOptions(self) -> FlatTable: ...


class ConvolutionOptions(FlatTable, Protocol):
    """The options of a convolution."""

    def DilationHFactor(self) -> int: ...
    def DilationWFactor(self) -> int: ...
    def StrideH(self) -> int: ...
    def StrideW(self) -> int: ...
    def Padding(self) -> int: ...
    def FusedActivationFunction(self) -> int: ...


Kind = TypeVar("Kind", bound=FlatTable)


class TfliteNetwork:
    """Converter of a tflite network to nodes of ``graph``; tensors are identified by index, images become NCHW."""

    def __init__(self, graph: Graph, data: bytes, file: str) -> None:
        if data[4:8] != b"TFL3":
            raise ModelError(f"{file}: expected a TensorFlow Lite flatbuffer (TFL3), found {data[4:8]!r}")
        self.graph = graph
        self.file = file
        self.model = tflite.Model.GetRootAs(data, 0)
        self.main = self.model.Subgraphs(0)
        self.tensors = [self.main.Tensors(index) for index in range(self.main.TensorsLength())]
        self.constants: dict[int, Array] = {}
        self.values: dict[int, str] = {}
        for index, tensor in enumerate(self.tensors):
            buffer = self.model.Buffers(tensor.Buffer())
            if buffer.DataLength():
                array = np.frombuffer(buffer.DataAsNumpy().tobytes(), DTYPES[tensor.Type()])
                self.constants[index] = array.reshape(self.shape(index))

    def name(self, index: int) -> str:
        name: bytes = self.tensors[index].Name()
        return name.decode()

    def shape(self, index: int) -> list[int]:
        tensor = self.tensors[index]
        return [int(size) for size in tensor.ShapeAsNumpy()] if tensor.ShapeLength() else []

    def convert(self) -> None:
        """Convert every operator. Raises ModelError for an unsupported one."""
        for position in range(self.main.OperatorsLength()):
            operator: Operator = self.main.Operators(position)
            code = self.model.OperatorCodes(operator.OpcodeIndex())
            kind = OPERATORS[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
            if kind not in LAYERS:
                raise ModelError(f"{self.file}: operator {position} is {kind}, which the export does not know")
            inputs = [operator.Inputs(slot) for slot in range(operator.InputsLength())]
            LAYERS[kind](self, operator, inputs, operator.Outputs(0))

    def finish(self, kind: int, value: str, output: int) -> None:
        """Append the operator's fused activation, and register the result as tensor ``output``."""
        if kind == RELU:
            value = self.graph.op("Relu", value)
        elif kind == RELU6:
            value = self.graph.op("Clip", value, 0.0, 6.0)
        elif kind != NO_ACTIVATION:
            raise ModelError(f"{self.file}: activation {kind} of {self.name(output)} is not known to the export")
        self.values[output] = value


def options(operator: Operator, kind: Callable[[], Kind]) -> Kind:
    """Return an operator's options, read as the flatbuffer table ``kind``."""
    table = operator.BuiltinOptions()
    result = kind()
    result.Init(table.Bytes, table.Pos)
    return result


def same_pads(sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], padding: int) -> list[int]:
    """Return ONNX pads (top, left, bottom, right) for TensorFlow's SAME: the odd pixel goes right and bottom."""
    totals = [
        max((-(-size // stride) - 1) * stride + extent - size, 0) if padding == SAME else 0
        for size, extent, stride in zip(sizes, kernel, strides, strict=True)
    ]
    return [total // 2 for total in totals] + [total - total // 2 for total in totals]


def add_convolution(net: TfliteNetwork, operator: Operator, inputs: list[int], output: int) -> None:
    lay_convolution(net, options(operator, tflite.Conv2DOptions), inputs, output, axes=(0, 3, 1, 2), group=1)


def add_depthwise(net: TfliteNetwork, operator: Operator, inputs: list[int], output: int) -> None:
    channels = net.shape(inputs[0])[3]
    given = options(operator, tflite.DepthwiseConv2DOptions)
    lay_convolution(net, given, inputs, output, axes=(3, 0, 1, 2), group=channels)


def lay_convolution(
    net: TfliteNetwork,
    given: ConvolutionOptions,
    inputs: list[int],
    output: int,
    axes: tuple[int, int, int, int],
    group: int,
) -> None:
    """Append a convolution; ``axes`` transpose the tflite kernel to (outputs, inputs per group, rows, columns)."""
    if (given.DilationHFactor(), given.DilationWFactor()) != (1, 1):
        raise ModelError(f"{net.file}: {net.name(output)} is a dilated convolution, which the export does not know")
    kernel = net.constants[inputs[1]].transpose(axes)
    strides = [given.StrideH(), given.StrideW()]
    value = net.graph.op(
        "Conv",
        net.values[inputs[0]],
        net.graph.weight(kernel, f"kernel_{inputs[1]}"),
        net.graph.weight(net.constants[inputs[2]], f"bias_{inputs[2]}", half=False),
        kernel_shape=kernel.shape[2:],
        strides=strides,
        pads=same_pads(net.shape(inputs[0])[1:3], kernel.shape[2:], strides, given.Padding()),
        group=group,
    )
    net.finish(given.FusedActivationFunction(), value, output)


def add_sum(net: TfliteNetwork, operator: Operator, inputs: list[int], output: int) -> None:
    value = net.graph.op("Add", *[net.values[index] for index in inputs])
    net.finish(options(operator, tflite.AddOptions).FusedActivationFunction(), value, output)


def add_pad(net: TfliteNetwork, operator: Operator, inputs: list[int], output: int) -> None:
    before_after = net.constants[inputs[1]][[0, 3, 1, 2]]  # NHWC -> NCHW
    net.values[output] = net.graph.op("Pad", net.values[inputs[0]], before_after.T.ravel(), mode="constant")


def add_resize(net: TfliteNetwork, operator: Operator, inputs: list[int], output: int) -> None:
    given = options(operator, tflite.ResizeBilinearOptions)
    mode = "half_pixel" if given.HalfPixelCenters() else "asymmetric"
    mode = "align_corners" if given.AlignCorners() else mode
    scales = [1.0, 1.0, *(net.constants[inputs[1]] / np.array(net.shape(inputs[0])[1:3]))]
    net.values[output] = net.graph.op(
        "Resize",
        net.values[inputs[0]],
        "",
        np.array(scales),
        mode="linear",
        coordinate_transformation_mode=mode,
    )


def add_max_pool(net: TfliteNetwork, operator: Operator, inputs: list[int], output: int) -> None:
    given = options(operator, tflite.Pool2DOptions)
    kernel, strides = [given.FilterHeight(), given.FilterWidth()], [given.StrideH(), given.StrideW()]
    pads = same_pads(net.shape(inputs[0])[1:3], kernel, strides, given.Padding())
    value = net.graph.op("MaxPool", net.values[inputs[0]], kernel_shape=kernel, strides=strides, pads=pads)
    net.finish(given.FusedActivationFunction(), value, output)


def add_reshape(net: TfliteNetwork, operator: Operator, inputs: list[int], output: int) -> None:
    if net.shape(inputs[0])[1:3] != [1, 1]:  # else NCHW must be transposed back to NHWC first
        raise ModelError(f"{net.file}: {net.name(output)} reshapes an image, which the export does not know")
    net.values[output] = net.graph.op("Reshape", net.values[inputs[0]], [-1, *net.shape(output)[1:]])


def add_sigmoid(net: TfliteNetwork, operator: Operator, inputs: list[int], output: int) -> None:
    net.values[output] = net.graph.op("Sigmoid", net.values[inputs[0]])


def add_dequantize(net: TfliteNetwork, operator: Operator, inputs: list[int], output: int) -> None:
    net.constants[output] = net.constants[inputs[0]].astype(np.float32)


LAYERS: dict[str, Callable[[TfliteNetwork, Operator, list[int], int], None]] = {
    "CONV_2D": add_convolution,
    "DEPTHWISE_CONV_2D": add_depthwise,
    "ADD": add_sum,
    "PAD": add_pad,
    "RESIZE_BILINEAR": add_resize,
    "MAX_POOL_2D": add_max_pool,
    "RESHAPE": add_reshape,
    "LOGISTIC": add_sigmoid,
    "DEQUANTIZE": add_dequantize,
}


def add_blazepose(graph: Graph, data: bytes, image: str, file: str = "pose_landmark.tflite") -> dict[str, str]:
    """Append the network to ``graph``; ``image`` is float32 (N,3,256,256) RGB from 0 to 1.

    Return the names of ``landmarks`` (N,195): 39 points of x, y in crop pixels, z, visibility logit, presence
    logit; ``world`` (N,117): the points in metres; ``presence`` (N,1): probability of a person. The graph's pruning
    removes the other heads. Raises ModelError if the file is another network.
    """
    net = TfliteNetwork(graph, data, file)
    expected = [1, 256, 256, 3]
    if net.shape(net.main.Inputs(0)) != expected:
        raise ModelError(f"{file}: expected an input of {expected}, found {net.shape(net.main.Inputs(0))}")
    net.values[net.main.Inputs(0)] = image
    net.convert()
    found = {net.name(index): index for index in map(net.main.Outputs, range(net.main.OutputsLength()))}
    if not OUTPUTS.keys() <= found.keys():
        raise ModelError(f"{file}: expected outputs {', '.join(OUTPUTS)}, found {', '.join(found)}")
    return {meaning: net.values[found[name]] for name, meaning in OUTPUTS.items()}
