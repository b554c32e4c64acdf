"""Find model folders, and choose among those of the same name or task."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, ModelError, UsageError
from ..inputs import read_input
from .manifest import BUNDLED, MANIFEST_BYTES, Manifest, read_manifest


def model_dirs(engines: Path | None = None) -> list[Path]:
    """Return the folders searched for models; the first match wins."""
    places = [engines] if engines else []
    if os.environ.get("CLIFFVID_ENGINES"):
        places.append(Path(os.environ["CLIFFVID_ENGINES"]))
    return [*places, Path("engines"), added_models_dir(), BUNDLED]


def added_models_dir() -> Path:
    """Return the user's folder of models, which all runs of this user search."""
    import platformdirs

    return Path(platformdirs.user_data_dir("cliffvid")) / "engines"


@dataclass(frozen=True)
class Unreadable:
    """A model folder whose manifest this version cannot read; ``task`` is what it claims, if that is readable."""

    folder: Path
    task: str | None
    error: ModelError


def scan_models(engines: Path | None = None) -> tuple[list[Manifest], list[Unreadable]]:
    """Return all models, best first, and the folders that cannot be read.

    A model hides those of the same task and name in later folders. Copies of bundled models that have since been
    replaced or removed are skipped: they would hide the current ones.
    """
    found: dict[tuple[str, str], Manifest] = {}
    unreadable = []
    places = {place.resolve(): place for place in reversed(model_dirs(engines))}  # ./engines may be listed twice
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
    """Return the model of that name, or the best one for ``auto``; ``task`` None accepts any task.

    Raises UsageError for an unknown name or folder, ModelError if the model cannot be read. ``auto`` does not skip an
    unreadable model, since it may be the wanted one; other models are still found by name.
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
