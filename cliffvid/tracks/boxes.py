"""Read people's boxes from a file: parquet, CSV, MOT text, COCO json or tracks."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np

from ..errors import InputError, UnreadableError
from ..inputs import check_input, open_input, read_input
from ..metadata import COUNT, violation
from ..names import label, printable
from ..npz import size_of
from ..tables import Array, Bool, Float32, Float64, Int32, Int64, Table
from .arrow_types import ArrowTable
from .read import check_parquet, read_both, reading
from .write import META_KEY

TEXT_BYTES = 256 << 20  # of a file in a text format; a million boxes are about 100 MB of COCO json
SIDES = (("x0", "y0", "x1", "y1"), ("bbox_x0_px", "bbox_y0_px", "bbox_x1_px", "bbox_y1_px"))
SCORES = "score", "det_score"
MOT = "frame", "track_id", "x", "y", "w", "h", "score"  # a MOT file's columns; those after them say nothing here
FORMATS = "give .parquet, .csv, MOT .txt, COCO .json, or a tracks file"
PIXELS_MAX = float(1 << 20)
EXPECTED = "expected frame_idx, x0, y0, x1, y1, and score, track_id if any"
ANOTHER = "the boxes of another video"
# Of COCO's json, the names that are read. Others are passed over, as masks and keypoints.
ANNOTATION = {
    "image_id": (COUNT, str),
    "bbox": [float],
    "category_id?": COUNT,
    "score?": float,
    "track_id?": COUNT,
}
DATA_SET = {
    "images": [{"id": (COUNT, str), "file_name?": str, "width?": COUNT, "height?": COUNT}],
    "annotations": [ANNOTATION],
    "categories?": [{"id": COUNT, "name?": str}],
}


@dataclass(frozen=True, eq=False)
class Boxes(Table):
    """Boxes of people, sorted by frame, the best score first within a frame."""

    frame_idx: Annotated[Int64, "int64 B"]
    bbox_xyxy: Annotated[Float32, "float32 B 4"]  # pixels of the displayed frame
    det_score: Annotated[Float32, "float32 B"]
    track_id: Annotated[Int32 | None, "int32 B"] = field(default=None, kw_only=True)


class BoxFile(NamedTuple):
    """The boxes of a file, and the size of the frames that they belong to, where the file tells it."""

    boxes: Boxes
    size_wh: tuple[int, int] | None = None


class Raw(NamedTuple):
    """Columns as float64, in the order of the file; what is missing in a row is NaN."""

    frame: Float64
    xyxy: Float64
    score: Float64 | None = None
    track: Float64 | None = None


def read_boxes(path: Path, files: Sequence[str] = ()) -> BoxFile:
    """Return the boxes in a file. ``files``: the names of the input's images, by which COCO's json finds its frames.

    Raises InputError, with the row, for a file that is not readable or whose boxes cannot be used.
    """
    check_input(path)
    suffix = path.suffix.lower()
    with open_input(path) as file:
        head = file.read(4)
    if head == b"PK\x03\x04":
        return _of_tracks(path)
    if head == b"PAR1":
        return _read_parquet(path)
    with reading(path, "file of boxes"):
        if suffix == ".csv":
            return BoxFile(boxes_of(path, _columns(path, _csv(path))))
        if suffix == ".txt":
            return BoxFile(boxes_of(path, _mot(path, _csv(path, MOT))))
        if suffix == ".json":
            raw, size_wh = _coco(path, json.loads(read_input(path, TEXT_BYTES)), files)
            return BoxFile(boxes_of(path, raw), size_wh)
    raise UnreadableError(f"{path}: not a file of boxes; {FORMATS}")


def boxes_of(path: Path, raw: Raw) -> Boxes:
    """Return checked boxes in order. Raises InputError with the first row, from 1, that cannot be used."""
    frame, xyxy, track = raw.frame, raw.xyxy, raw.track
    score = np.ones(len(frame)) if raw.score is None else raw.score
    _refuse(path, ~_whole(frame, 1 << 53), frame, "a frame must be a whole number from 0")
    finite = np.asarray((np.abs(xyxy) < PIXELS_MAX).all(axis=1))
    _refuse(path, ~finite, xyxy, "a box must be four finite numbers, in pixels")
    bbox_xyxy = xyxy.astype(np.float32)
    thin = np.asarray((bbox_xyxy[:, 2:] <= bbox_xyxy[:, :2]).any(axis=1))
    _refuse(path, thin, xyxy, "a box must have x0 < x1 and y0 < y1")
    _refuse(path, ~((score >= 0) & (score <= 1)), score, "a score must be 0 to 1")
    if track is not None and len(track) and (track == -1).all():
        track = None  # as in MOT's files of detections
    if track is not None:
        _refuse(path, ~_whole(track, 1 << 31), track, "an identity must be a whole number from 0, in all rows or none")
        order = np.lexsort((track, frame))
        same = (np.diff(frame[order]) == 0) & (np.diff(track[order]) == 0)
        twice = np.zeros(len(frame), bool)
        twice[order[1:][same]] = True
        _refuse(path, twice, track, "an identity has one box in a frame, this is its second")
    order = np.lexsort((-score, frame))  # stable: equal scores keep their order
    return Boxes(
        frame_idx=frame[order].astype(np.int64),
        bbox_xyxy=bbox_xyxy[order],
        det_score=score[order].astype(np.float32),
        track_id=None if track is None else track[order].astype(np.int32),
    )


def check_fit(path: Path, file: BoxFile, frames: Int64, size_wh: tuple[int, int]) -> None:
    """Raise InputError for boxes in these frames, of one size, that lie outside them: those of another video."""
    if file.size_wh not in (None, size_wh):
        theirs, own = (f"{size[0]} x {size[1]}" for size in (file.size_wh or size_wh, size_wh))
        raise InputError(f"{path}: its boxes are of frames of {theirs}, those of the input are {own}; {ANOTHER}")
    first, end = np.searchsorted(file.boxes.frame_idx, [frames[0], frames[-1] + 1])
    boxes = file.boxes.bbox_xyxy[first:end]
    size = np.array(size_wh)
    outside = (boxes[:, :2] >= size) | (boxes[:, 2:] <= 0) | (boxes[:, :2] < -size) | (boxes[:, 2:] > 2 * size)
    if outside.any():
        row = int(outside.any(axis=1).argmax())
        raise InputError(
            f"{path}: box {_shown(boxes[row])} of frame {file.boxes.frame_idx[first + row]} is outside the frame of "
            f"{size_wh[0]} x {size_wh[1]}; {ANOTHER}, or boxes that are not x0, y0, x1, y1 in pixels"
        )


def check_frames(path: Path, boxes: Boxes, last: int) -> None:
    """Raise InputError for boxes in frames after the last one of the input."""
    if len(boxes) and boxes.frame_idx[-1] > last:
        raise InputError(
            f"{path}: has boxes in frame {boxes.frame_idx[-1]}, the last frame of the input is {last}; {ANOTHER}, or "
            "frames that are not counted from 0"
        )


def _whole(values: Float64, end: int) -> Bool:
    whole: Bool = (values >= 0) & (values < end) & (values == np.floor(values))
    return whole


def _refuse(path: Path, bad: Bool, values: Float64, words: str) -> None:
    if bad.any():
        row = int(bad.argmax())
        raise InputError(f"{path}: row {row + 1} holds {_shown(np.atleast_1d(values[row]))}: {words}")


def _shown(values: Array) -> str:
    return ", ".join(f"{value:g}" for value in values.tolist())


def _of_tracks(path: Path) -> BoxFile:
    rows, meta = read_both(path)
    columns = (rows.frame_idx, rows.bbox_xyxy, rows.det_score, rows.track_id)
    boxes = boxes_of(path, Raw(*(column.astype(np.float64) for column in columns)))
    return BoxFile(boxes, (meta["video"]["width_px"], meta["video"]["height_px"]))


def _read_parquet(path: Path) -> BoxFile:
    import pyarrow.parquet as pq

    with reading(path, "file of boxes"), open_input(path) as file:
        source = pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False)
        if META_KEY.encode() not in (source.metadata.metadata or {}):
            check_parquet(source.metadata, size_of(file))
            return BoxFile(boxes_of(path, _columns(path, source.read(use_threads=False))))
    return _of_tracks(path)


def _csv(path: Path, names: Sequence[str] = ()) -> ArrowTable:
    """Return a CSV file's table; with ``names``, of a file without a header whose further columns are left out."""
    import pyarrow.csv as pc

    data = read_input(path, TEXT_BYTES).lstrip(b"\r\n")
    count = data.split(b"\n", 1)[0].count(b",") + 1
    columns = [*names, *(f"column {number}" for number in range(len(names), count))][:count] if names else None
    options = pc.ReadOptions(use_threads=False, column_names=columns)
    table: ArrowTable = pc.read_csv(io.BytesIO(data), options)
    return table


def _columns(path: Path, table: ArrowTable) -> Raw:
    names = table.schema.names
    sides = next((sides for sides in SIDES if sides[0] in names), SIDES[0])
    score = next((name for name in SCORES if name in names), None)
    if missing := [name for name in ("frame_idx", *sides) if name not in names]:
        shown = printable(", ".join(names))[:200]
        raise InputError(f"{path}: has no column {missing[0]!r}; {EXPECTED}, in CSV by commas; its columns: {shown}")
    known = {"frame_idx", *sides, *([score] if score else []), "track_id"}
    unknown = [name for name in names if name not in known]
    if len(set(names)) < len(names) or (unknown and sides == SIDES[0]):  # the others are of cliffvid's own csv
        what = f"an unknown column {unknown[0]!r}" if unknown else "two columns of one name"
        raise InputError(f"{path}: has {printable(what)}; {EXPECTED}")
    frame, *box = (_numbers(path, table, name) for name in ("frame_idx", *sides))
    track = _numbers(path, table, "track_id") if "track_id" in names else None
    return Raw(frame, np.stack(box, axis=1), _numbers(path, table, score) if score else None, track)


def _mot(path: Path, table: ArrowTable) -> Raw:
    """Return the boxes of a MOT file, whose frames count from 1."""
    if len(table.schema.names) < len(MOT) - 1:
        raise InputError(
            f"{path}: row 1 has {len(table.schema.names)} columns, MOT has frame, id, x, y, w, h, conf, ... by commas"
        )
    frame, track, x, y, w, h = (_numbers(path, table, name) for name in MOT[:-1])
    score = _numbers(path, table, MOT[-1]) if MOT[-1] in table.schema.names else None
    if score is not None:
        score = np.where(score == -1, 1.0, score)  # not given
    raw = Raw(frame - 1, np.stack([x, y, x + w, y + h], axis=1), score, track)
    if score is not None and not score.all():  # ground truth marks with 0 what is not to be used
        boxes_of(path, raw)  # rows are numbered as in the file
        used = score != 0
        raw = Raw(raw.frame[used], raw.xyxy[used], score[used], track[used])
    return raw


def _numbers(path: Path, table: ArrowTable, name: str) -> Float64:
    """Return a column as float64, with NaN for nulls. Raises InputError with the first row that is no number."""
    values = table[name].to_numpy()
    if values.dtype.kind in "iuf":
        return values.astype(np.float64)
    for row, value in enumerate(values.tolist(), 1):
        try:
            float(value)
        except (TypeError, ValueError):
            shown = printable(repr(value))[:60]
            raise InputError(f"{path}: row {row} of column {name!r} holds {shown}, expected a number") from None
    return values.astype(np.float64)


def _coco(path: Path, content: object, files: Sequence[str]) -> tuple[Raw, tuple[int, int] | None]:
    """Return the people in COCO's detections, a list, or data set, whose images are the frames in their order.

    Where the input is images, frames are found by the images' names. Without images ``image_id`` is the frame.
    """
    found, images, persons = content, None, {1}  # of the official categories
    if isinstance(content, dict):
        _check(path, content, DATA_SET)
        found, images = content["annotations"], content["images"]
        persons = {each["id"] for each in content.get("categories", ()) if each.get("name") == "person"}
    _check(path, found, [ANNOTATION])
    assert isinstance(found, list)
    found = [each for each in found if not persons or each.get("category_id") in (None, *persons)]
    place: dict[object, int] | None = None
    size_wh = None
    if images is not None:
        place = _places(path, [(image["id"], image.get("file_name")) for image in images], files)
        sizes = {(image.get("width"), image.get("height")) for image in images}
        size_wh = next(iter(sizes)) if len(sizes) == 1 and None not in next(iter(sizes)) else None
    elif bad := [each["image_id"] for each in found if isinstance(each["image_id"], str)]:
        raise InputError(f"{path}: image_id {bad[0]!r}: without 'images' it must be the frame, from 0")
    for row, each in enumerate(found, 1):
        if len(each["bbox"]) != 4:
            raise InputError(f"{path}: row {row}: bbox has {len(each['bbox'])} numbers, expected x, y, width, height")
        if place is not None and each["image_id"] not in place:
            raise InputError(f"{path}: row {row}: image_id {each['image_id']!r} is none of 'images'")
    frame = [each["image_id"] if place is None else place[each["image_id"]] for each in found]
    xywh = np.array([each["bbox"] for each in found], np.float64).reshape(-1, 4)
    score, track = (
        np.array([each.get(name, np.nan) for each in found], np.float64) if any(name in e for e in found) else None
        for name in ("score", "track_id")
    )
    xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    return Raw(np.array(frame, np.float64), xyxy, score, track), size_wh


def _places(path: Path, images: list[tuple[object, str | None]], files: Sequence[str]) -> dict[object, int]:
    """Return the frame of each image by its id."""
    if len({image for image, _ in images}) < len(images):
        raise InputError(f"{path}: two of its 'images' have one id")
    if not files:
        return {image: number for number, (image, _) in enumerate(images)}
    known = {name: number for number, name in enumerate(files)}
    places: dict[object, int] = {}
    for image, name in images:
        own = label((name or "").replace("\\", "/").rpartition("/")[2])
        if own not in known:
            raise InputError(f"{path}: image {printable(own)!r} is none of the input's; {ANOTHER}")
        places[image] = known[own]
    return places


def _check(path: Path, content: object, kind: object) -> None:
    if wrong := violation(content, kind):
        raise InputError(f"{path}: not COCO's json: {printable(wrong)}")
