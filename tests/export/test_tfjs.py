"""The reader of TensorFlow.js's graph models.

That person-open answers as TensorFlow.js itself does is shown by test_open_samples.py, on a frame and on noise.
"""

import json

import numpy as np
import pytest

from cliffvid.errors import ModelError
from cliffvid.export.folder.graph import Graph, to_bytes
from cliffvid.export.open.tfjs import CHANNELS_FIRST, CHANNELS_LAST, TfjsNetwork, Value, shortened
from tfjs_reader import MOVENET, Reader

CONV = {"strides": {"list": {"i": ["1", "2", "2", "1"]}}, "padding": {"s": "U0FNRQ=="}, "dilations": {"list": {}}}


@pytest.fixture(scope="module")
def tfjs(sources, tmp_path_factory):
    return Reader(sources, tmp_path_factory.mktemp("tfjs"))


def test_movenets_first_step_is_ours(tfjs):
    """tfjs_reader hands the network what this makes of pixels; the file keeps 2 / 255 as a float16."""
    pixels = np.arange(1024).reshape(1, 32, 32, 1).repeat(3, axis=3) // 4
    (found,) = tfjs.run("movenet-multipose", "input", pixels, [f"{MOVENET}sub_1"], dtype="int32")
    np.testing.assert_allclose(found, pixels / 127.5 - 1, atol=5e-5)


def described(*nodes, **constants):
    """A graph model of some nodes, and the file of its constants."""
    table, data = [], b""
    for name, array in constants.items():
        kind = "int32" if array.dtype.kind == "i" else "float32"
        table.append({"name": name, "shape": array.shape, "dtype": kind, "quantization": {"dtype": str(array.dtype)}})
        data += array.tobytes()
    named = [{"name": "in", "op": "Placeholder"}, *({"name": name, "op": "Const"} for name in constants)]
    model = {"modelTopology": {"node": [*named, *nodes]}, "weightsManifest": [{"weights": table}]}
    return json.dumps(model).encode(), data


def node(name, op, *inputs, **attributes):
    return {"name": name, "op": op, "input": list(inputs), "attr": attributes}


def laid(model, weights, size=8, axes=CHANNELS_LAST):
    """A network with an input ``in`` of that size."""
    graph = Graph("test")
    net = TfjsNetwork(graph, model, weights, "net.json")
    net.values["in"] = Value(graph.input("in", "float32", ("N", 3, "H", "W")), np.array([size, size]), axes)
    return net


def test_a_pad_goes_to_the_side_that_the_source_means(open_session):
    """Rows and columns that differ, an odd pixel of SAME, and a margin before it: against sums written out."""
    kernel = np.random.default_rng(0).normal(size=(3, 2, 3, 4)).astype(np.float16)
    margin = np.array([[0, 0], [0, 0], [2, 1], [0, 1]], np.int32)
    nodes = (
        node("padded", "Pad", "in", "margin"),
        node("turned", "Transpose", "padded", "order"),
        node("out", "Conv2D", "turned", "kernel", **CONV),
    )
    net = laid(*described(*nodes, kernel=kernel, margin=margin, order=np.int32([0, 2, 3, 1])), axes=CHANNELS_FIRST)
    net.graph.output(net.value("out").name, "out", "float32", ("N", 4, "h", "w"))
    image = np.random.default_rng(1).normal(size=(1, 3, 8, 8)).astype(np.float32)
    (found,) = open_session(to_bytes(net.graph.model())).run(None, {"in": image})
    # 11 rows and 9 columns; for 6 and 5 steps of 2 SAME adds a row above and below, and a column to the right
    room = np.pad(image[0].astype(np.float64), ((0, 0), (3, 2), (0, 2)))
    wanted = np.zeros((4, 6, 5))
    for y, x in np.ndindex(6, 5):
        patch = room[:, 2 * y : 2 * y + 3, 2 * x : 2 * x + 2]
        wanted[:, y, x] = np.einsum("crx,rxck->k", patch, kernel.astype(np.float64))
    np.testing.assert_allclose(found[0], wanted, atol=1e-4)


def test_kernels_are_rounded_to_the_nearest_with_fewer_bits():
    values = np.random.default_rng(0).normal(size=2000).astype(np.float16)
    found = shortened(values, 7)
    assert (np.abs(found / values.astype(np.float64) - 1) <= 2**-8).all() and not (found.view(np.uint16) & 7).any()
    np.testing.assert_array_equal(shortened(values, 10), values)
    np.testing.assert_array_equal(shortened(np.array([0, -1, 1.999]), 7), [0, -1, 2])


@pytest.mark.parametrize(
    ("model", "weights", "told"),
    [
        (b"<html>", b"", "not a TensorFlow.js graph model"),
        (b'{"format": "layers-model"}', b"", "not a TensorFlow.js graph model"),
        (*described(a=np.zeros(4, np.float16))[:1], b"1234567", "cut short: 7 bytes, too few for a"),
        (*described(a=np.zeros(4, np.float16))[:1], b"123456789", "9 bytes of weights, expected 8"),
    ],
)
def test_another_file_is_refused(model, weights, told):
    with pytest.raises(ModelError, match=rf"net\.json: {told}"):
        TfjsNetwork(Graph("test"), model, weights, "net.json")


@pytest.mark.parametrize(
    ("unknown", "told"),
    [
        (node("out", "Erf", "in"), "out is Erf, which the export does not know"),
        (node("out", "Conv2D", "in", "a", **CONV | {"dilations": {"list": {"i": ["1", "2", "2", "1"]}}}), "of a kind"),
        (node("out", "Conv2D", "in", "a", **CONV | {"padding": {"s": "RVhQTElDSVQ="}}), "of a kind"),
        (node("out", "Pad", "in", "b"), "out pads channels"),
        (node("out", "Conv2D", "in", "in", **CONV), "in is computed"),
        (node("out", "Add", "in", "b"), "out adds a constant to Placeholder"),
    ],
)
def test_what_the_export_does_not_know_is_refused(unknown, told):
    constants = {"a": np.zeros((1, 1, 3, 1), np.float16), "b": np.int32([[0, 0], [0, 0], [0, 0], [1, 0]])}
    net = laid(*described(unknown, **constants))
    with pytest.raises(ModelError, match=rf"net\.json: .*{told}"):
        net.value("out")
