"""Read lists of inputs, one per line, from stdin or a file, as UTF-8, UTF-16 or UTF-32."""

import codecs
import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import InputError, RefusedError, UsageError
from ..inputs import RangeFile, open_input
from ..options import Options
from ..video.stores import open_ranges

log = logging.getLogger(__name__)
# Byte order marks. UTF-32's begins with UTF-16's, so it is checked first.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}
HEAD, LONGEST = 1 << 16, 1 << 13  # bytes: the block that is checked for binary data; the longest name
LIST_BYTES = 1 << 30
BRACES, NUMBERED_MAX = re.compile(r"\{([0-9]{1,9})\.\.([0-9]{1,9})\}"), 100_000
A_LIST = "a list has one name a line, in UTF-8, or in UTF-16 with a byte order mark"


def names_on_stdin() -> list[str]:
    """Return the names on stdin. Raises UsageError for binary data, as soon as the first bytes show it."""
    if sys.stdin is None:
        raise UsageError("-: stdin is closed; pipe a list into it, one name a line")
    if sys.stdin.isatty():
        log.info("-: one name a line, then Ctrl-D")
    data, text = bytearray(), None
    try:
        while part := sys.stdin.buffer.read1(HEAD):  # type: ignore[union-attr]  # it is a BufferedReader
            data += part
            if _is_binary(data[:HEAD]):
                break
        else:
            text = _decoded(data)
    except OSError as error:
        raise UsageError(f"-: cannot read stdin ({error.strerror}); pipe a list into it, one name a line") from error
    if text is None:
        raise UsageError(
            f"-: stdin is no list of names but binary data, such as a video: save it to a file and name that ({A_LIST})"
        )
    return _lines(text)


def names_in(path: Path | str, options: Options | None = None) -> list[str]:
    """Return the names in a list. Raises InputError if it is not a text file."""
    return _lines(text_in(path, options))


def text_in(path: Path | str, options: Options | None = None) -> str:
    """Return the text of a list or manifest. Raises InputError if it cannot be read or is not text."""
    with open_list(path, options or Options()) as file:
        data = file.read()
        if isinstance(file, RangeFile):
            file.check()
    text = _decoded(data)
    if text is None:
        raise InputError(f"{path}: not a text file; {A_LIST}")
    return text


def open_list(path: Path | str, options: Options) -> BinaryIO | RangeFile:
    """Open a list or manifest, in a store or here. Raises InputError, also for one that is too large."""
    file = open_ranges(path, options)
    if file and file.size > LIST_BYTES:
        raise RefusedError(f"{path}: {file.size:,} bytes, expected {LIST_BYTES:,} at most; the right file?")
    return file or open_input(Path(path), LIST_BYTES)


def numbered(pattern: str) -> list[str]:
    """Return the names that a pattern with ranges in braces stands for: {08..10} for 08, 09 and 10, as in a shell.

    A name without them stands for itself. Raises UsageError for too many.
    """
    names = [""]
    for text, first, last in _braces(pattern):
        ends = int(first or 0), int(last or 0)
        step, width = 1 if ends[0] <= ends[1] else -1, max(len(first), len(last)) if first != str(ends[0]) else 0
        if len(names) * (abs(ends[1] - ends[0]) + 1) > NUMBERED_MAX:
            raise UsageError(f"{pattern}: stands for more than {NUMBERED_MAX:,} names; write them into a list")
        parts = [f"{n:0{width}d}" for n in range(ends[0], ends[1] + step, step)] if first else [""]
        names = [name + text + part for name in names for part in parts]
    return names


def _braces(pattern: str) -> Iterator[tuple[str, str, str]]:
    """Yield each text before a range and the range's ends, then the text after the last one."""
    at = 0
    for found in BRACES.finditer(pattern):
        yield pattern[at : found.start()], found[1], found[2]
        at = found.end()
    yield pattern[at:], "", ""


def _decoded(data: bytes | bytearray) -> str | None:
    """Return the text without its byte order mark, or None for binary data."""
    encoding = _marked(data)
    try:
        text = data.decode(encoding) if encoding else os.fsdecode(bytes(data))  # file names need not be UTF-8
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _is_binary(head: bytearray) -> bool:
    """Return whether the first bytes are binary: they hold a zero byte, or a line longer than any name."""
    return not _marked(head) and (b"\0" in head or max(map(len, head.split(b"\n"))) > LONGEST)


def _marked(data: bytes | bytearray) -> str | None:
    return next((encoding for mark, encoding in MARKS.items() if data.startswith(mark)), None)


def _lines(text: str) -> list[str]:
    """Return the lines that are not blank. Not with splitlines: names may hold Unicode line separators."""
    lines = (line.removesuffix("\r").removeprefix("\ufeff") for line in text.split("\n"))
    return [line for line in lines if line.strip()]
