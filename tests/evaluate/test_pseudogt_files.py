"""Pseudo-ground-truth: nothing lost between npz and parquet, every wrong row found, nothing of a file run."""

import io
import os
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bodies import body_arrays, save_npz
from cliffvid.errors import InputError, UsageError
from cliffvid.evaluate.pseudogt.check import RULES, info, placed, reprojection_px
from cliffvid.evaluate.pseudogt.files import CliffGT, to_npz, to_parquet
from cliffvid.evaluate.pseudogt.make import make
from cliffvid.models.body import load_body
from cliffvid.models.smpl_files import add_body
from cliffvid.tables import BAD_CAMERA, Tracks
from cliffvid.tracks.read import read_tracks
from cliffvid.tracks.write import WRITERS
from pseudogt_files import JOINTS, SIZES, gt_arrays, save_images
from reference import posed_joints


def save(path, arrays):
    np.savez(path, **arrays)
    return path


@given(
    seed=st.integers(0, 99),
    rows=st.sampled_from([0, 1, 3, 2048, 2049]),
    number=st.sampled_from(["<f8", ">f8", "<f4", ">f4", "<f2"]),
    name=st.sampled_from(["<U20", ">U31", "|S24"]),
    fortran=st.booleans(),
    column=st.booleans(),
)
def test_parquet_and_back_keeps_every_bit(seed, rows, number, name, fortran, column, tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("gt"), np.random.default_rng(seed)
    shapes = {
        "center": (2,),
        "scale": (),
        "part": (24, 3),
        "pose": (72,),
        "shape": (10,),
        "global_t": (3,),
        "S": (24, 4),
    }
    bits = {
        key: np.frombuffer(rng.bytes(rows * int(np.prod(shape)) * np.dtype(number).itemsize), number).reshape(
            rows, *shape
        )
        for key, shape in (shapes | {"focal_l": (1,) if column else ()}).items()
    }  # any bits at all: infinities and every kind of NaN
    arrays = {"imgname": np.array([f"a/ü{i}.jpg" if "U" in name else f"a/{i}.jpg" for i in range(rows)], name)}
    arrays |= bits | {"has_smpl": np.ones(rows, bool), "annot_id": rng.integers(0, 2**62, rows)}
    if fortran:
        arrays["part"], arrays["pose"] = np.asfortranarray(arrays["part"]), np.asfortranarray(arrays["pose"])
    save(folder / "a.npz", arrays)
    assert to_parquet(folder / "a.npz", folder / "a.parquet") == rows
    assert to_npz(folder / "a.parquet", folder / "b.npz") == rows
    with np.load(folder / "a.npz") as before, np.load(folder / "b.npz") as after:
        assert list(before) == list(after) == list(arrays)
        for key, array in arrays.items():
            assert (after[key].dtype, after[key].shape) == (array.dtype, array.shape), key
            assert after[key].tobytes() == array.tobytes(), key
    assert sorted(os.listdir(folder)) == ["a.npz", "a.parquet", "b.npz"]


def test_what_parquet_holds_has_the_names_of_tracks(tmp_path):
    import pyarrow.parquet as pq

    arrays = gt_arrays(5)
    to_parquet(save(tmp_path / "a.npz", arrays), tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    pose = table["body_pose"].combine_chunks().flatten().to_numpy().reshape(5, 69)
    np.testing.assert_array_equal(pose, arrays["pose"][:, 3:])
    assert table["betas"].to_pylist() == arrays["shape"].tolist()
    assert set(table.column_names) >= {"imgname", "global_orient", "transl", "focal_px", "part", "S", "annot_id"}


def test_a_good_file_breaks_no_rule_with_its_images_or_without(tmp_path):
    arrays = gt_arrays(40)
    path = save(tmp_path / "a.npz", arrays)
    save_images(tmp_path / "images", 40)
    for images in (None, tmp_path / "images"):
        found = info(path, images)
        assert (found.rows, found.images, found.subjects_most, found.body) == (40, 20, 2, "smpl")
        assert not any(found.bad.values()), found.bad
        assert set(found.bad) == set(RULES) - (set() if images else {"image", "size", "outside"})
        assert found.reprojection_px["max"] < 1e-6
        assert found.ranges["focal_l"] == (arrays["focal_l"].min(), arrays["focal_l"].max())
        assert found.keypoints[0] == (arrays["part"][:, 0, 2] > 0).sum() and found.keypoints[13] == 0


BREAK = {
    "not_finite": ("shape", lambda a: a.__setitem__(0, np.nan)),
    "no_smpl": ("has_smpl", lambda a: a.fill(0)),
    "scale": ("scale", lambda a: a.fill(0)),
    "focal": ("focal_l", lambda a: a.fill(-800)),
    "depth": ("global_t", lambda a: a.__setitem__(2, -3)),
    "betas": ("shape", lambda a: a.__setitem__(9, -5.1)),
    "pose": ("pose", lambda a: a.__setitem__(slice(3, 6), 4)),
    "confidence": ("S", lambda a: a.__setitem__((3, 3), -1)),
    "pelvis": ("S", lambda a: a.__setitem__((14, 1), 0.002)),
    "box": ("part", lambda a: a.__setitem__((0, 0), a[0, 0] + 2000)),
    "reprojection": ("part", lambda a: a.__setitem__((slice(None), 0), -a[:, 0])),  # mirrored
    "image": ("imgname", lambda a: a.fill("train/none.jpg")),
    "size": ("focal_l", lambda a: np.add(a, 3, out=a)),
    "outside": ("part", lambda a: a.__setitem__((0, 0), -3)),
}


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_finds_the_rows_that_break_it_and_no_other(rule, tmp_path):
    arrays = gt_arrays(30)
    key, spoil = BREAK[rule]
    for row in (7, 22):
        arrays["part"][row, 0, 2] = 1
        part = np.asarray(arrays[key][row : row + 1])
        spoil(part[0] if part.ndim > 1 else part)
    save_images(tmp_path, 30)
    found = info(save(tmp_path / "a.npz", arrays), tmp_path)
    assert found.bad[rule] == 2 and found.first[rule] == [7, 22]
    alone = {"not_finite", "no_smpl", "depth", "betas", "pose", "confidence"}
    assert rule not in alone or sum(found.bad.values()) == 2


def test_rows_are_told_by_their_place_in_the_whole_file(tmp_path):
    arrays = {key: np.tile(array, (11, *[1] * (array.ndim - 1))) for key, array in gt_arrays(200).items()}
    arrays["has_smpl"][[5, 2100]] = 0
    assert info(save(tmp_path / "a.npz", arrays)).first["no_smpl"] == [5, 2100]


def test_a_place_is_found_from_keypoints_whatever_the_principal_point():
    rng = np.random.default_rng(1)
    joints = np.concatenate([rng.normal(0, 0.5, (50, 24, 3)), np.ones((50, 24, 1))], axis=2)
    place, focal, middle = (
        rng.uniform([-1, -1, 3], [1, 1, 12], (50, 3)),
        rng.uniform(400, 1500, 50),
        rng.uniform(99, 900, (50, 2)),
    )
    at = joints[..., :3] + place[:, None]
    part = np.concatenate([at[..., :2] / at[..., 2:] * focal[:, None, None] + middle[:, None], np.ones((50, 24, 1))], 2)
    np.testing.assert_allclose(placed(part, joints, focal, middle)[0], place, atol=1e-9)
    found, center = placed(part, joints, focal, None)
    np.testing.assert_allclose(np.hstack([found, center]), np.hstack([place, middle]), rtol=1e-7, atol=1e-7)
    part[:, 5:9, :2], part[:, 5:9, 2], part[3, 4:, 2] = np.nan, 0, 0  # what is not sure does not count
    error = reprojection_px(part, joints, focal, middle)
    assert np.nanmax(error) < 1e-9 and not np.isnan(error[3])
    part[3, 3:, 2] = 0
    assert np.isnan(reprojection_px(part, joints, focal, middle)).tolist() == [i == 3 for i in range(50)]


class Evil:
    def __reduce__(self):
        return os.system, ("touch ran",)


def test_files_that_would_run_something_or_are_something_else_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good = gt_arrays(4)
    wrong = [
        (good | {"pose": np.array([Evil()] * 4, object)}, "'pose' holds Python objects"),
        (good | {"pose": good["pose"][:, 1:]}, r"'pose' is float64 \(71,\) a row, not 72"),
        (good | {"imgname": np.arange(4)}, "'imgname' is int64"),
        (good | {"shape": good["shape"][1:]}, "different numbers of rows"),
        (good | {"more": np.array(3)}, "no row for each person"),
        ({key: array for key, array in good.items() if key != "part"}, "has no 'part'"),
        (good | {"more": np.zeros((4, 20000))}, "rows of over 65536 bytes"),
    ]
    for arrays, words in wrong:
        path = save(tmp_path / "wrong.npz", arrays)
        for read in (info, lambda p: to_parquet(p, tmp_path / "o.parquet")):
            with pytest.raises(InputError, match=words):
                read(path)
    assert not (tmp_path / "ran").exists() and not (tmp_path / "o.parquet").exists()
    whole = save(tmp_path / "good.npz", good).read_bytes()
    files = {"cut.npz": whole[:-500], "text.npz": b"text", "p.npz": pickle.dumps({})}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match="not a readable cliffGT_v1 file"):
            info(tmp_path / name)
    with pytest.raises(InputError, match="no such file"):
        info(tmp_path / "none.npz")
    with pytest.raises(InputError, match="leads out of"):
        info(save(tmp_path / "up.npz", good | {"imgname": np.array(["../a.jpg"] * 4)}), tmp_path)
    with pytest.raises(InputError, match="that cliffvid pseudogt convert kept"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
        to_npz(tmp_path / "other.parquet", tmp_path / "o.npz")


def test_a_header_that_promises_more_than_there_is(tmp_path):
    arrays = gt_arrays(4)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for key, array in arrays.items():
            data = io.BytesIO()
            np.save(data, array)
            text = data.getvalue()
            if key == "pose":
                text = text.replace(b"(4, 72), }        ", b"(4000000000, 72), }")
            archive.writestr(f"{key}.npy", text)
    with pytest.raises(InputError, match=r"'pose' holds \d+ bytes instead of 2304000000128"):
        info(tmp_path / "a.npz")


def test_memory_does_not_grow_with_the_file(tmp_path):
    peaks = []
    for rows in (3000, 24000):
        arrays = {key: np.tile(array, (rows // 300, *[1] * (array.ndim - 1))) for key, array in gt_arrays(300).items()}
        path = save(tmp_path / "a.npz", arrays)
        del arrays
        tracemalloc.start()
        info(path)
        with CliffGT(path) as gt:
            assert gt.take(["annot_id", "pose"], [0, rows - 1])["pose"].shape == (2, 72)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] + 1e6, peaks


def image_tracks(path, people, files, flags=0, body="open-body"):
    """Tracks of the people of ``gt_arrays``, two an image."""
    rows = len(people["pose"])
    columns = {n: np.zeros((rows, *c.shape[1:]), c.dtype) for n, c in Tracks.empty(pose=69, shape=10).columns().items()}
    columns["frame_idx"] = np.arange(rows) // 2
    columns["time_s"] = columns["frame_idx"] / 25
    columns["track_id"] = (np.arange(rows) % 2 + 1).astype(np.int32)
    given = {"global_orient": people["pose"][:, :3], "body_pose": people["pose"][:, 3:], "betas": people["shape"]}
    for key, values in (given | {"transl": people["global_t"], "focal_px": people["focal_l"]}).items():
        columns[key] = values.astype(np.float32)
    columns["bbox_xyxy"][:] = [10, 20, 110, 180]
    columns["bbox_xyxy"][1] = [10, 20, 160, 180]
    columns["flags"][-1] = flags
    with WRITERS["npz"](path, Tracks.empty(pose=69, shape=10)) as writer:
        writer.write(Tracks(**columns))
        video = {"name": "im", "codec": "jpg", "width_px": 640, "height_px": 480}
        writer.finish({"video": video | ({"files": files} if files else {}), "body": {"name": body}})
    return path


def test_tracks_of_images_become_a_file_of_the_same_layout(tmp_path):
    people = gt_arrays(6)
    save_images(tmp_path, 6)
    tracks = image_tracks(tmp_path / "t.npz", people, [f"{i:06d}.jpg" for i in range(3)], BAD_CAMERA)
    report = make(tracks, tmp_path / "train", tmp_path / "gt.npz")
    assert (report.rows, report.images, report.left_out) == (5, 3, 1) and "confidence 0" in report.note
    rows, body = read_tracks(tracks)[:5], load_body("open-body")
    with np.load(tmp_path / "gt.npz", allow_pickle=False) as made:
        assert made["imgname"].tolist() == [f"{i:06d}.jpg" for i in (0, 0, 1, 1, 2)]
        np.testing.assert_allclose(made["center"][:2], [[60, 100], [85, 100]])
        np.testing.assert_allclose(made["scale"][:2] * 200, [160, 200])  # 4:3, not enlarged
        for key in ("pose", "shape", "global_t", "focal_l", "part"):
            np.testing.assert_allclose(made[key], people[key][:5], atol=2e-3, err_msg=key)
        for i in range(5):
            pose = np.concatenate([rows.global_orient[i], rows.body_pose[i]]).reshape(24, 3).astype(float)
            rest = body.rest_joints(rows.betas[i : i + 1].astype(float))[0]
            joints = posed_joints(rest, body.parents, pose, rows.transl[i].astype(float))
            for k, j in JOINTS.items():
                np.testing.assert_allclose(made["S"][i, k], [*(joints[j] - joints[0]), 1], atol=1e-6)
        assert not made["S"][:, [13, *range(15, 24)]].any() and not made["part"][:, [13, *range(15, 24)]].any()
    found = info(tmp_path / "gt.npz", tmp_path / "train")
    assert found.body == "open-body" and {k for k, n in found.bad.items() if n} <= {"box"}
    with pytest.raises(UsageError, match="tracks of a video"):
        make(image_tracks(tmp_path / "v.npz", people, None), tmp_path / "train", tmp_path / "o.npz")
    with pytest.raises(InputError, match=r"000002\.jpg: no readable image there"):
        (tmp_path / "train" / "000002.jpg").write_bytes(b"not one")
        make(tracks, tmp_path / "train", tmp_path / "o.npz")
    with pytest.raises(UsageError, match="the body 'smpl' is not here"):
        make(image_tracks(tmp_path / "s.npz", people, ["a"] * 3, body="smpl"), tmp_path / "train", tmp_path / "o.npz")


def test_a_regressor_of_your_own_makes_the_datasets_joints(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    load_body.cache_clear()
    add_body(save_npz(tmp_path / "SMPL_NEUTRAL.npz", body_arrays("smpl")))
    people = gt_arrays(6)
    save_images(tmp_path, 6)
    tracks = image_tracks(tmp_path / "t.npz", people, [f"{i:06d}.jpg" for i in range(3)], body="smpl")
    extra = np.random.default_rng(0).random((9, 6890)) / 3445
    np.save(tmp_path / "extra.npy", extra)
    report = make(tracks, tmp_path / "train", tmp_path / "gt.npz", tmp_path / "extra.npy")
    assert report.note == ""
    rows, body = read_tracks(tracks), load_body("smpl")
    given = rows.global_orient, rows.body_pose, rows.betas, rows.transl
    vertices, skeleton = body.surface(*given)[0].astype(float), body.joints(*given)
    joints45 = np.concatenate([skeleton, vertices[:, [332, 6260, 2800, 4071, 583]]], axis=1)  # smplx's order
    joints54 = np.concatenate([joints45, np.zeros((6, 16, 3)), np.einsum("jv,pvc->pjc", extra, vertices)], axis=1)
    # the order of SPIN's 24 keypoints among smplx's 45 joints and its nine more
    order = [8, 5, 45, 46, 4, 7, 21, 19, 17, 16, 18, 20, 47, 48, 49, 50, 51, 52, 53, 24, 26, 25, 28, 27]
    truth = joints54[:, order]
    with np.load(tmp_path / "gt.npz") as made:
        np.testing.assert_allclose(made["S"][..., :3], truth - truth[:, 14:15], atol=2e-5)
        assert (made["S"][..., 3] == 1).all()
        size = np.array([SIZES[i // 2] for i in range(6)])
        seen = truth[..., :2] / truth[..., 2:] * rows.focal_px[:, None, None] + size[:, None] / 2
        inside = ((seen >= 0) & (seen <= size[:, None])).all(axis=2) & (truth[..., 2] > 0)
        np.testing.assert_array_equal(made["part"][..., 2], inside)
        np.testing.assert_allclose(made["part"][inside][:, :2], seen[inside], atol=0.02)
    np.save(tmp_path / "extra.npy", extra[:, 1:])
    with pytest.raises(InputError, match=r"float64 \(9, 6889\), expected numbers \(9, 6890\)"):
        make(tracks, tmp_path / "train", tmp_path / "o.npz", tmp_path / "extra.npy")
    load_body.cache_clear()
