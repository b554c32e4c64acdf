"""The official demo's result file: its joints against the package smplx, its rows against one another."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import needs
from bodies import body_arrays, save_npz
from cliffvid import read_tracks
from cliffvid.errors import UsageError
from cliffvid.models.body import load_body
from cliffvid.models.smpl_files import add_body
from cliffvid.tables import Tracks
from cliffvid.tracks.formats.cliff import CliffWriter

KEYS = {"imgname", "pose", "shape", "global_t", "pred_joints", "focal_l", "detection_all"}
NOBODY = Tracks.empty(pose=69, shape=10)
OPEN_BODY = {"body": {"name": "open-body"}}


def walkers(frame_idx) -> Tracks:
    """A row for each of these frames; no two rows are alike in any column."""
    rng, rows = np.random.default_rng(0), len(frame_idx)
    columns = {name: rng.normal(0, 1, (rows, *c.shape[1:])).astype(c.dtype) for name, c in NOBODY.columns().items()}
    columns["frame_idx"] = np.array(frame_idx, np.int64)
    columns["track_id"] = np.arange(1, rows + 1, dtype=np.int32)
    return Tracks(**columns)


def save(path, tracks, body="open-body", cuts=(), frames=0, files=(), rate="30000/1001"):
    with CliffWriter(path, NOBODY, {"body": {"name": body}}) as writer:
        ends = [0, *sorted(cuts), len(tracks)]
        for start, stop in zip(ends[:-1], ends[1:], strict=True):
            writer.write(tracks[start:stop])
        writer.finish({"video": {"files": list(files), "rate": rate}, "counts": {"decode": {"frames": frames}}})
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


@given(st.lists(st.integers(0, 30), max_size=12).map(sorted), st.lists(st.integers(0, 12), max_size=3), st.booleans())
def test_every_key_speaks_of_the_same_rows(tmp_path_factory, frame_idx, cuts, images):
    """However the rows came; read back as tracks they are the same to the bit."""
    tracks = walkers(frame_idx)
    files = [f"{i}.png" for i in range(31)] if images else []
    folder = tmp_path_factory.mktemp("cliff")
    cuts = [min(cut, len(tracks)) for cut in cuts]
    got = save(folder / "a", tracks, cuts=cuts, frames=20, files=files)
    assert set(got) > KEYS and got["fps"].shape == () and got["fps"] == pytest.approx(29.97, abs=0.001)
    assert np.isnan(save(folder / "c", tracks, rate=None)["fps"])
    for key in KEYS - {"imgname"}:
        assert len(got[key]) == len(tracks) and got[key].dtype == np.float32
    np.testing.assert_array_equal(got["pose"], np.hstack([tracks.global_orient, tracks.body_pose]))
    np.testing.assert_array_equal(got["shape"], tracks.betas)
    np.testing.assert_array_equal(got["global_t"], tracks.transl)
    np.testing.assert_array_equal(got["focal_l"], tracks.focal_px)
    truth = np.column_stack([frame_idx, tracks.bbox_xyxy, tracks.det_score, np.ones(len(tracks)), 0 * tracks.det_score])
    np.testing.assert_array_equal(got["detection_all"], truth.reshape(-1, 8).astype(np.float32))
    names = got["imgname"][got["detection_all"][:, 0].astype(int)].tolist()
    assert names == [f"{i}.png" if images else f"{i + 1:06d}.png" for i in frame_idx]
    assert len(got["imgname"]) == 31 if images else len(got["imgname"]) == max([20, *(i + 1 for i in frame_idx)])
    save(folder / "b", tracks, frames=20, files=files)
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes()
    body, given_ = load_body("open-body"), (tracks.global_orient, tracks.body_pose, tracks.betas, tracks.transl)
    np.testing.assert_allclose(got["pred_joints"], body.joints(*given_), atol=1e-5)


def test_the_45_joints_are_those_of_the_package_smplx(tmp_path, monkeypatch):
    smplx, torch = needs.package("smplx"), needs.package("torch")
    from cliffvid.rotations import rotation_matrix

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    load_body.cache_clear()
    with pytest.raises(UsageError, match=r"fetch SMPL_NEUTRAL\.pkl"):
        CliffWriter(tmp_path / "a", NOBODY, {"body": {"name": "smpl"}})
    arrays = body_arrays("smpl")
    add_body(save_npz(tmp_path / "SMPL_NEUTRAL.npz", arrays))
    tracks = walkers([0, 0, 3, 4, 7])
    got = save(tmp_path / "a", tracks, "smpl", cuts=[2])
    load_body.cache_clear()
    layer = smplx.SMPLLayer(model_path="", data_struct=smplx.utils.Struct(**arrays), num_betas=10)
    turn = rotation_matrix(got["pose"].astype(float).reshape(5, 24, 3))
    turn, betas, transl = (torch.from_numpy(a).float() for a in (turn, tracks.betas, tracks.transl))
    with torch.no_grad():
        truth = layer(betas=betas, transl=transl, global_orient=turn[:, :1], body_pose=turn[:, 1:]).joints.numpy()
    assert got["pred_joints"].shape == truth.shape == (5, 45, 3)
    np.testing.assert_allclose(got["pred_joints"], truth, atol=1e-5)


def test_other_bodies_are_refused_and_a_fault_leaves_nothing(tmp_path):
    with pytest.raises(UsageError, match="24 joints and 10 betas, but the regressor answers 'smplx'"):
        CliffWriter(tmp_path / "a", Tracks.empty(pose=63, shape=11), {"body": {"name": "smplx"}})
    with pytest.raises(RuntimeError), CliffWriter(tmp_path / "a", NOBODY, OPEN_BODY) as writer:
        writer.write(walkers([0, 1]))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_it_is_a_tracks_file_too(tmp_path):
    tracks = walkers([0, 0, 2])
    tracks.time_s[:] = tracks.frame_idx / 10
    video = {"name": "a.mp4", "codec": "h264", "width_px": 64, "height_px": 48}
    with CliffWriter(tmp_path / "a", NOBODY, OPEN_BODY) as writer:
        writer.write(tracks)
        writer.finish({"video": video, "counts": {"decode": {"frames": 3}}})
    back = read_tracks(tmp_path / "a")
    for name, column in tracks.columns().items():
        np.testing.assert_array_equal(getattr(back, name), column)
