"""The commands that use tracks, as typed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import cliffvid as public
from motion_files import bvh_joints
from track_files import make_tracks

PLACES = [[-1.0, 0.2, 5.0], [0.9, 0.1, 6.0]]


def test_convert(cliffvid, clip, tmp_path):
    make_tracks(tmp_path / "a.npz", clip, PLACES, 10)
    code, out, err = cliffvid("convert", "a.npz", "--to", "bvh", "--fps", 25, "-o", "b", toy_models=False)
    assert (code, out) == (0, "") and "b: 2 files, 2 tracks, 20 rows" in err
    assert len(bvh_joints(tmp_path / "b" / "a_track0002.bvh")[0]["pelvis"]) == 10
    code, _, err = cliffvid("convert", "a.npz", "--to", "amass", "--track", 2, "-o", "c.npz", toy_models=False)
    assert code == 0 and "warning: c.npz: betas are zeros" in err and np.load("c.npz")["poses"].shape == (22, 156)
    code, _, err = cliffvid("convert", "a.npz", "--to", "amass", "--track", 2, "-o", "c.npz", toy_models=False)
    assert code == 2 and "--overwrite" in err
    code, _, err = cliffvid("convert", "a.npz", "--to", "fbx", "-o", "d", toy_models=False)
    assert code == 2 and "choose one of auto, npz" in err
    code, _, err = cliffvid("convert", "none.npz", "--to", "csv", "-o", "d", toy_models=False)
    assert code == 1 and "no such file" in err


def test_smooth(cliffvid, clip, tmp_path):
    make_tracks(tmp_path / "a.npz", clip, PLACES, 10)
    code, out, err = cliffvid("smooth", "a.npz", "-o", "b.parquet", "--json", toy_models=False)
    told = json.loads(out)
    assert code == 0 and told["rows"] == 20 and told["before"]["jerk_m_s3"] < 1e-3
    code, out, err = cliffvid("smooth", "a.npz", "-o", "c.npz", "--method", "one-euro", toy_models=False)
    assert (code, out) == (0, "") and "c.npz: 20 rows, 2 tracks; 0 rows filled in" in err and "skating" in err
    code, _, err = cliffvid("smooth", "a.npz", "-o", "c.npz", toy_models=False)
    assert code == 2 and "exists already" in err


def test_process_smooth_is_the_same_as_smooth(cliffvid, clip, tmp_path):
    code, out, _ = cliffvid("process", clip, "-o", "a.parquet", "--smooth", "--json")
    assert code == 0 and json.loads(out)["smooth"]["out"] == "a_smooth.parquet"
    assert cliffvid("smooth", "a.parquet", "-o", "b.parquet", toy_models=False)[0] == 0
    assert (tmp_path / "b.parquet").read_bytes() == (tmp_path / "a_smooth.parquet").read_bytes()
    (tmp_path / "a.parquet").unlink()
    code, _, err = cliffvid("process", clip, "-o", "a.parquet", "--smooth")
    assert code == 2 and "a_smooth.parquet: exists already" in err and not (tmp_path / "a.parquet").exists()


def test_python_may_name_files_by_text_and_loses_none_of_them(clip, tmp_path, monkeypatch):
    """Every public function that the commands call; the film of a video never replaces it, whatever names it."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(clip, "v.mp4")
    make_tracks(tmp_path / "t.npz", tmp_path / "v.mp4", [[0, 0, 5.0]], 30)
    before = Path("v.mp4").read_bytes()
    assert public.probe("v.mp4")["codec"] == "h264"
    assert public.smooth("t.npz", "s.parquet").out == Path("s.parquet")
    look = public.OverlayOptions(view="skeleton", overwrite=True)
    assert public.overlay("v.mp4", "s.parquet", "o.mp4", look).frames == 30
    assert public.report("s.parquet", "p.html", "v.mp4", skeleton_only=True).tracks == 1
    assert public.convert("s.parquet", "c.csv", public.ConvertOptions("csv")).files
    for name in ("v.mp4", tmp_path / "v.mp4", f"{tmp_path}/./v.mp4"):
        with pytest.raises(public.UsageError, match="is also an input"):
            public.overlay(name, "s.parquet", "v.mp4", look)
    assert Path("v.mp4").read_bytes() == before
