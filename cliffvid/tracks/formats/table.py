"""Name the formats that tracks are converted to, and tell them by the endings of files."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...errors import UsageError
from ...tables import Float64
from ..motion import Y_UP, Z_UP


@dataclass(frozen=True)
class Format:
    """What a file of a format holds."""

    endings: tuple[str, ...]  # of file names; the first is the one given in a folder
    axes: Float64 | None = None  # of people who stand on a floor; None: the camera's alone
    holds: Literal["rows", "people", "piece"] = "rows"  # a table, people in motion, or one piece of motion


FORMATS = {
    "npz": Format((".npz",)),
    "parquet": Format((".parquet",)),
    "cliff": Format(("_cliff.npz", ".npz")),
    "csv": Format((".csv",)),
    "joints": Format(("_joints.parquet", "_joints.csv"), Y_UP),
    "gltf": Format((".glb",), Y_UP, "people"),
    "usd": Format((".usd", ".usda", ".usdc"), Y_UP, "people"),
    "bvh": Format((".bvh",), Y_UP, "piece"),
    "trc": Format((".trc",), Y_UP, "piece"),
    "amass": Format((".npz",), Z_UP, "piece"),
    "blender-script": Format((".py",)),
}


def format_of(out: Path) -> str:
    """Return the format that a file's ending stands for. Raises UsageError if it stands for none, or for several."""
    endings = {ending: [name for name, each in FORMATS.items() if ending in each.endings] for ending in _endings()}
    matching = [] if os.path.isdir(out) else [ending for ending in endings if out.name.lower().endswith(ending)]
    if out.suffix.lower() in (".fbx", ".blend"):
        raise UsageError(
            f"{out}: Blender writes that from a .glb file; convert to .glb, and to .py for Blender's script"
        )
    if not matching:
        known = ", ".join(ending for ending, names in endings.items() if len(names) == 1)
        raise UsageError(f"{out}: its ending does not tell the format: give --to, or one of the endings {known}")
    ending = max(matching, key=len)
    if len(endings[ending]) > 1:
        raise UsageError(f"{out}: {ending} does not tell the format: give --to {' or --to '.join(endings[ending])}")
    return endings[ending][0]


def check_ending(out: Path, *endings: str) -> None:
    """Raise UsageError unless a file's name ends with one of ``endings``, which tell how it is written."""
    if out.suffix.lower() not in endings:
        raise UsageError(f"{out}: the ending tells how to write it; choose one of {', '.join(endings)}")


def _endings() -> list[str]:
    return list(dict.fromkeys(ending for each in FORMATS.values() for ending in each.endings))
