"""Writing model folders: a manifest and the files it names, whole or not at all."""

import json
import shutil
import tempfile
from pathlib import Path

from cliffvid.errors import OutputError
from cliffvid.models import SCHEMA

from .sources import sha256


def tensor(dtype: str, shape: list, axes: list[str], unit: str) -> dict:
    """A manifest's description of one input or output."""
    return {"dtype": dtype, "shape": shape, "axes": axes, "unit": unit}


def describe_detector(size_px: int, count: int) -> dict:
    """A detector's inputs and outputs for its manifest."""
    return {
        "inputs": {"image": tensor("uint8", ["N", size_px, size_px, 3], ["frame", "y", "x", "rgb"], "0..255")},
        "outputs": {
            "box_px": tensor("float32", ["N", count, 4], ["frame", "candidate", "xyxy"], "px of the canvas"),
            "objectness": tensor("float32", ["N", count], ["frame", "candidate"], "0..1"),
            "class_prob": tensor("float32", ["N", count], ["frame", "candidate"], "0..1, of person"),
        },
    }


def with_manifest(manifest: dict, files: dict[str, bytes]) -> dict[str, bytes]:
    """The files of a model folder by name, manifest.json among them, which gets the schema and the files' sha256."""
    hashes = {"files": {name: sha256(data) for name, data in files.items()}}
    text = json.dumps({"schema": SCHEMA} | manifest | hashes, indent=2, ensure_ascii=False) + "\n"
    return files | {"manifest.json": text.encode("utf-8")}


def write_folder(folder: Path, files: dict[str, bytes]) -> None:
    """Make or replace a model folder; on failure the old one stays. Raises OutputError if it cannot be written."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-", suffix=".part") as scratch:
            new, old = Path(scratch) / "new", Path(scratch) / "old"
            new.mkdir()
            for name, data in files.items():
                (new / name).write_bytes(data)
            if folder.exists():
                folder.rename(old)
            try:
                new.rename(folder)
            except OSError:
                if old.exists():
                    shutil.move(old, folder)
                raise
    except OSError as error:
        raise OutputError(f"{folder}: the model could not be written ({error})") from error
