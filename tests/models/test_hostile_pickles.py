"""Pickles that would run code, or take a machine's memory or time: refused with one line, wherever one is read."""

import json
import os
import pickle
import re
import struct
import subprocess
import sys

import numpy as np
import pytest

from cliffvid.errors import InputError, ModelError
from cliffvid.evaluate.ground_truth import read_truth
from cliffvid.models.smpl_files import read_body_file

MEMORY_MB, TIME_S = 300, 5
HEAD = b"\x80\x04"


def text(words: str) -> bytes:
    return b"X" + struct.pack("<I", len(words)) + words.encode()


def raw(data: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    return (
        b"J" + struct.pack("<i", value)
        if abs(value) < 2**31
        else b"\x8a\x09" + value.to_bytes(9, "little", signed=True)
    )


def name(module: str, thing: str) -> bytes:
    return f"c{module}\n{thing}\n".encode()


def tuple_of(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def dtype(code: str = "O8", fields: bytes = b"NNN", flags: int = 0) -> bytes:
    """A dtype whose state has no flags: numpy takes what its array holds for plain bytes, though it is of objects."""
    state = tuple_of(number(3), text("|"), fields, number(-1), number(-1), number(flags))
    return name("numpy", "dtype") + tuple_of(text(code), b"\x89\x88") + b"R" + state + b"b"


POINTER = raw(struct.pack("<Q", 0x4141414141414141))
ONE = tuple_of(number(1))


def scalar(kind: bytes, data: bytes = POINTER) -> bytes:
    return name("numpy.core.multiarray", "scalar") + tuple_of(kind, data) + b"R"


def array(kind: bytes, data: bytes = POINTER, shape: bytes = ONE) -> bytes:
    made = name("numpy.core.multiarray", "_reconstruct") + tuple_of(
        name("numpy", "ndarray"), tuple_of(number(0)), text("b")
    )
    return made + b"R" + tuple_of(number(1), shape, kind, b"\x89", data) + b"b"


def buffer(kind: bytes) -> bytes:
    return name("numpy._core.numeric", "_frombuffer") + tuple_of(POINTER, kind, ONE, text("C")) + b"R"


def table(value: bytes) -> bytes:
    """A table that body files and ground truth are looked for in; the value is all that it holds."""
    return b"}(" + text("v_template") + value + text("jointPositions") + value + b"u"


CODE = {
    "scalar": scalar(dtype()),
    "scalar, numpy 2": scalar(dtype()).replace(b"numpy.core", b"numpy._core"),
    "buffer": buffer(dtype()),
    "array": array(dtype()),
    "in an array of objects": array(dtype(flags=63), b"](" + scalar(dtype()) + b"e"),
    "in an allowed object": name("chumpy.ch", "Ch") + b")\x81}" + text("x") + scalar(dtype()) + b"sb",
    "in an index": name("pandas.core.indexes.base", "_new_Index")
    + tuple_of(name("pandas", "Index"), b"}" + text("data") + array(dtype()) + b"s")
    + b"R",
    "fields": array(dtype("V8", b"N" + tuple_of(text("a")) + b"}" + text("a") + tuple_of(dtype(), number(0)) + b"s")),
    "subarray": array(dtype("V8", tuple_of(dtype(), ONE) + b"NN")),
    "dates": array(dtype("M8")),
    "state of a function": name("numpy.core.multiarray", "scalar") + b"N}" + text("__defaults__") + b")s\x86b",
    "state of a class": name("chumpy.ch", "Ch") + b"}" + text("__init__") + b"Nsb",
    "second state": array(dtype("f8")) + tuple_of(number(1), ONE, dtype("f8"), b"\x89", POINTER) + b"b",
    "call of a value": text("os.system") + tuple_of(text("true")) + b"R",
    "another kind": array(dtype("f8")).replace(name("numpy", "ndarray"), name("numpy", "dtype")),
    "a name": name("os", "system") + tuple_of(text("touch ran")) + b"R",
    "a name on the stack": text("builtins") + text("eval") + b"\x93" + tuple_of(text("1")) + b"R",
    "an instance": b"(" + text("touch ran") + b"ios\nsystem\n",
    "an object": b"(" + name("os", "system") + text("touch ran") + b"o",
    "an extension": b"\x82\x01",
    "a persistent name": text("x") + b"Q",
    "a buffer outside": b"\x97",
}  # fmt: skip


def doubling(kind: bytes, times: int) -> bytes:
    """A list (or tuple) of two that are the same, of two that are the same, and so on."""
    start = b"]" if kind == b"l" else b")"
    return start + b"".join(b"q\x010(h\x01h\x01" + kind for _ in range(times))


def sparse(rows: int, columns: int, starts: list[int], places: list[int]) -> bytes:
    parts = {
        "_shape": tuple_of(number(rows), number(columns)),
        "indptr": pickle.dumps(np.array(starts, np.int64), 2)[2:-1],
        "indices": pickle.dumps(np.array(places, np.int64), 2)[2:-1],
        "data": pickle.dumps(np.ones(len(places)), 2)[2:-1],
    }
    state = b"".join(text(key) + value for key, value in parts.items())
    return name("scipy.sparse.csc", "csc_matrix") + b")\x81}(" + state + b"ub"


def picked(places: list[int], values: np.ndarray | None = None) -> bytes:
    plain = pickle.dumps(np.zeros(4) if values is None else values, 2)[2:-1]
    state = text("a") + plain + text("idxs") + pickle.dumps(np.array(places), 2)[2:-1] + text("preferred_shape")
    return name("chumpy.reordering", "Select") + b")\x81}(" + state + tuple_of(number(1 << 20), number(1 << 20)) + b"ub"


BIG = raw(bytes(1 << 20))
# And what is said of each.
BOMBS = {
    "a far memo": (b"]r\xff\xff\xff\x7f", "no 'shapedirs'|not 2-dim"),
    "doubled lists": (doubling(b"l", 35), "many times its size"),
    "doubled tuples": (doubling(b"t", 35), "many times its size"),
    "a hash of doubled tuples": (b"}" + doubling(b"t", 60) + b"Ns", "a key that is neither text nor a number"),
    "deep lists": (b"]" * 100_000 + b"a" * 99_999, "nested over 40 deep"),
    "a list in itself": (b"]q\x01h\x01a", "nested over 40 deep"),
    "bytes of another length": (b"\x8e" + struct.pack("<Q", 1 << 40) + b"x", "expected 1099511627776 bytes"),
    "text of another length": (b"T\xff\xff\xff\x7fx", "expected 2147483647 bytes"),
    "a wide array": (array(dtype("f8"), POINTER, tuple_of(number(1 << 30), number(1 << 33))), "not hold as many bytes"),
    "an empty wide array": (array(dtype("f8"), raw(b""), tuple_of(number(1 << 40), number(0))), "an empty array of"),
    "bytes often": (b"](" + BIG + b"q\x02" + b"h\x02" * 5000 + b"e", "many times its size"),
    "many values": (b"](" + b"]" * 100_000 + b"e", "no .shapedirs."),
    "a long number": (b"\x8b" + struct.pack("<i", 1_000_000) + b"\x7f" * 1_000_000, "Exceeds the limit"),
    "columns past the end": (sparse(24, 1, [0, 1 << 30], [0]), "columns are not where it says"),
    "columns that go back": (sparse(24, 3, [0, 5, -4, 1], [0]), "columns are not where it says"),
    "rows past the end": (sparse(24, 1, [0, 1], [1 << 40]), "outside its 24 rows"),
    "a row below none": (sparse(24, 1, [0, 1], [-1]), "outside its 24 rows"),
    "a wide matrix": (sparse(1 << 30, 1 << 30, [0], []), "a matrix of"),
    "a long matrix": (sparse(1 << 24, 1, [0, 0], []), "a matrix of"),
    "places past the end": (picked([1 << 40]), "out of bounds"),
    "a long text often": (picked([0] * 100_000, np.array(["x" * 100_000])), "instead of numbers"),
    "a wide choice": (picked([0, 1]), "cannot reshape"),
}  # fmt: skip


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """A function that writes a pickle of a value where readers expect the first of their arrays; its path."""
    monkeypatch.chdir(tmp_path)

    def write(value: bytes):
        path = tmp_path / "SMPL_NEUTRAL.pkl"
        path.write_bytes(HEAD + table(value) + b".")
        return path

    yield write
    assert not (tmp_path / "ran").exists()


def in_limits(call) -> Exception:
    """The error of a call that keeps the limits of time and memory, with its processes."""
    start = os.times()
    with pytest.raises((ModelError, InputError)) as raised:
        call()
    assert sum(os.times()[:4]) - sum(start[:4]) < TIME_S  # of processors, whatever else they do
    return raised.value


@pytest.mark.parametrize("kind", [*CODE, *BOMBS])
def test_no_reader_is_harmed(kind, hostile):
    value, expected = BOMBS.get(kind) or (CODE[kind], "refused: ")
    path = hostile(value)
    for reader in (read_body_file, read_truth):
        words = str(in_limits(lambda reader=reader: reader(path)))
        assert words.startswith(str(path)) and "\n" not in words
        # Ground truth has no matrices: they are never looked into.
        assert reader is read_truth or re.search(expected, words), words


def test_the_gadget_does_reach_numpy_where_pickle_reads_it():
    """What is refused here is what would have run: pickle itself makes an object dtype without its flags of it."""
    found = pickle.loads(HEAD + dtype() + b".")
    assert found.hasobject is False and found == np.dtype(object)


# Runs a command from a small process: what has just been forked counts the memory of what it was forked from.
MEASURED = """
import json, resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([code, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]), file=sys.stderr)
"""
COMMANDS = {"add-body": ["models", "add-body", "{}"], "eval": ["eval", "t.npz", "{}"]}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", ["scalar", "columns past the end"])
def test_commands_refuse_it_with_one_line(command, kind, hostile):
    words = [word.format(hostile(CODE.get(kind) or BOMBS[kind][0])) for word in COMMANDS[command]]
    measured = [sys.executable, "-I", "-S", "-c", MEASURED, sys.executable, "-m", "cliffvid", *words]
    done = subprocess.run(measured, capture_output=True, text=True, check=False)
    said, figures = done.stderr.rstrip("\n").rsplit("\n", 1)
    code, seconds, peak_mb = json.loads(figures)
    assert code == 1 and said.startswith("error: ") and "\n" not in said, said
    assert seconds < TIME_S and peak_mb < MEMORY_MB
