"""Make a model folder of a network of the user's own, with the rules of a model that is there."""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from cliffvid.errors import ModelError, UsageError
from cliffvid.files import write_folder
from cliffvid.inputs import read_input
from cliffvid.metadata import violation
from cliffvid.models.backends.ort import DTYPES, load, open_network, open_queue
from cliffvid.models.manifest import MANIFEST_BYTES, MODEL_FILES, Manifest, read_manifest
from cliffvid.models.manifest_schema import NAME, SAMPLES, Content
from cliffvid.models.onnx_file import check_whole
from cliffvid.models.parity import DEFAULT_BOUND, Arrays, detector_rows, prove
from cliffvid.models.registry import find_model
from cliffvid.models.session import Facts, check_answers, open_session
from cliffvid.tables import Array

from ..open.sources import sha256
from .model_folder import check_name, pack_samples, with_manifest

NETWORK_BYTES = 2 << 30  # protobuf holds no more
FP32 = MODEL_FILES["fp32"]
NEEDED = {
    "detect": ("image", "box_px", "objectness", "class_prob"),
    "regress": ("crop", "rotmat", "betas", "camera"),
}
KEPT = ("task", "letterbox", "selection", "crop", "bbox_info", "body")  # of the other model's manifest
# Axes whose length is the network's own: the sides of images, and the number of candidates.
OWN_AXES = {"image": (1, 2), "crop": (1, 2), "box_px": (1,), "objectness": (1,), "class_prob": (1,)}
BATCH, PATCH_PX = 2, 32
NORMALISED_MAX = 2.0  # boxes whose numbers are all below it are not in pixels


def new_model(
    network: Path, like: str, out: Path, name: str | None = None, licence: str = "", models_dir: Path | None = None
) -> Manifest:
    """Write ``out/name`` for an ONNX file, by the rules of the model ``like``; return its manifest.

    The folder appears once it is verified as ``cliffvid models verify`` does. Raises UsageError for a name that is
    invalid or taken, InputError if the file is unreadable, ModelError if the network does not keep the contract.
    """
    name = network.stem if name is None else name
    check_name(name)
    if fault := violation(name, NAME, "--name"):
        raise UsageError(fault)
    folder = out / name
    if os.path.lexists(folder):
        raise UsageError(f"{folder}: exists already; give another --name or --out, or remove it")
    model = find_model(None, like, models_dir)
    if model.task not in NEEDED:
        raise UsageError(f"--like {like}: neither a detector nor a regressor; `cliffvid models` lists them")
    data = read_input(network, NETWORK_BYTES)
    with tempfile.TemporaryDirectory() as place, _named(network, Path(place) / name) as trial:
        content = _described(model, data, trial) | {
            "name": name,
            "rank": 0,
            "summary": f"{network.name}, by the rules of {model.name}",
            "licence": licence or "unknown",
            "source": [{"file": network.name, "sha256": sha256(data)}],
        }
        files = _with_samples(content, data, trial)
        _save(trial, files)
        with open_session(read_manifest(trial)) as session:
            prove(session, BATCH + 1)
    write_folder(folder, files)
    return read_manifest(folder)


@contextmanager
def _named(network: Path, trial: Path) -> Iterator[Path]:
    """Yield the new trial folder; errors about it name the network, in one line."""
    trial.mkdir()
    try:
        yield trial
    except ModelError as error:
        words = str(error).replace(str(trial / FP32), str(network)).replace(str(trial), str(network))
        raise ModelError(" ".join(words.split())) from error


def _save(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).write_bytes(data)


def _described(model: Manifest, data: bytes, trial: Path) -> Content:
    """Return the rules of ``model`` and the network's inputs and outputs, for its manifest. Raises ModelError."""
    path = trial / FP32
    _save(trial, {FP32: data})
    try:
        check_whole(path)
    except ValueError as error:
        raise ModelError(f"{path}: {error}; export the network again, as one ONNX file") from error
    raw: Content = json.loads(read_input(model.folder / "manifest.json", MANIFEST_BYTES))
    content: Content = {key: raw[key] for key in KEPT if key in raw}
    onnxruntime = load()
    session = open_network(onnxruntime, path, open_queue(onnxruntime, "cpu"), 1)
    for side, tensors in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        found = {tensor.name: (DTYPES.get(tensor.type, tensor.type), list(tensor.shape)) for tensor in tensors}
        content[side] = _tensors(path, side, model, raw[side], found)
    if model.task == "detect":
        height_px, width_px = content["inputs"]["image"]["shape"][1:3]
        if height_px != "H":
            kept = {key: content["letterbox"][key] for key in ("interpolation", "fill")}
            content["letterbox"] = {"width_px": width_px, "height_px": height_px} | kept
        if len(counts := {spec["shape"][1] for spec in content["outputs"].values()}) > 1:
            raise ModelError(f"{path}: its outputs have {sorted(counts)} candidates, expected one number for all")
    else:
        if len(given := {"posed_xyxy", "posed_off"} & content["outputs"].keys()) == 1:
            raise ModelError(
                f"{path}: it has {given.pop()} alone, expected both of posed_xyxy and posed_off, or neither"
            )
        height_px, width_px = content["inputs"]["crop"]["shape"][1:3]
        content["crop"] |= {"width_px": width_px, "height_px": height_px}
    return content


def _tensors(path: Path, side: str, model: Manifest, promised: Content, found: Mapping[str, Facts]) -> Content:
    """Return the descriptions of a network's inputs or outputs, by those of ``model``. Raises ModelError."""
    missing = [name for name in promised if name in NEEDED[model.task] and name not in found]
    if missing or not found.keys() <= promised.keys():
        raise ModelError(
            f"{path}: its {side} are {', '.join(found) or 'none'}; those of {model.name} are {', '.join(promised)}: "
            "rename them, and leave others out"
        )
    described: Content = {}
    for name in (name for name in promised if name in found):
        (dtype, have), want = found[name], promised[name]["shape"]
        shape = [*want[:1], *have[1:]]
        for axis in range(1, min(len(have), len(want))):
            if not isinstance(have[axis], int):  # free, or not known before it runs
                own = axis in OWN_AXES.get(name, ())
                shape[axis] = want[axis] if isinstance(want[axis], str) or not own else "free"
        same = len(have) == len(want) and all(
            new == old or (axis in OWN_AXES.get(name, ()) and isinstance(new, int))
            for axis, (new, old) in enumerate(zip(shape, want, strict=True))
        )
        if not same or dtype != promised[name]["dtype"] or isinstance(have[0], int):
            raise ModelError(
                f"{path}: {name} is {dtype} {_shown(have)}, expected {promised[name]['dtype']} {_shown(want)} as in "
                f"{model.name}: N is free, and only sides of images and the number of candidates may differ"
            )
        described[name] = promised[name] | {"shape": shape}
    return described


def _shown(shape: object) -> str:
    return str(shape).replace("'", "").replace("None", "?")


def _with_samples(content: Content, data: bytes, trial: Path) -> dict[str, bytes]:
    """Return the folder's files, with what the network answers to samples. Raises ModelError for impossible values."""
    _save(trial, with_manifest(content, {FP32: data}))
    manifest = read_manifest(trial)
    inputs: Arrays = {}
    rng = np.random.default_rng(0)
    for name, row in manifest.row_shapes().items():
        if len(row) == 3:
            coarse = rng.integers(0, 256, (BATCH, -(-row[0] // PATCH_PX), -(-row[1] // PATCH_PX), 3))
            numbers: Array = coarse.repeat(PATCH_PX, axis=1).repeat(PATCH_PX, axis=2)[:, : row[0], : row[1]]
        else:
            numbers = rng.normal(0, 0.3, (BATCH, *row))
        inputs[name] = numbers.astype(manifest.inputs[name].dtype)
    with open_session(manifest) as session:
        check_answers(session)
        answers = session.run(inputs)
    if fault := _fault_of_boxes(answers) if manifest.task == "detect" else _fault_of_bodies(answers):
        raise ModelError(f"{trial}: {fault}")
    parity = {
        "reference": f"this network by onnxruntime {load().__version__} on the CPU",
        "compared": f"its answers to {BATCH} images of patches, in batches of other sizes",
        "bound": {FP32: DEFAULT_BOUND["fp32"]},
    }
    reference = {"rows": detector_rows(answers)} if manifest.task == "detect" else answers
    return with_manifest(content | {"parity": parity}, {FP32: data, SAMPLES: pack_samples(inputs, reference)})


def _fault_of_boxes(answers: Arrays) -> str:
    """Return which of a detector's values on samples are impossible; empty if none."""
    box = answers["box_px"]
    for name in ("objectness", "class_prob"):
        low, high = float(answers[name].min()), float(answers[name].max())
        if low < 0 or high > 1:
            return f"{name} is {low:.3g} to {high:.3g} on samples, expected probabilities: add a sigmoid or softmax"
    if (box[..., 2:] < box[..., :2]).any():
        return "box_px has boxes that end before they begin, expected x0, y0, x1, y1: convert centres and sizes"
    if box.any() and np.abs(box).max() < NORMALISED_MAX:
        return f"box_px is at most {np.abs(box).max():.3g}, expected pixels of the canvas: multiply by its sides"
    return ""


def _fault_of_bodies(answers: Arrays) -> str:
    """Return which of a regressor's values on samples are impossible; empty if none."""
    rotmat = answers["rotmat"].astype(np.float64)
    off = np.abs(rotmat @ np.swapaxes(rotmat, -1, -2) - np.eye(3)).max()
    if off > 0.01 or (np.linalg.det(rotmat) < 0).any():
        return f"rotmat is off by {off:.2g} from a rotation on samples: make its columns unit vectors at right angles"
    return ""
