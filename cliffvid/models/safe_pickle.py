"""Read untrusted pickles without running anything in them.

A pickle is a program that may call anything it names. ``pickle_machine`` takes it apart without calling anything, in a
process that may only read that file and write its output (``confine``). numpy sees plain bytes only, checked here
again.
"""

import json
import math
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np

DTYPE = re.compile("[<>|=][biufSU][0-9]{1,7}")
ALIGNED = 64  # bytes, as the child pads them
WAIT_S = 3600  # for a child that its limit of CPU time does not end, since it waits for a file server
CHILD = "import sys; sys.path.insert(0, sys.argv[1]); from cliffvid.models.pickle_child import main; main()"

Array = np.ndarray  # of any dtype; the class itself, for isinstance
Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[Plain, Plain] | Array | PickledObject | None"
Found: TypeAlias = dict[str, Any]  # a JSON object in the output of the child


@dataclass(frozen=True, eq=False)
class PickledObject:
    """An object in a pickle: the class or function that it names, the arguments, and the state."""

    name: str
    args: list[Plain]
    state: Plain


def load_pickle(stream: BinaryIO) -> Plain:
    """Return the content of the pickle in an open file: plain values, arrays, and records that stand for objects.

    Tuples and sets become lists, bytes become text. Raises ValueError for a file that is refused or damaged.
    """
    command = [sys.executable, "-I", "-S", "-c", CHILD, str(Path(__file__).parents[2])]
    with _scratch() as answer:
        try:
            done = subprocess.run(
                command, stdin=stream, stdout=answer, stderr=subprocess.DEVNULL, timeout=WAIT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise ValueError("reading it takes longer than its size explains") from None
        if done.returncode:
            raise ValueError("it asks for more memory or time than a file of its size needs")
        answer.seek(0)
        return decoded(answer.read())


def _scratch() -> BinaryIO:
    """Return an empty unnamed file, in memory if the system supports it."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("pickle"), "w+b")
    return tempfile.TemporaryFile()


def decoded(answer: bytes) -> Plain:
    """Return the value in the output of ``pickle_child``. Raises ValueError, also for an inconsistent one."""
    first = answer.index(b"\n")
    if answer[:10] == b'{"error": ':
        raise ValueError(json.loads(answer[:first])["error"])
    second = answer.index(b"\n", first + 1)
    arrays, place = [], second + 1
    for code, shape, fortran, size in json.loads(answer[first:second]):
        place += -place % ALIGNED
        if not DTYPE.fullmatch(code) or math.prod(shape) * np.dtype(code).itemsize != size:
            raise ValueError(f"an array of {code} {shape} in {size} bytes")
        values = np.frombuffer(answer, code, math.prod(shape), place) if size else np.zeros(0, code)
        arrays.append(values.reshape(shape, order="F" if fortran else "C"))
        place += size

    def thing(found: Found) -> Plain:
        if "array" in found:
            return arrays[int(found["array"])]
        return dict(found["dict"]) if "dict" in found else PickledObject(found["name"], found["args"], found["state"])

    value: Plain = json.loads(answer[:first], object_hook=thing)
    return value


def plain(value: Plain) -> Array:
    """Return numbers as an array: from an array, or a list of numbers or of equally large arrays.

    Raises ValueError for anything else. Text is refused: one long text would make every item as long.
    """
    if isinstance(value, Array):
        if value.dtype.kind not in "biuf":
            raise ValueError(f"{value.dtype} instead of numbers")
        return value
    if isinstance(value, str | dict | PickledObject):
        raise ValueError(f"{type(value).__name__.lower()} instead of numbers")
    return np.asarray(value, np.float64)
