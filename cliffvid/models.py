"""Model folders: what a manifest says, and where folders are looked for."""

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from . import manifest_schema
from .errors import InputError, ModelError, UsageError
from .inputs import open_input, read_input
from .onnx_file import check_whole
from .rules import BboxInfo, CropRule, Letterbox, Selection

SCHEMA = 1
MANIFEST_BYTES = 16 << 20
# The network in a model folder for each precision: what a graph does not say itself, the backend adds.
MODEL_FILES = {"fp32": "model.onnx", "bf16": "model.onnx", "fp16": "model.fp16.onnx", "int8": "model.int8.onnx"}
SEAL = "manifest_sha256"
BUNDLED = Path(__file__).parent / "bundled"


@dataclass(frozen=True)
class Tensor:
    """One input or output: the first axis is always the free batch axis ``N``."""

    dtype: str
    shape: tuple
    unit: str = ""


RULES = {
    "detect": {"letterbox": Letterbox, "selection": Selection},
    "regress": {"crop": CropRule, "bbox_info": BboxInfo},
    "body": {},
}


@dataclass(frozen=True)
class Manifest:
    """A model folder's contract; ``rules`` are the conventions of its task, see RULES."""

    folder: Path
    name: str
    task: str
    summary: str
    licence: str
    rank: int  # of several models for one task the highest is the default
    files: dict[str, str]  # file name -> sha256
    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    rules: dict = field(default_factory=dict)
    body: str = ""  # regressors: the body the parameters belong to
    source: list = field(default_factory=list)  # what it was made from: files, packages, hashes
    parity: dict = field(default_factory=dict)  # how far its answers were from a reference's when it was made
    unmet: str = ""  # in words, by how much they were too far, where the user accepted that
    left_out: dict[str, str] = field(default_factory=dict)  # file -> why it was not made
    quality: list = field(default_factory=list)  # what other precisions change and how fast they are, see precision.py
    copy_of: str = ""  # of a model that ships with cliffvid: the sha256 of the manifest it was copied with

    @property
    def outdated(self) -> bool:
        """Whether this is a copy of a model that shipped with cliffvid, in whose place another ships by now."""
        original = BUNDLED / self.name / "manifest.json"
        return bool(self.copy_of) and not (
            original.is_file() and self.copy_of == hashlib.sha256(original.read_bytes()).hexdigest()
        )

    def row_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of one row of each input; sides that are free are those of the whole canvas."""
        rule = self.rules.get("letterbox")
        whole = {"H": rule.height_px, "W": rule.width_px} if rule else {}
        return {name: tuple(whole.get(side, side) for side in t.shape[1:]) for name, t in self.inputs.items()}

    def path(self, file: str) -> Path:
        """The path of one of the folder's files. Raises ModelError if it is missing or not the one described."""
        path = self.folder / file
        if file not in self.files:
            raise ModelError(f"{self.folder}: the manifest names no {file}; export the model again")
        if not path.is_file():
            raise ModelError(f"{path}: missing; export or install the model again")
        with open_input(path) as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != self.files[file]:
            raise ModelError(
                f"{path}: damaged or exchanged (sha256 {found[:12]}…, the manifest says {self.files[file][:12]}…); "
                "export or install the model again"
            )
        return path

    def network(self, precision: str) -> Path:
        """The path of the network for a precision, see MODEL_FILES. Raises ModelError if the folder has none, or if it
        takes bytes from files that the manifest does not vouch for.
        """
        file = MODEL_FILES[precision]
        if file not in self.files and file != MODEL_FILES["fp32"]:
            official = "or official weights, which have one"
            made = {
                "fp16": f"it was left out ({self.left_out[file]})" if file in self.left_out else official,
                "int8": f"or make it: cliffvid export int8 {self.name} VIDEO",
            }
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
    """The manifest of a model folder. Raises ModelError if it is not one this version understands."""
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
        rules = {name: kind(**raw[name]) for name, kind in RULES[raw["task"]].items()}
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


def sealed(content: dict) -> dict:
    """The content of a manifest with a checksum of it, by which ``read_manifest`` notices a change."""
    rest = {name: value for name, value in content.items() if name != SEAL}
    return rest | {SEAL: hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()}


def _unmet(parity: dict) -> str:
    told = [
        f"{file} differs in {name} by {error:.2g} (bound {parity['bound'][file]:.2g})"
        for file, errors in parity.get("accepted", {}).items()
        for name, error in errors.items()
    ]
    return f"parity not met, but accepted when it was exported: {', '.join(told)}" if told else ""


def model_dirs(engines: Path | None = None) -> list[Path]:
    """The folders searched for models, first match wins."""
    places = [engines] if engines else []
    if os.environ.get("CLIFFVID_ENGINES"):
        places.append(Path(os.environ["CLIFFVID_ENGINES"]))
    return [*places, Path("engines"), added_models_dir(), BUNDLED]


def added_models_dir() -> Path:
    """The user's own folder of models, which every run of this user finds."""
    import platformdirs

    return Path(platformdirs.user_data_dir("cliffvid")) / "engines"


@dataclass(frozen=True)
class Unreadable:
    """A model folder whose manifest this version cannot read; ``task`` is what it claims, if that much can be read."""

    folder: Path
    task: str | None
    error: ModelError


def scan_models(engines: Path | None = None) -> tuple[list[Manifest], list[Unreadable]]:
    """All models, best first, and the folders that cannot be read. An earlier place hides models of the same name.

    Copies of models that do not ship any more are passed over: they would hide those that do.
    """
    found: dict[tuple[str, str], Manifest] = {}
    unreadable = []
    places = {place.resolve(): place for place in reversed(model_dirs(engines))}  # ./engines may be named twice
    for place in reversed(places.values()):
        for file in sorted(place.glob("*/manifest.json")):
            try:
                manifest = read_manifest(file.parent)
            except ModelError as error:
                unreadable.append(Unreadable(file.parent, _claimed_task(file), error))
            else:
                if not manifest.outdated:
                    found.setdefault((manifest.task, manifest.name), manifest)
    return sorted(found.values(), key=lambda manifest: -manifest.rank), unreadable


def _claimed_task(file: Path) -> str | None:
    try:
        return json.loads(read_input(file, MANIFEST_BYTES))["task"]
    except (OSError, InputError, ValueError, TypeError, KeyError, RecursionError):
        return None


def find_model(task: str | None, name: str = "auto", engines: Path | None = None) -> Manifest:
    """The model of that name, or the best one there is for ``auto``; ``task`` None: whatever it does.

    Raises UsageError for an unknown name or folder, ModelError if the model cannot be read. ``auto`` does not pass over
    a model that cannot be read, since it may be the one that is wanted; others are found by their names all the same.
    """
    if engines and not engines.is_dir():
        raise UsageError(f"--models {engines}: no such folder")
    models, unreadable = scan_models(engines)
    for broken in unreadable:
        if name in ("auto", broken.folder.name) and (task is None or broken.task in (task, None)):
            raise ModelError(f"{broken.error}; or remove that folder, or choose another model by its name")
    models = [manifest for manifest in models if task in (manifest.task, None)]
    for manifest in models:
        if name in ("auto", manifest.name):
            return manifest
    places = ", ".join(str(place) for place in model_dirs(engines))
    have = ", ".join(manifest.name for manifest in models) or "none"
    raise UsageError(f"no {task + ' ' if task else ''}model named {name!r}; found: {have} (looked in {places})")
