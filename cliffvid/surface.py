"""A frame that a GPU decoded and that has not left it."""

from dataclasses import dataclass
from typing import Any, ClassVar

from .orientation import Orientation


@dataclass(frozen=True, eq=False, slots=True)
class Surface:
    """One 8-bit 4:2:0 frame as NVDEC stores it, NV12, both sides even; its memory is the GPU's until this is let go.

    FFmpeg copies a frame out of NVDEC's own few surfaces before it hands it on (its hwaccel_flags lack unsafe_output),
    so a frame that is held takes memory, and does not keep NVDEC from decoding.
    """

    nbytes: ClassVar[int] = 0  # of this machine's memory
    frame: Any  # an av.VideoFrame that stayed on the device
    matrix: str  # one of planes.WEIGHTS
    full_range: bool
    orientation: Orientation

    @property
    def shape(self) -> tuple[int, int, int]:
        """That of the frame as an RGB image, as displayed: (H,W,3)."""
        width, height = self.orientation.size((self.frame.width, self.frame.height))
        return height, width, 3

    def planes(self) -> dict[str, tuple[int, int]]:
        """Of ``y``, the brightness, and of ``uv``, both colours of a pixel side by side: address, and bytes a line."""
        return {n: (p.buffer_ptr, p.line_size) for n, p in zip(("y", "uv"), self.frame.planes, strict=True)}
