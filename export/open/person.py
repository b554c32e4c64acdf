"""person-open, the detector: NanoDet-g for people of all sizes, and MoveNet's eye for the large ones in one network."""

from math import log

import onnx
from onnx import TensorProto

from ..folder.graph import Graph
from ..yolov3.onnx_graph import CANDIDATES, rank
from .movenet import add_movenet
from .nanodet import add_nanodet

FOLDER = "package/models/"
CANVAS_PX, LEAST_PX, STEP_PX = 608, 128, 32  # below LEAST_PX there are fewer cells than candidates
SMALL_PX = 256  # MoveNet's canvas, where NanoDet's is CANVAS_PX
# NanoDet takes and loses people who fill the frame from one canvas to the next; MoveNet is good at these alone. Its
# score counts fully from the second length of a box on, and not at all below the first: a step would make a person of a
# rounding error.
LARGE_PX = 0.3 * CANVAS_PX, 0.4 * CANVAS_PX
SCORE_MIN, MOVENET_SCORE_MIN = 0.4, 0.2  # where each of the two is sure enough
RULES = {
    "letterbox": {
        **{"width_px": CANVAS_PX, "height_px": CANVAS_PX, "interpolation": "linear", "fill": 128},
        **{"least_px": LEAST_PX, "step_px": STEP_PX, "shape": "frame"},
    },
    "selection": {"score": "objectness", "score_min": SCORE_MIN, "iou_max": 0.45, "iou_offset_px": 0},
}


def person_graph(files: dict[str, bytes]) -> onnx.ModelProto:
    """The detector as a graph: ``image`` uint8 (N,H,W,3) RGB -> ``box_px``, ``objectness``, ``class_prob``.

    H and W are multiples of STEP_PX from LEAST_PX to CANVAS_PX. Boxes are xyxy in canvas pixels, best first; the two
    scores are one and the same.
    """
    graph = Graph("person-open")
    pixels = graph.op("Cast", graph.input("image", "uint8", ("N", "H", "W", 3)), to=TensorProto.FLOAT)
    picture = graph.op("Transpose", pixels, perm=[0, 3, 1, 2])
    nanodet, movenet = (
        [files[f"{FOLDER}{name}{ending}"] for ending in (".json", ".bin")] for name in ("nanodet", "movenet-multipose")
    )
    boxes, score = add_nanodet(graph, *nanodet, picture, CANVAS_PX)
    small, scale = shrink(graph, picture)
    large_boxes, large_score = add_movenet(graph, *movenet, small, SMALL_PX)
    large_boxes = graph.op("Mul", large_boxes, scale)
    all_scores = graph.op("Concat", score, weigh(graph, large_boxes, large_score), axis=2)
    rank(graph, graph.op("Concat", boxes, large_boxes, axis=2), all_scores, all_scores, "objectness", CANDIDATES)
    return graph.model()


def shrink(graph: Graph, picture: str) -> tuple[str, str]:
    """Return the picture with sides as MoveNet takes them, and what brings boxes (N,4,A) back.

    The nearest multiples of STEP_PX to SMALL_PX for CANVAS_PX: that stretches the picture a little.
    """
    sides = graph.op("Shape", picture, start=2, end=4)
    unit = CANVAS_PX * STEP_PX
    steps = graph.op("Div", graph.op("Add", graph.op("Mul", sides, SMALL_PX), unit // 2), unit)
    small = graph.op("Mul", steps, STEP_PX)
    sizes = graph.op("Concat", graph.op("Shape", picture, start=0, end=2), small, axis=0)
    how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    yx = graph.op("Div", *(graph.op("Cast", value, to=TensorProto.FLOAT) for value in (sides, small)))
    scale = graph.op("Reshape", graph.op("Gather", yx, [1, 0, 1, 0], axis=0), [1, 4, 1])
    return graph.op("Resize", picture, "", "", sizes, **how), scale


def weigh(graph: Graph, boxes: str, score: str) -> str:
    """Return MoveNet's scores (N,1,A) as they count beside NanoDet's."""
    low, high = graph.op("Split", boxes, [2, 2], outputs=2, axis=1)
    longest = graph.op("ReduceMax", graph.op("Sub", high, low), axes=[1], keepdims=1)
    least, enough = LARGE_PX
    large = graph.op("Clip", graph.op("Div", graph.op("Sub", longest, least), enough - least), 0.0, 1.0)
    # a power keeps what is likelier likelier, up to 1
    return graph.op("Mul", graph.op("Pow", score, log(SCORE_MIN) / log(MOVENET_SCORE_MIN)), large)
