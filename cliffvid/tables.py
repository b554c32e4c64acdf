"""Define the tables that stages exchange: numpy columns that share a first axis, checked when a table is made.

Ragged data is flat: each person is a row with a ``frame_idx`` column. So batches are easy to concatenate and split, and
a frame without people has no rows. The file on disk has the same columns under the same names.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Self, TypeAlias, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from .names import label, public
from .pending import PendingInputs

Array: TypeAlias = NDArray[Any]
Int64: TypeAlias = NDArray[np.int64]
Int32: TypeAlias = NDArray[np.int32]
UInt16: TypeAlias = NDArray[np.uint16]
Float64: TypeAlias = NDArray[np.float64]
Float32: TypeAlias = NDArray[np.float32]
UInt8: TypeAlias = NDArray[np.uint8]
Bool: TypeAlias = NDArray[np.bool_]
Objects: TypeAlias = NDArray[np.object_]
Arrays: TypeAlias = dict[str, Array]  # by the names of a network's inputs or outputs
Shape: TypeAlias = tuple[int | str, ...]  # lengths of axes, or the names of free ones
Specs: TypeAlias = dict[str, tuple[tuple[np.dtype[Any], ...], Shape]]
_specs: dict[type, Specs] = {}
COLUMN_TYPES = np.ndarray, PendingInputs


def column_specs(table: type["Table"]) -> Specs:
    """Return ``{column: (allowed dtypes, shape)}`` from annotations such as ``"float32 P 24 3 3"``, once per table."""
    if table not in _specs:
        specs: Specs = {}
        hints = get_type_hints(table, include_extras=True).items()
        for name, hint in ((name, hint) for name, hint in hints if get_origin(hint) is Annotated):
            dtypes, *shape = hint.__metadata__[0].split()
            specs[name] = (tuple(map(np.dtype, dtypes.split("|"))), tuple(int(n) if n.isdigit() else n for n in shape))
        _specs[table] = specs
    return _specs[table]


class Table:
    """Base class of tables: checks dtype and shape of every column, slices, concatenates.

    A column whose default is None is optional: None where it is absent.
    """

    def __post_init__(self) -> None:
        sizes: dict[str, int] = {}
        for name, (dtypes, shape) in column_specs(type(self)).items():
            column = getattr(self, name)
            if column is None and name in self.optional():
                continue
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
        """Return the memory of all columns."""
        total: int = sum(column.nbytes for column in self.columns().values())
        return total

    @classmethod
    def optional(cls) -> list[str]:
        """Return the names of the optional columns."""
        return [name for name in column_specs(cls) if getattr(cls, name, cls) is None]

    def columns(self) -> dict[str, Array]:
        """Return the columns by name, without absent ones."""
        columns = {name: getattr(self, name) for name in column_specs(type(self))}
        return {name: column for name, column in columns.items() if column is not None}

    def __getitem__(self, rows: slice | Array) -> Self:
        """Return the selected rows, by a slice, an index array or a mask."""
        return self.checked({name: column[rows] for name, column in self.columns().items()})

    @classmethod
    def concat(cls, tables: list[Self]) -> Self:
        if len(tables) == 1:
            return tables[0]
        present = [table.columns() for table in tables]
        if any(columns.keys() != present[0].keys() for columns in present):
            raise ValueError(f"{cls.__name__}: tables of different columns")
        return cls.checked({name: np.concatenate([columns[name] for columns in present]) for name in present[0]})

    @classmethod
    def checked(cls, columns: dict[str, Array]) -> Self:
        """Return a table of columns already checked: checking took a fifth of the time of tracking."""
        table = object.__new__(cls)
        table.__dict__.update(columns)
        return table

    @classmethod
    def empty(cls, optional: Container[str] = (), **axes: int) -> Self:
        """Return a table without rows; ``axes`` are the lengths of free axes other than the first, 0 by default.

        ``optional``: the names of the optional columns to have; others are passed over.
        """
        absent = [name for name in cls.optional() if name not in optional]
        return cls(
            **{
                name: np.zeros([0, *(axes.get(n, 0) if isinstance(n, str) else n for n in shape[1:])], dtypes[0])
                for name, (dtypes, shape) in column_specs(cls).items()
                if name not in absent
            }
        )


def _fits(column: Array, dtypes: tuple[np.dtype[Any], ...], shape: Shape, sizes: dict[str, int]) -> bool:
    """Return whether a column matches its annotation; ``sizes`` holds the lengths of the axes met so far."""
    if not isinstance(column, COLUMN_TYPES) or column.dtype not in dtypes:
        return False
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
    pts: Annotated[Int64, "int64 N"]  # ticks of the stream's time base, as stored in the file
    time_s: Annotated[Float64, "float64 N"]  # pts in seconds since the first frame
    damaged: Annotated[Bool, "bool N"]  # decoded after or from damaged data
    images: Annotated[Objects, "object N"]  # all of one kind and size: see video/images/base.py
    # Of videos whose camera is not that of the run's options.
    focal_px: Annotated[Float64 | None, "float64 N"] = field(default=None, kw_only=True)
    center_px: Annotated[Float64 | None, "float64 N 2"] = field(default=None, kw_only=True)  # principal point

    @property
    def size_wh(self) -> tuple[int, int]:
        """Return width and height of the frames, which all have one size."""
        width, height = self.images[0].size_wh
        return width, height

    @property
    def nbytes(self) -> int:
        """Return the memory of all columns; images count with what they hold of the host's."""
        images: int = sum(image.nbytes for image in self.images)
        return super().nbytes + images


def image_column(images: Sequence[object]) -> Objects:
    """Return images as a column of Frames."""
    column = np.empty(len(images), object)
    column[:] = images
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
    """People with the network's input, and the mapping from crop to frame."""

    crop_center_size_px: Annotated[Float32, "float32 P 3"]  # cx, cy, and the side that the manifest names
    focal_px: Annotated[Float32, "float32 P"]
    frame_wh_px: Annotated[Float32, "float32 P 2"]
    center_px: Annotated[Float32, "float32 P 2"]  # the camera's principal point
    bbox_info: Annotated[Float32, "float32 P 3"]
    pixels: Annotated[UInt8 | Float32, "uint8|float32|object P h w 3"]  # object: PendingInputs


@dataclass(frozen=True, eq=False)
class Bodies(People):
    """People with body parameters. Rotations are axis-angle in radians, relative to the parent except the first.

    The number of pose and shape values depends on the body: 69 and 10 for SMPL, 63 and 11 for SMPL-X without hands.
    """

    global_orient: Annotated[Float32, "float32 P 3"]
    body_pose: Annotated[Float32, "float32 P pose"]
    betas: Annotated[Float32, "float32 P shape"]
    transl: Annotated[Float32, "float32 P 3"]  # metres, camera frame: x right, y down, z forward
    pred_cam: Annotated[Float32, "float32 P 3"]  # s, tx, ty with respect to the crop
    crop_center_size_px: Annotated[Float32, "float32 P 3"]
    focal_px: Annotated[Float32, "float32 P"]
    # Of networks that answer them: the probability that the mean distance of the joints from the truth, and that each
    # joint's, is at most 0.1 m, with hips aligned.
    confidence: Annotated[Float32 | None, "float32 P"] = field(default=None, kw_only=True)
    joint_confidence: Annotated[Float32 | None, "float32 P joints"] = field(default=None, kw_only=True)


@dataclass(frozen=True, eq=False)
class Tracks(Bodies):
    """Bodies with identities, sorted by (frame_idx, track_id); the pair is unique.

    Attributes:
        frame_idx: Index of the frame in presentation order, from 0.
        pts: Timestamp in ticks of the stream's time base, as stored in the file.
        time_s: Seconds since the first frame.
        det_score: Detection score.
        bbox_xyxy: Bounding box in pixels of the displayed frame.
        flags: Bits of FLAG_BITS.
        global_orient: Rotation of the root, axis-angle in radians, in the camera frame.
        body_pose: Rotations of the other joints relative to their parents, axis-angle in radians.
        betas: Shape.
        transl: Translation in metres in the camera frame: x right, y down, z forward.
        pred_cam: Camera s, tx, ty with respect to the crop.
        crop_center_size_px: Centre and size of the crop in pixels.
        focal_px: Focal length in pixels.
        track_id: Identity of the person.
    """

    track_id: Annotated[Int32, "int32 P"]


# Bits of People.flags
AT_BORDER = 1  # the box touches the frame's edge: the body is probably truncated
BAD_CAMERA = 2  # scale not positive or depth implausible: do not use transl
DAMAGED_FRAME = 4  # the frame was decoded after or from damaged data
INTERPOLATED = 8  # not detected but filled in between two rows of the track, by `cliffvid smooth`
SHORT_TRACK = 16  # the track lasts less than --min-track-s
ODD_DEPTH = 32  # depth far from those of the track's earlier rows: see pipeline/depth_jumps.py
IMPLAUSIBLE = 64  # the body does not fit the image, by networks that report it: see pipeline/regress.py
BOX_INTERPOLATED = 128  # the detector did not see this frame (--detect-every): see pipeline/interpolate.py
NOT_DRAWN = BAD_CAMERA | IMPLAUSIBLE  # rows whose bodies are not drawn in images and videos
FLAG_BITS = {
    "at_border": AT_BORDER,
    "bad_camera": BAD_CAMERA,
    "damaged_frame": DAMAGED_FRAME,
    "interpolated": INTERPOLATED,
    "short_track": SHORT_TRACK,
    "odd_depth": ODD_DEPTH,
    "implausible": IMPLAUSIBLE,
    "box_interpolated": BOX_INTERPOLATED,
}


@dataclass(frozen=True)
class VideoInfo:
    """Claims of a file's header about its video stream; the decoder may find otherwise."""

    path: Path | str
    container: str
    codec: str
    width_px: int  # as displayed once a frame was read, as stored before
    height_px: int
    rate: Fraction | None
    time_base: Fraction
    duration_s: float | None
    frames_claimed: int | None
    files: tuple[str, ...] = ()  # names of images without their folder, by frame_idx, as text

    @property
    def name(self) -> str:
        """Return the file's name without its folder, as text that every reader accepts."""
        return label(Path(public(str(self.path))).name)
