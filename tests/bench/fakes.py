"""Networks that cost nothing: the shapes and rules of the official ones, the same answer to everything."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from cliffvid.models.manifest import Manifest, Tensor
from cliffvid.pipeline.networks import Models
from cliffvid.rules import BboxInfo, CropRule, Letterbox, Selection

DETECTOR_PX = 416


class Constant:
    """A Session that answers the same to everything; see backends.Session."""

    backend, device, precision = "constant", "cpu", "fp32"
    warnings: ClassVar[list[str]] = []
    pictures, turn_wait_s = None, 0.0

    def __init__(self, manifest: Manifest, answers: Mapping[str, np.ndarray]) -> None:
        self.manifest, self.answers, self.warnings = manifest, answers, []

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        n = len(next(iter(inputs.values())))
        return {name: np.repeat(row[None], n, axis=0) for name, row in self.answers.items()}

    def pad_to(self, rows: int) -> None: ...
    def close(self) -> None: ...
    def __enter__(self) -> "Constant":
        return self

    def __exit__(self, *_) -> None: ...


class Injected(Constant):
    """A Session that really runs, and then answers what is wanted: random weights find thousands of people."""

    def __init__(self, session, answers: Callable[[tuple[int, int]], Mapping[str, np.ndarray]]) -> None:
        self.manifest, self.session = session.manifest, session
        self.answers_on = answers  # by the canvas's width and height
        self.backend, self.device, self.precision = session.backend, session.device, session.precision

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.session.run(inputs)
        height, width = inputs["image"].shape[1:3]
        self.answers = self.answers_on((width, height))
        return super().run(inputs)

    def pad_to(self, rows: int) -> None:
        self.session.pad_to(rows)

    @property
    def pictures(self):
        return self.session.pictures

    @property
    def warnings(self) -> list[str]:
        return self.session.warnings

    def close(self) -> None:
        self.session.close()


def people_seen(
    people: int, slots: int = 300, canvas_wh: tuple[int, int] = (DETECTOR_PX, DETECTOR_PX)
) -> dict[str, np.ndarray]:
    """A detector's answer to one 16:9 frame: ``people`` side by side, half as high as the frame if there is room."""
    wide, middle = canvas_wh[0], canvas_wh[1] / 2
    each = wide / max(people, 1)
    high = min(wide * 9 / 32, 2.5 * each)
    box = np.zeros((slots, 4), np.float32)
    x = (np.arange(people) + 0.5) * each
    sides = x - high / 5, x * 0 + middle - high / 2, x + high / 5, x * 0 + middle + high / 2
    box[:people] = np.stack(sides, axis=1)
    score = (np.arange(slots) < people).astype(np.float32) * np.linspace(0.95, 0.7, slots, dtype=np.float32)
    return {"box_px": box, "objectness": score, "class_prob": score}


def constant_models(people: int) -> Models:
    """A detector with the official YOLOv3's contract that sees ``people``, a regressor with the official CLIFF's."""
    side = DETECTOR_PX
    slots = ("N", 300)
    detector = _manifest(
        "detect",
        {"image": Tensor("uint8", ("N", side, side, 3))},
        {name: Tensor("float32", (*slots, 4) if name == "box_px" else slots) for name in people_seen(0)},
        letterbox=Letterbox(width_px=side, height_px=side, interpolation="cubic", fill=128),
        selection=Selection(score="objectness", score_min=0.5, iou_max=0.4, iou_offset_px=1),
    )
    answers = {
        "rotmat": np.repeat(np.eye(3, dtype=np.float32)[None], 24, axis=0),
        "betas": np.zeros(10, np.float32),
        "camera": np.array([0.9, 0, 0], np.float32),
    }
    regressor = _manifest(
        "regress",
        {"crop": Tensor("float32", ("N", 256, 192, 3)), "bbox_info": Tensor("float32", ("N", 3))},
        {name: Tensor("float32", ("N", *row.shape)) for name, row in answers.items()},
        crop=CropRule(width_px=192, height_px=256, box_scale=1.1, size_side="height"),
        bbox_info=BboxInfo(centre_scale=2.8, size_offset=0.24, size_scale=0.06),
    )
    return Models(Constant(detector, people_seen(people)), Constant(regressor, answers))


def _manifest(task: str, inputs: dict, outputs: dict, **rules) -> Manifest:
    return Manifest(
        folder=Path(),
        name=f"constant-{task}",
        task=task,
        summary="answers the same to everything",
        licence="none",
        rank=0,
        files={"model.onnx": ""},
        inputs=inputs,
        outputs=outputs,
        rules=rules,
        body="smpl",
    )
