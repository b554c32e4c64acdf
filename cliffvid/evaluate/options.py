"""Define the options of evaluation and of pseudo-ground-truth pages."""

# ruff: noqa: RUF009  (option() makes a field, as dataclasses.field does)
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

from ..option import check_values, option
from ..view.options import Renderer


@dataclass(frozen=True)
class EvalOptions:
    """Settings of evaluating tracks against ground truth. Raises UsageError for an invalid value."""

    protocol: Literal["demo", "paper"] = option(
        "demo", "demo: what a user gets. paper: true boxes x 1.2 and the known focal length."
    )
    joint_regressor: Path | None = option(
        None, "Joints as weights of vertices: .npy of shape (J, V).", "SMPL's skeleton"
    )
    truth_body: str | None = option(None, "Body posed by the ground truth.", "SMPL of each person's gender")
    iou_min: float | None = option(
        None, "Minimum IoU of a match between a track and the truth.", "the protocol's", least=0, below=1
    )

    def __post_init__(self) -> None:
        check_values(self)


@dataclass(frozen=True)
class PseudoGTViewOptions:
    """Settings of a page of pseudo-ground-truth. Raises UsageError for an invalid value."""

    per: Literal["image", "subject"] = option("image", "Show all people of an image, or one subject at a time.")
    most: int = option(50, "Most images or subjects to show.", flags=("--max",), least=1)
    start: int = option(0, "Images or subjects to skip first.", least=0)
    body: str | None = option(None, "Draw another body, such as smpl-male.", "the file's, else smpl")
    skeleton_only: bool = option(False, "Draw S instead of the body; needs no body file and no renderer.")
    renderer: Renderer = option("auto", "Renderer of the bodies. auto: the first one installed.")

    def __post_init__(self) -> None:
        check_values(self)


# Written by `make docs-reference`, from the above, for checkers of types.
class EvalKeywords(TypedDict, total=False):
    """Fields of EvalOptions, as keywords."""

    protocol: Literal["demo", "paper"]
    joint_regressor: Path | None
    truth_body: str | None
    iou_min: float | None
