import json

import numpy as np
import pytest

from cliffvid.errors import ModelError, UsageError
from cliffvid.export.folder.graph import to_bytes
from cliffvid.export.open.sources import OPEN, read_member
from cliffvid.export.yolov3.files import read_cfg
from cliffvid.export.yolov3.onnx_graph import export_darknet
from cliffvid.models.manifest import BUNDLED
from darknet_files import SMALL_CFG, opencv_detections, random_weights, write_net

TINY_CFG = (OPEN / "yolov3-tiny.cfg").read_text()


def run(open_session, cfg, weights, images, **options):
    model = export_darknet(cfg, weights, images.shape[2], **options)
    return named_outputs(open_session(to_bytes(model)), images)


def named_outputs(session, images):
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": images}), strict=True))


def match(found_boxes, wanted_boxes):
    """For every found box the index of the nearest wanted one; no index twice."""
    distance = np.abs(found_boxes[:, None].astype(np.float64) - wanted_boxes[None]).max(axis=2)
    nearest = distance.argmin(axis=1)
    assert len(set(nearest)) == len(nearest)
    return nearest


@pytest.mark.parametrize(
    "name, cfg, size, height",
    [("tiny", TINY_CFG, 96, 96), ("small", SMALL_CFG, 64, 64), ("small", SMALL_CFG, 32, 32)]
    + [("tiny", TINY_CFG, 192, 160), ("small", SMALL_CFG, 160, 128)],
)
@pytest.mark.parametrize("half, relative", [(False, 1e-4), (True, 3e-3)])
def test_agrees_with_opencv_on_random_weights(tmp_path, open_session, scenes, name, cfg, size, height, half, relative):
    files = write_net(tmp_path, cfg, random_weights(cfg, seed=7))
    images = np.ascontiguousarray(scenes(3, 2, size)[:, :height])
    result = run(open_session, *files, images, half=half)
    for row, image in enumerate(images):
        wanted = opencv_detections(cfg, files[1], image, tmp_path)
        assert result["box_px"].shape[1] == min(300, len(wanted["box_px"]))
        which = match(result["box_px"][row], wanted["box_px"])
        product = result["objectness"][row] * result["class_prob"][row]
        boxes = wanted["box_px"][which]
        scale = 1 + np.abs(boxes).max(axis=1, keepdims=True)
        np.testing.assert_allclose(result["box_px"][row] / scale, boxes / scale, atol=relative)
        np.testing.assert_allclose(result["objectness"][row], wanted["objectness"][which], atol=relative)
        np.testing.assert_allclose(product, wanted["products"][which, 0], atol=relative)
        assert wanted["products"][which, 0].min() > 0.3  # none was below OpenCV's threshold, which would hide it
        assert np.all(np.diff(product) <= 1e-6)


def test_official_rule_drops_what_is_more_likely_something_else(tmp_path, open_session, scenes):
    files = write_net(tmp_path, SMALL_CFG, random_weights(SMALL_CFG, seed=5))
    images = scenes(11, 1, 64)
    result = run(open_session, *files, images, half=False, score="objectness", person_must_be_argmax=True)
    wanted = opencv_detections(SMALL_CFG, files[1], images[0], tmp_path)
    is_person = wanted["products"].argmax(axis=1) == 0
    assert 0.1 < is_person.mean() < 0.9
    which = match(result["box_px"][0], wanted["box_px"])
    np.testing.assert_allclose(result["objectness"][0], (wanted["objectness"] * is_person)[which], atol=1e-4)
    assert np.all(np.diff(result["objectness"][0]) <= 0)
    kept = is_person[which]
    probability = wanted["products"][which, 0] / wanted["objectness"][which]
    np.testing.assert_allclose(result["class_prob"][0][kept], probability[kept], atol=1e-4)


def test_only_the_best_300_are_kept(tmp_path, open_session, scenes):
    files = write_net(tmp_path, SMALL_CFG, random_weights(SMALL_CFG, seed=7))
    images = scenes(3, 1, 128)
    result = run(open_session, *files, images, half=False)
    wanted = opencv_detections(SMALL_CFG, files[1], images[0], tmp_path)["products"][:, 0]
    assert len(wanted) > 300
    found = result["objectness"][0] * result["class_prob"][0]
    np.testing.assert_allclose(found, np.sort(wanted)[::-1][:300], atol=1e-4)


def test_both_headers_are_read(tmp_path, open_session, scenes):
    images = scenes(3, 1, 32)
    results = []
    for version in (1, 2):
        files = write_net(tmp_path / str(version), SMALL_CFG, random_weights(SMALL_CFG, seed=7, version=version))
        results.append(run(open_session, *files, images))
    np.testing.assert_array_equal(results[0]["box_px"], results[1]["box_px"])


@pytest.mark.parametrize("change", [lambda data: data[:-4], lambda data: data + b"\0" * 4, lambda data: data[:5]])
def test_weights_of_another_length_are_refused(tmp_path, change):
    weights = random_weights(SMALL_CFG, seed=7)
    files = write_net(tmp_path, SMALL_CFG, change(weights))
    with pytest.raises(ModelError, match=r"net\.weights: expected .* bytes"):
        export_darknet(*files, 64)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("[shortcut]", "[deconvolutional]", "deconvolutional"),
        ("activation=leaky", "activation=mish", "activation"),
        ("filters=27", "filters=28", "28|27 filters"),
        ("filters=8\n", "", "filters"),
        ("[yolo]", "[maxpool]\nsize=2\n[yolo]", "must follow"),
        ("classes=4", "classes=4\nscale_x_y=1.05", "YOLOv4"),
        ("[net]", "[convolutional]", "begins with"),
        ("[net]", "hello", "hello"),
        ("filters=8\n", "filters=x\n", "invalid literal"),
        ("size=3\n", "", "size"),
        ("stride=2\n", "stride=0\n", "below 1"),
        ("stride=2\n", "stride=64\n", "64 px a cell"),
        ("from=-", "from=-9", "reads layers"),
        ("mask = 0,1,2", "mask = 0,1,7", "out of bounds"),
    ],
)
def test_a_cfg_that_is_not_understood_is_refused(tmp_path, old, new, message):
    files = write_net(tmp_path, SMALL_CFG.replace(old, new), random_weights(SMALL_CFG, seed=7))
    with pytest.raises(ModelError, match=message) as caught:
        export_darknet(*files, 64)
    assert "net.cfg" in str(caught.value)


def test_size_must_fit_the_strides(tmp_path):
    with pytest.raises(UsageError, match="multiple of 32"):
        export_darknet(tmp_path / "net.cfg", tmp_path / "net.weights", 100)


def test_the_bundled_cfg_has_the_masks_it_was_trained_with():
    masks = [layer.options["mask"] for layer in read_cfg(OPEN / "yolov3-tiny.cfg") if layer.kind == "yolo"]
    assert masks == ["3,4,5", "1,2,3"]  # the packaged file says 0,1,2: half-height boxes for small people


@pytest.mark.parametrize("height", [608, 352])
def test_bundled_detector_agrees_with_opencv_on_the_real_weights(tmp_path, open_session, scenes, sources, height):
    weights = tmp_path / "real.weights"
    weights.write_bytes(read_member("yolov3-tiny", sources))
    images = np.ascontiguousarray(scenes(21, 1, 608)[:, :height])
    result = named_outputs(open_session((BUNDLED / "yolov3-tiny" / "model.onnx").read_bytes(), threads=2), images)
    wanted = opencv_detections(TINY_CFG, weights, images[0], tmp_path)
    which = match(result["box_px"][0], wanted["box_px"])
    size = np.maximum(result["box_px"][0][:, 2:] - result["box_px"][0][:, :2], 0).max(axis=1)
    error = np.abs(result["box_px"][0] - wanted["box_px"][which]).max(axis=1)
    bounds = json.loads((BUNDLED / "yolov3-tiny" / "manifest.json").read_text())["parity"]["max_abs"]
    assert (error / (1 + size)).max() < bounds["box_px_per_box_size"]
    np.testing.assert_allclose(result["objectness"][0], wanted["objectness"][which], atol=bounds["objectness"])
