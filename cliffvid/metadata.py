"""What the metadata of a tracks file must look like, so that who reads it need not ask."""

import re

SIDE = range(1, 1 << 20)  # pixels
COUNT = range(1 << 53)
RATIO = re.compile(r"\d+(/0*[1-9]\d*)?")
# By name the kind of each value that cliffvid reads, see ``fault``; of names with ``?`` there may be none.
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
    },
    "models?": [{"name": str}],
    "body?": {"name": str},
    "counts?": {"decode?": {"frames?": COUNT}, "flags?": {}},
    "complete?": bool,
}


def fault(value: object, kind: object, place: str = "") -> str | None:
    """Return what is wrong with a value read from JSON, None if it is of that kind.

    A dictionary tells the kinds of an object's values, a list that of all items, a range which numbers, a pattern which
    texts; in a pair with None it may be null.
    """
    place = place or "it"
    if isinstance(kind, tuple):
        return None if value is None else fault(value, kind[0], place)
    if isinstance(kind, dict):
        if not isinstance(value, dict):
            return f"{place} is {_shown(value)}, expected an object"
        for key, inner in kind.items():
            name = key.removesuffix("?")
            if name not in value and name == key:
                return f"{place} has no {name!r}"
            where = name if place == "it" else f"{place}.{name}"
            if name in value and (found := fault(value[name], inner, where)):
                return found
        return None
    if isinstance(kind, list):
        if not isinstance(value, list):
            return f"{place} is {_shown(value)}, expected a list"
        return next((found for i, item in enumerate(value) if (found := fault(item, kind[0], f"{place}[{i}]"))), None)
    if isinstance(kind, range):
        good, words = type(value) is int and value in kind, f"a whole number of {kind.start} to {kind.stop - 1}"
    elif isinstance(kind, re.Pattern):
        good, words = isinstance(value, str) and bool(kind.fullmatch(value)), "a ratio such as 30000/1001"
    elif kind is float:
        good, words = type(value) in (int, float), "a number"
    else:
        good, words = type(value) is kind, {str: "text", bool: "true or false"}[kind]
    return None if good else f"{place} is {_shown(value)}, expected {words}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."
