"""What the detector's canvas changes for a user, and what it does not: toy networks on clips of known truth."""

import json
import shutil

import numpy as np
import onnx
import pytest
from PIL import Image

from cliffvid import read_meta, read_tracks
from cliffvid.models.backends import ort
from cliffvid.models.manifest import BUNDLED, sealed
from clips import make_clip, person_box, picture
from toys import rehash

WIDE, TALL = (320, 180), (144, 256)


@pytest.mark.parametrize("size", [WIDE, TALL], ids=["16:9", "9:16"])
def test_everyone_is_where_they_are_on_either_canvas_whatever_the_batches(cliffvid, tmp_path, size):
    make_clip(tmp_path / "clip.mp4", frames=20, people=3, size=size)
    pixel = max(size) / 96
    for shape in ("frame", "square"):
        seen = set()
        for frames, people, threads in ((1, 1, 1), ("auto", "auto", 2), (7, 5, 1)):
            sizes = ["--frame-batch", frames, "--person-batch", people, "--threads", threads, "--overwrite"]
            assert cliffvid("process", "clip.mp4", "-o", "a.parquet", "--detector-shape", shape, *sizes)[0] == 0
            seen.add((tmp_path / "a.parquet").read_bytes())
        assert len(seen) == 1
        assert read_meta(tmp_path / "a.parquet")["settings"]["detector_shape"] == shape
        tracks = read_tracks(tmp_path / "a.parquet")
        assert len(tracks) == 60
        for frame, box in zip(tracks.frame_idx, tracks.bbox_xyxy, strict=True):
            assert min(np.abs(box - person_box(p, frame, *size)).max() for p in range(3)) <= 1.5 * pixel


def test_images_of_any_sizes_in_one_folder(cliffvid, tmp_path):
    sizes = [WIDE, WIDE, TALL, (192, 192), WIDE, (320, 181), (192, 144)]
    (tmp_path / "mixed").mkdir()
    for index, size in enumerate(sizes):
        Image.fromarray(picture(index, 3, *size)).save(tmp_path / "mixed" / f"{index}.png")
    seen = set()
    for batch in (1, 4):
        assert cliffvid("process", "mixed", "-o", "a.parquet", "--frame-batch", batch, "--overwrite")[0] == 0
        seen.add((tmp_path / "a.parquet").read_bytes())
    assert len(seen) == 1
    tracks = read_tracks(tmp_path / "a.parquet")
    for index, size in enumerate(sizes):
        boxes = tracks.bbox_xyxy[tracks.frame_idx == index]
        assert len(boxes) == 3
        for person in range(3):
            assert np.abs(boxes - person_box(person, index, *size)).max(axis=1).min() <= 1.5 * max(size) / 96


def test_a_detector_of_one_canvas_still_works_and_refuses_another(cliffvid, toys, tmp_path):
    """As exports were before canvases could shrink."""
    make_clip(tmp_path / "clip.mp4", frames=5, people=3, size=WIDE)
    shutil.copytree(toys, tmp_path / "older")
    folder = tmp_path / "older" / "toy-detector"
    model = onnx.load(folder / "model.onnx")
    for axis in model.graph.input[0].type.tensor_type.shape.dim[1:3]:
        axis.dim_value = 96
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["inputs"]["image"]["shape"][1:3] = 96, 96
    for name in ("least_px", "shape"):
        del manifest["letterbox"][name]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    rehash(folder)
    models = ["--models", "older", "--detector", "toy-detector", "--regressor", "toy-regressor"]
    assert cliffvid("process", "clip.mp4", "-o", "old.parquet", *models, toy_models=False)[0] == 0
    assert cliffvid("process", "clip.mp4", "-o", "new.parquet", "--detector-shape", "square")[0] == 0
    old, new = (read_tracks(tmp_path / f"{name}.parquet") for name in ("old", "new"))
    np.testing.assert_array_equal(old.bbox_xyxy, new.bbox_xyxy)
    asked = ["--detector-shape", "frame", "-o", "b.parquet"]
    code, _, err = cliffvid("process", "clip.mp4", *asked, *models, toy_models=False)
    assert code == 2 and "takes pictures of 96 x 96 alone; export the model again" in err
    assert not (tmp_path / "b.parquet").exists()
    # a network that takes one canvas, under a manifest that promises any, is found out before the first frame
    shutil.copy(toys / "toy-detector" / "manifest.json", folder)
    rehash(folder)
    code, _, err = cliffvid("process", "clip.mp4", "-o", "b.parquet", *models, toy_models=False)
    assert code == 1 and "input 'image': the manifest promises uint8 ('N', 'H', 'W', 3), the network has" in err


def test_a_manifest_that_promises_too_small_a_canvas_is_found_out(cliffvid, tmp_path):
    folder = shutil.copytree(BUNDLED / "yolov3-tiny", tmp_path / "mine" / "yolov3-tiny")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["letterbox"]["least_px"] -= 32
    (folder / "manifest.json").write_text(json.dumps(sealed(manifest)))
    code, _, err = cliffvid("models", "verify", "yolov3-tiny", "--models", "mine", toy_models=False)
    assert code == 1 and "mine/yolov3-tiny: cannot take 'image' of (128, 128, 3)" in err


def test_a_machine_short_of_memory_gives_the_same_result_and_says_so_once(cliffvid, clip, tmp_path, monkeypatch):
    assert cliffvid("process", clip, "-o", "roomy.parquet")[0] == 0
    run = ort.OrtSession.run

    def cramped(session, inputs):
        if len(next(iter(inputs.values()))) > 2:
            raise RuntimeError("Failed to allocate memory for requested buffer of size 12345")
        return run(session, inputs)

    monkeypatch.setattr(ort.OrtSession, "run", cramped)
    shutil.copy(clip, tmp_path / "b.mp4")
    code, out, err = cliffvid("process", clip, "b.mp4", "-o", "out", "--frame-batch", 9, "--json")
    assert code == 0, err
    reports = [json.loads(line) for line in out.splitlines()]
    assert all(report["batch_sizes"] == {"detect": 9, "regress": 8} for report in reports)
    warnings = sorted(text for report in reports for text in report["warnings"])
    assert len(warnings) == 2 and all(" on cpu: memory does not suffice for 4 at once" in text for text in warnings)
    assert [text.split()[0] for text in warnings] == ["toy-detector", "toy-regressor"]
    np.testing.assert_array_equal(read_tracks("out/clip.parquet").bbox_xyxy, read_tracks("roomy.parquet").bbox_xyxy)
    assert (tmp_path / "out" / "clip.parquet").read_bytes() == (tmp_path / "roomy.parquet").read_bytes()
    monkeypatch.setattr(ort.OrtSession, "run", lambda session, inputs: bytearray(1 << 62))
    code, _, err = cliffvid("process", clip, "-o", "c.parquet")
    assert code == 1 and "error: toy-detector on cpu: memory does not suffice for a single one" in err
    assert not (tmp_path / "c.parquet").exists()
