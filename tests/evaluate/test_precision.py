import json
import shutil
from dataclasses import replace
from importlib import import_module

import pytest
from PIL import Image

from cliffvid import Options, read_meta
from cliffvid.errors import InputError, OutputError, UsageError
from cliffvid.evaluate.precision import about_clip, ask, keep, measure
from cliffvid.machine import processor
from cliffvid.models.manifest import BUNDLED, MODEL_FILES, read_manifest
from cliffvid.models.precision import choose, runtime_version
from cliffvid.models.registry import find_model
from clips import make_clip, picture

GOOD = {"persons": 200, "persons_changed_percent": 0.4, "rotation_median_deg": 0.4, "rotation_p99_deg": 1.9}


@pytest.fixture
def manifest(toys, tmp_path):
    """A toy regressor's, of which networks of all precisions are known."""
    folder = shutil.copytree(toys / "toy-regressor", tmp_path / "engines" / "toy-regressor")
    network = (folder / "model.onnx").read_bytes()
    return keep(read_manifest(folder), [], {"model.int8.onnx": network, "model.fp16.onnx": network})


def entry(manifest, backend, precision, items_per_s, **more):
    known = {
        "backend": backend,
        "version": runtime_version(backend),
        "device": "cpu",
        "precision": precision,
        "network": manifest.files[MODEL_FILES[precision]],
        "machine": processor(),
        "clip": "street.mp4",
        "items_per_s": items_per_s,
    }
    return known | GOOD | more


def chosen(manifest, *entries, **options):
    choice = choose(replace(manifest, quality=list(entries)), Options(precision="auto", **options))
    return choice.backend, choice.precision, choice.words


def test_the_fastest_within_the_bounds_is_taken_and_said_why(manifest):
    exact = entry(manifest, "onnxruntime", "fp32", 10, persons_changed_percent=0.0)
    other = entry(manifest, "openvino", "fp32", 11, persons_changed_percent=0.0)
    half = entry(manifest, "openvino", "bf16", 25)
    wild = entry(manifest, "openvino", "int8", 45, rotation_p99_deg=8.25)
    backend, precision, words = chosen(manifest, exact, other, half, wild)
    assert (backend, precision) == ("openvino", "bf16")
    assert "bf16 by openvino, 2.5 times as fast as fp32 by onnxruntime; of 200 people 0.4 % changed" in words
    assert (
        "street.mp4" in words
        and "not int8 by openvino: rotations off by 8.2 degrees (99th percentile), over 2" in words
    )
    assert chosen(manifest, exact, other, half, wild, gate_rotation_p99_deg=10)[:2] == ("openvino", "int8")
    assert chosen(manifest, exact, other, half, wild, gate_rotation_median_deg=0.3)[:2] == ("openvino", "fp32")
    assert chosen(manifest, exact, other, half, wild, backend="onnxruntime")[:2] == ("onnxruntime", "fp32")
    few = half | {"persons": 20, "persons_changed_percent": 0.0}
    backend, precision, words = chosen(manifest, exact, few)
    assert (backend, precision) == ("onnxruntime", "fp32") and "judged on 20 people alone" in words
    assert chosen(manifest, exact, half | {"persons_changed_percent": float("nan")})[1] == "fp32"
    backend, precision, words = chosen(manifest, wild, backend="openvino")  # float32 itself was not measured
    assert (backend, precision) == ("openvino", "fp32") and "int8 by openvino: rotations off by 8.2 degrees" in words


@pytest.mark.parametrize("what", ["machine", "version", "network", "device"])
def test_figures_of_something_else_do_not_count(manifest, what):
    exact, half = entry(manifest, "onnxruntime", "fp32", 10), entry(manifest, "openvino", "bf16", 25)
    assert chosen(manifest, exact, half, device="cpu")[1] == "bf16"
    backend, precision, words = chosen(manifest, exact, half | {what: "another"}, device="cpu")
    assert (backend, precision) == ("onnxruntime", "fp32")
    assert "`cliffvid models quality toy-regressor VIDEO` does" in words
    assert chosen(manifest)[:2] == ("onnxruntime", "fp32")


def test_figures_and_files_are_kept_in_the_folder(manifest):
    first, second = entry(manifest, "openvino", "bf16", 25), entry(manifest, "openvino", "int8", 40)
    keep(manifest, [first, second])
    kept = keep(manifest, [first | {"items_per_s": 30}])
    assert [(e["precision"], e["items_per_s"]) for e in kept.quality] == [("bf16", 30), ("int8", 40)]
    assert kept.path("model.int8.onnx").read_bytes() == kept.path("model.onnx").read_bytes()
    assert not list(manifest.folder.glob(".*"))
    shutil.rmtree(manifest.folder)
    with pytest.raises(OutputError, match="toy-regressor: cannot be written"):
        keep(manifest, [first])


def test_what_ships_stays_as_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    manifest = read_manifest(BUNDLED / "cliff-open")
    before = (BUNDLED / "cliff-open" / "manifest.json").read_bytes()
    for _ in range(2):  # the second finds the copy
        kept = keep(find_model("regress", "cliff-open"), [entry(manifest, "openvino", "bf16", 25)])
    assert kept.folder.is_relative_to(tmp_path / "data") and len(kept.quality) == 1
    assert (BUNDLED / "cliff-open" / "manifest.json").read_bytes() == before
    assert find_model("regress").folder == kept.folder


def test_a_copy_of_what_shipped_once_does_not_hide_what_ships_now(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    shipped = shutil.copytree(BUNDLED, tmp_path / "bundled")
    for module in ("models.manifest", "models.registry", "evaluate.precision"):
        monkeypatch.setattr(import_module(f"cliffvid.{module}"), "BUNDLED", shipped)
    manifest = find_model("regress", "cliff-open")
    copy = keep(manifest, [entry(manifest, "openvino", "fp32", 25)], {"model.int8.onnx": b"a network"}).folder
    assert find_model("regress", "cliff-open").folder == copy
    file = shipped / "cliff-open" / "manifest.json"
    file.write_bytes(file.read_bytes().replace(b'"cliff-open"', b'"cliff-open" ', 1))  # as a later cliffvid may have it
    now = find_model("regress", "cliff-open")
    assert now.folder == shipped / "cliff-open" and not now.quality
    kept = keep(now, [entry(manifest, "openvino", "bf16", 30)])  # takes the copy's place
    assert find_model("regress", "cliff-open").folder == kept.folder == copy
    assert [e["precision"] for e in kept.quality] == ["bf16"] and "model.int8.onnx" not in kept.files
    assert sorted(path.name for path in copy.parent.iterdir()) == ["cliff-open"]
    shutil.rmtree(shipped / "cliff-open")
    with pytest.raises(UsageError, match="no regress model named 'cliff-open'"):
        find_model("regress", "cliff-open")


def test_a_model_of_ones_own_is_not_taken_for_a_copy(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    own = shutil.copytree(BUNDLED / "cliff-open", tmp_path / "data" / "cliffvid" / "engines" / "cliff-open")
    with pytest.raises(OutputError, match="cliff-open: cannot be written"):
        keep(read_manifest(BUNDLED / "cliff-open"), [])
    assert find_model("regress", "cliff-open").folder == own


def test_every_precision_that_runs_here_is_measured(manifest, clip, toys):
    options = Options(models_dir=toys, detector="toy-detector", threads=1)
    _, calibrate, judged = ask("toy-regressor", clip, options)
    assert [len(batches) for batches in (calibrate, judged)] == [15, 15]
    found = measure(manifest, judged, options)
    combinations = {(e["backend"], e["precision"]): e for e in found}
    assert {("onnxruntime", p) for p in ("fp32", "fp16", "int8")} <= combinations.keys()
    assert {("openvino", p) for p in ("fp32", "int8")} <= combinations.keys()
    for e in found:  # toys have no convolutions, so nothing is rounded
        assert e["persons"] == 45 and e["persons_changed_percent"] == 0 and e["rotation_p99_deg"] < 1e-3
        assert e["betas_p99"] < 1e-3 and e["camera_p99"] < 1e-3
        assert e["items_per_s"] > 0 and e["network"] == manifest.files[MODEL_FILES[e["precision"]]]
    with pytest.raises(UsageError, match="open-body: a body, not a network"):
        ask("open-body", clip, options)


def test_a_folder_of_images_serves_as_well(toys, tmp_path):
    (tmp_path / "walk").mkdir()
    for index in range(12):
        Image.fromarray(picture(index, 2, 192, 144)).save(tmp_path / "walk" / f"{index}.png")
    options = Options(models_dir=toys, detector="toy-detector", threads=1)
    _, calibrate, judged = ask("toy-regressor", tmp_path / "walk", options)
    assert [sum(len(batch["crop"]) for batch in half) for half in (calibrate, judged)] == [12, 12]
    assert about_clip(tmp_path / "walk") == {"clip": "walk"}


def test_a_video_that_shows_nobody_tells_nothing(toys, tmp_path):
    options = Options(models_dir=toys, detector="toy-detector", threads=1)
    with pytest.raises(InputError, match=r"empty\.mp4: too little to go by \(0 frames with people\)"):
        ask("toy-regressor", make_clip(tmp_path / "empty.mp4", people=0), options)


def test_a_run_takes_what_was_chosen_and_its_file_says_so(manifest, clip, toys, tmp_path, monkeypatch, capfd):
    import sys

    from cliffvid.cli import app as cli

    exact, fast = entry(manifest, "onnxruntime", "fp32", 10), entry(manifest, "openvino", "int8", 40)
    keep(manifest, [exact, fast])
    shutil.copytree(toys / "toy-detector", manifest.folder.parent / "toy-detector")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    out, names = tmp_path / "a.parquet", ["--detector", "toy-detector", "--regressor", "toy-regressor"]
    run = ["cliffvid", "process", clip, "-o", out, "--precision", "auto", *names, "--models", manifest.folder.parent]
    told = {}
    for more in ("--quiet", "--json", "--overwrite"):
        monkeypatch.setattr(sys, "argv", [*map(str, run), more, "--overwrite"])
        with pytest.raises(SystemExit) as end:
            cli.main()
        told[more] = capfd.readouterr()
        assert end.value.code == 0, told
    assert told["--quiet"] == ("", "")
    report, told = json.loads(told["--json"].out), told["--overwrite"].err
    meta = read_meta(out)
    assert [(m["backend"], m["precision"]) for m in meta["models"]] == [("onnxruntime", "fp32"), ("openvino", "int8")]
    assert "toy-regressor: int8 by openvino, 4 times as fast" in told and "toy-detector: fp32, since" in told
    assert meta["settings"]["precision_chosen"] == report["precision_chosen"]
    assert report["precision_chosen"][1] in told
