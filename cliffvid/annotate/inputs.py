"""Find inputs in folders, glob patterns, lists, manifests and single paths."""

import glob
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError, UsageError
from ..inputs import RangeFile
from ..names import label, public
from ..npz import size_of
from ..options import Options
from ..tracks.read import check_parquet
from ..video.image_files import NAMED, is_hidden, is_image
from ..video.shards import is_shard, read_member, read_shard
from ..video.stores import in_store, list_store
from .lists import names_in, names_on_stdin, numbered, open_list, text_in
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
SIDECAR_BYTES, SIDECAR_COLUMNS_MAX = 1 << 18, 64  # of one JSON file beside a video in a tar file; of all together


@dataclass(frozen=True)
class Input:
    """One video or image sequence; ``name`` is its path as given without secrets, and its name in the data set."""

    name: str
    extra: dict[str, object] = field(default_factory=dict)  # the manifest's other columns
    address: str | None = None  # as given, if that has secrets


@dataclass
class FoundInputs:
    """Inputs found in the sources, in order, without duplicates."""

    inputs: dict[str, Input] = field(default_factory=dict)
    ignored: int = 0  # files in folders that are neither videos nor, in folders without videos, images
    ignored_names: list[str] = field(default_factory=list)  # the first of them
    doubled: int = 0  # duplicate names
    sidecar_columns: set[str] = field(default_factory=set)

    def add(self, name: str, extra: dict[str, object] | None = None) -> None:
        known = public(name)
        if known in self.inputs:
            self.doubled += 1
        else:
            self.inputs[known] = Input(known, extra or {}, None if known == name else name)

    def add_shard(self, name: str, extra: dict[str, object]) -> None:
        """Add the videos in a tar file, each with the columns of the JSON file of the same stem beside it."""
        shard = read_shard(Path(name))
        beside = {video: f"{os.path.splitext(video)[0]}.json" for video in shard.members if is_video(Path(video))}
        for video, sidecar in beside.items():
            self.add(f"{name}/{video}", extra | self._columns(name, sidecar) if sidecar in shard.members else extra)
        rest = sorted(shard.members.keys() - beside.keys() - set(beside.values()))
        self.ignore([Path(name, member) for member in (*shard.ignored, *rest)])
        self.doubled += shard.doubled
        if shard.fault:
            self.add(name, extra)  # so that it is reported as failed

    def _columns(self, tar: str, sidecar: str) -> dict[str, object]:
        """Return what a sidecar says, within the number of columns that sidecars may add in all."""
        values = sidecar_values(Path(tar, sidecar))
        if values is None:
            self.ignore([Path(tar, sidecar)])
        taken: dict[str, object] = {}
        for column, value in (values or {}).items():
            if column in self.sidecar_columns or len(self.sidecar_columns) < SIDECAR_COLUMNS_MAX:
                self.sidecar_columns.add(column)
                taken[column] = value
        return taken

    def ignore(self, paths: list[Path]) -> None:
        self.ignored += len(paths)
        self.ignored_names = sorted([*self.ignored_names, *map(str, paths)], key=is_hidden)[:NAMED]


def find_inputs(sources: list[str], leave_out: Path, options: Options | None = None) -> FoundInputs:
    """Return all inputs that the sources name, without those in the folder ``leave_out``.

    Raises UsageError for a source without inputs, InputError for an unreadable manifest or a store that cannot be
    listed.
    """
    found, options = FoundInputs(), options or Options()
    for source in (name for each in sources for name in ([each] if os.path.exists(each) else numbered(each))):
        before = len(found.inputs) + found.doubled
        path = Path(source)
        if source == "-":
            _add_names(names_on_stdin(), found)
        elif in_store(source):
            _add_stored(source, found, options)
        elif os.path.isdir(path):  # Path.is_dir raises PermissionError
            _add_folder(path, {leave_out.resolve()}, found)
        elif path.suffix.lower() in LIST_SUFFIXES and os.path.isfile(path):
            _add_names(names_in(path), found)
        elif path.suffix.lower() in MANIFEST_SUFFIXES and os.path.isfile(path):
            _add_manifest(path, found, options)
        elif set("*?[") & set(source) and not os.path.exists(path) and "://" not in source:
            _add_pattern(source, {leave_out.resolve()}, found)
        else:
            _add_names([source], found)
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


def _add_names(names: Iterable[str], found: FoundInputs) -> None:
    for name in names:
        _add_name(name, found, {})


def _add_name(name: str, found: FoundInputs, extra: dict[str, object]) -> None:
    """Add what a name stands for: an input, or the videos in a tar file."""
    if is_shard(Path(name)):
        found.add_shard(name, extra)
    else:
        found.add(name, extra)


def sidecar_values(path: Path) -> dict[str, object] | None:
    """Return what the JSON object in a tar file says, as values of columns; None if it is none, or too large.

    What is no single value stays JSON. A name that videos.parquet has itself is prefixed with ``json_``.
    """
    from .store.dataset import VIDEO_COLUMNS

    try:
        values = json.loads(read_member(path, SIDECAR_BYTES), parse_constant=lambda name: None)
    except (InputError, ValueError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    names = {name: f"json_{name}" if name in VIDEO_COLUMNS else label(name) for name in values}
    return {names[name]: _column_value(value) for name, value in values.items() if name}


def _column_value(value: object) -> object:
    if isinstance(value, list | dict):
        return json.dumps(value)
    if isinstance(value, int) and value.bit_length() > 63:
        return str(value)
    return label(value) if isinstance(value, str) else value


def _add_stored(source: str, found: FoundInputs, options: Options) -> None:
    """Add what an address in a store stands for: a pattern, a prefix, a list, a manifest or a video."""
    suffix = Path(source).suffix.lower()
    if source.endswith("/"):
        _add_names(filter(lambda name: is_video(Path(name)), list_store(source, options)), found)
    elif set("*?[") & set(source):
        _add_names(list_store(source, options), found)
    elif suffix in LIST_SUFFIXES:
        _add_names(names_in(source, options), found)
    elif suffix in MANIFEST_SUFFIXES:
        _add_manifest(source, found, options)
    else:
        found.add(source)


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
            _add_name(match, found, {})


def _add_manifest(path: Path | str, found: FoundInputs, options: Options) -> None:
    for number, row in enumerate(_rows(path, options), 1):
        name = row.pop("path")
        if not name:
            raise InputError(f"{path}: row {number} has no path")
        try:
            Options(**camera_of(row))
        except (UsageError, TypeError, ValueError) as error:
            raise InputError(f"{path}: row {number}: {error}") from error
        _add_name(str(name), found, row)


def camera_of(extra: Mapping[str, object]) -> OwnCamera:
    """Return the camera in a manifest's columns. Raises ValueError and TypeError for what is no number."""
    focal_px, fov_deg, cx_px, cy_px = (_number(extra.get(name)) for name in CAMERA_COLUMNS)
    return {"focal_px": focal_px, "fov_deg": fov_deg, "cx_px": cx_px, "cy_px": cy_px}


def _number(value: object) -> float | None:
    return None if value is None or value == "" else float(value)  # type: ignore[arg-type]  # raises for others


def _rows(path: Path | str, options: Options) -> Iterator[dict[str, object]]:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    from .store.dataset import VIDEO_COLUMNS

    try:
        if str(path).lower().endswith(".csv"):
            types = pa.csv.ConvertOptions(column_types={"path": pa.string()})
            text = io.BytesIO(text_in(path, options).encode("utf-8", "surrogateescape"))
            table = pa.csv.read_csv(text, pa.csv.ReadOptions(use_threads=False), convert_options=types)
        else:
            with open_list(path, options) as file:
                source = pq.ParquetFile(file, pre_buffer=False)
                check_parquet(source.metadata, file.size if isinstance(file, RangeFile) else size_of(file))
                table = source.read(use_threads=False)
    except (OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"{path}: not a readable manifest ({error})") from error
    if "path" not in table.column_names:
        raise InputError(f"{path}: has no column 'path'; its columns: {', '.join(table.column_names)}")
    if taken := sorted(set(table.column_names) & set(VIDEO_COLUMNS)):
        raise InputError(f"{path}: columns that videos.parquet has itself: {', '.join(taken)}; rename them")
    for batch in table.to_batches(max_chunksize=4096):
        yield from batch.to_pylist()
