"""The tables that flow between the stages: numpy columns that share a first axis, checked when made.

Ragged data is flat: a person is a row with a ``frame_idx`` column. Batches concatenate and re-cut trivially, a frame
without people is no rows, and the file on disk has the same columns under the same names.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Self, TypeAlias, get_type_hints

import numpy as np
from numpy.typing import NDArray

from .names import label

Array: TypeAlias = NDArray[Any]
Int64: TypeAlias = NDArray[np.int64]
Int32: TypeAlias = NDArray[np.int32]
UInt16: TypeAlias = NDArray[np.uint16]
Float64: TypeAlias = NDArray[np.float64]
Float32: TypeAlias = NDArray[np.float32]
Bool: TypeAlias = NDArray[np.bool_]
Objects: TypeAlias = NDArray[np.object_]
Arrays: TypeAlias = dict[str, Array]  # by the names of a network's inputs or outputs
Shape: TypeAlias = tuple[int | str, ...]  # lengths of axes; of those that are free a name
Specs: TypeAlias = dict[str, tuple[tuple[np.dtype[Any], ...], Shape]]
_specs: dict[type, Specs] = {}


def column_specs(table: type["Table"]) -> Specs:
    """``{column: (allowed dtypes, shape)}`` read from the annotations, e.g. ``"float32 P 24 3 3"``; once a table."""
    if table not in _specs:
        specs: Specs = {}
        for name, hint in get_type_hints(table, include_extras=True).items():
            dtypes, *shape = hint.__metadata__[0].split()
            specs[name] = (tuple(map(np.dtype, dtypes.split("|"))), tuple(int(n) if n.isdigit() else n for n in shape))
        _specs[table] = specs
    return _specs[table]


class Table:
    """Base of the tables: checks dtype and shape of every column, slices, concatenates."""

    def __post_init__(self) -> None:
        sizes: dict[str, int] = {}
        for name, (dtypes, shape) in column_specs(type(self)).items():
            column = getattr(self, name)
            if not _fits(column, dtypes, shape, sizes):
                got = f"{column.dtype.name} {column.shape}" if isinstance(column, np.ndarray) else type(column)
                known = {axis: size for axis, size in sizes.items() if axis in shape}
                raise ValueError(
                    f"{type(self).__name__}.{name} must be {'|'.join(map(str, dtypes))} {shape} with {known}, got {got}"
                )

    def __len__(self) -> int:
        return len(getattr(self, next(iter(column_specs(type(self))))))

    @property
    def nbytes(self) -> int:
        """The memory that its columns take; images count as what they hold of this machine's."""
        columns = self.columns().values()
        return sum(sum(i.nbytes for i in column) if column.dtype.hasobject else column.nbytes for column in columns)

    def columns(self) -> dict[str, Array]:
        return {name: getattr(self, name) for name in column_specs(type(self))}

    def __getitem__(self, rows: slice | Array) -> Self:
        """The chosen rows: a slice, an index array or a mask."""
        return self._of({name: column[rows] for name, column in self.columns().items()})

    @classmethod
    def concat(cls, tables: list[Self]) -> Self:
        if len(tables) == 1:
            return tables[0]
        return cls._of({name: np.concatenate([getattr(t, name) for t in tables]) for name in column_specs(cls)})

    @classmethod
    def _of(cls, columns: dict[str, Array]) -> Self:
        """A table of columns that were checked already: that took a fifth of the time that tracking takes."""
        table = object.__new__(cls)
        table.__dict__.update(columns)
        return table

    @classmethod
    def empty(cls, **axes: int) -> Self:
        """No rows; ``axes`` are the lengths of free axes other than the first, 0 where none is given."""
        return cls(
            **{
                name: np.zeros([0, *(axes.get(n, 0) if isinstance(n, str) else n for n in shape[1:])], dtypes[0])
                for name, (dtypes, shape) in column_specs(cls).items()
            }
        )


def _fits(column: Array, dtypes: tuple[np.dtype[Any], ...], shape: Shape, sizes: dict[str, int]) -> bool:
    """Whether a column is as its annotation says; ``sizes``: of the axes that were met already."""
    if not isinstance(column, np.ndarray) or column.dtype not in dtypes:
        return False
    if column.dtype.hasobject:
        shape = shape[:1]  # each holds what has the other axes
    if column.ndim != len(shape):
        return False
    for want, have in zip(shape, column.shape, strict=True):
        if (sizes.setdefault(want, have) if isinstance(want, str) else want) != have:
            return False
    return True


@dataclass(frozen=True, eq=False)
class Frames(Table):
    """Decoded frames as displayed, in presentation order."""

    frame_idx: Annotated[Int64, "int64 N"]
    pts: Annotated[Int64, "int64 N"]  # ticks of the stream's clock, as stored in the file
    time_s: Annotated[Float64, "float64 N"]  # pts in seconds since the first frame
    damaged: Annotated[Bool, "bool N"]  # decoded after or from damaged data
    # Each RGB (H,W,3) uint8 where the decoder put it, or YuvImages, or a Surface, or a DeviceImage.
    images: Annotated[Objects, "object N"]

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of its frames, which all have one size."""
        height, width, _ = self.images[0].shape
        return width, height


def image_column(pixels: Sequence[object]) -> Objects:
    """Images as a column of Frames."""
    column = np.empty(len(pixels), object)
    for i, image in enumerate(pixels):
        column[i] = image
    return column


@dataclass(frozen=True, eq=False)
class People(Table):
    """Detected people, one row each; boxes are xyxy in pixels of the displayed frame."""

    frame_idx: Annotated[Int64, "int64 P"]
    pts: Annotated[Int64, "int64 P"]
    time_s: Annotated[Float64, "float64 P"]
    det_score: Annotated[Float32, "float32 P"]
    bbox_xyxy: Annotated[Float32, "float32 P 4"]
    flags: Annotated[UInt16, "uint16 P"]


@dataclass(frozen=True, eq=False)
class Crops(People):
    """People with the network's input and what leads back from the crop to the frame."""

    crop_center_size_px: Annotated[Float32, "float32 P 3"]  # cx, cy, size: the manifest says of which side
    focal_px: Annotated[Float32, "float32 P"]
    frame_wh_px: Annotated[Float32, "float32 P 2"]
    bbox_info: Annotated[Float32, "float32 P 3"]
    pixels: Annotated[
        NDArray[np.uint8] | Float32 | Objects, "uint8|float32|object P h w 3"
    ]  # or each a PendingInput, see video/images/gpu.py


@dataclass(frozen=True, eq=False)
class Bodies(People):
    """People with body parameters. Rotations are axis-angle in radians, parent-relative but for the first.

    How many joints and betas there are is the body's: SMPL has 69 and 10 numbers, SMPL-X without hands 63 and 11.
    """

    global_orient: Annotated[Float32, "float32 P 3"]
    body_pose: Annotated[Float32, "float32 P pose"]
    betas: Annotated[Float32, "float32 P shape"]
    transl: Annotated[Float32, "float32 P 3"]  # metres, camera frame: x right, y down, z forward
    pred_cam: Annotated[Float32, "float32 P 3"]  # s, tx, ty with respect to the crop
    crop_center_size_px: Annotated[Float32, "float32 P 3"]
    focal_px: Annotated[Float32, "float32 P"]


@dataclass(frozen=True, eq=False)
class Tracks(Bodies):
    """Bodies with identities, sorted by (frame_idx, track_id); the pair is unique."""

    track_id: Annotated[Int32, "int32 P"]


# Bits of People.flags
AT_BORDER = 1  # the box touches the frame's edge: the body is probably cut off
BAD_CAMERA = 2  # scale not positive or depth absurd: do not use transl
DAMAGED_FRAME = 4  # the frame was decoded after or from damaged data
INTERPOLATED = 8  # nobody was detected here: between two rows of the track, by `cliffvid smooth`
SHORT_TRACK = 16  # of a track that lasts less than --min-track-s
ODD_DEPTH = 32  # far from the depths of the track's rows before: see pipeline/depth_jumps.py
IMPLAUSIBLE = 64  # the body does not fit what was seen, by a network that can tell: see pipeline/regress.py
NOT_DRAWN = BAD_CAMERA | IMPLAUSIBLE  # of rows whose body pictures and films leave out
FLAG_BITS = {
    "at_border": AT_BORDER,
    "bad_camera": BAD_CAMERA,
    "damaged_frame": DAMAGED_FRAME,
    "interpolated": INTERPOLATED,
    "short_track": SHORT_TRACK,
    "odd_depth": ODD_DEPTH,
    "implausible": IMPLAUSIBLE,
}


@dataclass(frozen=True)
class VideoInfo:
    """What a file's header claims about its video stream; the decoder may find otherwise."""

    path: Path | str
    container: str
    codec: str
    width_px: int  # as displayed, once a frame was read; before that as stored
    height_px: int
    rate: Fraction | None
    time_base: Fraction
    duration_s: float | None
    frames_claimed: int | None
    files: tuple[str, ...] = ()  # of images: their names without the folder, by frame_idx, as text

    @property
    def name(self) -> str:
        """The file's name without its folder, as text that every reader takes."""
        return label(Path(self.path).name)
