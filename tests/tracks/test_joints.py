"""Joints for others: TRC as a reader of it sees it, tables as pandas does."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import needs
from cliffvid import read_tracks
from cliffvid.errors import UsageError
from cliffvid.models.body import SMPL_JOINTS, load_body
from cliffvid.tables import BAD_CAMERA
from cliffvid.tracks.convert import convert
from cliffvid.tracks.options import ConvertOptions
from motion_files import Gltf
from motions import MOTIONS, random_motion, save, truth_at


@settings(max_examples=20)
@given(MOTIONS, st.sampled_from([30, 60, 120]))
def test_trc_moves_as_the_tracks_do(tmp_path_factory, motion, fps):
    """Read line by line: a header of facts and markers, an empty line, then tab-separated rows in millimetres."""
    folder = tmp_path_factory.mktemp("trc")
    tracks, rows = random_motion(folder, *motion)
    convert(tracks, folder / "o.trc", ConvertOptions(fps=fps))
    first, keys, facts, names, axes, empty, *lines = (folder / "o.trc").read_text().split("\n")
    assert first.split("\t") == ["PathFileType", "4", "(X/Y/Z)", "o.trc"] and empty == "" and lines.pop() == ""
    told = dict(zip(keys.split("\t"), facts.split("\t"), strict=True))
    count = int((rows.time_s[-1] - rows.time_s[0]) * fps + 1e-6) + 1
    assert {key: told.pop(key) for key in ("Units", "NumMarkers")} == {"Units": "mm", "NumMarkers": "24"}
    assert {key: float(value) for key, value in told.items()} == {
        "DataRate": fps, "CameraRate": fps, "OrigDataRate": fps,
        "NumFrames": count, "OrigNumFrames": count, "OrigDataStartFrame": 1,
    }  # fmt: skip
    assert names.split("\t")[:2] == ["Frame#", "Time"] and names.split("\t")[2::3] == SMPL_JOINTS
    assert axes.split("\t") == ["", "", *(f"{axis}{k}" for k in range(1, 25) for axis in "XYZ")]
    values = np.array([line.split("\t") for line in lines], float)
    assert values.shape == (count, 2 + 72) and (values[:, 0] == np.arange(1, count + 1)).all()
    for row in values:
        time_s = row[1]
        assert time_s == pytest.approx(rows.time_s[0] + (row[0] - 1) / fps, abs=1e-6)
        truth = truth_at(rows, min(rows.time_s[0] + (row[0] - 1) / fps, rows.time_s[-1])) * [1, -1, -1]
        np.testing.assert_allclose(row[2:].reshape(24, 3) / 1000, truth, atol=2e-5)


def test_another_library_reads_the_trc(tmp_path):
    trc = needs.package("trc")
    tracks, rows = random_motion(tmp_path, 5, [2, 1, 3])
    (file,) = convert(tracks, tmp_path / "out", ConvertOptions("trc")).files
    assert file.name == "a_track0001.trc"
    read = trc.TRCData()
    read.load(str(file))
    assert read["Markers"] == SMPL_JOINTS and (read["DataRate"], read["NumFrames"], read["Units"]) == (60, 7, "mm")
    truth = 1000 * truth_at(rows, rows.time_s[0]) * [1, -1, -1]
    np.testing.assert_allclose([read[name][0] for name in SMPL_JOINTS], truth, atol=0.01)


def places(table: pd.DataFrame, frame: str) -> np.ndarray:
    """The joints (P,24,3) of a table in one of its frames."""
    names = [f"{joint}_{frame}_{axis}_m" for joint in SMPL_JOINTS for axis in "xyz"]
    return table[names].to_numpy().reshape(len(table), 24, 3)


@settings(max_examples=15)
@given(MOTIONS, st.sampled_from(["parquet", "csv"]))
def test_tables_of_joints_are_the_bodys_and_come_back_to_the_bit(tmp_path_factory, motion, ending):
    folder = tmp_path_factory.mktemp("joints")
    tracks, rows = random_motion(folder, *motion)
    convert(tracks, folder / f"o_joints.{ending}")
    table = {"parquet": pd.read_parquet, "csv": pd.read_csv}[ending](folder / f"o_joints.{ending}")
    for name in ("frame_idx", "time_s", "track_id", "flags"):
        np.testing.assert_array_equal(table[name], getattr(rows, name))
    truth = load_body("open-body").joints(rows.global_orient, rows.body_pose, rows.betas, rows.transl)
    np.testing.assert_array_equal(places(table, "camera").astype(np.float32), truth.astype(np.float32))
    np.testing.assert_allclose(places(table, "level"), truth * [1, -1, -1], atol=1e-4)  # by a camera that is level


def test_level_joints_are_those_of_the_gltf(tmp_path):
    """Two people before a tilted camera, one of whom has a row with an impossible camera."""
    frames, ids = np.tile(np.arange(40), 2), np.repeat([1, 2], 40)
    betas = np.where(ids[:, None] == 1, 1.0, -1.0) + np.linspace(-0.1, 0.1, 80)[:, None] * np.ones(10)
    transl = np.stack([ids * 1.0 + frames / 40, 0 * ids, 4.0 + ids], axis=1)
    flags = np.where((frames == 7) & (ids == 2), BAD_CAMERA, 0)
    tracks = save(tmp_path / "a.npz", frames, ids, turn=[2.9, 0.2, 0.1], betas=betas, transl=transl, flags=flags)
    up = ConvertOptions(up="0.1,-0.9,-0.3")
    report = convert(tracks, tmp_path / "o_joints.csv", up)
    assert report.level == convert(tracks, tmp_path / "o.glb", up).level and "m above the floor" in report.level
    table, file = pd.read_csv(tmp_path / "o_joints.csv"), Gltf((tmp_path / "o.glb").read_bytes())
    assert len(table) == len(read_tracks(tracks)) == 80
    for (_, row), level in zip(table.iterrows(), places(table, "level"), strict=True):
        if row["flags"]:
            assert np.isnan(level).all()
            continue
        world = file.at(float(np.float32(row["time_s"])))
        there = [world[file.names[f"track_{row['track_id']:.0f}/{name}"]][:3, 3] for name in SMPL_JOINTS]
        np.testing.assert_allclose(level, there, atol=2e-4)


def test_the_ending_tells_the_format_or_what_is_missing_is_told(tmp_path):
    tracks, _ = random_motion(tmp_path, 1, [1])
    starts = {
        ".glb": b"glTF",
        ".bvh": b"HIERARCHY",
        ".trc": b"PathFileType",
        ".csv": b'"frame_idx"',
        ".parquet": b"PAR1",
        ".py": b'"""Turn a .glb',
    }
    for ending, start in starts.items():
        (file,) = convert(tracks, tmp_path / f"o{ending.upper()}").files
        assert file.read_bytes().startswith(start), ending
    assert "pred_joints" in np.load(convert(tracks, tmp_path / "o_cliff.npz").files[0])
    before = sorted(tmp_path.iterdir())
    for out, words in (
        ("p.npz", "p.npz: .npz does not tell the format: give --to npz or --to cliff or --to amass"),
        ("p", "p: its ending does not tell the format: give --to, or one of the endings "),
        ("p.fbx", "p.fbx: Blender writes that from a .glb file; convert to .glb, and to .py for Blender's script"),
        (".", f"{tmp_path}: its ending does not tell the format: give --to, or one of the endings "),
    ):
        with pytest.raises(UsageError, match=re.escape(words)):
            convert(tracks, tmp_path / out)
    with pytest.raises(UsageError, match=r"p.txt: the ending tells how to write it; choose one of .parquet, .csv"):
        convert(tracks, tmp_path / "p.txt", ConvertOptions("joints"))
    with pytest.raises(UsageError, match=r"--per-person: --to csv has one file"):
        convert(tracks, tmp_path / "p.csv", ConvertOptions(per_person=True))
    assert sorted(tmp_path.iterdir()) == before
