"""`--precision auto` on a GPU, on a stand-in that computes on the CPU; the null CUDA counts what a GPU is asked."""

import json
import sys
from dataclasses import replace

import pytest

import fake_gpu
from cliffvid import Options
from cliffvid.errors import BackendError
from cliffvid.models import gpu_precision
from cliffvid.models.manifest import BUNDLED, read_manifest
from cliffvid.models.precision import choose
from fake_cuda_ort import FakeOrt
from fake_gpu import FakeGpu

AUTO = Options(device="cuda", precision="auto", threads=1)


@pytest.fixture
def ort(monkeypatch, tmp_path):
    """A machine with one GPU, whose cache is empty; float32 does 10 items a second there, TF32 20."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(gpu_precision, "nvidia_gpus", lambda: (True, "Imaginary GPU, driver 1"))
    monkeypatch.setattr(
        gpu_precision, "speeds", lambda session, *_: {4: 9.0, 16: {"fp32": 10.0}.get(session.precision, 20.0)}
    )
    fake = FakeOrt(fake_gpu.put_in_place(monkeypatch, FakeGpu()))
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    return fake


@pytest.fixture
def manifest():
    return read_manifest(BUNDLED / "person-open")


def test_the_fastest_that_is_right_is_chosen_and_remembered(ort, manifest, tmp_path, monkeypatch):
    choice = choose(manifest, AUTO)
    assert (choice.backend, choice.precision) == ("onnxruntime", "tf32")
    assert choice.words.startswith("person-open: tf32, measured on this GPU: 20 a second, off by ")
    assert choice.words.endswith("bound 0.05; fp32: 10 a second")
    opened = len(ort.opened)
    assert choose(manifest, AUTO) == choice and len(ort.opened) == opened > 0
    monkeypatch.setattr(gpu_precision, "nvidia_gpus", lambda: (True, "Imaginary GPU, driver 2"))
    assert choose(manifest, AUTO) == choice and len(ort.opened) == 2 * opened
    cache = tmp_path / "cliffvid" / "precisions.json"
    assert len(json.loads(cache.read_text())) == 2
    cache.write_text('{"a": 1')
    assert choose(manifest, AUTO) == choice and len(ort.opened) == 3 * opened


def test_a_precision_that_is_off_is_refused_whatever_its_speed(ort, manifest, monkeypatch):
    monkeypatch.setattr(gpu_precision, "DEFAULT_BOUND", {"fp32": 1.0, "fp16": 0.0})
    choice = choose(manifest, AUTO)
    assert choice.precision == "fp32" and "; tf32: " in choice.words and "over the bound of 0" in choice.words
    nothing = replace(manifest, parity={**manifest.parity, "bound": {"model.onnx": 0.0}})
    monkeypatch.setattr(gpu_precision, "recall", lambda name: {})
    with pytest.raises(BackendError, match=r"no precision gives the right outputs on cuda .fp32: .*; tf32: .*--device"):
        choose(nothing, AUTO)


def test_a_model_without_samples_stays_in_float32(ort, manifest):
    files = {name: sha256 for name, sha256 in manifest.files.items() if name != "samples.npz"}
    choice = choose(replace(manifest, files=files), AUTO)
    assert choice.precision == "fp32" and "nothing else was measured" in choice.words and not ort.opened
