"""The names of devices: auto, cpu, cuda (the first GPU), cuda:N."""

import re


def is_device(name: str) -> bool:
    return re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", name) is not None


def split_device(name: str) -> tuple[str, int]:
    """Return a device's kind and its number, 0 where none is named."""
    kind, _, number = name.partition(":")
    return kind, int(number or 0)


def plain_device(name: str) -> str:
    """Return the shortest name of a device: cuda for cuda:0."""
    kind, number = split_device(name)
    return f"{kind}:{number}" if number else kind
