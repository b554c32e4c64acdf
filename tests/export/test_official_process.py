"""Full-size random checkpoints in the official layouts, through the commands of the README, on the real clip."""

import sys
from pathlib import Path

import numpy as np
import pytest

from cliffvid import read_meta, read_tracks
from cliffvid.cli import app as cli
from cliffvid.export.cliff.network import VARIANTS
from cliffvid.export.open.sources import OPEN
from synthetic import make_tiny_checkpoint
from test_yolo import synthetic_weights

CLIP = Path(__file__).parents[2] / "examples" / "pedestrians.mp4"


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["cliffvid", *map(str, args)])
        try:
            cli.main()
        except SystemExit as end:
            return end.code
        return 0

    return run


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_from_download_to_first_result(command, made, tmp_path, capsys):
    synthetic_weights(tmp_path / "yolov3-tiny.weights", OPEN / "yolov3-tiny.cfg", person_bias=2)
    assert command("export", "yolov3", "yolov3-tiny.weights") == 0
    assert command("export", "cliff", made("res50")[0]) == 0
    assert sorted(path.name for path in (tmp_path / "engines").iterdir()) == ["cliff-res50", "yolov3-tiny"]
    for name in ("yolov3-tiny", "cliff-res50"):
        assert command("models", "verify", name) == 0
        told = capsys.readouterr().out
        assert told.count("  fp32: by onnxruntime") == told.count("  fp16: by onnxruntime") == 1
    # random weights see people everywhere
    assert (
        command("process", CLIP, "-o", "a.parquet", "--end", 0.3, "--max-people", 3, "--detector", "yolov3-tiny") == 0
    )
    tracks, meta = read_tracks(tmp_path / "a.parquet"), read_meta(tmp_path / "a.parquet")
    assert [model["name"] for model in meta["models"]] == ["yolov3-tiny", "cliff-res50"]
    assert meta["body"]["name"] == "smpl"
    assert len(tracks) == 9 and (tracks.det_score > 0.5).all()
    finite = (tracks.flags & 2) == 0
    for name in ("global_orient", "body_pose", "betas", "pred_cam"):
        assert np.isfinite(getattr(tracks, name)).all()
    assert np.isfinite(tracks.transl[finite]).all()


@pytest.mark.parametrize("name", sorted(VARIANTS.keys() - {"cliff-hr48"}))  # that one: test_cliff_export.py
def test_every_kind_of_cliff_runs_by_its_own_conventions(command, monkeypatch, tmp_path, name):
    """Small backbones, all else as published; the columns are as wide as the kind's body."""
    make_tiny_checkpoint(monkeypatch, tmp_path / "cliff.pt", name)
    assert command("export", "cliff", "cliff.pt") == 0
    assert command("process", CLIP, "-o", "a.parquet", "--end", 0.2, "--person-batch", 3) == 0
    tracks, meta = read_tracks(tmp_path / "a.parquet"), read_meta(tmp_path / "a.parquet")
    joints, betas = (22, 11) if name == "cliff-bedlam-x" else (24, 10)
    assert [model["name"] for model in meta["models"]] == ["person-open", name]
    body = {key: meta["body"][key] for key in ("name", "joints", "betas")}
    assert body == {"name": "smplx" if joints == 22 else "smpl", "joints": joints, "betas": betas}
    assert tracks.body_pose.shape == (len(tracks), 3 * joints - 3) and tracks.betas.shape == (len(tracks), betas)
    assert len(tracks) > 10 and np.abs(np.diff(tracks.betas, axis=0)).max() > 1e-4  # the pictures matter
    tracks.write(tmp_path / "a.npz")
    again = read_tracks(tmp_path / "a.npz")
    for column, values in tracks.columns().items():
        np.testing.assert_array_equal(values, getattr(again, column))
    sides = (tracks.bbox_xyxy[:, 2:] - tracks.bbox_xyxy[:, :2]).astype(np.float64)
    tall = np.maximum(sides[:, 0] / 0.75, sides[:, 1])  # the box widened to the crop's aspect
    size = {"cliff-res50-mmhuman3d": sides.max(1) * 1.1, "cliff-bedlam": sides.max(1), "cliff-bedlam-x": sides.max(1)}
    np.testing.assert_allclose(tracks.crop_center_size_px[:, 2], size.get(name, tall * 1.1), rtol=1e-6)


def test_a_clip_without_people_has_the_columns_of_its_body(command, monkeypatch, tmp_path):
    make_tiny_checkpoint(monkeypatch, tmp_path / "cliff.pt", "cliff-bedlam-x")
    assert command("export", "cliff", "cliff.pt") == 0
    assert command("process", CLIP, "-o", "a.parquet", "--end", 0.1, "--score", 0.999) == 0
    tracks = read_tracks(tmp_path / "a.parquet")
    assert len(tracks) == 0 and tracks.body_pose.shape == (0, 63) and tracks.betas.shape == (0, 11)
