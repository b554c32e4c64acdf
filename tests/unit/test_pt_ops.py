"""Each operator that --backend torch knows, against onnxruntime's."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import needs

torch = needs.package("torch")
from cliffvid.backends.pt_ops import OPS  # noqa: E402

RNG = np.random.default_rng(0)


def real(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def whole(*values):
    return np.array(values, np.int64)


TIES = np.array([[1, 3, 3, 0, 3], [2, 2, 2, 2, 2]], np.float32)
IMAGE = real(2, 4, 6, 5)
ALL_SIDES = {"strides": [2, 1], "pads": [0, 1, 2, 3]}  # top, left, bottom, right: no two alike
CASES = [
    ("Abs", [real(3, 4)], {}),
    ("Add", [real(3, 4), real(4)], {}),
    ("ArgMax", [TIES], {"axis": 1, "keepdims": 0}),
    ("ArgMax", [TIES], {"axis": 1, "keepdims": 1, "select_last_index": 1}),
    ("Cast", [real(3) * 9], {"to": TensorProto.INT64}),
    ("Cast", [RNG.integers(0, 256, 9).astype(np.uint8)], {"to": TensorProto.FLOAT}),
    ("Clip", [real(9), np.float32(-0.5), np.float32(0.5)], {}),
    ("Clip", [real(9), "", np.float32(0.5)], {}),
    ("Concat", [real(2, 3), real(2, 1)], {"axis": -1}),
    ("Conv", [IMAGE, real(6, 4, 3, 2), real(6)], ALL_SIDES),
    ("Conv", [IMAGE, real(8, 2, 3, 3)], {"group": 2, "dilations": [2, 1], "pads": [1, 1, 1, 1]}),
    ("Div", [real(3, 4), real(4)], {}),
    ("Div", [whole(7, -7, 8), whole(2, 2, -3)], {}),
    ("Erf", [real(9)], {}),
    ("Exp", [real(9)], {}),
    ("Expand", [real(3, 1), whole(2, 1, 4)], {}),
    ("Gather", [real(3, 5), whole(1, -1, 0)], {"axis": 1}),
    ("Gather", [real(3, 5), np.array([[1, 2], [0, -2]], np.int64)], {"axis": 0}),
    ("Gather", [real(3, 5), np.int64(2)], {"axis": 1}),
    ("GatherND", [real(2, 5, 3), np.array([[[1], [4]], [[0], [2]]], np.int64)], {"batch_dims": 1}),
    ("GatherND", [real(2, 5, 3), np.array([[1, 4], [0, 2]], np.int64)], {}),
    ("Gemm", [real(2, 3), real(4, 3), real(4)], {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    ("Gemm", [real(3, 2), real(3, 4)], {"transA": 1}),
    ("GreaterOrEqual", [TIES, np.float32(2)], {}),
    ("Identity", [real(3)], {}),
    ("LayerNormalization", [real(2, 3, 4), real(4), real(4)], {"axis": -1, "epsilon": 0.1}),
    ("LeakyRelu", [real(9)], {"alpha": 0.1}),
    ("Less", [TIES, np.float32(2)], {}),
    ("MatMul", [real(2, 3, 4), real(4, 5)], {}),
    ("Max", [real(3, 4), real(4), real(3, 1)], {}),
    ("MaxPool", [IMAGE], {"kernel_shape": [3, 4], **ALL_SIDES}),
    ("MaxPool", [IMAGE], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    ("Min", [real(3, 4), real(4), real(3, 1)], {}),
    ("Mul", [real(3, 4), real(4)], {}),
    ("Neg", [real(3)], {}),
    ("Pad", [real(2, 3), whole(0, 1, 2, 3), np.float32(7)], {}),
    ("Pad", [real(2, 3), whole(0, 1, 2, 3)], {"mode": "constant"}),
    ("Pow", [np.abs(real(9)), np.float32(1.5)], {}),
    ("ReduceL2", [real(2, 3, 4), whole(1)], {"keepdims": 1}),
    ("ReduceMax", [real(2, 3, 4), whole(0, 2)], {"keepdims": 0}),
    ("ReduceMean", [real(2, 3, 4), whole(-1)], {"keepdims": 0}),
    ("ReduceMin", [real(2, 3, 4), whole(0, 2)], {"keepdims": 0}),
    ("ReduceSum", [real(2, 3, 4), whole(1, 2)], {}),
    ("Relu", [real(9)], {}),
    ("Reshape", [real(2, 3, 4), whole(0, -1)], {}),
    ("Resize", [IMAGE, "", np.array([1, 1, 3, 2], np.float32)],
     {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
    ("Resize", [IMAGE, "", np.array([1, 1, 3, 2], np.float32)],
     {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}),
    ("Shape", [IMAGE], {"start": 1, "end": 3}),
    ("Sigmoid", [real(9)], {}),
    ("Slice", [real(5, 6), whole(1, -3), whole(4, 2**62), whole(0, 1), whole(2, 1)], {}),
    ("Slice", [real(5, 6), whole(1), whole(-1)], {}),
    ("Softmax", [real(2, 3, 4)], {"axis": 1}),
    ("Split", [real(2, 7), whole(2, 5)], {"axis": 1}),
    ("Split", [real(2, 7)], {"axis": 1, "num_outputs": 3}),
    ("Sqrt", [np.abs(real(9))], {}),
    ("Squeeze", [real(2, 1, 3, 1), whole(1, -1)], {}),
    ("Sub", [real(3, 4), real(4)], {}),
    ("TopK", [TIES, whole(3)], {"axis": 1}),
    ("TopK", [real(3, 9), whole(4)], {"axis": 0 - 1, "largest": 0}),
    ("Transpose", [IMAGE], {"perm": [0, 2, 3, 1]}),
    ("Unsqueeze", [real(2, 3), whole(0, -1)], {}),
    ("Where", [np.array([[True], [False]]), real(2, 3), real(3)], {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("op", "inputs", "attributes"), CASES, ids=[f"{op}-{number}" for number, (op, *_) in enumerate(CASES)]
)
def test_answers_are_onnxruntimes(op, inputs, attributes):
    named = {f"in{number}": array for number, array in enumerate(inputs) if not isinstance(array, str)}
    outputs = [f"out{n}" for n in range({"TopK": 2, "Split": attributes.get("num_outputs", 2)}.get(op, 1))]
    names = [f"in{number}" if f"in{number}" in named else "" for number in range(len(inputs))]
    node = helper.make_node(op, names, outputs, **attributes)
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.asarray(array).dtype), np.shape(array))
        for name, array in named.items()
    ]
    graph = helper.make_graph([node], "one", infos, [onnx.ValueInfoProto(name=name) for name in outputs])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = session.run(None, {name: np.asarray(array) for name, array in named.items()})
    read = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    read = {name: value.decode() if isinstance(value, bytes) else value for name, value in read.items()}
    found = OPS[op](*[None if isinstance(array, str) else torch.tensor(array) for array in inputs], **read)
    for one, other in zip((found,) if len(outputs) == 1 else found, wanted, strict=True):
        assert one.numpy().dtype == other.dtype and one.shape == other.shape
        np.testing.assert_allclose(one.numpy(), other, rtol=1e-5, atol=1e-6)


def test_no_operator_is_left_out():
    assert {op for op, *_ in CASES} == set(OPS)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes"),
    [
        ("Conv", [IMAGE, real(6, 4, 3, 2)], {"auto_pad": "SAME_UPPER"}),
        ("Pad", [real(2, 3), whole(0, 1, 2, 3)], {"mode": "reflect"}),
        ("Resize", [IMAGE, None, np.ones(4, np.float32)],
         {"mode": "linear", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
        ("ReduceSum", [real(3)], {}),
    ],
)  # fmt: skip
def test_what_is_not_known_is_not_guessed(op, inputs, attributes):
    with pytest.raises(NotImplementedError):
        OPS[op](*[None if array is None else torch.tensor(array) for array in inputs], **attributes)
