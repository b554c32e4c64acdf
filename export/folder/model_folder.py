"""Write the contents of a model folder: a manifest and the files it names."""

import bz2  # noqa: F401  zipfile needs it; fail here rather than after minutes of work
import io
import json
from collections.abc import Mapping
from pathlib import Path
from zipfile import ZIP_BZIP2, ZipFile, ZipInfo

import numpy as np

from cliffvid.errors import UsageError
from cliffvid.models.manifest import SCHEMA, sealed
from cliffvid.tables import Array

from ..open.sources import sha256


def check_name(name: str | None) -> None:
    """Raise UsageError for an invalid model name; None, for the default name, is valid."""
    if name is not None and (not name or name.startswith(".") or Path(name).name != name):
        raise UsageError(f"model name {name!r}: expected a plain folder name such as cliff-hr48")


def tensor(dtype: str, shape: list[int | str], axes: list[str], unit: str) -> dict[str, object]:
    """Return a manifest's description of one input or output."""
    return {"dtype": dtype, "shape": shape, "axes": axes, "unit": unit}


def describe_detector(count: int) -> dict[str, dict[str, dict[str, object]]]:
    """Return a detector's inputs and outputs for its manifest; the letterbox there gives the allowed image sizes."""
    return {
        "inputs": {"image": tensor("uint8", ["N", "H", "W", 3], ["frame", "y", "x", "rgb"], "0..255")},
        "outputs": {
            "box_px": tensor("float32", ["N", count, 4], ["frame", "candidate", "xyxy"], "px of the canvas"),
            "objectness": tensor("float32", ["N", count], ["frame", "candidate"], "0..1"),
            "class_prob": tensor("float32", ["N", count], ["frame", "candidate"], "0..1, of person"),
        },
    }


def with_manifest(manifest: Mapping[str, object], files: dict[str, bytes]) -> dict[str, bytes]:
    """Return a model folder's files by name, with manifest.json, to which the schema and the sha256 sums are added."""
    hashes = {"files": {name: sha256(data) for name, data in files.items()}}
    text = json.dumps(sealed({"schema": SCHEMA, **manifest, **hashes}), indent=2, ensure_ascii=False) + "\n"
    return files | {"manifest.json": text.encode("utf-8")}


def npz_bytes(arrays: dict[str, Array]) -> bytes:
    """Return the arrays as an .npz file with bzip2, which unlike deflate has one implementation, so one result."""
    buffer = io.BytesIO()
    with ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            member = ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.create_system = 3  # else it would record the operating system
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            archive.writestr(member, content.getvalue(), compress_type=ZIP_BZIP2, compresslevel=9)
    return buffer.getvalue()


def pack_samples(inputs: dict[str, Array], reference: dict[str, Array]) -> bytes:
    """Return the content of a samples.npz, see cliffvid.models.parity."""
    named = {"input": inputs, "reference": reference}
    return npz_bytes({f"{kind}.{name}": array for kind, arrays in named.items() for name, array in arrays.items()})
