"""Build the ONNX graphs that prepare network inputs on a device: YUV to RGB, letterboxed frames and crops.

Each output pixel is a weighted sum over a small grid of rows and columns of a frame. The rule (linear, cubic, area;
borders; letterbox or crop) is in the indices and weights that video/images/gpu.py computes. So one small file serves
every frame size and every model. Resize would need a graph per frame size, and GridSample a float copy of the frame
per person.

``python -m cliffvid.export.folder.image_graphs`` writes them to cliffvid/models/backends, where the runtime reads them.
"""

import numpy as np
import onnx
from onnx import TensorProto

from cliffvid.models.backends.ort_images import FROM_NV12, FROM_PLANES, PICTURE
from cliffvid.tables import Shape

from .graph import Cells, Graph, to_bytes


def picture_graph() -> onnx.ModelProto:
    """Return the graph from frames (F,H,W,3) uint8 to images (P,h,w,3): ``exact`` in float32, ``rounded`` in uint8.

    ``rows`` (P,h,R) int64 are flat pixel indices of row starts, counted over all frames; ``columns`` (P,w,C) are the
    offsets to add. Their weights have the same shapes. Where the weights sum to 0, the pixel is ``fill`` (1,).
    """
    graph = Graph("picture")
    # TensorRT supports uint8 for inputs only; float16 holds 0 to 255 exactly, in half the memory of float32
    frames = graph.op("Cast", graph.input("frames", "uint8", ("F", "H", "W", 3)), to=TensorProto.FLOAT16)
    rows, columns = graph.input("rows", "int64", ("P", "h", "R")), graph.input("columns", "int64", ("P", "w", "C"))
    row_weights = graph.input("row_weights", "float32", ("P", "h", "R"))
    column_weights = graph.input("column_weights", "float32", ("P", "w", "C"))
    fill = graph.input("fill", "float32", (1,))

    def crossed(kind: str, by_row: str, by_column: str) -> str:
        """Return the outer combination (P,h,w,R,C) of a value per row and one per column."""
        return graph.op(kind, graph.op("Unsqueeze", by_row, [2, 4]), graph.op("Unsqueeze", by_column, [1, 3]))

    taken = graph.op("Gather", graph.op("Reshape", frames, [-1, 3]), crossed("Add", rows, columns), axis=0)
    above = graph.op("Sub", graph.op("Cast", taken, to=TensorProto.FLOAT), fill)
    weights = graph.op("Unsqueeze", crossed("Mul", row_weights, column_weights), [5])
    blend = graph.op("ReduceSum", graph.op("Mul", above, weights), [3, 4], keepdims=0)
    exact = graph.op("Add", blend, fill)
    graph.output(exact, "exact", "float32", ("P", "h", "w", 3))
    _rounded(graph, exact, "rounded", ("P", "h", "w", 3))
    return graph.model()


def planes_graph() -> onnx.ModelProto:
    """Return the graph from uint8 planes ``y`` (N,H,W), ``u``, ``v`` (N,H/2,W/2) to ``rgb`` (N,H,W,3), see _rgb."""
    graph = Graph("planes")

    def channel(name: str, *sides: str) -> str:
        plane = graph.op("Cast", graph.input(name, "uint8", ("N", *sides)), to=TensorProto.FLOAT)
        return graph.op("Unsqueeze", plane, [1])

    bright, *colour = channel("y", "H", "W"), channel("u", "h", "w"), channel("v", "h", "w")
    _rgb(graph, bright, graph.op("Concat", *colour, axis=1))
    return graph.model()


def nv12_graph() -> onnx.ModelProto:
    """Return the graph from NV12 planes ``y`` (H,P) and ``uv`` (H/2,Q) uint8 to ``rgb`` (1,H,W,3) uint8, see _rgb.

    Lines are padded beyond the frame's ``width`` (1,) int64, which is even. A line of ``uv`` has interleaved U and V.
    """
    graph = Graph("nv12")
    width = graph.input("width", "int64", (1,))

    def cut(name: str, *sides: str) -> str:
        plane = graph.op("Cast", graph.input(name, "uint8", sides), to=TensorProto.FLOAT)
        return graph.op("Slice", plane, [0], width, [1])

    bright, pairs = cut("y", "H", "P"), graph.op("Reshape", cut("uv", "h", "Q"), [0, -1, 2])
    colour = graph.op("Transpose", pairs, perm=[2, 0, 1])
    _rgb(graph, graph.op("Unsqueeze", bright, [0, 1]), graph.op("Unsqueeze", colour, [0]))
    return graph.model()


def _rgb(graph: Graph, bright: str, colour: str) -> None:
    """Declare the output ``rgb`` (N,H,W,3) uint8 from luma (N,1,H,W) and chroma (N,2,H/2,W/2).

    R, G and B are ``matrix`` (3,3) times Y, U and V, plus ``offset`` (3,). Four pixels share a chroma sample, as in
    FFmpeg without scaling.
    """
    twice = np.array([1.0, 1.0, 2.0, 2.0])
    how: Cells = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    colour = graph.op("Resize", colour, "", twice, **how)
    yuv = graph.op("Transpose", graph.op("Concat", bright, colour, axis=1), perm=[0, 2, 3, 1])
    matrix = graph.op("Transpose", graph.input("matrix", "float32", (3, 3)), perm=[1, 0])
    rgb = graph.op("Add", graph.op("MatMul", yuv, matrix), graph.input("offset", "float32", (3,)))
    _rounded(graph, rgb, "rgb", ("N", "H", "W", 3))


def _rounded(graph: Graph, value: str, name: str, shape: Shape) -> None:
    whole = graph.op("Clip", graph.op("Round", value), 0.0, 255.0)
    # the Cast is the output: TensorRT has no Identity for uint8
    graph.output(graph.op("Cast", whole, to=TensorProto.UINT8, name=name), name, "uint8", shape)


if __name__ == "__main__":
    PICTURE.write_bytes(to_bytes(picture_graph()))
    FROM_PLANES.write_bytes(to_bytes(planes_graph()))
    FROM_NV12.write_bytes(to_bytes(nv12_graph()))
