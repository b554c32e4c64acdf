"""onnxruntime's own traps: two builds of it at once, providers that do not load, and buffers kept on a device."""

import sys
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from cliffvid.errors import BackendError
from cliffvid.models.backends import ort
from cliffvid.models.backends.ort import DeviceRun, provider_of
from cliffvid.models.manifest import read_manifest
from cliffvid.models.session import open_session
from toys import toy_people


@pytest.fixture
def manifest(toys):
    return read_manifest(toys / "toy-regressor")


@pytest.fixture
def both(monkeypatch):
    monkeypatch.setattr(ort, "version", {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.1"}.__getitem__)
    ort.warn_of_two_builds.cache_clear()
    yield
    ort.warn_of_two_builds.cache_clear()


def test_threads_are_as_many_as_told_and_do_not_spin(manifest, monkeypatch):
    """Spinning threads of one network take the cores from the other."""
    seen, real = [], onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda m, options, **more: seen.append(options) or real(m))
    open_session(manifest, "onnxruntime", "cpu", 3).close()
    (options,) = seen
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_two_builds_are_told_once_with_the_cure(manifest, both, caplog):
    for _ in range(2):
        open_session(manifest, "onnxruntime", "cpu").close()
    (line,) = caplog.messages
    assert line.startswith("onnxruntime 1.32.0 and onnxruntime-gpu 1.31.1 overwrite each other: pip uninstall")
    assert "install one of cliffvid[cpu] and cliffvid[gpu]" in line


def test_one_build_is_no_matter(manifest, caplog):
    ort.warn_of_two_builds.cache_clear()
    open_session(manifest, "onnxruntime", "cpu").close()
    assert not caplog.messages


def test_what_is_left_when_one_of_two_is_uninstalled_is_told(manifest, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace())
    with pytest.raises(BackendError, match="installed in part: pip uninstall onnxruntime onnxruntime-gpu, then"):
        open_session(manifest, "onnxruntime", "cpu")


def test_a_provider_that_does_not_load_is_an_error(manifest, monkeypatch, capsys):
    """As onnxruntime-gpu does without a GPU: it says that it has the provider, and then runs on the CPU."""
    with pytest.raises(BackendError, match=r"built without CUDA: pip install .*\[gpu\]"):
        open_session(manifest, "onnxruntime", "cuda")

    def on_the_cpu(model, options, providers, enable_fallback):
        assert enable_fallback == 0
        return real(model, options, providers=[ort.CPU])

    real = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [ort.CUDA, ort.CPU])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print("Failed to load libcublas"))
    monkeypatch.setattr(onnxruntime, "InferenceSession", on_the_cpu)
    words = r"could not load its CUDA.* \(it would run on CPU.*CUDA's libraries \(cliffvid\[gpu\] brings them\)$"
    with pytest.raises(BackendError, match=words):
        open_session(manifest, "onnxruntime", "cuda")
    assert capsys.readouterr().out == ""


def test_float32_is_float32_on_gpus_too():
    assert provider_of("cuda:2") == (ort.CUDA, {"use_tf32": "0", "device_id": "2"})


def test_buffers_that_are_kept_give_the_same_answers(manifest):
    """The code for GPUs, with the CPU for a device."""
    session = onnxruntime.InferenceSession(str(manifest.path("model.onnx")), providers=[ort.CPU])
    outputs = list(manifest.outputs)
    bound, earlier = DeviceRun(onnxruntime, session, outputs, "cpu"), []
    for rows in (3, 3, 5, 1, 3):
        inputs = toy_people(rows) | {"bbox_info": np.ones((rows, 3), np.float32)}
        inputs["crop"] = inputs["crop"] // (1 + len(earlier))
        given = {name: array.copy() for name, array in inputs.items()}
        found, wanted = bound.run(inputs, {}), session.run(outputs, given)
        earlier.append((found, wanted))
        for name, array in inputs.items():
            np.testing.assert_array_equal(array, given[name])
    for found, wanted in earlier:
        for answer, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(answer, other)
