"""Damaged files of ground truth: read or refused with a reason, never anything else."""

import numpy as np
import pytest

from cliffvid.errors import InputError
from cliffvid.evaluate.ground_truth import read_truth
from cliffvid.evaluate.pseudogt.check import info
from cliffvid.evaluate.pseudogt.files import to_npz, to_parquet
from pseudogt_files import gt_arrays
from truth_files import World, agora, agora_columns, emdb, pw3d


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder, world = tmp_path_factory.mktemp("truth"), World(frames=2)
    np.savez(folder / "plain.npz", **gt_arrays(3))
    np.savez_compressed(folder / "packed.npz", **gt_arrays(3))
    to_parquet(folder / "plain.npz", folder / "gt.parquet")
    pw3d(folder / "pw3d.pkl", world)
    emdb(folder / "emdb.pkl", world)
    agora(folder / "agora.pkl", {k: v for k, v in agora_columns(world).items() if k != "gt_verts"})
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def read(path, folder):
    if path.suffix == ".npz":
        info(path)
        to_parquet(path, folder / "made.parquet")
    elif path.suffix == ".parquet":
        to_npz(path, folder / "made.npz")
    else:
        read_truth(path, "open-body")


@pytest.mark.parametrize("name", ["plain.npz", "packed.npz", "gt.parquet", "pw3d.pkl", "emdb.pkl", "agora.pkl"])
def test_damage_is_told(name, originals, tmp_path):
    rng, whole, told = np.random.default_rng(0), originals[name], 0
    tries = 20 if name.endswith(".pkl") else 50  # each of which takes a process
    for k in range(tries):
        data = bytearray(whole[: rng.integers(len(whole))] if k % 5 == 0 else whole)
        where = (0, min(1500, len(data))) if k % 2 else (max(0, len(data) - 3000), len(data))  # headers, directories
        for place in rng.integers(*where, 3) if len(data) else ():
            data[place] = rng.integers(256)
        (tmp_path / name).write_bytes(data)
        try:
            read(tmp_path / name, tmp_path)
        except InputError as error:
            told += 1
            assert str(error).startswith(str(tmp_path / name))
    assert told > 0.4 * tries
    assert not list(tmp_path.glob("*.part"))
