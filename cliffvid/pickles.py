"""Pickles that others wrote, read without running anything in them.

A pickle is a program that may call whatever it names. Here it finds numpy's arrays, the few plain names below, and
those that a reader adds, each of them inert; every other name is refused.
"""

import pickle
from typing import BinaryIO

import numpy as np


class StandIn:
    """Keeps an object's state and does nothing with it."""

    def __setstate__(self, state) -> None:
        self.state = state if isinstance(state, dict) else {}


class _Ndarray:
    """Stands for the name numpy.ndarray, which pickles hand to _reconstruct."""


def plain(value) -> np.ndarray:
    """The array that a value is, or that a stand-in with a method ``array`` stands for."""
    return value.array() if isinstance(value, StandIn) else np.asarray(value)


def _reconstruct(kind, *_):
    if kind is not _Ndarray:
        raise pickle.UnpicklingError("an array of an unknown kind")
    return np.ndarray((0,), np.int8)


def _frombuffer(buffer, dtype, shape, order):
    return np.frombuffer(buffer, dtype).reshape(shape, order="F" if order == "F" else "C").copy()


def _scalar(dtype, data=None):
    if not isinstance(data, bytes | str) or not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise pickle.UnpicklingError("a number of an unknown kind")
    return np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, dtype)[0]


def _python2_object(kind, *_):
    if not (isinstance(kind, type) and issubclass(kind, StandIn)):
        raise pickle.UnpicklingError("an object of an unknown kind")
    return kind()


def _bytes(text, encoding="latin1"):
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("text of an unknown kind")
    return text.encode("latin1")


NAMES = {
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): _Ndarray,
    **{
        (f"numpy.{core}.{module}", name): call
        for core in ("core", "_core")
        for module, name, call in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _frombuffer),
        )
    },
    ("copy_reg", "_reconstructor"): _python2_object,
    ("__builtin__", "object"): StandIn,
    ("__builtin__", "set"): set,
    ("builtins", "set"): set,
    ("_codecs", "encode"): _bytes,
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: BinaryIO, names: dict) -> None:
        super().__init__(stream, encoding="latin1")  # what Python 2 wrote is read too
        self._names = NAMES | names

    def find_class(self, module: str, name: str):
        if (module, name) not in self._names:
            raise pickle.UnpicklingError(f"refused: it names {module}.{name}, which no such file needs")
        return self._names[module, name]

    def persistent_load(self, _):
        raise pickle.UnpicklingError("refused: it points outside itself")


def load_pickle(stream: BinaryIO, names: dict | None = None):
    """What a pickle holds. ``names``: further (module, name) it may use, and what stands for each.

    Raises pickle.UnpicklingError for any other name, and nearly any other exception for a damaged file.
    """
    return _Unpickler(stream, names or {}).load()
