"""Describe an option once: its default, help, panel and limits. Checks and flags follow from that."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from difflib import get_close_matches
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Self, TypeVar, Union, get_args, get_origin

from .errors import UsageError

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Described:
    """What is known of an option besides its name, type and default."""

    help: str
    shown: str | None = None  # shown in the help instead of a default that says little
    panel: str | None = None  # section of the help
    flags: tuple[str, ...] = ()  # if other than the field's name
    above: float | None = None
    least: float | None = None
    below: float | None = None
    most: float | None = None

    def holds(self, value: float) -> bool:
        """Return whether a number is within the limits; NaN is not."""
        return (
            not math.isnan(value)
            and (self.above is None or value > self.above)
            and (self.least is None or value >= self.least)
            and (self.below is None or value < self.below)
            and (self.most is None or value <= self.most)
        )

    def limits(self) -> str:
        """Return the limits in words."""
        if self.least is not None and self.most is not None:
            return f"{self.least:g} to {self.most:g}"
        low = f"above {self.above:g}" if self.above is not None else ""
        low = f"{self.least:g} or more" if self.least is not None else low
        high = f"below {self.below:g}" if self.below is not None else ""
        high = f"at most {self.most:g}" if self.most is not None else high
        return " and ".join(filter(None, (low, high)))


def described(
    help: str,
    shown: str | None = None,
    panel: str | None = None,
    flags: tuple[str, ...] = (),
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> dict[str, Described]:
    """Return a dataclass field's metadata: the description of a required option."""
    return {"option": Described(help, shown, panel, flags, above, least, below, most)}


def option(
    default: T,
    help: str,
    shown: str | None = None,
    *,
    panel: str | None = None,
    flags: tuple[str, ...] = (),
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> T:
    """Return a dataclass field with its description; its type holds the choices, as ``Literal``."""
    metadata = described(help, shown, panel, flags, above, least, below, most)
    return field(default=default, metadata=metadata)


def description(each: Field[Any]) -> Described | None:
    """Return the description of a field; None if it has no flag."""
    return each.metadata.get("option")


def flag_name(each: Field[Any]) -> str:
    """Return the flag of an option, which names it in messages."""
    found = description(each)
    return found.flags[0] if found and found.flags else f"--{each.name.replace('_', '-')}"


@dataclass(frozen=True)
class Kind:
    """The values that an option accepts, read from its type."""

    base: type  # bool, int, float, str or Path
    choices: tuple[str, ...]  # accepted words; if the base is a number, besides numbers
    optional: bool  # may be None
    many: bool  # a tuple of them

    @classmethod
    def of(cls, annotation: object) -> Self:
        if get_origin(annotation) is tuple:
            return cls(get_args(annotation)[0], (), False, True)
        parts = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
        words = tuple(word for part in parts if get_origin(part) is Literal for word in get_args(part))
        bases = [part for part in parts if isinstance(part, type) and part is not NoneType]
        return cls(bases[0] if bases else str, words, NoneType in parts, False)


def choices(options: type, name: str) -> tuple[str, ...]:
    """Return the words that an option accepts."""
    (found,) = (Kind.of(each.type).choices for each in fields(options) if each.name == name)
    return found


def given(kind: type[T], options: T | None, keywords: Mapping[str, object]) -> T:
    """Return the options given as an object or as keywords, the defaults without either.

    Raises UsageError for both, for an unknown keyword, and for a required one that is missing.
    """
    if options is not None:
        check(
            not keywords, f"options and keywords ({', '.join(keywords)}): give all as {kind.__name__}, or as keywords"
        )
        return options
    known = {each.name: each for each in fields(kind)}  # type: ignore[arg-type]  # they are dataclasses
    for name in keywords:
        check(name in known, f"no option {name!r}: {_meant(name, tuple(known))}{kind.__name__} lists them")
    missing = [name for name, each in known.items() if each.default is MISSING and name not in keywords]
    check(not missing, f"{kind.__name__}: give {', '.join(missing)}=...")
    return kind(**keywords)


def given_apart(
    first: tuple[type[T], T | None], second: tuple[type[U], U | None], keywords: Mapping[str, object]
) -> tuple[T, U]:
    """Return two objects of options, as ``given``, from keywords for either: (kind, options) of each."""
    (kind, options), (other, others) = first, second
    names = {each.name for each in fields(other)}  # type: ignore[arg-type]  # it is a dataclass
    theirs = {name: value for name, value in keywords.items() if name in names}
    return given(kind, options, {n: v for n, v in keywords.items() if n not in names}), given(other, others, theirs)


def check(good: bool, message: str) -> None:
    """Raise UsageError with a message unless ``good``."""
    if not good:
        raise UsageError(message)


def check_choice(flag: str, value: object, known: tuple[str, ...]) -> None:
    """Raise UsageError, with the word probably meant, for a word that is not known."""
    check(value in known, f"{flag} {value}: {_meant(str(value), known)}choose one of {', '.join(known)}")


def _meant(word: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(word, known, n=1)
    return f"did you mean {close[0]}? " if close else ""


def check_values(options: object) -> None:
    """Raise UsageError for a value that is not of its option's type, choices or limits."""
    for each in fields(options):  # type: ignore[arg-type]
        value, kind = getattr(options, each.name), Kind.of(each.type)
        if kind.many:
            good = isinstance(value, (tuple, list))
            check(good, f"{flag_name(each)} {value}: must be a tuple or list, also of one: {each.name}=({value!r},)")
            continue
        if (value is None and kind.optional) or (isinstance(value, str) and value in kind.choices):
            continue
        if kind.base in (int, float):
            _check_number(each, value, kind)
        elif kind.choices:
            check_choice(flag_name(each), value, kind.choices)


def check_up(text: str) -> None:
    """Raise UsageError unless a direction is one of the words for it, or a vector such as 0,-1,0."""
    words = "auto", "floor", "camera"
    parts = [number(part, float) for part in text.split(",")]
    good = len(parts) == 3 and all(isinstance(part, float) and math.isfinite(part) for part in parts)
    check(
        text in words or (good and 1e-6 < math.hypot(*(float(part) for part in parts)) < 1e6),
        f"--up {text}: must be one of {', '.join(words)}, or three numbers as 0,-1,0 (x right, y down, z ahead)",
    )


def _check_number(each: Field[Any], value: object, kind: Kind) -> None:
    limits = description(each) or Described("")
    noun = "a whole number" if kind.base is int else "a number"
    if is_time(each):
        noun = "seconds, or a time such as 1:02:03.5"
    good = isinstance(value, Integral if kind.base is int else Real) and limits.holds(float(value))
    good = good and (math.isfinite(float(value)) or value == each.default)  # type: ignore[arg-type]
    must = ", ".join(filter(None, (noun, limits.limits())))
    given = value if str(value).strip() else repr(value)
    check(good, f"{flag_name(each)} {given}: must be {' or '.join((must, *kind.choices))}")


def is_time(each: Field[Any]) -> bool:
    """Return whether an option is a duration or a time: its name ends with the unit."""
    return each.name.endswith("_s")


def number(text: str, kind: type[int] | type[float]) -> int | float | str:
    """Return the number in a text, or the text unchanged, which the option's check refuses."""
    try:
        return kind(text) if text.isascii() and "_" not in text else text  # only Python reads 1_0 as a number
    except ValueError:
        return text


def seconds(text: str) -> float | str:
    """Return the seconds of ``90``, ``1:30`` or ``1:02:03.5``; any other text unchanged."""
    *units, last = text.split(":")
    whole = all(part.isdecimal() and part.isascii() for part in units)
    if not units or len(units) > 2 or not whole or not last[:1].isdecimal():
        return number(text, float)
    least, *above = [number(last, float), *(int(part) for part in reversed(units))]
    if isinstance(least, str) or least >= 60 or any(part >= 60 for part in above[:-1]):
        return text
    return least + sum(float(part) * 60.0**power for power, part in enumerate(above, 1))
