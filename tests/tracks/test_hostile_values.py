"""Whatever stands in a manifest or in the metadata of tracks: a run that works, or one line that says what is wrong."""

import json
import shutil
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st

from cliffvid import Options, process
from cliffvid.models.manifest import BUNDLED, sealed
from cliffvid.tracks.write import META_KEY
from clips import make_clip
from in_process import run

EXAMPLES = settings.default.max_examples // 3
NAMES = ("toy-detector", "toy-regressor")
VALUES = [
    *(None, True, [], [[[[]]]], {}, "", "\x1b[31m\n", "x" * 100_000, "../..", 0, -1, 10**30),
    *(float("inf"), float("nan"), -1e308, 1e-308),
]
MODELS = ["--models", "models", "--detector", NAMES[0], "--regressor", NAMES[1]]
OF_MANIFESTS = [
    ["models", "--models", "models"],
    ["models", "--models", "models", "--json"],
    *(["models", "verify", name, "--models", "models"] for name in NAMES),
    ["process", "clip.mp4", "-o", "new.npz", "--overwrite", *MODELS],
]
OF_TRACKS = [
    *(
        ["convert", "t.npz", "--to", to, "-o", f"new{end}", "--overwrite"]
        for to, end in (
            ("npz", ".npz"),
            ("cliff", ".npz"),
            ("joints", ".csv"),
            ("csv", ".csv"),
            ("gltf", ".glb"),
            ("usd", ".usd"),
        )
    ),
    ["report", "t.npz", "-o", "new.html", "--overwrite", "--skeleton-only"],
    ["report", "t.npz", "-o", "new.html", "--overwrite", "--skeleton-only", "--video", "clip.mp4"],
    ["smooth", "t.npz", "-o", "new.npz", "--overwrite"],
]


def places(content, path=()):
    """The way to each value in what JSON holds, itself left out."""
    for key in content if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ():
        yield (*path, key)
        yield from places(content[key], (*path, key))


def put(content, path: tuple, value):
    """The same with another value in one place."""
    if not path:
        return value
    copy = content.copy()
    copy[path[0]] = put(content[path[0]], path[1:], value)
    return copy


@pytest.fixture(scope="module")
def folder(tmp_path_factory, toys):
    """Models with all that real manifests say, a clip, and tracks of it."""
    folder = tmp_path_factory.mktemp("hostile")
    shutil.copytree(toys, folder / "models")
    make_clip(folder / "clip.mp4", frames=2, people=1)
    process(folder / "clip.mp4", folder / "t.npz", Options(models_dir=toys, detector=NAMES[0], regressor=NAMES[1]))
    return folder


def manifest_of(toys: Path, name: str) -> dict:
    toy = json.loads((toys / name / "manifest.json").read_text())
    real = json.loads((BUNDLED / ("yolov3-tiny" if name == NAMES[0] else "cliff-open") / "manifest.json").read_text())
    measured = {"backend": "onnxruntime", "version": "1", "device": "cpu", "precision": "fp32", "machine": "a"}
    measured |= {"network": toy["files"]["model.onnx"], "clip": "a", "items_per_s": 1.0, "persons": 60}
    figures = ("persons_changed_percent", "rotation_median_deg", "rotation_p99_deg", "box_shift_p99_percent")
    told = {"accepted": {"model.onnx": {"betas": 0.1}}, "left_out": {"model.fp16.onnx": "too far"}}
    more = {"parity": real["parity"] | told, "quality": [measured | dict.fromkeys(figures, 0.1)]}
    return real | toy | more


@settings(max_examples=EXAMPLES // 2, phases=[Phase.generate])  # each opens networks
@given(st.data())
def test_in_a_manifest(folder, toys, data):
    name = data.draw(st.sampled_from(NAMES))
    content = manifest_of(toys, name)
    path, value = data.draw(st.sampled_from(list(places(content)))), data.draw(st.sampled_from(VALUES))
    words = data.draw(st.sampled_from(OF_MANIFESTS))
    file = folder / "models" / name / "manifest.json"
    before = file.read_text()
    try:
        file.write_text(json.dumps(sealed(put(content, path, value))))
        check(folder, words)
    finally:
        file.write_text(before)


@settings(max_examples=EXAMPLES, phases=[Phase.generate])
@given(st.data())
def test_in_the_metadata_of_tracks(folder, data):
    good = folder / "good.npz"
    if not good.exists():
        shutil.copy(folder / "t.npz", good)
    with np.load(good) as archive:
        arrays = dict(archive)
    content = json.loads(str(arrays[META_KEY]))
    path, value = data.draw(st.sampled_from(list(places(content)))), data.draw(st.sampled_from(VALUES))
    np.savez(folder / "t.npz", **arrays | {META_KEY: np.array(json.dumps(put(content, path, value)))})
    check(folder, data.draw(st.sampled_from(OF_TRACKS)))


def check(folder: Path, words: list[str]) -> None:
    """Run a command and look at its end."""
    with chdir(folder):
        code, told = run(words)
    event(f"{words[0]}: exit code {code}")
    assert code in (0, 1, 2) and "Traceback" not in told and "internal error" not in told, told
    errors = [line for line in told.splitlines() if "error: " in line]
    assert len(errors) <= 1 and bool(code) == bool(errors), told
    assert "\x1b" not in told
