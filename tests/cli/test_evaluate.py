"""Evaluation by the command line: the paper's protocol from images to a table, and JSON."""

import json

import numpy as np
import pytest
from PIL import Image

from cliffvid import read_meta, read_tracks
from truth_files import MATRIX, SIZE, World, agora, agora_columns, emdb, found_tracks, pw3d


@pytest.fixture
def world(tmp_path):
    """A sequence and its images."""
    world = World(frames=4)
    pw3d(tmp_path / "walk_00.pkl", world)
    for k in range(4):
        (tmp_path / "images" / "walk_00").mkdir(parents=True, exist_ok=True)
        pixels = np.full((SIZE[1], SIZE[0], 3), (200, 20, 20), np.uint8)  # red is a person to the toy
        Image.fromarray(pixels).save(tmp_path / "images" / "walk_00" / f"image_{k:05d}.jpg")
    return world


def test_the_papers_protocol_from_images_to_a_table(cliffvid, toys, world, tmp_path):
    args = ("eval", "made", "walk_00.pkl", "--protocol", "paper", "--truth-body", "open-body")
    more = ("--images", "images", "--models", toys, "--regressor", "toy-regressor")
    code, out, err = cliffvid(*args, *more, toy_models=False)
    assert code == 0, err
    assert "made/walk_00.parquet: 8 rows" in err
    assert "walk_00" in out and "overall" in out and "PA-MPJPE mm" in out and "SMPL's skeleton" in out
    rows, meta = read_tracks(tmp_path / "made" / "walk_00.parquet"), read_meta(tmp_path / "made" / "walk_00.parquet")
    assert rows.track_id.tolist() == [1, 2] * 4 and rows.frame_idx.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    np.testing.assert_allclose(rows.focal_px, (MATRIX[0, 0] + MATRIX[1, 1]) / 2)
    assert meta["settings"]["box_scale"] == 1.2 and meta["settings"]["boxes"] == "ground truth of 3dpw"
    assert [model["task"] for model in meta["models"]] == ["regress"]
    for k in range(2):
        boxes = world.boxes(k)
        mine = rows[rows.track_id == k + 1]
        np.testing.assert_allclose(mine.bbox_xyxy, boxes, rtol=1e-6)
        np.testing.assert_allclose(mine.crop_center_size_px[:, 0], boxes[:, ::2].mean(axis=1), rtol=1e-5)
        width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
        np.testing.assert_allclose(mine.crop_center_size_px[:, 2], 1.2 * np.maximum(width * 4 / 3, height), rtol=1e-5)
    code, out, err = cliffvid(*args, "--json", toy_models=False)
    told = json.loads(out)
    assert code == 0 and told["overall"]["recall"] == 1 and told["overall"]["mpjpe_mm"] > 0
    assert told["protocol"] == "paper" and not any("made with" in note for note in told["notes"])
    code, _, err = cliffvid(*args, *more, toy_models=False)
    assert code == 2 and "exists already" in err
    (tmp_path / "images" / "walk_00" / "image_00003.jpg").unlink()
    code, _, err = cliffvid(*args, *more, "--overwrite", toy_models=False)
    assert code == 1 and "1 of the 4 images of walk_00 are not there" in err


def test_emdbs_images_lie_in_its_own_folders(cliffvid, toys, tmp_path):
    emdb(tmp_path / "P1_01_walk_data.pkl", World(frames=3, count=1))
    (tmp_path / "emdb" / "P1" / "01_walk" / "images").mkdir(parents=True)
    for k in range(3):
        Image.new("RGB", SIZE, (200, 20, 20)).save(tmp_path / "emdb" / "P1" / "01_walk" / "images" / f"{k:05d}.jpg")
    args = ("eval", "made", "P1_01_walk_data.pkl", "--protocol", "paper", "--json", "--truth-body", "open-body")
    more = ("--images", "emdb", "--models", toys, "--regressor", "toy-regressor")
    code, out, err = cliffvid(*args, *more, toy_models=False)
    assert code == 0, err
    assert json.loads(out)["overall"]["found"] == 3 and json.loads(out)["sequences"][0]["name"] == "P1_01_walk"


def test_agoras_images_are_found_by_their_names_whatever_their_size(cliffvid, toys, tmp_path):
    world = World(frames=2)
    columns = agora_columns(world)
    agora(tmp_path / "validation_0.pkl", columns)
    (tmp_path / "images").mkdir()
    for name in ["ag_val_000", "ag_val_001", "ag_other"]:
        Image.new("RGB", (1280, 720), (200, 20, 20)).save(tmp_path / "images" / f"{name}_1280x720.png")
    more = ("--images", "images", "--models", toys, "--regressor", "toy-regressor")
    code, out, _ = cliffvid(
        "eval", "made", "validation_0.pkl", "--protocol", "paper", "--json", *more, toy_models=False
    )
    assert code == 0
    found = json.loads(out)["overall"]
    assert (found["people"], found["recall"], found["precision"]) == (4, 1, 1)
    rows = read_tracks(tmp_path / "made" / "validation_0.parquet")
    np.testing.assert_allclose(rows.focal_px, 5333.3 / 3, rtol=1e-4)
    assert rows.frame_idx.tolist() == [1, 1, 2, 2]  # ag_other is the first of the folder


def test_mistakes_are_told(cliffvid, world, tmp_path):
    found_tracks(tmp_path / "t.npz", world, [world.boxes(k) for k in range(2)])

    def told(*args):
        code, out, err = cliffvid("eval", *args, toy_models=False)
        assert out == ""
        return code, err

    assert told("t.npz", "none.pkl") == (1, "error: none.pkl: no such file or folder\n")
    code, err = told("t.npz", "t.npz")
    assert code == 1 and "not ground truth as 3DPW, EMDB or AGORA publish it" in err
    code, err = told("t.npz", "walk_00.pkl", "--protocol", "own")
    assert code == 2 and "choose one of demo, paper" in err
    code, err = told("made", "walk_00.pkl", "--images", "images")
    assert code == 2 and "--images: makes the tracks of --protocol paper" in err
    code, err = told("t.npz", "walk_00.pkl", "--images", "images", "--protocol", "paper")
    assert code == 2 and "name a folder" in err
    code, err = told("made", "walk_00.pkl", "--images", "none", "--protocol", "paper")
    assert code == 1 and "none: no images of walk_00 there; looked for none/walk_00" in err
    code, err = told("t.npz", "walk_00.pkl", "--joint-regressor", "none.npy", "--truth-body", "open-body")
    assert code == 1 and "none.npy: no such file" in err
