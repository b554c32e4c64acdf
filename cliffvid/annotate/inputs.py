"""Find inputs in folders, glob patterns, lists, manifests and single paths."""

import glob
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError, UsageError
from ..inputs import open_input
from ..npz import size_of
from ..options import Options
from ..tracks.read import check_parquet
from ..video.image_files import NAMED, is_hidden, is_image
from .lists import names_in, names_on_stdin, text_in
from .messages import OwnCamera

# File extensions of videos in folders. A file named directly, or in a list, may have any extension.
VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("3g2", "3gp", "264", "265", "asf", "avi", "dv", "flv", "gif", "h264", "h265", "hevc", "ivf", "m2ts", "m2v"),
        *("m4v", "mjpeg", "mjpg", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "mxf", "nut", "obu", "ogg", "ogv", "rm"),
        *("rmvb", "ts", "vob", "webm", "wmv", "wtv", "y4m"),
    )
)
LIST_SUFFIXES = (".txt", ".list", ".lst")
MANIFEST_SUFFIXES = (".csv", ".parquet")
CAMERA_COLUMNS = "focal_px", "fov_deg", "cx_px", "cy_px"  # of a manifest: each input's own camera


@dataclass(frozen=True)
class Input:
    """One video or image sequence; ``name`` is its path as given, and its name in the data set."""

    name: str
    extra: dict[str, object] = field(default_factory=dict)  # the manifest's other columns


@dataclass
class FoundInputs:
    """Inputs found in the sources, in order, without duplicates."""

    inputs: dict[str, Input] = field(default_factory=dict)
    ignored: int = 0  # files in folders that are neither videos nor, in folders without videos, images
    ignored_names: list[str] = field(default_factory=list)  # the first of them
    doubled: int = 0  # duplicate names

    def add(self, name: str, extra: dict[str, object] | None = None) -> None:
        if name in self.inputs:
            self.doubled += 1
        else:
            self.inputs[name] = Input(name, extra or {})

    def add_all(self, names: list[str]) -> None:
        for name in names:
            self.add(name)

    def ignore(self, paths: list[Path]) -> None:
        self.ignored += len(paths)
        self.ignored_names = sorted([*self.ignored_names, *map(str, paths)], key=is_hidden)[:NAMED]


def find_inputs(sources: list[str], leave_out: Path) -> FoundInputs:
    """Return all inputs that the sources name, without those in the folder ``leave_out``.

    Raises UsageError for a source without inputs, InputError for an unreadable manifest.
    """
    found = FoundInputs()
    for source in sources:
        before = len(found.inputs) + found.doubled
        path = Path(source)
        if source == "-":
            found.add_all(names_on_stdin())
        elif os.path.isdir(path):  # Path.is_dir raises PermissionError
            _add_folder(path, {leave_out.resolve()}, found)
        elif path.suffix.lower() in LIST_SUFFIXES and os.path.isfile(path):
            found.add_all(names_in(path))
        elif path.suffix.lower() in MANIFEST_SUFFIXES and os.path.isfile(path):
            _add_manifest(path, found)
        elif set("*?[") & set(source) and not os.path.exists(path) and "://" not in source:
            _add_pattern(source, {leave_out.resolve()}, found)
        else:
            found.add(source)
        if len(found.inputs) + found.doubled == before:
            raise UsageError(f"{source}: names no video and no image; is it the right place?")
    return found


def inputs_in(folder: Path, leave_out: set[Path]) -> FoundInputs:
    """Return the inputs in a folder that is given beside single files.

    An image sequence is one input. Otherwise the result is that of ``find_inputs``, but it may be empty.
    """
    found = FoundInputs()
    try:
        files = [entry for entry in folder.iterdir() if entry.is_file()]
    except PermissionError:  # added, so that it is reported as failed
        found.add(str(folder))
        return found
    if any(map(is_image, files)) and not any(map(is_video, files)):
        found.add(str(folder))
    else:
        _add_folder(folder, {place.resolve() for place in leave_out}, found)
    return found


def is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")


def _add_folder(folder: Path, leave_out: set[Path], found: FoundInputs) -> None:
    """Add all videos in a folder tree; the images of a folder without videos are one input."""

    def unreadable(error: OSError) -> None:
        found.add(error.filename)  # so that it is reported as failed, not skipped

    for place, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(
            f for f in folders if not f.startswith(".") and (Path(place) / f).resolve() not in leave_out
        )
        paths = [Path(place, file) for file in sorted(files)]
        videos = [path for path in paths if is_video(path)]
        images = [path for path in paths if is_image(path)]
        if videos:
            images = []
        for path in videos:
            found.add(str(path))
        if images:
            found.add(place)
        taken = {*videos, *images}
        found.ignore([path for path in paths if path not in taken])


def _add_pattern(pattern: str, leave_out: set[Path], found: FoundInputs) -> None:
    """Add all matches; a pattern that matches only images is one input, as in ``process``."""
    matches = sorted(glob.glob(pattern, recursive=True))
    if matches and all(is_image(Path(match)) for match in matches) and "**" not in pattern:
        found.add(pattern)
        return
    for match in matches:
        if os.path.isdir(match):
            if "**" not in pattern:  # "**" has matched the files below already
                _add_folder(Path(match), leave_out, found)
        else:
            found.add(match)


def _add_manifest(path: Path, found: FoundInputs) -> None:
    for number, row in enumerate(_rows(path), 1):
        name = row.pop("path")
        if not name:
            raise InputError(f"{path}: row {number} has no path")
        try:
            Options(**camera_of(row))
        except (UsageError, TypeError, ValueError) as error:
            raise InputError(f"{path}: row {number}: {error}") from error
        found.add(str(name), row)


def camera_of(extra: Mapping[str, object]) -> OwnCamera:
    """Return the camera in a manifest's columns. Raises ValueError and TypeError for what is no number."""
    focal_px, fov_deg, cx_px, cy_px = (_number(extra.get(name)) for name in CAMERA_COLUMNS)
    return {"focal_px": focal_px, "fov_deg": fov_deg, "cx_px": cx_px, "cy_px": cy_px}


def _number(value: object) -> float | None:
    return None if value is None or value == "" else float(value)  # type: ignore[arg-type]  # raises for others


def _rows(path: Path) -> Iterator[dict[str, object]]:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    from .store.dataset import VIDEO_COLUMNS

    try:
        if path.suffix.lower() == ".csv":
            types = pa.csv.ConvertOptions(column_types={"path": pa.string()})
            text = io.BytesIO(text_in(path).encode("utf-8", "surrogateescape"))
            table = pa.csv.read_csv(text, pa.csv.ReadOptions(use_threads=False), convert_options=types)
        else:
            with open_input(path) as file:
                source = pq.ParquetFile(file, pre_buffer=False)
                check_parquet(source.metadata, size_of(file))
                table = source.read(use_threads=False)
    except (OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"{path}: not a readable manifest ({error})") from error
    if "path" not in table.column_names:
        raise InputError(f"{path}: has no column 'path'; its columns: {', '.join(table.column_names)}")
    if taken := sorted(set(table.column_names) & set(VIDEO_COLUMNS)):
        raise InputError(f"{path}: columns that videos.parquet has itself: {', '.join(taken)}; rename them")
    for batch in table.to_batches(max_chunksize=4096):
        yield from batch.to_pylist()
