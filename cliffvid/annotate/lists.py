"""Read lists of inputs, one per line, from stdin or a file, as UTF-8, UTF-16 or UTF-32."""

import codecs
import logging
import os
import sys
from pathlib import Path

from ..errors import InputError, UsageError
from ..inputs import read_input

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


def names_in(path: Path) -> list[str]:
    """Return the names in a list file. Raises InputError if it is not a text file."""
    return _lines(text_in(path))


def text_in(path: Path) -> str:
    """Return the text of a list or manifest. Raises InputError if it cannot be read or is not text."""
    text = _decoded(read_input(path, LIST_BYTES))
    if text is None:
        raise InputError(f"{path}: not a text file; {A_LIST}")
    return text


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
