"""Define the structure of a manifest and check it, see ``metadata.violation``."""

import math
from typing import Any, TypeAlias

from ..metadata import SIDE, Between, Text, violation

Content: TypeAlias = dict[str, Any]  # of a manifest, as json reads it
SAMPLES = "samples.npz"
FIGURE, ERROR = Between(-1e9, 1e9), Between(0, 1e9)
MEASURED = Between(0, math.inf, nan=True)  # NaN where outputs were not finite
NAME = Text(r"[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]{0,59}", "a name of 1 to 60 letters, as folders have")
SHA256 = Text("[0-9a-f]{64}", "a SHA-256 in hexadecimal")
PIXELS = range(1, 1 << 14)
DTYPES = frozenset({"uint8", "float16", "float32"})
# The first axis is the batch axis; the sides of an image may be free.
INPUT = {"dtype": DTYPES, "shape": [(SIDE, frozenset({"N", "H", "W"}))], "unit?": str}
OUTPUT = {"dtype": DTYPES, "shape": [(SIDE, frozenset({"N"}))], "unit?": str}
# Required where the folder has samples.
PARITY = {"reference": str, "bound": {str: ERROR}}
MANIFEST = {
    "name": NAME,
    "summary": str,
    "licence": str,
    "rank": range(-1000, 1001),
    "files": {NAME: SHA256},
    "inputs?": {NAME: INPUT},
    "outputs?": {NAME: OUTPUT},
    "source?": [{"file": str}],
    "parity?": {
        "reference?": str,
        "bound?": {str: ERROR},
        "accepted?": {str: {str: ERROR}},
        "left_out?": {str: str},
        "max_abs?": {},
    },
    "quality?": [
        {
            "backend": str,
            "precision": frozenset({"fp32", "tf32", "bf16", "fp16", "int8"}),
            "device": str,
            "machine": str,
            "version": str,
            "network": SHA256,
            "clip": str,
            "items_per_s": Between(1e-9, 1e9),
            "persons": range(1 << 53),
            "persons_changed_percent": MEASURED,
        }
    ],
    "copy_of?": SHA256,
}
# Further fields by task.
RULES = {
    "detect": {
        "inputs": {"image": INPUT},
        "quality?": [{"box_shift_p99_percent": MEASURED}],
        "outputs": {"box_px": OUTPUT, "objectness": OUTPUT, "class_prob": OUTPUT},
        "letterbox": {
            "width_px": PIXELS,
            "height_px": PIXELS,
            "interpolation": frozenset({"linear", "cubic", "area"}),
            "fill": range(256),
            "least_px?": (PIXELS, None),
            "step_px?": PIXELS,
            "shape?": frozenset({"square", "frame"}),
        },
        "selection": {
            "score": frozenset({"objectness", "product"}),
            "score_min": Between(0, 1),
            "iou_max": Between(0, 1),
            "iou_offset_px": Between(0, 100),
        },
    },
    "regress": {
        "inputs": {"crop": INPUT, "bbox_info?": INPUT},
        "quality?": [{"rotation_median_deg": MEASURED, "rotation_p99_deg": MEASURED}],
        "crop": {
            "width_px": PIXELS,
            "height_px": PIXELS,
            "box_scale": Between(0.1, 10),
            "size_side": frozenset({"height", "width"}),
            "fit?": frozenset({"aspect", "square"}),
            "corners?": frozenset({"round", "truncate", "exact"}),
            "resample?": frozenset({"bilinear", "antialias"}),
            "cut_aspect?": Between(0, 10),
        },
        "bbox_info": {"centre_scale": FIGURE, "size_offset": FIGURE, "size_scale": Between(1e-6, 1e6)},
        "body?": NAME,
    },
    "body": {},
}


def check(manifest: Content) -> None:
    """Raise ValueError for a manifest of a known task whose content is invalid."""
    if found := violation(manifest, MANIFEST) or violation(manifest, RULES[manifest["task"]]):
        raise ValueError(found)
    if SAMPLES in manifest["files"] and (found := violation(manifest, {"parity": PARITY})):
        raise ValueError(found)
    if "letterbox" in manifest:
        rule = manifest["letterbox"]
        sides = ["H", "W"] if rule.get("least_px") else [rule["height_px"], rule["width_px"]]
        _check_inputs(manifest, {"image": ["N", *sides, 3]})
    if "crop" in manifest:
        rule = manifest["crop"]
        _check_inputs(manifest, {"crop": ["N", rule["height_px"], rule["width_px"], 3], "bbox_info": ["N", 3]})
        if rule.get("corners") == "exact" and rule.get("resample", "bilinear") != "bilinear":
            raise ValueError(f"crop.corners is 'exact' and crop.resample {rule['resample']!r}: such a warp is bilinear")


def _check_inputs(manifest: Content, expected: dict[str, list[object]]) -> None:
    for name, spec in manifest["inputs"].items():
        if spec["shape"] != expected.get(name):
            raise ValueError(f"inputs.{name} is {spec['shape']}, expected {expected.get(name)} by its rules")
