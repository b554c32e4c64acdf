import shutil

import pytest


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """A stand-in for a GPU, with TensorRT-RTX, and a cache folder of the test's own."""
    from fake_gpu import FakeGpu, put_in_place

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return put_in_place(monkeypatch, FakeGpu())


@pytest.fixture
def folder(toys, tmp_path):
    """The toy regressor, of one's own to write plans into."""
    for file in ("manifest.json", "model.onnx"):
        (tmp_path / "toy").mkdir(exist_ok=True)
        shutil.copy(toys / "toy-regressor" / file, tmp_path / "toy")
    return tmp_path / "toy"
