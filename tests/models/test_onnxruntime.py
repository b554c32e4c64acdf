"""onnxruntime's own traps: two builds of it at once, providers that do not load, and shapes on a GPU."""

import shutil
import sys
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from cliffvid.errors import BackendError
from cliffvid.models.backends import ort, ort_queue
from cliffvid.models.manifest import read_manifest
from cliffvid.models.session import open_session
from fake_cuda_ort import FakeOrt
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


def test_a_provider_that_does_not_load_is_an_error(manifest, monkeypatch, capsys, gpu):
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


@pytest.fixture
def there(monkeypatch, gpu):
    """A stand-in for onnxruntime with a GPU."""
    fake = FakeOrt(gpu)
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    return fake


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", "0"), ("tf32", "1"), ("fp16", "1")])
def test_float32_alone_is_kept_from_tensor_cores(toys, tmp_path, there, precision, allowed):
    """With use_tf32=0, cuDNN leaves out every kernel with tensor cores, those for float16 as well."""
    shutil.copytree(toys / "toy-regressor", tmp_path / "toy")
    (tmp_path / "toy" / "model.fp16.onnx").write_bytes((tmp_path / "toy" / "model.onnx").read_bytes())
    manifest = read_manifest(tmp_path / "toy")
    manifest.files["model.fp16.onnx"] = manifest.files["model.onnx"]
    with open_session(manifest, "onnxruntime", "cuda", 1, precision) as session:
        assert session.pictures is not None
    network, *pictures = [options["use_tf32"] for options in there.opened]
    assert network == allowed and set(pictures) == {"0"}


def test_tf32_is_an_error_on_the_cpu(manifest):
    with pytest.raises(BackendError, match="--precision tf32: arithmetic of NVIDIA GPUs; choose another, or --dev"):
        open_session(manifest, "onnxruntime", "cpu", 1, "tf32")


def people(rows, shade=1):
    return toy_people(rows) | {"bbox_info": np.full((rows, 3), shade, np.float32)}


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)


def test_batches_of_any_size_have_one_session_and_the_same_answers(manifest, there, gpu):
    with open_session(manifest, "onnxruntime", "cpu", 1) as session:
        wanted = {rows: session.run(people(rows, rows)) for rows in range(6)}
    with open_session(manifest, "onnxruntime", "cuda", 1) as session:
        session.pad_to(4)
        found = [(rows, session.run(people(rows, rows))) for rows in (3, 4, 0, 1, 3)]
        assert len(there.opened) == 2  # one looked at the file
        taken = gpu.allocated.keys()
        session.pad_to(4)
        session.run(people(2))
        assert len(there.opened) == 2 and gpu.allocated.keys() == taken
        found += [(5, session.run(people(5, 5)))]
        assert len(there.opened) == 2  # in two parts
        there.most_rows = 2
        found += [(5, session.run(people(5, 5))), (1, session.run(people(1, 1)))]
        assert (len(there.opened), session.rows_max, len(session.warnings)) == (3, 2, 1)
    assert not gpu.allocated and not gpu.streams
    for rows, answer in found:
        assert_same(answer, wanted[rows])


def test_pinned_memory_for_frames_of_many_sizes_stays_small(there, gpu, monkeypatch):
    monkeypatch.setattr(ort_queue, "KEPT_BYTES", 4 << 20)
    queue = ort_queue.Queue(there, "cuda")
    for size in [*range(1, 7), *range(5, 0, -1)]:
        queue.put(np.full(size << 20, size, np.uint8))
        queue.wait()
        assert sum(len(gpu.allocated[address]) for address in gpu.pinned) <= 4 << 20
    assert gpu.pinned
    queue.close()
    assert not gpu.allocated
