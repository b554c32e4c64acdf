"""Read and check the manifest of a model folder."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NotRequired, TypedDict, cast

from ..errors import InputError, ModelError, UsageError
from ..inputs import open_input, read_input
from ..options import Options
from ..rules import BboxInfo, CropRule, Letterbox, Selection
from ..tables import Shape
from . import manifest_schema
from .onnx_file import check_whole

SCHEMA = 1
MANIFEST_BYTES = 16 << 20
# The network file for each precision; tf32 and bf16 are the fp32 graph, which the backend runs with shorter numbers.
MODEL_FILES = dict.fromkeys(("fp32", "tf32", "bf16"), "model.onnx") | {
    "fp16": "model.fp16.onnx",
    "int8": "model.int8.onnx",
}
SEAL = "manifest_sha256"
BUNDLED = Path(__file__).parents[1] / "bundled"


@dataclass(frozen=True)
class Tensor:
    """An input or output; its first axis is always the free batch axis ``N``."""

    dtype: str
    shape: Shape
    unit: str = ""

    def row(self, sides: Mapping[str, int]) -> tuple[int, ...]:
        """Return the shape of one row; ``sides`` holds the lengths of free axes."""
        return tuple(sides[side] if isinstance(side, str) else side for side in self.shape[1:])


class Rules(TypedDict, total=False):
    """Conventions of a network, by its task: see RULES."""

    letterbox: Letterbox
    selection: Selection
    crop: CropRule
    bbox_info: BboxInfo


class ModelSource(TypedDict):
    """One of the files that a network was made from."""

    file: str
    sha256: NotRequired[str]
    package: NotRequired[str]
    member: NotRequired[str]  # the file taken from it
    member_sha256: NotRequired[str]
    members: NotRequired[dict[str, str]]  # sha256 of each, if several were taken


class Parity(TypedDict, total=False):
    """Differences between a network's outputs and a reference's, measured at export: by file, then by output."""

    reference: str
    compared: str  # what was compared, in words
    bound: dict[str, float]
    accepted: dict[str, dict[str, float]]  # errors over the bound that the user accepted
    left_out: dict[str, str]  # file -> why it was not made
    max_abs: dict[str, object]
    max_relative: dict[str, object]


class Measured(TypedDict):
    """What a precision on a backend changes, and how fast it is; see precision.py."""

    backend: str
    precision: str
    device: str
    machine: str
    version: str
    network: str  # its sha256
    clip: str
    clip_sha256: NotRequired[str]
    items_per_s: float
    persons: int
    persons_changed_percent: float
    # of detectors
    missed_percent: NotRequired[float]
    extra_percent: NotRequired[float]
    box_shift_median_percent: NotRequired[float]
    box_shift_p99_percent: NotRequired[float]
    # of regressors
    rotation_median_deg: NotRequired[float]
    rotation_p99_deg: NotRequired[float]
    betas_p99: NotRequired[float]
    camera_p99: NotRequired[float]


RULES = {
    "detect": {"letterbox": Letterbox, "selection": Selection},
    "regress": {"crop": CropRule, "bbox_info": BboxInfo},
    "body": {},
}


@dataclass(frozen=True)
class Manifest:
    """A model folder's contract; ``rules`` holds the conventions of its task, see RULES."""

    folder: Path
    name: str
    task: str
    summary: str
    licence: str
    rank: int  # the highest of a task's models is the default
    files: dict[str, str]  # file name -> sha256
    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    rules: Rules = field(default_factory=Rules)
    body: str = ""  # regressors: the body the parameters belong to
    source: list[ModelSource] = field(default_factory=list)
    parity: Parity = field(default_factory=Parity)
    unmet: str = ""  # excess over the parity bound that the user accepted, in words
    left_out: dict[str, str] = field(default_factory=dict)  # file -> why it was not made
    quality: list[Measured] = field(default_factory=list)
    copy_of: str = ""  # of a copied bundled model: the sha256 of the original's manifest

    @property
    def outdated(self) -> bool:
        """Return whether this is a copy of a bundled model that has since been replaced or removed."""
        original = BUNDLED / self.name / "manifest.json"
        return bool(self.copy_of) and not (
            original.is_file() and self.copy_of == hashlib.sha256(original.read_bytes()).hexdigest()
        )

    def row_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of one row of each input; free sides are those of the full canvas."""
        rule = self.rules.get("letterbox")
        whole = {"H": rule.height_px, "W": rule.width_px} if rule else {}
        return {name: tensor.row(whole) for name, tensor in self.inputs.items()}

    def path(self, file: str) -> Path:
        """Return the path of one of the folder's files. Raises ModelError if it is missing or its hash differs."""
        path = self.folder / file
        if file not in self.files:
            raise ModelError(f"{self.folder}: the manifest names no {file}; export the model again")
        if not path.is_file():
            raise ModelError(f"{path}: missing; export or install the model again")
        with open_input(path) as stream:
            # typeshed's BinaryIO lacks readinto(), which every binary file has
            found = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
        if found != self.files[file]:
            raise ModelError(
                f"{path}: damaged or exchanged (sha256 {found[:12]}…, the manifest says {self.files[file][:12]}…); "
                "export or install the model again"
            )
        return path

    def network(self, precision: str) -> Path:
        """Return the path of the network for a precision, see MODEL_FILES.

        Raises ModelError if the folder has none, or if the network reads data from files that the manifest does not
        list.
        """
        file = MODEL_FILES[precision]
        if file not in self.files and file != MODEL_FILES["fp32"]:
            made = {
                "fp16": f"or make it: cliffvid export fp16 {self.name}",
                "int8": f"or make it: cliffvid export int8 {self.name} VIDEO",
            }
            if file in self.left_out:
                made[precision] = f"it was left out ({self.left_out[file]})"
            raise ModelError(
                f"{self.folder}: has no {file}, which --precision {precision} needs; choose another, {made[precision]}"
            )
        path = self.path(file)
        try:
            check_whole(path)
        except ValueError as error:
            raise ModelError(f"{path}: {error}; export the model again, as one file") from error
        return path


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a model folder. Raises ModelError if this version cannot read it."""
    path = folder / "manifest.json"
    try:
        raw = json.loads(read_input(path, MANIFEST_BYTES))
        if raw["schema"] != SCHEMA:
            raise ModelError(f"{path}: schema {raw['schema']}, this cliffvid reads {SCHEMA}; export the model again")
        if SEAL in raw and raw[SEAL] != sealed(raw)[SEAL]:
            raise ModelError(
                f"{path}: damaged or edited: its {SEAL} is not that of the rest; export or install the model again, or "
                "take that line out if the change is yours"
            )
        if raw["task"] not in RULES:
            raise ModelError(f"{path}: unknown task {raw['task']!r}, expected one of {', '.join(RULES)}")
        manifest_schema.check(raw)
        tensors = {
            side: {
                name: Tensor(spec["dtype"], tuple(spec["shape"]), spec.get("unit", ""))
                for name, spec in raw.get(side, {}).items()
            }
            for side in ("inputs", "outputs")
        }
        rules = cast(Rules, {name: kind(**raw[name]) for name, kind in RULES[raw["task"]].items()})
        parity = raw.get("parity", {})
        return Manifest(
            folder=folder,
            name=raw["name"],
            task=raw["task"],
            summary=raw["summary"],
            licence=raw["licence"],
            rank=raw["rank"],
            files=raw["files"],
            rules=rules,
            body=raw.get("body", ""),
            source=raw.get("source", []),
            parity=parity,
            unmet=_unmet(parity),
            left_out=parity.get("left_out", {}),
            quality=raw.get("quality", []),
            copy_of=raw.get("copy_of", ""),
            **tensors,
        )
    except (OSError, InputError, ValueError, TypeError, KeyError, RecursionError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise ModelError(f"{path}: not a readable manifest ({reason}); export or install the model again") from error


def sealed(content: Mapping[str, object]) -> dict[str, object]:
    """Return the content of a manifest with its checksum added, by which ``read_manifest`` detects changes."""
    rest = {name: value for name, value in content.items() if name != SEAL}
    return rest | {SEAL: hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()}


def _unmet(parity: Parity) -> str:
    accepted = [
        f"{file} differs in {name} by {error:.2g} (bound {parity['bound'][file]:.2g})"
        for file, errors in parity.get("accepted", {}).items()
        for name, error in errors.items()
    ]
    return f"parity not met, but accepted when it was exported: {', '.join(accepted)}" if accepted else ""


def canvas_shape(manifest: Manifest, options: Options) -> str:
    """Return ``square``: the detector's full canvas, or ``frame``: the part that holds the frame. Raises UsageError."""
    rule = manifest.rules["letterbox"]
    if options.detector_shape == "frame" and not rule.least_px:
        raise UsageError(
            f"--detector-shape frame: {manifest.folder} takes pictures of {rule.width_px} x {rule.height_px} alone; "
            "export the model again, or leave the option out"
        )
    return rule.shape if options.detector_shape == "auto" else options.detector_shape
