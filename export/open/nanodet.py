"""Convert NanoDet-g, a COCO detector as a TensorFlow.js graph model, to ONNX nodes; person class only."""

import numpy as np

from ..folder.graph import Graph
from .tfjs import CHANNELS_FIRST, TfjsNetwork, Value

# The convolution before each head, by stride in pixels; names in the file.
HEADS = {8: "PartitionedCall/Add_29", 16: "PartitionedCall/Add_33", 32: "PartitionedCall/Add_37"}
INPUT = "input_1"
SIZE_PX = 416  # canvas size in the file
FRACTION_BITS = 7  # of kernels: more have no visible effect, and make the wheel a megabyte larger
CLASSES = 80  # the first is the person
BINS = 11  # of a distance distribution: 0 to 10 cells
MEAN, SPREAD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)  # of BGR pixels


def add_nanodet(graph: Graph, model: bytes, weights: bytes, picture: str, most_px: int) -> tuple[str, str]:
    """Append the network to ``graph``; ``picture`` is float32 (N,3,H,W) RGB 0..255, sides multiples of 32 to most_px.

    Return boxes (N,4,A), xyxy in image pixels, and person probabilities (N,1,A) of all cells.
    """
    blue_first = graph.op("Gather", picture, [2, 1, 0], axis=1)
    centred = graph.op("Sub", blue_first, np.reshape(MEAN, (1, 3, 1, 1)))
    value = graph.op("Div", centred, np.reshape(SPREAD, (1, 3, 1, 1)))
    net = TfjsNetwork(graph, model, weights, "nanodet", FRACTION_BITS)
    net.values[INPUT] = Value(value, np.array([SIZE_PX, SIZE_PX]), CHANNELS_FIRST)
    parts = [head(graph, net.value(name).name, stride_px, most_px) for stride_px, name in HEADS.items()]
    boxes, person = (graph.op("Concat", *part, axis=2) for part in zip(*parts, strict=True))
    return boxes, person


def head(graph: Graph, value: str, stride_px: int, most_px: int) -> tuple[str, str]:
    """Decode one head (N,80+44,h,w) to boxes and person scores; each box side is a distribution of its distance."""
    person, _, sides = graph.op("Split", value, [1, CLASSES - 1, 4 * BINS], outputs=3, axis=1)
    likely = graph.op("Softmax", graph.op("Reshape", sides, [0, 4, BINS, -1]), axis=2)
    distance_px = graph.op(
        "ReduceSum", graph.op("Mul", likely, np.arange(0.0, BINS)[:, None] * stride_px), [2], keepdims=0
    )
    before, after = graph.op("Split", distance_px, [2, 2], outputs=2, axis=1)
    # a table for the largest canvas, sliced to the cells of this one
    centre_px = (np.mgrid[: most_px // stride_px, : most_px // stride_px][::-1] + 0.5) * stride_px
    here = graph.op("Slice", centre_px, [0, 0], graph.op("Shape", value, start=2, end=4), [1, 2])
    centre = graph.op("Reshape", here, [1, 2, -1])
    boxes = graph.op("Concat", graph.op("Sub", centre, before), graph.op("Add", centre, after), axis=1)
    return boxes, graph.op("Reshape", graph.op("Sigmoid", person), [0, 1, -1])
