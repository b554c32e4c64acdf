"""Read an untrusted pickle in a confined process; ``safe_pickle.py`` starts it, with the file as stdin.

Arrays are bytes whose dtype, shape and length agree. Only the standard library is imported, since a process is started
for every file. The output on stdout is two lines of JSON and the bytes of the arrays.
"""

import gc
import json
import math
import mmap
import os
import re
import struct

from .confine import confine
from .pickle_machine import ARRAY, BUFFER, SCALAR, Machine, Name, Record, Refused

NESTED_MAX, SIDE_MAX = 40, 1 << 20
SHARED_MAX = 4  # limit of the unfolded content, in file sizes; a shared part counts each time it is used
TEXT_PER_COUNT = 8  # bytes of text that count as one byte of an array: rows repeat the same words
ALIGNED = 64  # bytes
DTYPE = re.compile(r"[<>|=]?([biufSUO])([0-9]{1,7})")
SIZES = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8), "O": (8, 4)}
NUMBERS = {"b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q"}
NUMBERS |= {"f2": "e", "f4": "f", "f8": "d"}


class ChildAnswer:
    """A value as JSON, and the bytes of its arrays, once each."""

    def __init__(self, size: int) -> None:
        self.left = SHARED_MAX * size + (1 << 16)  # budget of values and of bytes of text and arrays, per use
        self.headers: list[list[object]] = []  # dtype, shape, order and length of each array
        self.blobs: list[bytes | bytearray | str] = []
        self._known: dict[int, int] = {}
        self._items: dict[int, tuple[str, int]] = {}  # parsed dtypes by the id of their record, which stays alive

    def count(self, amount: int) -> None:
        """Raise Refused if the file unfolds to much more than its size."""
        self.left -= amount
        if self.left < 0:
            raise Refused("refused: it names the same parts so often that it unfolds to many times its size")

    def of(self, value: object, depth: int = 0) -> object:
        """Return the JSON form of a value. Raises Refused."""
        kind = type(value)
        self.count(1)
        if depth > NESTED_MAX:
            raise Refused(f"refused: it is nested over {NESTED_MAX} deep")
        if value is None or kind in (bool, int, float):
            return value
        if isinstance(value, (str, bytes, bytearray)):
            self.count(len(value) // TEXT_PER_COUNT)
            return value if isinstance(value, str) else value.decode("latin1")
        if isinstance(value, (list, tuple)):
            return [self.of(item, depth + 1) for item in value]
        if isinstance(value, dict):
            return {"dict": [[self.of(key), self.of(item, depth + 1)] for key, item in value.items()]}
        if isinstance(value, Name):
            return {"name": value.text, "args": [], "state": None}
        if not isinstance(value, Record):
            raise Refused("refused: a value of an unknown kind")
        if value.name in ARRAY or value.name in BUFFER:
            return self.array(value, depth)
        if value.name in SCALAR:
            return scalar(*value.args)
        return {
            "name": value.name,
            "args": self.of(value.args, depth + 1),
            "state": self.of(value.state, depth + 1),
        }

    def array(self, record: Record, depth: int) -> object:
        shape, dtype, fortran, data = array_parts(record)
        kind, item = self._items.get(id(dtype)) or self._items.setdefault(id(dtype), item_of(dtype))
        count = math.prod(shape)
        if kind[1] == "O":
            if type(data) is not list or len(data) != count:
                raise Refused("refused: an array whose items are not as many as its shape says")
            return self.nested(data, shape, depth + 1)
        if not isinstance(data, (bytes, bytearray, str)) or len(data) != count * item:
            raise Refused(f"refused: an array of {kind} {shape} that does not hold as many bytes")
        self.count(len(data))
        place = self._known.setdefault(id(record), len(self.blobs))
        if place == len(self.blobs):
            self.headers.append([kind, shape, fortran, len(data)])
            self.blobs.append(data)
        return {"array": place}

    def nested(self, items: list[object], shape: tuple[int, ...], depth: int) -> object:
        """Return the items of an object array as nested lists."""
        if not shape:
            return self.of(items[0], depth)
        if not items:
            return []
        step = len(items) // shape[0]
        if len(shape) == 1:
            return [self.of(item, depth + 1) for item in items]
        return [self.nested(items[k : k + step], shape[1:], depth + 1) for k in range(0, len(items), step)]

    def write(self, value: object, file: int) -> None:
        """Write the answer to an open file."""
        head = json.dumps(value), json.dumps(self.headers)
        put(file, padded("\n".join((*head, "")).encode()))
        for blob in self.blobs:
            put(file, padded(blob.encode("latin1") if isinstance(blob, str) else blob))


def array_parts(record: Record) -> tuple[tuple[int, ...], object, bool, object]:
    """Return shape, dtype, order and data of an array's record. Raises Refused."""
    if record.name in BUFFER:
        data, dtype, shape, order = record.args
        fortran = order == "F"
    else:
        kind = record.args[0] if record.args else None
        if type(kind) is not Name or kind.text != "numpy.ndarray":
            raise Refused("refused: an array of an unknown kind")
        if type(record.state) is not tuple or len(record.state) not in (4, 5):
            raise Refused("refused: an array without data")
        shape, dtype, fortran, data = record.state[-4:]
    if type(shape) is not tuple or len(shape) > 32 or any(type(side) is not int or side < 0 for side in shape):
        raise Refused("refused: an array of an unknown shape")
    if 0 in shape and max(shape) > SIDE_MAX:
        raise Refused(f"refused: an empty array of {shape}")
    return shape, dtype, bool(fortran), data


def item_of(dtype: object) -> tuple[str, int]:
    """Return a dtype's record as text, and the bytes per item. Raises Refused for all but plain kinds."""
    state: object = None
    code: object = None
    if type(dtype) is Record:
        state = dtype.state or (3, "|", None, None, None)
        code = dtype.args[0] if dtype.name == "numpy.dtype" and dtype.args else None
    found = DTYPE.fullmatch(code) if type(code) is str else None
    if not found or type(state) is not tuple or state[1] not in ("<", ">", "|", "=") or state[2:5] != (None,) * 3:
        raise Refused("refused: an array of neither numbers nor text")
    kind, size = found[1], int(found[2])
    if size not in SIZES.get(kind, (size,)):
        raise Refused(f"refused: numbers of {8 * size} bits")
    return f"{state[1]}{kind}{size}", size * (4 if kind == "U" else 1)


def scalar(dtype: object, data: object = None) -> object:
    """Return a numpy scalar, given as dtype record and bytes, as a plain value. Raises Refused."""
    kind, item = item_of(dtype)
    order, code = kind[0], kind[1:]
    if type(data) is str:
        data = data.encode("latin1")
    if code[0] == "O" or type(data) is not bytes or len(data) != item:
        raise Refused("refused: a number of an unknown kind")
    if code[0] == "U":
        return data.decode("utf-32-be" if order == ">" else "utf-32-le").rstrip("\0")
    if code[0] == "S":
        return data.decode("latin1").rstrip("\0")
    return struct.unpack((">" if order == ">" else "<") + NUMBERS[code], data)[0]


def padded(data: bytes | bytearray) -> bytes | bytearray:
    return data + b" " * (-len(data) % ALIGNED)


def put(file: int, data: bytes | bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def read(data: mmap.mmap | bytes, file: int) -> None:
    """Write a pickle's content to an open file, or why it is refused."""
    answer = ChildAnswer(len(data))
    try:
        value = answer.of(Machine().run(data))
        answer.write(value, file)
    except MemoryError:
        put(file, b'{"error": "it asks for more memory than a file of its size needs"}\n')
    except Exception as error:  # a damaged file can raise nearly anything
        put(file, json.dumps({"error": str(error) or type(error).__name__}).encode() + b"\n")


def main() -> None:
    """Read stdin, write to stdout."""
    gc.disable()  # saves a third of the time with millions of values; the process ends soon
    size = os.fstat(0).st_size
    data = mmap.mmap(0, 0, access=mmap.ACCESS_READ)
    confine(size)
    read(data, 1)
    os._exit(0)
