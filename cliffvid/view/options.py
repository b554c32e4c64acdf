"""Define the options of drawing."""

# ruff: noqa: RUF009  (option() makes a field, as dataclasses.field does)
import math
from dataclasses import dataclass
from typing import Literal, TypedDict, get_args

from ..option import check_up, check_values, option
from ..options import END, OVERWRITE, START, UP, check_span

Renderer = Literal["auto", "gl", "pyrender"]
VISUALS: tuple[str, ...] = get_args(Literal["bbox", "front", "side"])


@dataclass(frozen=True)
class OverlayOptions:
    """Settings of drawing tracks on their video. Raises UsageError for an invalid value."""

    view: Literal["overlay", "side", "both", "skeleton"] = option(
        "overlay", "What to draw. side: seen from the right; skeleton: needs no renderer."
    )
    boxes: bool = option(False, "Draw the bounding boxes too.")
    ids: bool = option(False, "Write the track ids too.")
    renderer: Renderer = option("auto", "Renderer of the bodies. auto: the first one installed.")
    alpha: float = option(0.9, "Opacity of the bodies.", above=0, most=1)
    up: str = option("auto", UP)
    body: str | None = option(None, "Draw another body of the same family, such as smpl-male.", "the tracks' own")
    track: tuple[int, ...] = option((), "Draw only this track; repeat for several.", "all")
    start_s: float = option(0.0, "Start of the film: seconds, or 1:02:03.5.", flags=START, least=0)
    end_s: float = option(math.inf, "End of the film: seconds, or 1:02:03.5.", "the end", flags=END, above=0)
    overwrite: bool = option(False, "Replace an existing film.", flags=OVERWRITE)

    def __post_init__(self) -> None:
        check_values(self)
        check_up(self.up)
        check_span(self.start_s, self.end_s)


# Written by `make docs-reference`, from the above, for checkers of types.
class OverlayKeywords(TypedDict, total=False):
    """Fields of OverlayOptions, as keywords."""

    view: Literal["overlay", "side", "both", "skeleton"]
    boxes: bool
    ids: bool
    renderer: Literal["auto", "gl", "pyrender"]
    alpha: float
    up: str
    body: str | None
    track: tuple[int, ...]
    start_s: float
    end_s: float
    overwrite: bool
