"""Build the detector person-open: NanoDet-g for people of all sizes and MoveNet for large ones, in one network."""

from math import log

import onnx
from onnx import TensorProto

from ..folder.graph import Graph
from ..yolov3.onnx_graph import CANDIDATES, rank
from .movenet import add_movenet
from .nanodet import add_nanodet

FOLDER = "package/models/"
CANVAS_PX, LEAST_PX, STEP_PX = 608, 128, 32  # below LEAST_PX there are fewer cells than candidates
SMALL_PX = 256  # MoveNet's canvas for a NanoDet canvas of CANVAS_PX
# NanoDet detects frame-filling people unreliably from one canvas to the next; MoveNet is good at only these. Its score
# counts fully from the second box length on, and not below the first. With a step, rounding errors could add or remove
# a person.
LARGE_PX = 0.3 * CANVAS_PX, 0.4 * CANVAS_PX
SCORE_MIN, MOVENET_SCORE_MIN = 0.4, 0.2  # score thresholds of the two
RULES = {
    "letterbox": {
        **{"width_px": CANVAS_PX, "height_px": CANVAS_PX, "interpolation": "linear", "fill": 128},
        **{"least_px": LEAST_PX, "step_px": STEP_PX, "shape": "frame"},
    },
    "selection": {"score": "objectness", "score_min": SCORE_MIN, "iou_max": 0.45, "iou_offset_px": 0},
}


def person_graph(files: dict[str, bytes]) -> onnx.ModelProto:
    """Return the detector as a graph: ``image`` uint8 (N,H,W,3) RGB -> ``box_px``, ``objectness``, ``class_prob``.

    H and W are multiples of STEP_PX from LEAST_PX to CANVAS_PX. Boxes are xyxy in canvas pixels, best first; both
    scores are identical.
    """
    graph = Graph("person-open")
    pixels = graph.op("Cast", graph.input("image", "uint8", ("N", "H", "W", 3)), to=TensorProto.FLOAT)
    picture = graph.op("Transpose", pixels, perm=[0, 3, 1, 2])
    nanodet, movenet = (
        (files[f"{FOLDER}{name}.json"], files[f"{FOLDER}{name}.bin"]) for name in ("nanodet", "movenet-multipose")
    )
    boxes, score = add_nanodet(graph, *nanodet, picture, CANVAS_PX)
    small, scale = shrink(graph, picture)
    large_boxes, large_score = add_movenet(graph, *movenet, small, SMALL_PX)
    large_boxes = graph.op("Mul", large_boxes, scale)
    all_scores = graph.op("Concat", score, weigh(graph, large_boxes, large_score), axis=2)
    rank(graph, graph.op("Concat", boxes, large_boxes, axis=2), all_scores, all_scores, "objectness", CANDIDATES)
    return graph.model()


def shrink(graph: Graph, picture: str) -> tuple[str, str]:
    """Return the image resized for MoveNet, and the factors that scale boxes (N,4,A) back.

    Sides are scaled by SMALL_PX / CANVAS_PX to the nearest multiples of STEP_PX, which stretches the image slightly.
    """
    sides = graph.op("Shape", picture, start=2, end=4)
    unit = CANVAS_PX * STEP_PX
    steps = graph.op("Div", graph.op("Add", graph.op("Mul", sides, SMALL_PX), unit // 2), unit)
    small = graph.op("Mul", steps, STEP_PX)
    sizes = graph.op("Concat", graph.op("Shape", picture, start=0, end=2), small, axis=0)
    yx = graph.op("Div", *(graph.op("Cast", value, to=TensorProto.FLOAT) for value in (sides, small)))
    scale = graph.op("Reshape", graph.op("Gather", yx, [1, 0, 1, 0], axis=0), [1, 4, 1])
    resized = graph.op("Resize", picture, "", "", sizes, mode="linear", coordinate_transformation_mode="half_pixel")
    return resized, scale


def weigh(graph: Graph, boxes: str, score: str) -> str:
    """Return MoveNet's scores (N,1,A), rescaled to NanoDet's threshold and reduced for small boxes."""
    low, high = graph.op("Split", boxes, [2, 2], outputs=2, axis=1)
    longest = graph.op("ReduceMax", graph.op("Sub", high, low), axes=[1], keepdims=1)
    least, enough = LARGE_PX
    large = graph.op("Clip", graph.op("Div", graph.op("Sub", longest, least), enough - least), 0.0, 1.0)
    # a power keeps the order of scores, up to 1
    return graph.op("Mul", graph.op("Pow", score, log(SCORE_MIN) / log(MOVENET_SCORE_MIN)), large)
