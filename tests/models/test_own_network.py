"""A network of the user's own becomes a model folder, by networks that onnx's own helper makes here."""

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cliffvid import read_tracks
from cliffvid.models import manifest_schema

FLOAT = TensorProto.FLOAT
BOXES = np.array([[40, 80, 140, 300], [200, 90, 330, 310], [5, 5, 9, 9]], np.float32)  # on the canvas
SCORES = np.array([0.9, 0.8, 0.0], np.float32)


def detector(
    path, sides=(416, 416), boxes=BOXES, scores=SCORES, rename=None, batch="N", dtype=TensorProto.UINT8, opset=17
):
    """A detector by YOLO's contract that answers the same boxes for every frame."""
    constants = {"one": [0], "box": boxes[None], "score": scores[None], "4": [len(boxes), 4], "1": [len(boxes)]}
    arrays = [
        numpy_helper.from_array(np.asarray(value, np.int64 if name in ("one", "4", "1") else np.float32), name)
        for name, value in constants.items()
    ]
    nodes = [
        helper.make_node("Shape", ["image"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["count"]),
        helper.make_node("Concat", ["count", "4"], ["boxes"], axis=0),
        helper.make_node("Concat", ["count", "1"], ["scores"], axis=0),
        helper.make_node("Expand", ["box", "boxes"], [rename or "box_px"]),
        helper.make_node("Expand", ["score", "scores"], ["objectness"]),
        helper.make_node("Expand", ["score", "scores"], ["class_prob"]),
    ]
    count = len(boxes)
    outputs = {rename or "box_px": [batch, count, 4], "objectness": [batch, count], "class_prob": [batch, count]}
    graph = helper.make_graph(
        nodes,
        "own",
        [helper.make_tensor_value_info("image", dtype, [batch, *sides, 3])],
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in outputs.items()],
        arrays,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("sides, canvas_wh", [((416, 416), (416, 416)), (("H", "W"), (608, 480))])
def test_its_boxes_are_those_of_a_run(sides, canvas_wh, cliffvid, clip, toys, tmp_path):
    """Known boxes on a canvas are the known boxes of the frame, with sides that are fixed and with free ones."""
    detector(tmp_path / "mine.onnx", sides)
    code, out, err = cliffvid("models", "new", "mine.onnx", "--like", "yolov3-tiny", toy_models=False)
    assert (code, out) == (0, "") and "engines/mine: written and verified" in err and "score_min 0.25" in err
    code, out, _ = cliffvid("models", "verify", "mine", toy_models=False)
    assert code == 0 and "model.onnx, samples.npz" in out and "box_px 0" in out
    args = "process", clip, "-o", "t.npz", "--models", toys, "--regressor", "toy-regressor", "--detector", "mine"
    code, _, err = cliffvid(*args, toy_models=False)
    assert code == 0, err
    rows = read_tracks(tmp_path / "t.npz")
    scale = canvas_wh[0] / 192  # the frame is 192 x 144, centred on the canvas
    expected = (BOXES[:2] - [0, (canvas_wh[1] - 144 * scale) / 2] * 2) / scale
    for frame in (0, 29):
        found = rows.bbox_xyxy[rows.frame_idx == frame]
        np.testing.assert_allclose(found[np.argsort(found[:, 0])], np.clip(expected, 0, [192, 144] * 2), atol=0.01)
    np.testing.assert_allclose(np.sort(np.unique(rows.det_score)), [0.64, 0.81], atol=1e-4)


def outside(path):
    """A network whose numbers lie in another file."""
    model = onnx.load(detector(path))
    onnx.save(model, path, save_as_external_data=True, size_threshold=0, location="weights.bin")


FAULTS = {
    "its outputs are found, objectness, class_prob; those of yolov3-tiny": lambda p: detector(p, rename="found"),
    r"image is uint8 \[1, 416, 416, 3\], expected uint8 \[N, H, W, 3\]": lambda p: detector(p, batch=1),
    r"image is float32 .*, expected uint8": lambda p: detector(p, dtype=FLOAT),
    r"box_px is at most 0.793, expected pixels": lambda p: detector(p, boxes=BOXES / 416),
    "boxes that end before they begin": lambda p: detector(p, boxes=BOXES[:, [2, 3, 0, 1]]),
    "objectness is 0 to 9 on samples, expected probabilities": lambda p: detector(p, scores=SCORES * 10),
    "not finite": lambda p: detector(p, scores=SCORES * np.nan),
    "inputs.image is": lambda p: detector(p, sides=("H", 416)),
    "onnxruntime cannot load it .*[Oo]pset": lambda p: detector(p, opset=99),
    "refers to other files": outside,
    "no ONNX network": lambda p: p.write_bytes(b"hello, this is no network\n" * 9),
    "the file is empty": lambda p: p.write_bytes(b""),
    "a folder, not a regular file": lambda p: p.mkdir(),
}


@pytest.mark.parametrize("said", FAULTS)
def test_a_network_that_does_not_fit_is_told_in_a_line_and_nothing_is_written(said, cliffvid, tmp_path):
    FAULTS[said](tmp_path / "mine.onnx")
    code, out, err = cliffvid("models", "new", "mine.onnx", "--like", "yolov3-tiny", toy_models=False)
    assert (code, out) == (1, "") and re.search(said, err) and "mine.onnx" in err
    assert len(err.strip().splitlines()) == 1 and "/tmp" not in err.replace(str(tmp_path), "")
    assert not (tmp_path / "engines").exists()


def test_names_that_are_taken_or_are_none_are_refused(cliffvid, tmp_path):
    detector(tmp_path / "mine.onnx")
    (tmp_path / "engines" / "mine").mkdir(parents=True)
    (tmp_path / "engines" / "mine" / "keep.txt").write_text("mine")
    for more, said in (
        (["--like", "yolov3-tiny"], "engines/mine: exists already"),
        (["--like", "open-body", "--name", "b"], "neither a detector nor a regressor"),
        (["--like", "nothing", "--name", "b"], "no model named 'nothing'"),
        (["--like", "yolov3-tiny", "--name", "../b"], "expected a plain folder name"),
    ):
        code, _, err = cliffvid("models", "new", "mine.onnx", *more, toy_models=False)
        assert code == 2 and said in err
    assert [path.name for path in (tmp_path / "engines").rglob("*")] == ["mine", "keep.txt"]


def test_the_bundled_regressor_again_is_what_it_was(cliffvid, tmp_path):
    """Its own network, by its own rules, gives a folder whose rules, inputs and outputs are the same."""
    from cliffvid.models.manifest import BUNDLED

    bundled = BUNDLED / "cliff-open"
    args = "models", "new", bundled / "model.onnx", "--like", "cliff-open", "--name", "mine"
    code, _, err = cliffvid(*args, toy_models=False)
    assert code == 0, err
    old, new = (json.loads((f / "manifest.json").read_text()) for f in (bundled, tmp_path / "engines" / "mine"))
    for key in ("task", "inputs", "outputs", "crop", "bbox_info", "body"):
        assert new[key] == old[key]
    assert new["files"]["model.onnx"] == old["files"]["model.onnx"]


def fields(kind, place=""):
    """The dotted names of a schema's fields, without entries whose names are free."""
    if isinstance(kind, list):
        yield from fields(kind[0], place)
    elif isinstance(kind, dict):
        for name, inner in kind.items():
            if isinstance(name, str):
                yield (here := f"{place}{name.removesuffix('?')}")
                yield from fields(inner, "" if inner in (manifest_schema.INPUT, manifest_schema.OUTPUT) else f"{here}.")
            else:
                yield from fields(inner)


def test_the_page_names_each_field_of_a_manifest_and_its_template_is_one():
    page = (Path(__file__).parents[2] / "docs" / "pages" / "howto" / "own-networks.md").read_text(encoding="utf-8")
    table = page.split("## The manifest")[1].split("## A template")[0]
    named = {name for line in table.splitlines() if line.startswith("| `") for name in re.findall("`([\\w.]+)`", line)}
    kinds = [manifest_schema.MANIFEST, *manifest_schema.RULES.values()]
    wanted = {name for kind in kinds for name in fields(kind)}
    assert {"letterbox.least_px", "dtype", "quality.persons"} < wanted
    assert wanted - named == set()
    roots = {name.split(".")[0] for name in wanted}
    assert {name for name in named if "." in name and name.split(".")[0] in roots} - wanted == {"body.npz"}
    template = json.loads(page.split("```json")[1].split("```")[0])
    manifest_schema.check(template)
