"""Check inputs before networks are opened, and describe inputs as text."""

import os
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from ..errors import CliffvidError, InputError, NotFoundError, describe
from ..options import Options
from .console import result_json, say

if TYPE_CHECKING:
    from ..annotate.messages import LeftOut


class HasVideo(Protocol):
    """Interface of a request that has an input."""

    @property
    def video(self) -> Path | str: ...


Job = TypeVar("Job", bound=HasVideo)


def without_missing(names: list[str], as_json: bool) -> tuple[list[str], int]:
    """Report missing files before anything is loaded; return the other names and the number of missing ones."""
    there = [name for name in names if not _is_missing(name)]
    for name in names:
        if name not in there:
            print_failed(name, NotFoundError(f"{name}: no such file"), as_json)
    return there, len(names) - len(there)


def _is_missing(name: str) -> bool:
    """Return whether a file is missing; stdin, URLs and patterns are checked later."""
    if name == "-" or "://" in name or set("*?[") & set(name):
        return False
    try:
        os.stat(name)
    except (FileNotFoundError, NotADirectoryError):
        from ..video.shards import shard_of

        return not shard_of(Path(name))
    except OSError:  # it may exist
        return False
    return False


def in_folders(videos: list[Path | str], leave_out: set[Path], quiet: bool) -> list[Path | str]:
    """Return the inputs, with each folder of videos, and each pattern of videos, replaced by what is in it."""
    from ..annotate.inputs import inputs_in
    from .annotate_view import counted, left_out

    found: list[Path | str] = []
    for video in chain.from_iterable(map(_matches, videos)):
        if isinstance(video, str) or not os.path.isdir(video):
            found.append(video)
            continue
        inside = inputs_in(video, leave_out)
        found += [Path(name) for name in inside.inputs] or [video]  # rejected later
        if [*inside.inputs] != [str(video)] and not quiet:
            facts: LeftOut = {"ignored": inside.ignored, "ignored_names": inside.ignored_names}
            left = f"; {left_out(facts)}" if inside.ignored else ""
            say(f"{video}: {counted(len(inside.inputs), 'input')}{left}")
    return found


def _matches(video: Path | str) -> list[Path | str]:
    """Return what a pattern matches, which Windows' prompt leaves to programs; one that matches images stays."""
    from ..video.image_files import is_image, is_pattern, natural_key

    if isinstance(video, str) or not is_pattern(video):
        return [video]
    matches = sorted(video.parent.glob(video.name), key=natural_key)
    return [*matches] if matches and not any(map(is_image, matches)) else [video]


def those_that_open(requests: list[Job], options: Options, as_json: bool) -> list[Job]:
    """Return the requests from the first readable input on; report those before it, so that no network is loaded."""
    from ..tracks.boxes import read_boxes
    from ..video.open import open_source

    for index, request in enumerate(requests):
        if isinstance(request.video, str) and options.allow_network:  # slow to open
            return requests[index:]
        try:
            with open_source(request.video, options) as source:
                if options.boxes is not None:
                    read_boxes(options.boxes, source.info.files)
        except InputError as error:
            print_failed(request.video, error, as_json)
        else:
            return requests[index:]
    return []


def print_failed(video: Path | str, error: Exception, as_json: bool) -> None:
    """Print the error of an input."""
    say(describe(error) if isinstance(error, CliffvidError | OSError) else f"{video}: {describe(error)}")
    if as_json:
        kind = type(error).__name__
        result_json({"video": video, "status": "failed", "error": kind, "message": str(error)})


def facts_text(facts: Mapping[str, object]) -> list[str]:
    """Return the facts as readable lines, without missing ones."""
    lines = [str(facts["path"])]
    for name, value in facts.items():
        if name == "streams" and isinstance(value, list):
            value = "; ".join(_words(stream) for stream in value)
        elif isinstance(value, dict):
            value = ", ".join(f"{key} {each}" for key, each in value.items() if each is not None)
        if name != "path" and value is not None:
            lines.append(f"  {name:14} {value}")
    return lines


def _words(stream: Mapping[str, object]) -> str:
    known = {key: value for key, value in stream.items() if value is not None and value is not False}
    return " ".join(key if value is True else str(value) for key, value in known.items())
