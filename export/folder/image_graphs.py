"""Build the ONNX graphs that prepare network inputs on a device: letterboxed frames, crops and thumbnails.

Two passes make a picture: each of its lines is a weighted sum of a few lines of a frame, then each of its columns one
of a few columns of these. The rule (linear, cubic, area; borders; letterbox or crop) and the colours (RGB, or planes of
luma and chroma) are in the indices and weights that video/images/gpu.py computes. So one small graph serves every
frame size and every model, and no frame becomes RGB as a whole.

Bytes moved decide: samples stay uint8 until lines are summed, and an index stands for a tile of up to 64 pixels. Matrix
products sum, since onnxruntime has no fast reduction over an inner axis. Resize has no crop for each person, GridSample
and RoiAlign need whole frames in float32.

``python -m cliffvid.export.folder.image_graphs`` writes them to cliffvid/models/backends, where the runtime reads them.
"""

import onnx

from cliffvid.models.backends.ort_images import PICTURES

from .graph import DTYPES, Graph, to_bytes

OPSET = 19  # the first whose QuantizeLinear and DequantizeLinear take float16


def picture_graph(computed: str, dtype: str) -> onnx.ModelProto:
    """Return the graph from frames to pictures (P,h,w,3) of a dtype, see PendingGroup; ``computed`` in this dtype.

    ``samples`` (T,B) uint8 are the frames in tiles of B bytes, a picture's lines n are made of R lines of L planes.
    Of each, ``steps`` (N,) are taken: 0 to N - 1, added to ``starts`` (P,1,1,L) and ``lines`` (Q,n,R,L). Q is P or 1.
    Its columns m are made of K samples of each of 3 channels: ``places`` (Q,m,3K) among the samples taken, plus
    ``tables`` (P,1,1), the samples of all pictures before. ``matrix`` (3,3,1) makes red, green and blue of channels.
    """
    graph = Graph("picture", OPSET)
    samples = graph.input("samples", "uint8", ("T", "B"))
    starts = graph.input("starts", "int32", ("P", 1, 1, "L"))
    lines = graph.input("lines", "int32", ("Q", "n", "R", "L"))
    places, tables = graph.input("places", "int32", ("Q", "m", "3K")), graph.input("tables", "int32", ("P", 1, 1))
    steps, black = graph.input("steps", "int32", ("N",)), graph.input("black", "uint8", ("L",))

    def number(value: str | float, to: str = computed) -> str:
        return graph.op("Cast", value, to=DTYPES[to])

    scale = number(graph.input("scale", "float32", ("L",)))
    line_weights = number(graph.input("line_weights", "float32", ("Q", "n", 1, "R")))
    column_weights = graph.input("column_weights", "float32", ("Q", "m", 1, 1, "K"))
    colored = graph.op("Mul", column_weights, graph.input("matrix", "float32", (3, 3, 1)))
    mix = number(graph.op("Reshape", colored, [0, 0, 3, -1]))
    shapes = [graph.input(name, "int64", (length,)) for name, length in (("sides", 3), ("shape", 4))]
    margins, fill = graph.input("margins", "int64", (8,)), graph.input("fill", computed, ())  # in the host's memory

    tiles = graph.op("Add", graph.op("Unsqueeze", graph.op("Add", starts, lines), [4]), steps)
    taken = graph.op("DequantizeLinear", graph.op("Gather", samples, tiles, axis=0), scale, black, axis=3)
    summed = graph.op("MatMul", line_weights, graph.op("Reshape", taken, [0, 0, 0, -1]))
    table = graph.op("Flatten", graph.op("Transpose", graph.op("Squeeze", summed, [2]), perm=[0, 2, 1]), axis=2)
    columns = graph.op("MatMul", mix, graph.op("Gather", table, graph.op("Add", places, tables), axis=0))
    upright = graph.op("Transpose", graph.op("Reshape", columns, shapes[0]), perm=[0, 2, 1])
    whole = graph.op("Reshape", upright, shapes[1])
    if dtype == computed:
        graph.op("Pad", whole, margins, fill, name="picture")
    else:  # rounded, and within a byte
        one, least = number(1.0), number(0, "uint8")
        rounded = "picture" if dtype == "uint8" else "rounded"
        graph.op("QuantizeLinear", graph.op("Pad", whole, margins, fill), one, least, name=rounded)
        if rounded != "picture":
            graph.op("Cast", rounded, to=DTYPES[dtype], name="picture")
    graph.output("picture", "picture", dtype, ("P", "h", "w", 3))
    return graph.model()


if __name__ == "__main__":
    for which, path in PICTURES.items():
        path.write_bytes(to_bytes(picture_graph(*which)))
