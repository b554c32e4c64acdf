"""Synthetic bodies in the layout of the licensed files: random blobs, none of their data."""

import pickle
import sys
import types
from pathlib import Path

import numpy as np

JOINTS = {"smpl": 24, "smplx": 55}
VERTICES = {"smpl": 6890, "smplx": 10475}
DIRECTIONS = {"smpl": 10, "smplx": 400}
SMPL_PARENTS = [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21]
FINGERS = [p for wrist in (20, 21) for finger in range(5) for p in (wrist, None, None)]
SMPLX_PARENTS = SMPL_PARENTS[:22] + [15, 15, 15] + [j - 1 if p is None else p for j, p in enumerate(FINGERS, start=25)]


def body_arrays(kind: str, seed: int = 0) -> dict[str, np.ndarray]:
    """The arrays of a body file: of human size, smooth in nothing."""
    rng = np.random.default_rng(seed)
    joints, vertices = JOINTS[kind], VERTICES[kind]
    weights = rng.random((vertices, joints)) ** 8
    regressor = rng.random((joints, vertices)) ** 200
    parents = SMPL_PARENTS if kind == "smpl" else SMPLX_PARENTS
    return {
        "v_template": rng.normal(0, 0.4, (vertices, 3)),
        "shapedirs": rng.normal(0, 0.02, (vertices, 3, DIRECTIONS[kind])).astype(np.float32),
        "posedirs": rng.standard_normal((vertices, 3, 9 * (joints - 1)), np.float32) * np.float32(0.005),
        "weights": weights / weights.sum(axis=1, keepdims=True),
        "J_regressor": regressor / regressor.sum(axis=1, keepdims=True),
        "f": rng.integers(0, vertices, (2 * vertices, 3)).astype(np.uint32),
        "kintree_table": np.array([[2**32 - 1, *parents[1:]], range(joints)]).astype(np.int64),
    }


def save_npz(path: Path, arrays: dict) -> Path:
    np.savez(path, **arrays)
    return path


def save_pkl(path: Path, arrays: dict) -> Path:
    """A pickle as the official ones are: Python 2's protocol, chumpy arrays and a scipy matrix inside."""
    import scipy.sparse

    modules = {}
    for package, kind in (("chumpy", None), ("chumpy.ch", "Ch"), ("chumpy.reordering", "Select")):
        modules[package] = types.ModuleType(package)
        if kind:
            setattr(modules[package], kind, type(kind, (), {"__module__": package}))
    ch, select = modules["chumpy.ch"].Ch(), modules["chumpy.reordering"].Select()
    ch.x = arrays["v_template"]
    inner = modules["chumpy.ch"].Ch()
    inner.x = np.concatenate([np.zeros(7), arrays["shapedirs"].reshape(-1)])
    select.a, select.idxs = inner, np.arange(7, inner.x.size)
    select.preferred_shape = arrays["shapedirs"].shape
    sparse = scipy.sparse.csc_matrix(arrays["J_regressor"])
    whole = arrays | {"v_template": ch, "shapedirs": select, "J_regressor": sparse, "bs_style": "lbs"}
    return write_pickle(path, whole, modules, 2)


def write_pickle(path: Path, value, modules: dict, protocol: int) -> Path:
    """Pickle ``value`` while ``modules``, by their names, stand in for packages that are not installed."""
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        path.write_bytes(pickle.dumps(value, protocol=protocol))
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    return path
