"""The real command line on toy networks and generated clips."""

import io
import json
import shutil
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from cliffvid import read_meta, read_tracks
from cliffvid.models.manifest import BUNDLED, sealed
from clips import make_clip, person_box, picture, read_index


def test_process_finds_everyone_where_they_are(cliffvid, clip, tmp_path):
    code, out, _ = cliffvid("process", clip, "--json")
    assert code == 0
    report = json.loads(out)
    assert (report["status"], report["frames"], report["people"], report["output"]) == ("ok", 30, 90, "clip.parquet")
    tracks = read_tracks(tmp_path / "clip.parquet")
    assert np.all(np.lexsort((tracks.track_id, tracks.frame_idx)) == np.arange(90))
    for frame in range(30):
        boxes = tracks.bbox_xyxy[tracks.frame_idx == frame]
        for person in range(3):
            error = np.abs(boxes - person_box(person, frame, 192, 144)).max(axis=1).min()
            assert error <= 3  # a canvas pixel is two of the frame's
    # the toy regressor answers the crop's mean colour, red, green or blue: the rows belong to who they say
    colors = tracks.betas[:, :3]
    assert (
        colors.argmax(axis=1)
        == [
            min(range(3), key=lambda p: np.abs(box - person_box(p, f, 192, 144)).max())
            for f, box in zip(tracks.frame_idx, tracks.bbox_xyxy, strict=True)
        ]
    ).all()
    meta = read_meta(tmp_path / "clip.parquet")
    assert meta["complete"] and meta["body"]["name"] == "open-body" and meta["video"]["width_px"] == 192
    assert [model["name"] for model in meta["models"]] == ["toy-detector", "toy-regressor"]


def test_the_summary_says_what_a_person_wants_to_know(cliffvid, clip):
    code, out, err = cliffvid("process", clip)
    assert code == 0 and out == ""
    for part in (
        "30 frames",
        "3.0 people a frame",
        "tracks",
        "frames/s",
        "bounded by",
        "batches of 4 frames and 8 people, 94% and 94% full",
        "clip.parquet",
        "by onnxruntime on cpu (open stand-ins",
    ):
        assert part in err, part
    assert cliffvid("process", clip, "-o", "b.npz", "--quiet") == (0, "", "")


def test_bytes_are_equal_over_batch_sizes_and_threads(cliffvid, clip, tmp_path):
    for fmt in ("parquet", "npz"):
        seen = set()
        for frames, people, prefetch, threads in [(1, 1, 0, 1), (4, 8, 2, 2), (7, 5, 1, 1), (64, 64, 3, 2)]:
            sizes = ["--frame-batch", frames, "--person-batch", people, "--prefetch", prefetch, "--threads", threads]
            assert cliffvid("process", clip, "-o", f"a.{fmt}", "--overwrite", "-q", *sizes)[0] == 0
            seen.add((tmp_path / f"a.{fmt}").read_bytes())
        assert len(seen) == 1


def test_npz_and_parquet_hold_the_same(cliffvid, clip, tmp_path):
    assert cliffvid("process", clip, "-o", "a.npz")[0] == cliffvid("process", clip, "-o", "a.parquet")[0] == 0
    assert cliffvid("process", clip, "-o", "odd.name", "--format", "npz")[0] == 0
    tables = [read_tracks(tmp_path / name) for name in ("a.npz", "a.parquet", "odd.name")]
    for name, column in tables[0].columns().items():
        for other in tables[1:]:
            np.testing.assert_array_equal(column, getattr(other, name))


def test_time_range_score_and_max_people(cliffvid, clip, tmp_path):
    args = ("--start", 0.2, "--end", 0.6, "--max-people", 2)
    assert cliffvid("process", clip, "-o", "a.parquet", *args)[0] == 0
    tracks = read_tracks(tmp_path / "a.parquet")
    assert sorted(set(tracks.frame_idx.tolist())) == list(range(5, 15))
    assert (tracks.det_score >= 0.79).all() and len(tracks) == 20
    assert read_meta(tmp_path / "a.parquet")["counts"]["detect"]["over_max_people"] == 10
    assert cliffvid("process", clip, "-o", "b.parquet", "--score", 0.85)[0] == 0
    assert len(read_tracks(tmp_path / "b.parquet")) == 30
    code, _, err = cliffvid("process", clip, "-o", "c.parquet", "--start", 7)
    assert code == 0 and "warning" in err and "no frame is between --start and --end" in err


def test_the_camera_and_the_crop_can_be_told(cliffvid, clip, tmp_path):
    def tracks(*args):
        assert cliffvid("process", clip, "-o", "a.parquet", "--overwrite", *args)[0] == 0
        return read_tracks(tmp_path / "a.parquet")

    plain, known, wide, large = (
        tracks(),
        tracks("--focal-px", 500),
        tracks("--fov-deg", 90),
        tracks("--box-scale", 2.2),
    )
    np.testing.assert_allclose(plain.focal_px, np.hypot(192, 144), rtol=1e-6)
    np.testing.assert_allclose(known.focal_px, 500)
    np.testing.assert_allclose(wide.focal_px, 96, rtol=1e-6)
    np.testing.assert_allclose(known.transl[:, 2] / plain.transl[:, 2], 500 / np.hypot(192, 144), rtol=1e-5)
    np.testing.assert_allclose(large.crop_center_size_px[:, 2], 2 * plain.crop_center_size_px[:, 2], rtol=1e-6)


def test_a_film_without_people_is_a_file_without_rows(cliffvid, tmp_path):
    make_clip(tmp_path / "empty.mp4", people=0)
    for name in ("a.parquet", "a.npz"):
        assert cliffvid("process", "empty.mp4", "-o", name)[0] == 0
        assert len(read_tracks(tmp_path / name)) == 0


def test_several_inputs(cliffvid, clip, tmp_path):
    shutil.copy(clip, tmp_path / "b.mp4")
    (tmp_path / "bad.mp4").write_text("no film")
    code, out, err = cliffvid("process", clip, "bad.mp4", "b.mp4", "-o", "out", "--json")
    assert code == 1
    lines = [json.loads(line) for line in out.splitlines()]
    status = {Path(line["video"]).name: line["status"] for line in lines}
    assert status == {"clip.mp4": "ok", "bad.mp4": "failed", "b.mp4": "ok"}
    assert "bad.mp4: not a readable video" in err
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["b.parquet", "clip.parquet"]
    _, _, err = cliffvid("process", clip, "b.mp4", "-o", "out1")
    assert "2 inputs: 60 frames, 180 rows in" in err and "inputs" not in cliffvid("process", clip, "-o", "one.npz")[2]
    assert "2 of 3 inputs: 60 frames, 180 rows in" in cliffvid("process", clip, "bad.mp4", "b.mp4", "-o", "out3")[2]
    (tmp_path / "other").mkdir()
    shutil.copy(clip, tmp_path / "other" / "b.mp4")
    assert cliffvid("process", "b.mp4", "other/b.mp4", "-o", "out2", "--end", "0.1")[0] == 0
    assert sorted(p.relative_to(tmp_path).as_posix() for p in (tmp_path / "out2").rglob("*.*")) == [
        *("out2/b.parquet", "out2/other/b.parquet")
    ]
    code, _, err = cliffvid("process", "b.mp4", clip, "-o", "one.npz")
    assert code == 2 and "one.npz: a file; name a folder" in err


@pytest.mark.parametrize("name", ["results/", "results"])
def test_the_result_of_one_input_goes_into_a_folder_too(cliffvid, clip, tmp_path, name):
    assert cliffvid("process", clip, "-o", name, "--format", "npz", "--report", "pages/")[0] == 0
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert {"results/clip.npz", "pages/clip.html"} <= found and len(read_tracks(tmp_path / "results/clip.npz")) == 90
    code, _, err = cliffvid("process", clip, "-o", name, "--format", "npz")
    assert code == 2 and "clip.npz: exists already" in err


def test_images_and_a_list_on_stdin(cliffvid, clip, tmp_path, monkeypatch):
    for name in ("walk", "other"):
        (tmp_path / name).mkdir()
        for index in range(12):
            Image.fromarray(picture(index, 2, 192, 144)).save(tmp_path / name / f"{index}.png")
    assert cliffvid("process", "walk", "--overlay", "walk.mp4")[0] == 0
    tracks = read_tracks(tmp_path / "walk.parquet")
    assert len(tracks) == 24 and set(tracks.track_id) == {1, 2}
    for frame, box in zip(tracks.frame_idx, tracks.bbox_xyxy, strict=True):
        assert min(np.abs(box - person_box(person, frame, 192, 144)).max() for person in range(2)) <= 3
    with av.open(str(tmp_path / "walk.mp4")) as drawn:
        assert [read_index(frame.to_ndarray(format="rgb24")) for frame in drawn.decode(video=0)] == list(range(12))
    monkeypatch.setattr(sys, "stdin", _stdin(f"walk/3.png\n\nother/1*.png\n{clip}\n".encode("utf-8-sig")))
    code, out, _ = cliffvid("process", "-", "-o", "out", "--json")
    assert code == 0 and [json.loads(line)["frames"] for line in out.splitlines()] == [1, 3, 30]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["3.parquet", "clip.parquet", "other.parquet"]
    monkeypatch.setattr(sys, "stdin", _stdin(b"\n"))
    code, _, err = cliffvid("process", "-")
    assert code == 2 and "nothing is named on stdin" in err
    monkeypatch.setattr(sys, "stdin", _stdin(clip.read_bytes()))
    code, _, err = cliffvid("process", "-", "-o", "p.parquet")
    assert code == 2 and err.startswith("error: -: stdin is no list of names but binary data") and err.count("\n") == 1
    assert not (tmp_path / "p.parquet").exists()


def _stdin(data):
    return io.TextIOWrapper(io.BytesIO(data))


def test_what_a_folder_leaves_out_is_named(cliffvid, tmp_path):
    (tmp_path / "walk").mkdir()
    for index in range(3):
        Image.fromarray(picture(index, 2, 192, 144)).save(tmp_path / "walk" / f"{index}.png")
    Image.fromarray(picture(3, 2, 192, 144).mean(2).astype(np.float32)).save(tmp_path / "walk" / "3.tif")
    (tmp_path / "walk" / "notes.txt").touch()
    code, out, err = cliffvid("process", "walk", "--json")
    report = json.loads(out)
    assert code == 1 and report["status"] == "partial" and report["frames"] == 3
    for words in (
        "1 of the folder's files left out, as no images: notes.txt",
        "could not be read: 3.tif; walk/3.tif: ",
    ):
        assert words in err and any(words in warning for warning in report["warnings"])


def test_models_are_listed_and_verified(cliffvid, toys, tmp_path):
    code, out, _ = cliffvid("models", "--models", toys, "--json", toy_models=False)
    listed = {model["name"]: model for model in map(json.loads, out.splitlines())}
    assert code == 0 and {"toy-detector", "person-open", "yolov3-tiny", "cliff-open", "open-body"} <= listed.keys()
    assert listed["cliff-open"]["task"] == "regress" and "Apache-2.0" in listed["cliff-open"]["licence"]
    assert listed["open-body"]["default"] and listed["yolov3-tiny"]["parity"]["max_abs"]["objectness"] == 0.005
    text = cliffvid("models", toy_models=False)[1]
    assert (
        "detect   person-open (default)" in text and "detect   yolov3-tiny\n" in text and "pose_landmark_full" in text
    )
    for name in ("person-open", "yolov3-tiny", "cliff-open", "open-body"):
        code, out, _ = cliffvid("models", "verify", name, toy_models=False)
        assert code == 0 and f"{name}: as the manifest says: " in out
        assert ("on cpu, from " in out) == (name != "open-body")  # parity with a reference, where there is a network
    code, _, err = cliffvid("models", "verify", "yolov9", toy_models=False)
    assert code == 2 and "no model named 'yolov9'; found: person-open, cliff-open, open-body, yolov3-tiny" in err
    shutil.copytree(toys, tmp_path / "broken")
    network = tmp_path / "broken" / "toy-detector" / "model.onnx"
    network.write_bytes(network.read_bytes()[:-1])
    code, _, err = cliffvid("models", "verify", "toy-detector", "--models", tmp_path / "broken", toy_models=False)
    assert code == 1 and "damaged or exchanged" in err


def test_every_network_of_a_folder_is_held_to_its_own_bound(cliffvid, tmp_path):
    folder = shutil.copytree(BUNDLED / "cliff-open", tmp_path / "engines" / "cliff-open")
    shutil.copy(folder / "model.onnx", folder / "model.fp16.onnx")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["model.fp16.onnx"] = manifest["files"]["model.onnx"]
    for bound, status in ((0.01, 0), (1e-9, 1)):  # rounding alone is over the second
        manifest["parity"]["bound"]["model.fp16.onnx"] = bound
        (folder / "manifest.json").write_text(json.dumps(sealed(manifest)))
        code, out, err = cliffvid("models", "verify", "cliff-open", toy_models=False)
        assert code == status and "  fp32: by onnxruntime on cpu, from" in out
        assert ("  fp16: by onnxruntime on cpu, from" in out) == (status == 0)
    assert "by onnxruntime on cpu in fp16 is " in err and "over the bound of 1e-09" in err


def test_a_model_that_cannot_be_read_stops_only_those_who_may_want_it(cliffvid, toys, clip, tmp_path):
    shelf = tmp_path / "engines"  # found without being named
    shutil.copytree(toys, shelf)
    manifest = json.loads((shelf / "toy-regressor" / "manifest.json").read_text())
    (shelf / "later").mkdir()
    (shelf / "later" / "manifest.json").write_text(json.dumps(manifest | {"name": "later", "schema": 99}))
    code, out, err = cliffvid("models", toy_models=False)
    assert code == 1 and "toy-regressor" in out and "later/manifest.json: schema 99, this cliffvid reads 1" in err
    named = ("process", clip, "--detector", "auto", "--regressor", "toy-regressor", "--end", "0.1")
    assert cliffvid(*named, toy_models=False)[0] == 0
    for regressor in ("auto", "later"):
        code, _, err = cliffvid(
            "process", clip, "-o", "b.parquet", "--regressor", regressor, "--end", "0.1", toy_models=False
        )
        assert code == 1 and "later/manifest.json" in err and "choose another model by its name" in err
