"""Choose output paths: one file for each input, with its name."""

import os
import re
import sys
from collections import Counter
from pathlib import Path

from ..errors import UsageError
from ..tracks.write import FOREIGN
from ..video.image_files import is_pattern
from ..video.open import stem

CASELESS = sys.platform in ("win32", "darwin")  # A.parquet and a.parquet are one file there
FILE_ENDINGS = {*FOREIGN, ".parquet", ".npz"}


def is_file_name(inputs: list[Path | str], place: Path) -> bool:
    """Return whether an output path means a file: one input, and a path with an extension that is no folder."""
    return len(inputs) == 1 and bool(place.suffix) and not place.is_dir()


def check_folder(place: Path) -> None:
    """Raise UsageError for a path that means a file."""
    if place.is_file() or (place.suffix.lower() in FILE_ENDINGS and not place.is_dir()):
        raise UsageError(f"{place}: a file; name a folder for the results")


def targets(inputs: list[Path | str], place: Path, suffix: str) -> list[Path]:
    """Return each input's output path: a file with its name in the folder ``place``.

    For a single input it is ``place`` itself, if that means a file. Raises UsageError.
    """
    if is_file_name(inputs, place):
        return [place]
    check_folder(place)
    return [place / f"{name}{suffix}" for name in distinct_names(inputs)]


def distinct_names(inputs: list[Path | str]) -> list[str]:
    """Return a distinct name for each input: its stem; for equal stems with its folder, relative to their common one.

    If that is not enough, the extension is added. Raises UsageError for an input that is named twice.
    """
    places = [_place(source) for source in inputs]
    stems = [stem(source) for source in inputs]
    alike: dict[str, list[Path]] = {}
    for place, name in zip(places, stems, strict=True):
        alike.setdefault(_folded(name), []).append(place.parent)
    choices = []
    for place, name in zip(places, stems, strict=True):
        folder = place.parent.relative_to(os.path.commonpath(alike[_folded(name)]))
        choices.append((name, str(folder / name), str(folder / place.name)))
    level = [0] * len(inputs)
    while True:
        names = [each[at] for each, at in zip(choices, level, strict=True)]
        often = Counter(map(_folded, names))
        again = [i for i, name in enumerate(names) if often[_folded(name)] > 1]
        if not again:
            return names
        if all(level[i] == 2 for i in again):
            first, second = [inputs[i] for i in again if _folded(names[i]) == _folded(names[again[0]])][:2]
            raise UsageError(
                f"{first} and {second}: their results would have one name; process them one by one with -o"
            )
        for i in again:
            level[i] = min(level[i] + 1, 2)


def _folded(name: str) -> str:
    return name.casefold() if CASELESS else name


def _place(source: Path | str) -> Path:
    """Return an input as an absolute path, without a drive; for a URL its host and path, for a pattern its folder."""
    if isinstance(source, str):
        return Path("/", source.split("?")[0].partition("://")[2])
    path = Path(os.path.abspath(source.parent if is_pattern(source) else source))
    return Path("/", re.sub(r"\W", "_", path.drive.rstrip(":")), *path.parts[1:])  # drives have no common folder
