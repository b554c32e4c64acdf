"""Find inputs in folders, glob patterns, lists, manifests and single paths."""

import glob
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError, UsageError
from ..names import label, listed, posix, printable, public
from ..options import Options
from ..video.image_files import NAMED, is_hidden, is_image
from ..video.open import source_of
from ..video.ranges import is_stored_shard, read_member, shard_at
from ..video.shards import is_tar
from ..video.stores import in_store, is_listable, list_store, suffix_of
from .lists import NONE, Extra, batches_of, names_in, names_on_stdin, numbered
from .store.columns import Packed, Records

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
SIDECAR_BYTES, SIDECAR_COLUMNS_MAX = 1 << 18, 64  # of one JSON file beside a video in a tar file; of all together


@dataclass
class FoundInputs:
    """Inputs found in the sources, in order, without duplicates.

    An input is one video or image sequence; its path as given, without secrets, is its name in the data set.
    """

    inputs: Records[Extra] = field(default_factory=Records)  # by name
    addresses: dict[str, str] = field(default_factory=dict)  # as given, of inputs whose names leave out secrets
    ignored: int = 0  # files in folders that are neither videos nor, in folders without videos, images
    ignored_names: list[str] = field(default_factory=list)  # the first of them
    doubled: int = 0  # duplicate names
    sidecar_columns: set[str] = field(default_factory=set)

    def add(self, name: str, extra: Extra = NONE) -> None:
        name = posix(name)
        known = public(name)
        if known in self.inputs:
            self._add_again(known, extra)
            return
        self.inputs[known] = extra
        if known != name:
            self.addresses[known] = name

    def add_rows(self, names: list[str], extras: Packed[Extra]) -> None:
        """Add many inputs, with their rows of a manifest."""
        names = list(map(posix, names))
        before, known = len(self.inputs), list(map(public, names))
        for name, address in zip(known, names, strict=True) if known != names else ():
            if name != address and name not in self.inputs:
                self.addresses.setdefault(name, address)
        self.inputs.put(known, extras, keep=True)
        if len(self.inputs) - before < len(names):
            self.doubled -= len(self.inputs) - before  # those that are new
            for name, extra in zip(known, extras, strict=True):
                self._add_again(name, extra)

    def _add_again(self, name: str, extra: Extra) -> None:
        """Take what a manifest says of an input that was named before. Raises InputError if one said something else."""
        held = self.inputs[name]
        if not held:
            self.inputs[name] = extra
        elif extra and extra != held:
            column = min(each for each in held.keys() | extra.keys() if held.get(each) != extra.get(each))
            first, second = (printable(str(values.get(column)))[:60] for values in (held, extra))
            raise InputError(f"{name}: named twice, with {printable(column)} {first} and {second}; keep one of the two")
        self.doubled += 1

    def add_shard(self, name: str, extra: Extra, options: Options) -> None:
        """Add the videos in a tar file, each with the columns of the JSON file of the same stem beside it."""
        try:
            shard = shard_at(name, options)
        except InputError:
            self.add(name, extra)  # so that it is reported as failed
            return
        beside = {video: f"{os.path.splitext(video)[0]}.json" for video in shard.members if is_video(Path(video))}
        for video, sidecar in beside.items():
            self.add(
                f"{name}/{video}", extra | self._columns(name, sidecar, options) if sidecar in shard.members else extra
            )
        rest = sorted(shard.members.keys() - beside.keys() - set(beside.values()))
        self.ignore([f"{name}/{member}" for member in (*shard.ignored, *rest)])
        self.doubled += shard.doubled
        if shard.fault:
            self.add(name, extra)  # so that it is reported as failed

    def _columns(self, tar: str, sidecar: str, options: Options) -> dict[str, object]:
        """Return what a sidecar says, within the number of columns that sidecars may add in all."""
        values = sidecar_values(source_of(f"{tar}/{sidecar}"), options)
        if values is None:
            self.ignore([f"{tar}/{sidecar}"])
        taken: dict[str, object] = {}
        for column, value in (values or {}).items():
            if column in self.sidecar_columns or len(self.sidecar_columns) < SIDECAR_COLUMNS_MAX:
                self.sidecar_columns.add(column)
                taken[column] = value
        return taken

    def ignore(self, paths: Sequence[Path | str]) -> None:
        self.ignored += len(paths)
        self.ignored_names = sorted([*self.ignored_names, *map(str, paths)], key=is_hidden)[:NAMED]


def find_inputs(sources: list[str], leave_out: Path, options: Options | None = None) -> FoundInputs:
    """Return all inputs that the sources name, without those in the folder ``leave_out``.

    Raises UsageError for a source without inputs, InputError for an unreadable manifest or a store that cannot be
    listed.
    """
    found, options = FoundInputs(), options or Options()
    for source in sources:
        before, ignored = len(found.inputs) + found.doubled, found.ignored
        for name in [source] if os.path.exists(source) else numbered(source):
            _add_source(name, {leave_out.resolve()}, found, options)
        if len(found.inputs) + found.doubled == before:
            count = found.ignored - ignored
            left = f" (left out: {listed(found.ignored_names[:count][:1], count)})" if count else ""
            raise UsageError(f"{source}: names no video and no image{left}; is it the right place?")
    return found


def _add_source(source: str, leave_out: set[Path], found: FoundInputs, options: Options) -> None:
    path = Path(source)
    if source == "-":
        _add_names(names_on_stdin(), found, options)
    elif in_store(source):
        _add_stored(source, found, options)
    elif os.path.isdir(path):  # Path.is_dir raises PermissionError
        _add_folder(path, leave_out, found)
    elif path.suffix.lower() in LIST_SUFFIXES and os.path.isfile(path):
        _add_names(names_in(path), found, options)
    elif path.suffix.lower() in MANIFEST_SUFFIXES and os.path.isfile(path):
        _add_manifest(path, found, options)
    elif set("*?[") & set(source) and not os.path.exists(path) and "://" not in source:
        _add_pattern(source, leave_out, found, options)
    else:
        _add_names([source], found, options)


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


def _add_names(names: Iterable[str], found: FoundInputs, options: Options) -> None:
    for name in names:
        _add_name(name, found, options)


def _add_name(name: str, found: FoundInputs, options: Options, extra: Extra = NONE) -> None:
    """Add what a name stands for: an input, or the videos in a tar file."""
    if is_tar(name) or is_stored_shard(name):
        found.add_shard(name, extra, options)
    else:
        found.add(name, extra)


def sidecar_values(path: Path | str, options: Options) -> dict[str, object] | None:
    """Return what the JSON object in a tar file says, as values of columns; None if it is none, or too large.

    What is no single value stays JSON. A name that videos.parquet has itself is prefixed with ``json_``.
    """
    from .store.dataset import VIDEO_COLUMNS

    try:
        values = json.loads(read_member(path, SIDECAR_BYTES, options), parse_constant=lambda name: None)
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
    listable, suffix = is_listable(source), suffix_of(source)
    if listable and source.endswith("/"):
        names = list_store(source, options)
        _add_names([name for name in names if is_video(Path(name)) or is_stored_shard(name)], found, options)
    elif listable and set("*?[") & set(source):
        _add_names(list_store(source, options), found, options)
    elif suffix in LIST_SUFFIXES:
        _add_names(names_in(source, options), found, options)
    elif suffix in MANIFEST_SUFFIXES:
        _add_manifest(source, found, options)
    else:
        _add_name(source, found, options)


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


def _add_pattern(pattern: str, leave_out: set[Path], found: FoundInputs, options: Options) -> None:
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
            _add_name(match, found, options)


def _add_manifest(path: Path | str, found: FoundInputs, options: Options) -> None:
    for names, extras in batches_of(path, options):
        if any(map(is_tar, names)) or any(map(is_stored_shard, names)):
            for name, extra in zip(names, extras, strict=True):
                _add_name(name, found, options, extra)
        else:
            found.add_rows(names, extras)
