"""Define the rules of networks: from frame to the detector's canvas, from candidates to people, from box to crop."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Letterbox:
    """How a frame is scaled onto the detector's canvas, and how far the canvas may shrink around it."""

    width_px: int
    height_px: int
    interpolation: str  # linear | cubic | area
    fill: int
    least_px: int | None = None  # shortest side that the network takes; None: it takes the full canvas only
    step_px: int = 32  # sides are multiples of it
    shape: str = "square"  # square: the full canvas by default; frame: the part that holds the frame


@dataclass(frozen=True)
class Selection:
    """How candidates become people: the kind of score, its minimum, and the NMS threshold."""

    score: str  # objectness | product (objectness x class probability)
    score_min: float
    iou_max: float
    iou_offset_px: float  # 1 in the official rule, which counts pixels inclusively


@dataclass(frozen=True)
class CropRule:
    """How a box becomes a crop; ``crop_center_size_px`` holds the length of the crop's ``size_side``."""

    width_px: int
    height_px: int
    box_scale: float
    size_side: str  # height | width
    fit: str = "aspect"  # aspect: the crop holds the whole box; square: its size is the longer side
    corners: str = "round"  # half to even; truncate: towards zero; exact: not rounded, by an affine warp
    resample: str = "bilinear"  # between pixel centres, no antialiasing; antialias: a Gaussian first to shrink
    cut_aspect: float = 0.0  # height / width to which a box truncated by the frame's bottom is lengthened


@dataclass(frozen=True)
class BboxInfo:
    """Normalisation of CLIFF's bounding-box info.

    ``((cx-W/2)/f*centre_scale, (cy-H/2)/f*centre_scale, (size/f-size_offset)/size_scale)``
    """

    centre_scale: float
    size_offset: float
    size_scale: float
