"""Full-size random checkpoints in the official layouts, through the commands of the README, on the real clip."""

import sys
from pathlib import Path

import numpy as np
import pytest
from test_yolo import synthetic_weights

from cliffvid import cli, read_meta, read_tracks
from cliffvid.export.sources import OPEN

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
@pytest.mark.parametrize(("network", "backbone"), [("yolov3-tiny", "hr48"), ("yolov3", "res50")])
def test_from_download_to_first_result(command, made, tmp_path, network, backbone):
    synthetic_weights(tmp_path / f"{network}.weights", OPEN / f"{network}.cfg", person_bias=2)
    checkpoint, folder = made(backbone)
    assert command("export", "yolov3", f"{network}.weights") == 0
    if backbone == "res50":
        assert command("export", "cliff", checkpoint) == 0
    else:  # the same, made once for all tests
        (tmp_path / "engines" / folder.name).symlink_to(folder)
    assert sorted(path.name for path in (tmp_path / "engines").iterdir()) == [f"cliff-{backbone}", network]
    # random weights see people everywhere
    assert command("process", CLIP, "-o", "a.parquet", "--end", 0.3, "--max-people", 3, "--detector", network) == 0
    tracks, meta = read_tracks(tmp_path / "a.parquet"), read_meta(tmp_path / "a.parquet")
    assert [model["name"] for model in meta["models"]] == [network, f"cliff-{backbone}"]
    assert meta["body"]["name"] == "smpl"
    assert len(tracks) == 9 and (tracks.det_score > 0.5).all()
    finite = (tracks.flags & 2) == 0
    for name in ("global_orient", "body_pose", "betas", "pred_cam"):
        assert np.isfinite(getattr(tracks, name)).all()
    assert np.isfinite(tracks.transl[finite]).all()
