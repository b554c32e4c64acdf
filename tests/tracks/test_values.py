"""Values that nobody can mean, in manifests, tracks and ground truth: told by name where they are read."""

import json
import os
import re
import shutil
from functools import partial

import numpy as np
import onnx
import pytest

from cliffvid import InputError, convert, overlay, read_tracks, report, smooth
from cliffvid.errors import BackendMemoryError, ModelError, describe
from cliffvid.evaluate.ground_truth import read_truth
from cliffvid.evaluate.pseudogt.files import CliffGT
from cliffvid.models.manifest import read_manifest, sealed
from cliffvid.models.session import not_loaded
from cliffvid.tables import BAD_CAMERA
from cliffvid.tracks.formats.table import FORMATS
from pseudogt_files import gt_arrays
from toys import replace_network
from track_files import make_tracks
from truth_files import World, pw3d

# Of a model the place of a value, the value as JSON has it, and what is told.
WRONG = [
    ("toy-detector", "rank", "1e999", "rank is inf, expected a whole number"),
    ("toy-detector", "files.model.onnx", "null", "files.model.onnx is None, expected a SHA-256"),
    ("toy-detector", "files", '{"../secret": "%s"}' % ("0" * 64), "a name in files is '../secret', expected"),
    ("toy-detector", "selection.score_min", "NaN", "selection.score_min is nan, expected a number of 0 to 1"),
    ("toy-detector", "selection.iou_max", "-1", "selection.iou_max is -1, expected a number of 0 to 1"),
    ("toy-detector", "letterbox.interpolation", '"best"', "letterbox.interpolation is 'best', expected area or cubic"),
    ("toy-detector", "letterbox.fill", "true", "letterbox.fill is True, expected a whole number of 0 to 255"),
    ("toy-detector", "letterbox.shape", '"round"', "letterbox.shape is 'round', expected frame or square"),
    ("toy-detector", "inputs.image.shape", '["N", 96, 96, 3]', "inputs.image is ['N', 96, 96, 3], expected"),
    ("toy-detector", "source", "[1]", "source[0] is 1, expected an object"),
    ("toy-detector", "quality", "[{}]", "quality[0] has no 'backend'"),
    ("toy-detector", "parity", '{"bound": {"model.onnx": "far"}}', "parity.bound.model.onnx is 'far', expected"),
    ("toy-regressor", "crop.width_px", "0", "crop.width_px is 0, expected a whole number of 1 to"),
    ("toy-regressor", "crop.height_px", "33", "inputs.crop is ['N', 32, 24, 3], expected ['N', 33, 24, 3]"),
    ("toy-regressor", "crop.box_scale", "NaN", "crop.box_scale is nan, expected a number of 0.1 to 10"),
    ("toy-regressor", "crop.fit", '"round"', "crop.fit is 'round', expected aspect or square"),
    ("toy-regressor", "crop.corners", '"none"', "crop.corners is 'none', expected exact or round or truncate"),
    ("toy-regressor", "crop.resample", '"cubic"', "crop.resample is 'cubic', expected antialias or bilinear"),
    ("toy-regressor", "bbox_info.size_scale", "0", "bbox_info.size_scale is 0, expected a number of 1e-06"),
    ("toy-regressor", "body", "[]", "body is [], expected a name"),
]


def with_value(content: dict, place: str, value: object) -> dict:
    head, _, rest = place.partition(".")
    return content | {head: with_value(content[head], rest, value) if rest and head != "files" else value}


@pytest.mark.parametrize(("name", "place", "value", "told"), WRONG, ids=[f"{w[1]} {w[2][:9]}" for w in WRONG])
def test_of_a_manifest(toys, tmp_path, name, place, value, told):
    content = json.loads((toys / name / "manifest.json").read_text())
    if place == "files.model.onnx":
        content["files"]["model.onnx"] = None
    else:
        content = with_value(content, place, json.loads(value))
    (tmp_path / "manifest.json").write_text(json.dumps(sealed(content)))  # a seal that fits vouches for no value
    with pytest.raises(ModelError, match=re.escape(f"not a readable manifest ({told}")):
        read_manifest(tmp_path)


@pytest.fixture
def tracks(tmp_path):
    path = make_tracks(tmp_path / "t.npz", tmp_path / "clip.mp4", [[-1.0, 0.2, 5.0], [0.9, 0.1, 6.0]], 3)
    with np.load(path) as archive:
        arrays = dict(archive)

    def changed(name: str, value: float, flags: int = 0):
        arrays["flags"][3] = flags
        arrays[name][3] = value
        np.savez(path, **arrays)
        return path

    return changed


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["time_s", "det_score", "bbox_xyxy", "focal_px", "betas", "transl"])
def test_of_tracks(tracks, name, value):
    with pytest.raises(InputError, match=f"t.npz: column '{name}' of row 3 holds a number that is none"):
        read_tracks(tracks(name, value))


def test_of_tracks_whose_camera_is_bad(tracks):
    """The network may have answered anything there; that nobody saw a box cannot be."""
    assert np.isnan(read_tracks(tracks("transl", np.nan, BAD_CAMERA)).transl[3]).all()
    with pytest.raises(InputError, match="'bbox_xyxy' of row 3"):
        read_tracks(tracks("bbox_xyxy", np.nan, BAD_CAMERA))


def test_of_a_frame_that_is_none(tracks):
    with pytest.raises(InputError, match="column 'frame_idx' of row 0 is -4, expected 0 to"):
        read_tracks(tracks("frame_idx", -4))


TIMES = {
    "one before the video's first": [-0.04, -0.04, 0, 0, 0.04, 0.04],
    "two of one frame": [0, 0, 0.04, 0.05, 0.08, 0.08],
    "one that stands still": [0, 0, 0.04, 0.04, 0.04, 0.04],
    "one that goes back": [0, 0, 0.08, 0.08, 0.04, 0.04],
}


@pytest.mark.parametrize("kind", TIMES)
def test_of_times_out_of_order(tracks, tmp_path, kind):
    """Whatever needs the motion refuses them alike, by the first row that is wrong, and leaves nothing behind."""
    path = tracks("time_s", 0)
    with np.load(path) as archive:
        np.savez(path, **dict(archive) | {"time_s": np.array(TIMES[kind])})
    row = {"one before": 0, "two of one": 3, "one that s": 4, "one that g": 4}[kind[:10]]
    consumers = [
        *(partial(convert, path, tmp_path / "new", to=to) for to in FORMATS),
        partial(report, path, tmp_path / "new.html"),
        partial(overlay, tmp_path / "clip.mp4", path, tmp_path / "new.mp4"),
        partial(smooth, path, tmp_path / "new.npz"),
        partial(read_tracks, path),
    ]
    for consume in consumers:
        with pytest.raises(
            InputError, match=rf"t\.npz: column 'time_s' of row {row}, frame \d, is .* one time for each"
        ):
            consume()
    assert os.listdir(tmp_path) == ["t.npz"]


def test_of_two_rows_of_a_person_at_one_time(tracks):
    with pytest.raises(InputError, match="frame 1 has two rows of track 1"):
        read_tracks(tracks("track_id", 1))


def test_of_ground_truth(tmp_path):
    world = World(frames=3)
    world.people[1]["trans"][2] = np.nan
    with pytest.raises(InputError, match=r"pw3d\.pkl: .*joints_m of frame 2 is NaN"):
        read_truth(pw3d(tmp_path / "pw3d.pkl", world), "open-body")
    valid = np.ones((2, 3), int)
    valid[1, 2] = 0
    assert len(read_truth(pw3d(tmp_path / "pw3d.pkl", world, valid=valid), "open-body")) == 6  # nobody is judged there


def test_of_pseudo_ground_truth(tmp_path):
    np.savez(tmp_path / "gt.npz", **gt_arrays(2), cliffvid=np.array('{"body": ["smpl"]}'))
    with pytest.raises(InputError, match=r"gt.npz: .*its metadata is damaged: body is \['smpl'\]"):
        CliffGT(tmp_path / "gt.npz")


def in_a_branch(tensor: onnx.TensorProto) -> onnx.GraphProto:
    """The tensor as the constant of a branch of a branch."""
    for kind in ("Constant", "If"):
        node = onnx.helper.make_node(kind, [], ["y"], **{"value" if kind == "Constant" else "then_branch": tensor})
        tensor = onnx.helper.make_graph([node], "branch", [], [])
    return tensor


@pytest.mark.parametrize("where", ["weights", "branch", "compiled"])
def test_of_a_network_that_takes_bytes_from_elsewhere(toys, tmp_path, where):
    folder = shutil.copytree(toys / "toy-regressor", tmp_path / "toy-regressor")
    model = onnx.load(folder / "model.onnx")
    weights = onnx.numpy_helper.from_array(np.ones(64, np.float32), "w")
    (folder / "w.bin").write_bytes(weights.raw_data)
    onnx.external_data_helper.set_external_data(weights, "w.bin")
    weights.ClearField("raw_data")
    if where == "weights":
        model.graph.initializer.append(weights)
    elif where == "branch":
        model.graph.node.append(in_a_branch(weights).node[0])
    else:
        model.graph.node.append(onnx.helper.make_node("EPContext", [], ["z"], domain="com.microsoft"))
    read_manifest(folder).network("fp32")
    replace_network(folder, model.SerializeToString())
    with pytest.raises(ModelError, match=r"model\.onnx: refers to other files"):
        read_manifest(folder).network("fp32")


# As libraries said it under `ulimit -v`, from 600 MB to 1 GB.
SHORT = [
    MemoryError(),
    MemoryError(12, "Cannot allocate memory"),
    OSError(12, "Cannot allocate memory"),
    RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Exception during initialization: std::bad_alloc"),
    RuntimeError("can't start new thread"),
    ImportError("libopenblasp-r0-59ffcd50.3.15.so: failed to map segment from shared object", name="numpy"),
]


@pytest.mark.parametrize("error", SHORT, ids=repr)
def test_of_too_little_memory(error):
    told = describe(error)
    assert told.startswith("error: memory does not suffice") and "; end what else runs" in told and "\n" not in told
    loading = not_loaded("model.onnx", "onnxruntime", error)
    assert isinstance(loading, BackendMemoryError) and "memory does not suffice to load it" in str(loading)


def test_another_fault_is_not_taken_for_too_little_memory():
    assert describe(RuntimeError("a fault")).startswith("internal error: RuntimeError: a fault")
    assert describe(FileNotFoundError(2, "No such file", "a")) == "error: a: No such file"
    assert isinstance(not_loaded("model.onnx", "onnxruntime", RuntimeError("no opset")), ModelError)
