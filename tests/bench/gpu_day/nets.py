"""Model folders of both networks at their real size: of graphs that came without weights, or made by torch."""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from cliffvid.cli.console import say
from cliffvid.export.folder.graph import to_bytes
from cliffvid.export.folder.half import halve
from cliffvid.export.folder.model_folder import with_manifest
from cliffvid.files import write_folder
from cliffvid.models.manifest import MODEL_FILES

from .notes import Notes
from .plan import Plan

FILES = MODEL_FILES["fp32"], MODEL_FILES["fp16"]
MANIFEST = ".manifest.json"
TYPES = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16}


def nets(plan: Plan, notes: Notes) -> None:
    """Write a folder for each, with float32 and float16 files."""
    if plan.skeletons is None:
        from ..random_nets import NAMES, random_models

        random_models(plan.nets, say)
        folders = [plan.nets / name for name in NAMES]
    else:
        manifests = sorted(plan.skeletons.glob(f"*{MANIFEST}"))
        if not manifests:
            raise FileNotFoundError(f"{plan.skeletons}: holds no *{MANIFEST}")
        folders = [plan.nets / path.name.removesuffix(MANIFEST) for path in manifests]
    for folder in notes.in_time(folders):
        files = _halved(folder) if plan.skeletons is None else _filled(plan.skeletons, folder.name)
        said = folder / "manifest.json" if plan.skeletons is None else plan.skeletons / f"{folder.name}{MANIFEST}"
        write_folder(folder, with_manifest(json.loads(said.read_text(encoding="utf-8")), files))
        for name, data in files.items():
            notes.add({"net": folder.name, "file": name, "mb": round(len(data) / 1e6)})


def _halved(folder: Path) -> dict[str, bytes]:
    """A folder's networks, the one of float16 among them."""
    path = folder / FILES[0]
    files = {file.name: file.read_bytes() for file in sorted(folder.glob("*.onnx"))}
    return files | {FILES[1]: to_bytes(halve(onnx.load(path), path))}


def _filled(skeletons: Path, name: str) -> dict[str, bytes]:
    """The networks of skeletons: each large tensor drawn anew, with its own name as the seed."""
    files = {}
    for file in FILES:
        stem = skeletons / f"{name}.{file.removesuffix('.onnx')}"
        model = onnx.load_from_string(Path(f"{stem}.skeleton").read_bytes())
        spread = json.loads(Path(f"{stem}.spread.json").read_text(encoding="utf-8"))
        for tensor in model.graph.initializer:
            if tensor.name in spread:
                mean, deviation = map(np.float32, spread[tensor.name])
                seed = int(hashlib.sha256(tensor.name.encode()).hexdigest()[:8], 16)
                drawn = np.random.default_rng(seed).standard_normal(tuple(tensor.dims), np.float32)
                values = (drawn * deviation + mean).astype(TYPES[tensor.data_type])
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        files[file] = to_bytes(model)
    return files
