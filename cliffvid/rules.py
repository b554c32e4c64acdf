"""The rules of networks: how a frame becomes a detector's canvas, candidates become people, and a person a crop."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Letterbox:
    """How a frame becomes the detector's canvas: what scales it, and how far the canvas may shrink around it."""

    width_px: int
    height_px: int
    interpolation: str  # linear | cubic | area
    fill: int
    least_px: int | None = None  # the shortest side that the network takes; None: it takes the whole canvas alone
    step_px: int = 32  # sides are multiples of it
    shape: str = "square"  # the whole canvas, unless told otherwise; frame: what holds the scaled frame


@dataclass(frozen=True)
class Selection:
    """How candidates become people: which number is the score, from where on, and how doubles are removed."""

    score: str  # objectness | product (objectness x class probability)
    score_min: float
    iou_max: float
    iou_offset_px: float  # 1 in the official rule, which counts pixels inclusively


@dataclass(frozen=True)
class CropRule:
    """How a box becomes a crop; ``size_side`` names the side of the crop that ``crop_size_px`` measures."""

    width_px: int
    height_px: int
    box_scale: float
    size_side: str  # height | width
    fit: str = "aspect"  # the crop's size holds the whole box; square: it is the box's longer side
    corners: str = "round"  # half to even; truncate: towards zero; exact: not to whole pixels, by an affine warp
    resample: str = "bilinear"  # between pixel centres, no antialiasing; antialias: a Gaussian first where it shrinks
    cut_aspect: float = 0.0  # height over width to which a box that the frame's bottom cuts is lengthened first


@dataclass(frozen=True)
class BboxInfo:
    """``((cx-W/2)/f*centre_scale, (cy-H/2)/f*centre_scale, (size/f-size_offset)/size_scale)``."""

    centre_scale: float
    size_offset: float
    size_scale: float
