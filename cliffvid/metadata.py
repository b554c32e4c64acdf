"""Define what metadata read from JSON must look like, and check it."""

import re
import sys
from dataclasses import dataclass
from typing import TypeGuard


@dataclass(frozen=True)
class Text:
    """Text that matches a pattern, which ``words`` describes."""

    pattern: str
    words: str


@dataclass(frozen=True)
class Between:
    """Numbers from ``low`` to ``high``; NaN only if ``nan``."""

    low: float
    high: float
    nan: bool = False


SIDE = range(1, 1 << 20)  # pixels
COUNT = range(1 << 53)
RATIO = Text(r"\d{1,18}(/0{0,9}[1-9]\d{0,17})?", "a ratio such as 30000/1001")
# The kinds of the metadata of tracks that cliffvid reads, by name, see ``violation``. Names with ``?`` are optional.
TRACKS = {
    "schema_version": COUNT,
    "software?": str,
    "video?": {
        "name": str,
        "codec": str,
        "width_px": SIDE,
        "height_px": SIDE,
        "rate?": (RATIO, None),
        "files?": [str],
    },
    "settings?": {
        "stream?": (COUNT, None),
        "stride?": COUNT,
        "matrix?": str,
        "hdr?": str,
        "deinterlace?": bool,
        "image_fps?": float,
        "box_scale?": (float, None),
        "cx_px?": (float, None),
        "cy_px?": (float, None),
    },
    "models?": [{"name": str}],
    "body?": {"name": str},
    "counts?": {"decode?": {"frames?": COUNT}, "flags?": {}, "shots?": [[COUNT]], "moving?": [COUNT]},
    "complete?": bool,
}


def violation(value: object, kind: object, place: str = "") -> str | None:
    """Return what is wrong with a value read from JSON; None if it is of that kind.

    A dictionary holds the kinds of an object's values by name. If its key is a kind, it holds for all names, and its
    value for all values. A list holds the kind of all items, a range the whole numbers, a set the texts that are
    allowed. One of a tuple must match; None is null.
    """
    place = place or "it"
    if isinstance(kind, tuple):
        violations = [violation(value, each, place) for each in kind]
        return violations[0] if None not in violations else None
    if isinstance(kind, dict):
        return _fault_of_object(value, kind, place)
    if isinstance(kind, list):
        if not isinstance(value, list):
            return f"{place} is {_shown(value)}, expected a list"
        return next(
            (found for i, item in enumerate(value) if (found := violation(item, kind[0], f"{place}[{i}]"))), None
        )
    good, words = _fits(value, kind)
    return None if good else f"{place} is {_shown(value)}, expected {words}"


def _fault_of_object(value: object, kind: dict[object, object], place: str) -> str | None:
    if not isinstance(value, dict):
        return f"{place} is {_shown(value)}, expected an object"
    for key, inner in kind.items():
        if not isinstance(key, str):
            each = (
                violation(name, key, f"a name in {place}") or violation(value[name], inner, f"{place}.{_cut(name)}")
                for name in value
            )
            return next(filter(None, each), None)
        name = key.removesuffix("?")
        if name not in value and name == key:
            return f"{place} has no {name!r}"
        where = name if place == "it" else f"{place}.{name}"
        if name in value and (found := violation(value[name], inner, where)):
            return found
    return None


def _fits(value: object, kind: object) -> tuple[bool, str]:
    """Return whether a value that contains no others is of a kind, and the kind in words."""
    match kind:
        case None:
            return value is None, "null"
        case range():
            return type(value) is int and value in kind, f"a whole number of {kind.start} to {kind.stop - 1}"
        case frozenset():
            return isinstance(value, str) and value in kind, " or ".join(sorted(kind))
        case Text():
            return isinstance(value, str) and bool(re.fullmatch(kind.pattern, value)), kind.words
        case Between():
            words = f"a number of {kind.low:g} to {kind.high:g}"
            good = _is_number(value) and (kind.low <= value <= kind.high or (kind.nan and value != value))
            return good, words
    if kind is float:
        return _is_number(value) and abs(value) <= sys.float_info.max, "a number"
    return type(value) is kind, "text" if kind is str else "true or false"


def _is_number(value: object) -> TypeGuard[int | float]:
    return type(value) in (int, float)


def _shown(value: object) -> str:
    return _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) < 60 else text[:57] + "..."
