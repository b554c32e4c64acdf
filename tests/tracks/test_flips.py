"""Flipped bits: each is noticed, or outside the bytes that count."""

import shutil

import numpy as np
import pytest

from cliffvid import InputError, read_meta
from cliffvid.errors import ModelError
from cliffvid.models.manifest import BUNDLED, read_manifest
from cliffvid.tables import Tracks
from cliffvid.tracks.read import read_both
from cliffvid.tracks.write import WRITERS

FLIPS = 60
ROWS = 300
META = {
    "video": {"name": "a.mp4", "codec": "h264", "width_px": 64, "height_px": 48},
    "body": {"name": "open-body"},
    "counts": {"decode": {"frames": 100, "damaged": 0}},
    "complete": True,
}


def flipped(data: bytes):
    """The bytes with one bit another, FLIPS times."""
    rng = np.random.default_rng(0)
    for at, bit in zip(rng.integers(0, len(data), FLIPS).tolist(), rng.integers(0, 8, FLIPS).tolist(), strict=True):
        bad = bytearray(data)
        bad[at] ^= 1 << bit
        yield at, bit, bytes(bad)


@pytest.mark.parametrize("kind", WRITERS)
def test_of_tracks(tmp_path, kind):
    rng = np.random.default_rng(0)
    like = Tracks.empty(pose=69, shape=10).columns()
    columns = {name: rng.integers(0, 99, (ROWS, *c.shape[1:])).astype(c.dtype) for name, c in like.items()}
    columns["frame_idx"][:], columns["track_id"][:] = np.arange(ROWS) // 3, np.arange(ROWS) % 3 + 1
    columns["time_s"] = columns["frame_idx"] / 25
    path, given = tmp_path / "t", Tracks(**columns)
    with WRITERS[kind](path, given, META) as writer:
        writer.write(given)
        writer.finish()
    good, meta, noticed = path.read_bytes(), read_meta(path), 0
    for at, bit, bad in flipped(good):
        path.write_bytes(bad)
        try:
            rows, told = read_both(path)
        except InputError:
            noticed += 1
            continue
        assert all(np.array_equal(getattr(rows, name), columns[name]) for name in columns) and told == meta, (at, bit)
    assert noticed > FLIPS / 2


def test_of_the_words_about_tracks(tmp_path):
    """They follow the pages in parquet, whose checksums do not hold them."""
    path, rows = tmp_path / "t", Tracks.empty(pose=69, shape=10)
    with WRITERS["parquet"](path, rows, META) as writer:
        writer.finish()
    good = path.read_bytes()
    path.write_bytes(good.replace(b'"width_px": 64', b'"width_px": 65'))
    with pytest.raises(InputError, match="its metadata has another checksum"):
        read_meta(path)


def test_of_manifests(tmp_path):
    folder = shutil.copytree(BUNDLED / "yolov3-tiny", tmp_path / "model", ignore=lambda *_: ["model.onnx"])
    path, good = folder / "manifest.json", read_manifest(folder)
    whole = path.read_bytes()
    for at, bit, bad in flipped(whole):
        path.write_bytes(bad)
        try:
            found = read_manifest(folder)
        except ModelError:
            continue
        assert found == good, (at, bit)
    path.write_bytes(whole.replace(b'"score_min": 0.', b'"score_min": 1.'))
    with pytest.raises(ModelError, match="damaged or edited"):
        read_manifest(folder)
