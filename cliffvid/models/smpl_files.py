"""Convert the user's SMPL and SMPL-X files to model folders, without running anything in them.

Official .pkl files were written by Python 2 and contain chumpy and scipy objects. Only the few names that they need are
known here. Each becomes an inert record of what the file says, so that no code of the file is run.
"""

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError, ModelError, UsageError
from ..files import write_folder
from ..inputs import open_input
from ..npz import load_npz
from ..option import check_choice
from ..options import GENDERS
from ..tables import Array, Float64
from .manifest import SCHEMA, sealed
from .registry import added_models_dir
from .safe_pickle import PickledObject, Plain, load_pickle, plain

BYTES_MAX = 1 << 30  # official files are 40 to 170 MB
DENSE_MAX = 64 << 20  # bytes of the joint regressor
BETAS_MAX = 16  # newer files hold 300; regressors predict 10 or 11
NEEDED = ("v_template", "shapedirs", "posedirs", "weights", "J_regressor", "f", "kintree_table")


@dataclass(frozen=True)
class Family:
    """A licensed body: its number of joints, which identifies it, how many tracks can move, and its source."""

    title: str
    joints: int
    moved: int  # after the root
    file: str
    site: str


FAMILIES = {
    "smpl": Family("SMPL", 24, 23, "SMPL_NEUTRAL.pkl", "https://smpl.is.tue.mpg.de"),
    "smplx": Family("SMPL-X", 55, 21, "SMPLX_NEUTRAL.npz", "https://smpl-x.is.tue.mpg.de"),
}


def how_to_get(name: str) -> str | None:
    """Return how to get the licensed body of that name; None for other bodies."""
    family = FAMILIES.get(name.split("-")[0])
    if family is None:
        return None
    gender = (name.split("-") + ["neutral"])[1]
    file = family.file.replace("NEUTRAL", gender.upper())
    return (
        f"the body {name!r} is not here: {family.title} is licensed and cannot be shipped. Register and fetch {file} "
        f"from {family.site}, then: cliffvid models add-body {file}"
    )


def add_body(path: Path, gender: str | None = None) -> Path:
    """Convert an SMPL or SMPL-X file (.pkl or .npz) to a model folder in the user's data folder, and return the folder.

    The neutral body is named ``smpl`` or ``smplx``, the others ``smpl-male`` and so on. Raises UsageError if the gender
    is neither given nor in the file's name, ModelError for a file that is not such a body.
    """
    if not path.exists():
        raise UsageError(f"{path}: no such file")
    gender = gender or _gender_in(path.stem)
    if gender is None:
        raise UsageError(f"{path}: its name does not tell the gender; give --gender {', '.join(GENDERS)}")
    check_choice("--gender", gender, GENDERS)
    arrays = read_body_file(path)
    kind = next((k for k, family in FAMILIES.items() if family.joints == arrays["kintree_table"].shape[1]), None)
    if kind is None:
        joints = arrays["kintree_table"].shape[1]
        raise ModelError(f"{path}: a body of {joints} joints; expected 24 (SMPL) or 55 (SMPL-X)")
    family = FAMILIES[kind]
    # SMPL-X files of 400 directions hold 300 of shape, then expression; those of 20 hold ten and ten.
    directions = arrays["shapedirs"].shape[2]
    betas = min(directions, BETAS_MAX) if kind == "smpl" or directions >= 400 else min(directions, 10)
    arrays["shapedirs"] = arrays["shapedirs"][:, :, :betas]
    arrays["posedirs"] = arrays["posedirs"][:, :, : 9 * family.moved]
    name = kind if gender == "neutral" else f"{kind}-{gender}"
    with open_input(path) as stream:
        # typeshed's BinaryIO lacks readinto(), which every binary file has
        digest = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
    source = {"file": path.name, "sha256": digest}
    summary = f"{family.title}, {gender}: {len(arrays['v_template']):,} vertices, {betas} betas"
    licence = f"{family.title}'s own, see {family.site}: do not pass on files that contain this body"
    manifest: dict[str, object] = {
        "schema": SCHEMA,
        "name": name,
        "task": "body",
        "rank": -1,
        "summary": summary,
        "licence": licence,
    }
    return _write_folder(added_models_dir() / name, arrays, manifest | {"source": [source]})


def _gender_in(stem: str) -> str | None:
    words = stem.lower().replace("-", "_").split("_")
    return next((g for g in GENDERS if g in words or (g[0] in words and "basicmodel" in words)), None)


def _write_folder(folder: Path, arrays: dict[str, Array], manifest: dict[str, object]) -> Path:
    body = io.BytesIO()
    np.savez(body, **arrays)  # type: ignore[arg-type]  # numpy's stub takes any of them for allow_pickle
    files = {"files": {"body.npz": hashlib.sha256(body.getvalue()).hexdigest()}}
    text = json.dumps(sealed(manifest | files), indent=2) + "\n"
    write_folder(folder, {"body.npz": body.getvalue(), "manifest.json": text.encode()})
    return folder


def read_body_file(path: Path) -> dict[str, Array]:
    """Return the arrays of NEEDED from an SMPL-format .pkl or .npz: float32, faces and tree int64.

    Raises ModelError for any other file, and for a .pkl with an unexpected name in it.
    """
    try:
        with open_input(path, BYTES_MAX) as stream:
            packed = stream.read(4) == b"PK\x03\x04"
            stream.seek(0)
            found = load_npz(stream, NEEDED) if packed else load_pickle(stream)
        if not isinstance(found, dict):
            raise ValueError("it holds no table of arrays")
        return _checked({key: _array(found[key]) for key in NEEDED})
    except InputError as error:
        raise ModelError(str(error)) from error
    except KeyError as error:
        raise ModelError(f"{path}: not a body in SMPL's format (it has no {error})") from error
    except MemoryError as error:
        raise ModelError(f"{path}: not a body in SMPL's format (it asks for more memory than there is)") from error
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise ModelError(f"{path}: not a body in SMPL's format, or damaged ({error}); fetch it again") from error


def _checked(arrays: dict[str, Array]) -> dict[str, Array]:
    vertices, joints = len(arrays["v_template"]), arrays["kintree_table"].shape[1]
    shapes = {
        "v_template": (vertices, 3),
        "shapedirs": (vertices, 3, None),
        "posedirs": (vertices, 3, 9 * (joints - 1)),
        "weights": (vertices, joints),
        "J_regressor": (joints, vertices),
        "f": (None, 3),
        "kintree_table": (2, joints),
    }
    for key, shape in shapes.items():
        array = arrays[key]
        same = array.ndim == len(shape) and all(w in (None, h) for w, h in zip(shape, array.shape, strict=True))
        if not same or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise ValueError(f"{key} is {array.dtype} {array.shape}, expected finite numbers {shape}")
        arrays[key] = array.astype(np.int64 if key in ("f", "kintree_table") else np.float32)
    if arrays["f"].min() < 0 or arrays["f"].max() >= vertices:
        raise ValueError("a face names a vertex that is not there")
    if any(not 0 <= p < j for j, p in enumerate(arrays["kintree_table"][0]) if j > 0):
        raise ValueError("kintree_table is no tree with parents first")
    return arrays


def _array(value: Plain) -> Array:
    """Return the array that a value of the file is, or that a record of chumpy or scipy stands for."""
    if not isinstance(value, PickledObject):
        return plain(value)
    kind, state = value.name.rpartition(".")[2], value.state
    if kind not in ("Ch", "Select", "csc_matrix") or not isinstance(state, dict):
        raise ValueError(f"{value.name} instead of an array")
    if kind == "Ch":
        return _array(state["x"])
    if kind == "csc_matrix":
        return _dense(state)
    picked = _array(state["a"]).reshape(-1)[_array(state["idxs"]).astype(np.int64)]
    shape = state.get("preferred_shape")
    return picked if shape is None else picked.reshape(plain(shape).astype(np.int64))


def _dense(state: dict[Plain, Plain]) -> Float64:
    """Return scipy's matrix of sparse columns (CSC) as a dense array.

    Raises ValueError if its parts are inconsistent.
    """
    rows, columns = (int(n) for n in plain(state["_shape"] if "_shape" in state else state["shape"]))
    starts, places, values = (_array(state[key]) for key in ("indptr", "indices", "data"))
    ends = starts.astype(np.int64)
    counts = ends[1:] - ends[:-1]
    if not 0 < rows * columns * 8 <= DENSE_MAX or min(rows, columns) < 0:
        raise ValueError(f"a matrix of {rows} x {columns}")
    fits = starts.shape == (columns + 1,) and starts[0] == 0 and starts[-1] == len(values) and (counts >= 0).all()
    if not fits or places.shape != values.shape or values.ndim != 1:
        raise ValueError("a sparse matrix whose columns are not where it says")
    if len(places) and not (places.min() >= 0 and places.max() < rows):
        raise ValueError(f"a sparse matrix with a value outside its {rows} rows")
    dense = np.zeros((rows, columns), np.float64)
    dense[places.astype(np.int64), np.repeat(np.arange(columns), counts)] = values
    return dense
