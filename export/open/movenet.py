"""Convert the person detector of MoveNet MultiPose, a TensorFlow.js graph model, to ONNX nodes."""

import numpy as np

from ..folder.graph import Graph
from .tfjs import CHANNELS_LAST, TfjsNetwork, Value

# Names in the file: the image in -1..1, and the heads, with a stride of STRIDE_PX.
INPUT = "StatefulPartitionedCall/sub_1"
CENTRE = "StatefulPartitionedCall/center_0/conv2d_4/BiasAdd"  # logit of a person's centre
SIZE = "StatefulPartitionedCall/box_scale_0/conv2d_5/BiasAdd"  # height and width, in cells
OFFSET = "StatefulPartitionedCall/box_offset_0/conv2d_6/BiasAdd"  # y and x of the centre, from the cell, in cells
SIZE_PX = 256  # canvas size in the file
STRIDE_PX = 4


def add_movenet(graph: Graph, model: bytes, weights: bytes, picture: str, most_px: int) -> tuple[str, str]:
    """Append the network to ``graph``; ``picture`` is float32 (N,3,H,W) RGB 0..255, sides multiples of 32 to most_px.

    Return boxes (N,4,A), xyxy in image pixels, and person probabilities (N,1,A) of all cells. The keypoint heads are
    left out.
    """
    value = graph.op("Sub", graph.op("Div", picture, 127.5), 1.0)
    net = TfjsNetwork(graph, model, weights, "movenet")
    net.values[INPUT] = Value(value, np.array([SIZE_PX, SIZE_PX]), CHANNELS_LAST)
    centre, size, offset = (net.value(name).name for name in (CENTRE, SIZE, OFFSET))
    # a table for the largest canvas, sliced to the cells of this one
    cells = np.mgrid[: most_px // STRIDE_PX, : most_px // STRIDE_PX].astype(np.float64)
    here = graph.op("Slice", cells, [0, 0], graph.op("Shape", centre, start=2, end=4), [1, 2])
    middle, half = graph.op("Add", offset, here), graph.op("Mul", size, 0.5)
    corners = graph.op("Concat", graph.op("Sub", middle, half), graph.op("Add", middle, half), axis=1)
    boxes = graph.op("Mul", graph.op("Gather", corners, [1, 0, 3, 2], axis=1), float(STRIDE_PX))
    return graph.op("Reshape", boxes, [0, 4, -1]), graph.op("Reshape", graph.op("Sigmoid", centre), [0, 1, -1])
