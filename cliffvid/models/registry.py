"""Where model folders are looked for, and which of those found is taken."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, ModelError, UsageError
from ..inputs import read_input
from .manifest import BUNDLED, MANIFEST_BYTES, Manifest, read_manifest


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
        claimed: str | None = json.loads(read_input(file, MANIFEST_BYTES))["task"]
        return claimed
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
