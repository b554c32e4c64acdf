"""Everything that is printed goes through here: results to stdout, all else to stderr.

A terminal sees no control characters of file names, and rich takes nothing in them for markup. A stdout that cannot
take the results is an OutputError; a stderr that takes nothing is left alone, as nobody can be told.
"""

import io
import json
import logging
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ..errors import OutputError
from ..names import label, printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.table import Table

REFRESH_PER_S = 8
_live: "Live | None" = None  # what is drawn at the bottom of the terminal


class Heard(logging.Handler):
    """Prints what the library logs, on stderr as all else."""

    def emit(self, record: logging.LogRecord) -> None:
        words = self.format(record)
        say(f"warning: {words}" if record.levelno >= logging.WARNING else words)


def hear_the_library() -> None:
    """Print what the library logs, from now on."""
    log = logging.getLogger("cliffvid")
    log.setLevel(logging.INFO)
    log.handlers = [Heard()]


def say(*lines: str) -> None:
    """Print lines on stderr; above what is drawn live."""
    with suppress(OSError):
        for line in map(printable, lines):
            if _live:
                # Of a height that changed meanwhile in its thread rich would wipe away too much or too little.
                with _live._lock:
                    _live.console.print(line, soft_wrap=True)
            elif sys.stderr:
                print(line, file=sys.stderr, flush=True)


def result(*lines: str) -> None:
    """Print lines on stdout. Raises OutputError."""
    with _stdout():
        print(*map(printable, lines), sep="\n", flush=True)


def result_json(facts: object) -> None:
    """Print facts as one line of JSON on stdout. Raises OutputError."""
    with _stdout():
        print(json.dumps(_plain(facts), allow_nan=False), flush=True)


def result_table(table: "Table") -> None:
    """Print a table on stdout, row by row where the terminal is too narrow. Raises OutputError."""
    console = _console()
    width = console.measure(table, options=console.options.update(max_width=sys.maxsize)).maximum
    if console.is_terminal and width > console.width:
        names = [str(column.header) for column in table.columns]
        result(str(table.title))
        for name, *cells in zip(*(column.cells for column in table.columns), strict=True):
            result(str(name), *(f"  {each}: {cell}" for each, cell in zip(names[1:], cells, strict=True)))
        return
    with _stdout():
        console.print(table, width=width, crop=False, no_wrap=True)


@contextmanager
def live(draw: Callable[[int], "RenderableType"]) -> Iterator[None]:
    """Keep what ``draw`` makes of a width at the bottom of the terminal; nothing where stderr is none that can."""
    global _live
    if _live or not can_draw():
        yield
        return
    from rich.live import Live

    console = _console(stderr=True)
    _live = drawn = Live(
        get_renderable=lambda: draw(console.width),
        console=console,
        transient=True,
        refresh_per_second=REFRESH_PER_S,
        redirect_stdout=False,
    )
    try:
        drawn.start()
        yield
    finally:
        _live = None
        with suppress(OSError):  # the terminal may be gone
            try:
                drawn.stop()
            finally:  # a signal may have come in the midst of either
                console.show_cursor()


def can_draw() -> bool:
    """Return whether stderr is a terminal whose lines can be drawn again."""
    return bool(sys.stderr and sys.stderr.isatty() and _console(stderr=True).is_interactive)


def open_streams() -> None:
    """Make the standard streams usable, however the program was started.

    Of those that were closed nothing can be read and stdout refuses what is written, but no file opened later gets
    their numbers: what libraries print would land in it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            _to_null(number, os.O_RDONLY if name == "stdout" else os.O_WRONLY)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if name == "stdin" else "w", encoding="utf-8", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    for name in ("COLUMNS", "LINES"):
        if not os.environ.get(name, "1").strip("0"):  # rich would print nothing in no columns
            del os.environ[name]


def close_streams() -> None:
    """Drop what a full or closed stream did not take: Python would try again at its end, and change the exit code."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            _to_null(number, os.O_WRONLY)


def _to_null(number: int, flags: int) -> None:
    null = os.open(os.devnull, flags)
    if null != number:
        os.dup2(null, number)
        os.close(null)


def _console(stderr: bool = False) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


@contextmanager
def _stdout() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"stdout: cannot write the results there ({error.strerror})") from error


def _plain(value: object) -> object:
    """Return what JSON has a word for, its text free of bytes that are not UTF-8; null for numbers that are none."""
    match value:
        case dict():
            return {label(str(key)): _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case str() | os.PathLike():
            return label(os.fspath(value))
        case float() if not math.isfinite(value):
            return None
    return value
