"""Make names printable: they may contain bytes that are not UTF-8, characters that control a terminal, and secrets."""

import os
import re
from pathlib import Path

# Control characters, line separators, and marks that reverse the direction of text.
STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
ADDRESS = re.compile(r"\w+://\S+")
STORE = re.compile(r"[A-Za-z][\w+.-]+:/")  # how a path begins that was an address: pathlib takes one of its slashes
# In addresses: a user's name and password, and parameters of a query that sign it.
USER = re.compile(r"(?<=://)[^/?#\s]+@")
SIGNING = re.compile(
    r"(?i)(?<=[?&])(x-(amz|goog)-[\w-]+|awsaccesskeyid|googleaccessid|signature|expires|policy|key-pair-id|sig|s[eprtv]|"
    r"token|access_token|api_?key|key|password|secret)=[^&#\s]*?(?=[,;:)]?(?:$|[&#\s]))&?"
)
NO_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # surrogates that stand for no byte


def public(text: str) -> str:
    """Return text in which addresses have neither passwords nor signatures."""
    return ADDRESS.sub(_public, text)


def _public(address: re.Match[str]) -> str:
    return re.sub(r"[?&]+(?=$|[#),;:])", "", SIGNING.sub("", USER.sub("", address[0])))


def encodable(text: str) -> str:
    """Return text that every reader accepts: bytes that are not UTF-8 become backslash escapes."""
    return NO_BYTE.sub(_escaped, text).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def label(text: str) -> str:
    """Return a name or message as ``encodable``, and ``public``."""
    return encodable(public(text))


def is_address(path: Path) -> bool:
    """Return whether a path stands for an address, such as ``s3://bucket/name``."""
    return address_of(path) is not None


def address_of(path: Path) -> str | None:
    """Return the address that a path stands for, with both slashes; None if it stands for none."""
    name = posix(str(path))
    begin = STORE.match(name)
    return f"{begin[0]}/{name[begin.end() :]}" if begin else None


def posix(name: str) -> str:
    """Return a path as data sets name it, with forward slashes, so that they are alike on all systems."""
    return name.replace(os.sep, "/")


def printable(text: str) -> str:
    """Return one line that is safe to print: as ``label``, and control characters become escapes."""
    return STEERING.sub(_escaped, label(text))


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("ascii", "backslashreplace").decode() if ord(match[0]) > 0x7F else f"\\x{ord(match[0]):02x}"


def listed(names: list[str], count: int) -> str:
    """Return the first ``names`` of ``count`` names in words: a, b and 3 more."""
    return ", ".join(names) + (f" and {count - len(names)} more" if count > len(names) else "")
