"""What a table of one video's rows computes, beside the files and known places that it comes from."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from bulk import annotate, videos
from cliffvid import VideoTracks, level, load_body, process, read_meta, read_tracks, stream
from cliffvid.errors import InputError, UsageError
from cliffvid.tracks.convert import convert
from clips import make_clip
from motion_files import bvh_joints
from scenes import people
from track_files import make_tracks

PLACES = [[-1.0, 0.2, 5.0], [0.9, 0.1, 6.0]]
SIZE, FOCAL = (192, 144), 200.0


@pytest.fixture(scope="module")
def file(tmp_path_factory, clip):
    return make_tracks(tmp_path_factory.mktemp("tracks") / "a.npz", clip, PLACES, 10)


def test_joints_are_where_people_are_and_keypoints_where_the_camera_sees_them(file):
    tracks = read_tracks(file)
    joints = tracks.joints()
    assert joints.shape == (20, 24, 3) and tracks.vertices().shape == (20, len(tracks.body.rest_m) // 3, 3)
    turn, pose, shape, transl = people(PLACES)
    np.testing.assert_allclose(joints[:2], load_body("open-body").joints(turn, pose, shape, transl), atol=1e-5)
    seen = joints[..., :2] / joints[..., 2:] * FOCAL + np.array(SIZE) / 2
    np.testing.assert_allclose(tracks.keypoints_2d(), seen, atol=1e-3)
    tracks.meta["settings"] = tracks.meta.get("settings", {}) | {"cx_px": 100.0, "cy_px": 50.0}
    np.testing.assert_allclose(tracks.keypoints_2d(), seen - np.array(SIZE) / 2 + [100, 50], atol=1e-3)
    low, high = tracks.vertices().min(axis=1), tracks.vertices().max(axis=1)
    assert (joints.min(axis=1) > low - 0.05).all() and (joints.max(axis=1) < high + 0.05).all()


def test_level_joints_stand_on_the_floor_as_in_a_file_of_motion(file, tmp_path):
    """BVH is y up and moves people along their lines of sight, which changes nothing for these on a floor."""
    tracks = read_tracks(file)
    given = level(tracks, "0,-0.95,-0.3")
    joints = tracks.select(track=1).joints(frame=given)
    convert(file, tmp_path / "b.bvh", to="bvh", track=(1,), up="0,-0.95,-0.3", fps=25)
    names = load_body("open-body").joint_names
    theirs, _ = bvh_joints(tmp_path / "b.bvh")
    bones = joints[0, names.index("head")] - joints[0, names.index("pelvis")]
    x, y, z = theirs["head"][0] - theirs["pelvis"][0]
    np.testing.assert_allclose(bones, [x, -z, y], atol=2e-3)
    turned = tracks.joints() @ (np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]) @ given.at(0).axes).T
    turned[..., 2] -= given.at(0).floor_m
    np.testing.assert_allclose(tracks.joints(frame=given), turned)
    assert tracks.select(track=2).levels is tracks.levels  # what everybody shows, not only who is selected
    np.testing.assert_allclose(tracks.select(track=2).joints("level"), tracks.joints("level")[tracks.track_id == 2])


def test_what_is_selected_keeps_its_metadata_and_is_a_tracks_file_again(file, tmp_path):
    part = read_tracks(file).select(track=[2, 9], time_s=(0.08, 0.2))
    assert part.track_id.tolist() == [2] * 3 and part.frame_idx.tolist() == [2, 3, 4]
    assert len(read_tracks(file).select(track=9)) == 0
    assert [len(read_tracks(file).select(track=each)) for each in np.unique(part.track_id)] == [10]
    part.write(tmp_path / "part.parquet")
    again = read_tracks(tmp_path / "part.parquet")
    np.testing.assert_array_equal(again.joints(), part.joints())
    assert again.meta["counts"]["rows"] == 3 and read_meta(file)["counts"] == {"decode": {"frames": 10, "damaged": 0}}
    with pytest.raises(UsageError, match="exists already"):
        part.write(tmp_path / "part.parquet")
    part[::-1].write(tmp_path / "part.parquet", overwrite=True)
    assert read_tracks(tmp_path / "part.parquet").frame_idx.tolist() == [2, 3, 4]
    with pytest.raises(UsageError, match="frame 2 has two rows of track 2"):
        part.concat([part, part]).write(tmp_path / "part.parquet", overwrite=True)
    part[:1].write(tmp_path / "part.parquet", overwrite=True)
    assert len(read_tracks(tmp_path / "part.parquet")) == 1
    with pytest.raises(UsageError, match="names no body"):
        VideoTracks(**part.columns()).joints()
    with pytest.raises(UsageError, match="frame world: choose"):
        part.joints("world")


def test_arrow_and_pandas_have_what_the_file_has(file, tmp_path):
    tracks = read_tracks(file)
    tracks.write(tmp_path / "a.parquet")
    assert tracks.to_arrow().equals(pq.read_table(tmp_path / "a.parquet"))
    pd.testing.assert_frame_equal(tracks.to_pandas(), pd.read_parquet(tmp_path / "a.parquet"))
    pq.write_table(tracks.to_arrow(), tmp_path / "b.parquet")
    np.testing.assert_array_equal(read_tracks(tmp_path / "b.parquet").joints(), tracks.joints())


def test_a_stream_has_what_the_file_has(clip, tmp_path, toy_options):
    process(clip, tmp_path / "a.parquet", toy_options())
    parts = list(stream(clip, toy_options()))
    whole, file = VideoTracks.concat(parts), read_tracks(tmp_path / "a.parquet")
    assert len(parts) == len(np.unique(file.frame_idx)) and len(whole) == len(file) > 0
    np.testing.assert_array_equal(whole.keypoints_2d(), file.keypoints_2d())
    assert whole.meta["video"] == file.meta["video"]
    with pytest.raises(UsageError, match="no table"):
        VideoTracks.concat([])


def test_a_video_of_a_data_set_reads_as_its_own_file(tmp_path, toys, toy_options):
    for index in range(3):
        make_clip(tmp_path / f"{index}.mp4", people=index)
    (tmp_path / "3.mp4").write_text("no film")
    annotate("?.mp4", "-o", "out", "--workers", 1, cwd=tmp_path, toys=toys, check=1)
    named = [line["video"] for line in videos(tmp_path / "out")]
    folder, (name,) = tmp_path / "out", [name for name in named if name.endswith("2.mp4")]
    rows = read_tracks(folder, video=name)
    process(tmp_path / "2.mp4", tmp_path / "2.parquet", toy_options())
    own = read_tracks(tmp_path / "2.parquet")
    assert rows.columns().keys() == own.columns().keys() and len(rows) > 0
    for column, values in rows.columns().items():
        np.testing.assert_array_equal(values, own.columns()[column])
    for key in ("name", "codec", "width_px", "height_px", "rate"):
        assert rows.meta["video"][key] == own.meta["video"][key]
    assert rows.meta["complete"] and rows.meta["models"][0]["name"] == "toy-detector"
    assert len(read_tracks(folder, video=name.replace("2.mp4", "0.mp4"))) == 0
    for video, error, words in (
        (None, UsageError, "choose one of its videos by video="),
        (name.replace("2", "9"), UsageError, "did you mean"),
        (name.replace("2", "3"), InputError, "failed, so it has no rows"),
    ):
        with pytest.raises(error, match=words):
            read_tracks(folder, video=video)
    with pytest.raises(InputError, match=r"without videos\.parquet"):
        read_tracks(tmp_path)
    with pytest.raises(UsageError, match="this is none"):
        read_tracks(tmp_path / "2.parquet", video=name)
    (folder / "videos.parquet").write_bytes((folder / "videos.parquet").read_bytes()[:-9])
    with pytest.raises(InputError, match=r"videos\.parquet"):
        read_tracks(folder, video=name)
