"""The graph that makes networks' pictures on a device: the letterboxed frame and the crops of people alike.

Each pixel is a weighted sum of pixels of a frame, of the same few columns in each of the same few rows, so that the
rule (linear, cubic, area; borders; letterbox or crop) lies in numbers which cliffvid.pictures computes, and one small
file serves every size of frame and every model. Resize would need a graph for each size of frame, and GridSample a
float copy of a frame for each person in it.

``python -m cliffvid.export.picture_graph`` writes it to where the runtime has it: cliffvid/backends/picture.onnx.
"""

import onnx
from onnx import TensorProto

from cliffvid.backends.ort_pictures import GRAPH

from .graph import Graph, to_bytes


def picture_graph() -> onnx.ModelProto:
    """Frames (F,H,W,3) uint8 to pictures (P,h,w,3): ``exact`` in float32, ``rounded`` in uint8.

    ``rows`` (P,h,R) int64 are numbers of a pixel where a row begins, counted through all frames, ``columns`` (P,w,C)
    those of the column to add; their weights have the same shapes. Weights that sum up to 0 leave ``fill`` (1,).
    """
    graph = Graph("picture")
    # TensorRT takes uint8 as an input alone; float16 holds 0 to 255 exactly, in half the memory of float32
    frames = graph.op("Cast", graph.input("frames", "uint8", ("F", "H", "W", 3)), to=TensorProto.FLOAT16)
    rows, columns = graph.input("rows", "int64", ("P", "h", "R")), graph.input("columns", "int64", ("P", "w", "C"))
    row_weights = graph.input("row_weights", "float32", ("P", "h", "R"))
    column_weights = graph.input("column_weights", "float32", ("P", "w", "C"))
    fill = graph.input("fill", "float32", (1,))

    def crossed(kind: str, by_row: str, by_column: str) -> str:
        """(P,h,w,R,C) of two that have rows and columns alone."""
        return graph.op(kind, graph.op("Unsqueeze", by_row, [2, 4]), graph.op("Unsqueeze", by_column, [1, 3]))

    taken = graph.op("Gather", graph.op("Reshape", frames, [-1, 3]), crossed("Add", rows, columns), axis=0)
    above = graph.op("Sub", graph.op("Cast", taken, to=TensorProto.FLOAT), fill)
    weights = graph.op("Unsqueeze", crossed("Mul", row_weights, column_weights), [5])
    blend = graph.op("ReduceSum", graph.op("Mul", above, weights), [3, 4], keepdims=0)
    exact = graph.op("Add", blend, fill)
    graph.output(exact, "exact", "float32", ("P", "h", "w", 3))
    whole = graph.op("Clip", graph.op("Round", exact), 0.0, 255.0)
    # straight from the Cast: TensorRT has no Identity of uint8
    graph.output(graph.op("Cast", whole, to=TensorProto.UINT8, name="rounded"), "rounded", "uint8", ("P", "h", "w", 3))
    return graph.model()


if __name__ == "__main__":
    GRAPH.write_bytes(to_bytes(picture_graph()))
