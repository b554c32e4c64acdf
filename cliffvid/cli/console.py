"""Print all output: results to stdout, everything else to stderr.

Control characters in file names never reach a terminal, and rich does not read names as markup. A failed write to
stdout raises OutputError; a failed write to stderr is ignored, as it cannot be reported.
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
_live: "Live | None" = None  # the live display at the bottom of the terminal


class Heard(logging.Handler):
    """Logging handler that prints the library's log on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        words = self.format(record)
        say(f"warning: {words}" if record.levelno >= logging.WARNING else words)


def hear_the_library() -> None:
    """Start to print the library's log."""
    log = logging.getLogger("cliffvid")
    log.setLevel(logging.INFO)
    log.handlers = [Heard()]


def say(*lines: str) -> None:
    """Print lines on stderr, above the live display."""
    with suppress(OSError):
        for line in map(printable, lines):
            if _live:
                # If its thread changed the height meanwhile, rich would erase too many or too few lines.
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
    """Print a table on stdout, row by row if the terminal is too narrow. Raises OutputError."""
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
    """Show ``draw(width)`` live at the bottom of the terminal; do nothing if stderr cannot be redrawn."""
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
            finally:  # a signal may interrupt start or stop
                console.show_cursor()


def can_draw() -> bool:
    """Return whether stderr is a terminal that can redraw lines."""
    return bool(sys.stderr and sys.stderr.isatty() and _console(stderr=True).is_interactive)


def open_streams() -> None:
    """Make the standard streams usable, even if they were closed at the start.

    A closed stdin stays unreadable and a closed stdout refuses writes. Their file descriptors are reserved, so that
    no file opened later receives what libraries print.
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
        if not os.environ.get(name, "1").strip("0"):  # rich prints nothing at a width of 0
            del os.environ[name]


def close_streams() -> None:
    """Discard unwritten output of a full or closed stream; Python would retry at exit and change the exit code."""
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
    """Return a JSON value: text without invalid UTF-8, and null for NaN and infinity."""
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
