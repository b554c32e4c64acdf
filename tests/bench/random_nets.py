"""Real networks with random weights: for measuring, where the official weights are not at hand.

What they answer means nothing; what they cost is what the official ones cost.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx

from cliffvid.export.cliff.export import describe, trace
from cliffvid.export.folder.graph import to_bytes
from cliffvid.export.folder.int8 import quantise
from cliffvid.export.folder.model_folder import describe_detector, with_manifest
from cliffvid.export.yolov3.files import STEP_PX, read_network
from cliffvid.export.yolov3.onnx_graph import canvas_limits, export_darknet
from cliffvid.files import write_folder

from .eager import CFG, random_cliff, yolov3_weights

SIZE_PX = 416
NAMES = ("random-yolov3", "random-cliff-hr48")


def random_models(folder: Path, say: Callable[[str], None]) -> Path:
    """The model folders NAMES in ``folder``, made unless they are there; returns it."""
    for name, make in zip(NAMES, (_make_detector, _make_regressor), strict=True):
        if not (folder / name / "model.int8.onnx").exists():
            say(f"{folder / name}: making it, which takes minutes")
            make(folder, name)
    return folder


def _make_detector(folder: Path, name: str) -> None:
    model = export_darknet(
        CFG, yolov3_weights(folder), SIZE_PX, score="objectness", person_must_be_argmax=True, half=False
    )
    layers, _ = read_network(CFG)
    least_px, count = canvas_limits(layers, SIZE_PX)
    canvas = {"width_px": SIZE_PX, "height_px": SIZE_PX, "interpolation": "cubic", "fill": 128}
    manifest = {
        "name": name,
        "task": "detect",
        "rank": -1,
        "summary": "YOLOv3 with random weights: for measuring alone",
        "licence": "none",
        "source": [],
        **describe_detector(count),
        "letterbox": canvas | {"least_px": least_px, "step_px": STEP_PX, "shape": "square"},
        "selection": {"score": "objectness", "score_min": 0.5, "iou_max": 0.4, "iou_offset_px": 1},
        "parity": {},
    }
    asked = {"image": patches(8, (SIZE_PX, SIZE_PX))}
    write_folder(folder / name, with_manifest(manifest, _files(model, asked)))


def _make_regressor(folder: Path, name: str) -> None:
    network = random_cliff()
    said = describe(network.variant, folder / "random-yolov3.weights", name)
    said |= {"rank": -1, "source": [], "summary": "CLIFF with random weights: for measuring alone", "parity": {}}
    height, width = said["inputs"]["crop"]["shape"][1:3]
    bbox_info = np.random.default_rng(0).uniform(-1, 1, (8, 3)).astype(np.float32)
    asked = {"crop": patches(8, (height, width)).astype(np.float32), "bbox_info": bbox_info}
    write_folder(folder / name, with_manifest(said, _files(trace(network), asked)))


def _files(model: onnx.ModelProto, asked: dict[str, np.ndarray]) -> dict[str, bytes]:
    return {"model.onnx": to_bytes(model), "model.int8.onnx": to_bytes(quantise(model, [asked]))}


def patches(count: int, size_hw: tuple[int, int]) -> np.ndarray:
    """Images (N,H,W,3) uint8 of coarse patches, which exercise the networks as pictures do."""
    coarse = np.random.default_rng(0).integers(0, 256, (count, size_hw[0] // 32, size_hw[1] // 32, 3), np.uint8)
    return coarse.repeat(32, axis=1).repeat(32, axis=2)
