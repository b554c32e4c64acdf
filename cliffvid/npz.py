"""Read untrusted .npz and .npy files: sizes and shapes are checked before any array is built."""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, BinaryIO
from zipfile import ZipFile

import numpy as np

Array = np.ndarray
# Limits of the unpacked size. Tracks compress to about a half, those of motionless people to a hundredth.
UNPACKED_BYTES, UNPACKED_RATIO = 256 << 20, 100
EMPTY_SIDE = 1 << 20  # of an empty array, which no number of bytes limits
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass(frozen=True)
class Header:
    """The header of an array's file."""

    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool


def size_of(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def check_unpacked(size: int, unpacked: int) -> None:
    """Raise ValueError for a file of ``size`` bytes that unpacks to far more than such files do."""
    if unpacked > max(UNPACKED_BYTES, UNPACKED_RATIO * size):
        raise ValueError(f"its {size / 1e6:.1f} MB would unpack to {unpacked / 1e6:,.0f} MB")


def read_header(file: IO[bytes], name: str) -> Header:
    """Return the header of an array, before its data. Raises ValueError for all but plain numbers and text."""
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"{name!r} is of numpy's format {version}")
    shape, fortran, dtype = HEADERS[version](file)
    if dtype.hasobject:
        raise ValueError(f"{name!r} holds Python objects, which reading would have to run; save it as plain numbers")
    if dtype.kind not in "biufUS":
        raise ValueError(f"{name!r} is {dtype}, neither numbers nor text")
    if 0 in shape and max(shape) > EMPTY_SIDE:
        raise ValueError(f"{name!r} is an empty array of {shape}")
    return Header(dtype, shape, fortran)


def read_headers(archive: ZipFile, size: int, names: Iterable[str] | None = None) -> dict[str, Header]:
    """Return the headers of the named arrays, all by default, in an archive of ``size`` bytes.

    Raises ValueError if an array's length differs from its header or far too much would be unpacked, KeyError if one is
    missing.
    """
    names = list(archive.NameToInfo) if names is None else [f"{name}.npy" for name in names]
    if missing := [name for name in names if name not in archive.NameToInfo]:
        raise KeyError(missing[0].removesuffix(".npy"))
    items = [archive.NameToInfo[name] for name in names]
    check_unpacked(size, sum(item.file_size for item in items))
    headers = {}
    for item in items:
        name = item.filename.removesuffix(".npy")
        with archive.open(item) as member:
            headers[name] = read_header(member, name)
            _check_length(name, headers[name], member.tell(), item.file_size)
    return headers


def load_npz(file: BinaryIO, names: Iterable[str] | None = None) -> dict[str, Array]:
    """Return the named arrays, all by default. Raises ValueError, KeyError, BadZipFile and the like."""
    with ZipFile(file) as archive:
        arrays = {}
        for name in read_headers(archive, size_of(file), names):
            with archive.open(f"{name}.npy") as member:
                arrays[name] = np.lib.format.read_array(member, allow_pickle=False)
        return arrays


def load_npy(file: BinaryIO) -> Array:
    """Return the array of an .npy file. Raises ValueError."""
    header = read_header(file, "the array")
    _check_length("the array", header, file.tell(), size_of(file))
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def _check_length(name: str, header: Header, start: int, length: int) -> None:
    expected = start + math.prod(header.shape) * header.dtype.itemsize
    if length != expected:
        raise ValueError(f"{name!r} holds {length} bytes instead of {expected}")
