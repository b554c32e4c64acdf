"""Define the options of converting and smoothing tracks."""

from dataclasses import dataclass
from typing import Literal, TypedDict

from ..option import check_up, check_values, option
from ..options import OVERWRITE, UP


@dataclass(frozen=True)
class ConvertOptions:
    """Settings of converting tracks to another format. Raises UsageError for an invalid value."""

    to: Literal[
        "auto", "npz", "parquet", "cliff", "csv", "joints", "gltf", "usd", "bvh", "trc", "amass", "blender-script"
    ] = option("auto", "Format to write. auto: by the ending of -o, such as .glb.")
    track: tuple[int, ...] = option((), "Write only this track; repeat for several.", "all")
    fps: int = option(60, "Frame rate of amass, bvh and trc, which is constant.", least=1, most=1000)
    max_gap_s: float = option(
        0.5, "Interpolate across gaps up to this many seconds; split the motion at longer ones.", least=0
    )
    up: str = option("auto", UP)
    layout: Literal["auto", "smplh", "smplx"] = option("auto", "Layout of amass. auto: by the tracks' body.")
    cm: bool = option(False, "Write BVH in centimetres instead of metres.")
    skeleton_only: bool = option(
        False, "Write glTF or USD without the body's surface; a licence may forbid passing it on."
    )
    per_person: bool = option(False, "Write a glTF or USD file for each person.")
    overwrite: bool = option(False, "Replace existing files.", flags=OVERWRITE)

    def __post_init__(self) -> None:
        check_values(self)
        check_up(self.up)


@dataclass(frozen=True)
class SmoothOptions:
    """Settings of smoothing tracks. Raises UsageError for an invalid value."""

    method: Literal["savgol", "one-euro"] = option(
        "savgol", "Filter. savgol looks both ways in time, one-euro only back."
    )
    sigma_s: float = option(0.13, "savgol: width of the Gaussian in seconds. More is steadier, and duller.", above=0)
    cutoff_hz: float = option(2.0, "one-euro: cutoff frequency at rest. Less is steadier, and later.", above=0)
    speed_gain: float = option(1.0, "one-euro: how much the cutoff rises with speed (rad/s or m/s).", least=0)
    max_gap_s: float = option(0.5, "Fill gaps up to this many seconds.", least=0)  # longer ones split the motion
    overwrite: bool = option(False, "Replace an existing file.", flags=OVERWRITE)

    def __post_init__(self) -> None:
        check_values(self)


# Written by `make docs-reference`, from the above, for checkers of types.
class ConvertKeywords(TypedDict, total=False):
    """Fields of ConvertOptions, as keywords."""

    to: Literal[
        "auto", "npz", "parquet", "cliff", "csv", "joints", "gltf", "usd", "bvh", "trc", "amass", "blender-script"
    ]
    track: tuple[int, ...]
    fps: int
    max_gap_s: float
    up: str
    layout: Literal["auto", "smplh", "smplx"]
    cm: bool
    skeleton_only: bool
    per_person: bool
    overwrite: bool


class SmoothKeywords(TypedDict, total=False):
    """Fields of SmoothOptions, as keywords."""

    method: Literal["savgol", "one-euro"]
    sigma_s: float
    cutoff_hz: float
    speed_gain: float
    max_gap_s: float
    overwrite: bool
