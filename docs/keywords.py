"""Write the types of options given as keywords, at the end of each options.py: `make docs-reference`."""

import inspect
from dataclasses import Field, fields
from importlib import import_module
from pathlib import Path
from types import NoneType, UnionType
from typing import Literal, Union, get_args, get_origin

import cliffvid

PACKAGE = Path(__file__).parents[1] / "cliffvid"
HOMES = sorted([PACKAGE / "options.py", *PACKAGE.glob("*/options.py")])
LENGTH = 120
MARK = "\n\n# Written by `make docs-reference`, from the above, for checkers of types.\n"


def spelled(kind: object) -> str:
    """Return a type as it is written in Python."""
    if get_origin(kind) is Literal:
        return f"Literal[{', '.join(map(quoted, get_args(kind)))}]"
    if get_origin(kind) in (Union, UnionType):
        return " | ".join(map(spelled, get_args(kind)))
    if get_origin(kind) is tuple:
        return f"tuple[{spelled(get_args(kind)[0])}, ...]"
    return "None" if kind is NoneType else getattr(kind, "__name__", str(kind))


def quoted(word: str) -> str:
    """Return a word as a string of Python."""
    return f'"{word}"'


def keywords(kind: type) -> str:
    """Return the type of the keywords for a class of options."""
    name = kind.__name__.removesuffix("Options") or "Run"
    head = f'class {name}Keywords(TypedDict, total=False):\n    """Fields of {kind.__name__}, as keywords."""\n\n'
    return head + "".join(map(line, fields(kind)))


def line(field: Field[object]) -> str:
    """Return the line of one keyword, broken as ruff does where it is too long."""
    kind = spelled(field.type)
    if len(field.name) + len(kind) > LENGTH - 6 and kind.startswith("Literal["):
        kind = f"Literal[\n        {kind[8:-1]}\n    ]"
    return f"    {field.name}: {kind}\n"


def module(home: Path) -> str:
    """Return a whole options.py as it should be."""
    found = import_module(".".join(home.relative_to(PACKAGE.parent).with_suffix("").parts))
    public = [name for name in cliffvid.__all__ if name.endswith("Options") and name in vars(found)]
    classes = [getattr(found, name) for name in public]
    kinds = sorted((each for each in classes if each.__module__ == found.__name__), key=by_line)
    above = home.read_text(encoding="utf-8").partition(MARK)[0]
    return above.rstrip() + "\n" + MARK + "\n\n".join(map(keywords, kinds))


def by_line(kind: type) -> int:
    """Return where a class begins in its file."""
    return inspect.getsourcelines(kind)[1]


if __name__ == "__main__":
    for home in HOMES:
        home.write_text(module(home), encoding="utf-8")
