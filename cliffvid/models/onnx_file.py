"""Check that an ONNX file is self-contained, without the onnx package.

The format is described in https://protobuf.dev/programming-guides/encoding and in onnx.proto of ONNX 1.20.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

from ..inputs import open_input

# For each type of message, the fields whose messages can contain a tensor.
HOLDS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
# Fields of a tensor: where its external data are, and whether its data are external.
EXTERNAL_DATA, DATA_LOCATION = 13, 14
OP_TYPE, COMPILED = 4, b"EPContext"  # a node for a graph that a runtime compiled, often in another file
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def check_whole(path: Path) -> None:
    """Raise ValueError for a network that reads data from other files, or for a file that is not a network."""
    with open_input(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        todo = [("model", 0, len(data))]
        while todo:
            kind, start, stop = todo.pop()
            for number, wire, begin, end in fields(data, start, stop):
                elsewhere = kind == "tensor" and number in (EXTERNAL_DATA, DATA_LOCATION) and data[begin:end] != b"\0"
                compiled = kind == "node" and number == OP_TYPE and data[begin:end] == COMPILED
                if elsewhere or compiled:
                    raise ValueError("refers to other files, whose content no hash covers")
                if number in HOLDS[kind]:
                    if wire != BYTES:
                        raise ValueError(f"no ONNX network: field {number} at byte {begin} is no message")
                    todo.append((HOLDS[kind][number], begin, end))


def fields(data: mmap.mmap, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield number, wire type, start and end of the value of each field of a message. Raises ValueError."""
    while start < stop:
        tag, begin = varint(data, start, stop)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            end = varint(data, begin, stop)[1]
        elif wire == BYTES:
            size, begin = varint(data, begin, stop)
            end = begin + size
        elif wire in (FIXED32, FIXED64):
            end = begin + (4 if wire == FIXED32 else 8)
        else:
            raise ValueError(f"no ONNX network: byte {start} begins no field")
        if end > stop or not number:
            raise ValueError(f"no ONNX network: byte {start} begins no field")
        yield number, wire, begin, end
        start = end


def varint(data: mmap.mmap, start: int, stop: int) -> tuple[int, int]:
    """Return an integer and the position after it. Raises ValueError."""
    value = 0
    for place in range(start, min(start + 10, stop)):
        value |= (data[place] & 0x7F) << 7 * (place - start)
        if data[place] < 0x80:
            return value, place + 1
    raise ValueError(f"no ONNX network: byte {start} begins no number")
