"""`--device cuda:1`: the number reaches TensorRT and what works beside it, on stand-ins that have no other.

Without TensorRT it is tested on the null CUDA, in tests/pipeline/test_null_cuda.py.
"""

import sys
from dataclasses import replace

import pytest

import fake_gpu
import fake_nvdec
from cliffvid import Options, UsageError
from cliffvid.cuda import Gpu
from cliffvid.errors import BackendError
from cliffvid.models.batch_size import _key, example_row
from cliffvid.models.manifest import BUNDLED, read_manifest
from cliffvid.models.session import open_session
from cliffvid.pipeline.networks import open_models
from cliffvid.pipeline.video_run import open_run
from cliffvid.tables import Bodies
from fake_cuda_ort import FakeOrt
from fake_gpu import FakeGpu
from fake_nvdec import FakeNvdec


@pytest.fixture
def second(monkeypatch, tmp_path):
    """A machine whose second GPU alone answers."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return fake_gpu.put_in_place(monkeypatch, FakeGpu(number=1))


@pytest.fixture
def ort(monkeypatch, second):
    fake = FakeOrt(second)
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    return fake


@pytest.mark.parametrize("prefetch", [0, 2])
def test_the_number_reaches_networks_pictures_and_the_decoder(
    clip, toy_options, toys, tmp_path, ort, second, monkeypatch, prefetch
):
    import shutil

    nvdec = fake_nvdec.put_in_place(monkeypatch, FakeNvdec(second))
    options = replace(
        toy_options(pixels="planes", prefetch=prefetch, backend="tensorrt", device="cuda:1", decode_device="cuda"),
        models_dir=shutil.copytree(toys, tmp_path / "toys"),
        frame_batch=4,
        person_batch=8,
    )
    with open_models(options) as models:
        assert models.detector.device == models.regressor.device == "cuda:1" and models.pictures_on_device
        with open_run(clip, options, models) as run:
            assert len(Bodies.concat(list(run.bodies()))) == 90
        assert "cuda:1" in _key(models.detector, example_row(models.detector, options))
    assert nvdec.decoded == 30 and nvdec.downloaded == []
    assert {accel.device_id for accel in nvdec.opened} == {1} and all(accel.is_hw_owned for accel in nvdec.opened)


def test_frames_that_come_to_the_host_are_decoded_there_too(clip, toy_options, ort, second, monkeypatch):
    nvdec = fake_nvdec.put_in_place(monkeypatch, FakeNvdec(second))
    options = toy_options(device="cuda:1", decode_device="cuda", frame_batch=4, person_batch=8)
    with open_models(options) as models, open_run(clip, options, models) as run:
        next(run.bodies())
    assert {accel.device_id for accel in nvdec.opened} == {1}


def test_a_gpu_that_is_not_there_is_told_in_cudas_words(second):
    with pytest.raises(BackendError, match="no GPU 0 that CUDA can use: CUDA error 101: invalid device ordinal"):
        Gpu()
    with pytest.raises(BackendError, match="no GPU 7 that CUDA can use: CUDA error 101: invalid device ordinal"):
        open_session(read_manifest(BUNDLED / "cliff-open"), "tensorrt", "cuda:7")


@pytest.mark.parametrize("name", ["cuda:x", "cuda:-1", "cuda:", "cuda: 1", "cpu:0", "auto:1", "gpu", ""])
def test_other_names_are_refused(name):
    with pytest.raises(UsageError, match=r"--device .*choose auto, cpu, cuda or cuda:N"):
        Options(device=name)


def test_the_first_gpu_has_one_name(toys, monkeypatch, gpu):
    monkeypatch.setitem(sys.modules, "onnxruntime", FakeOrt(gpu))
    with open_session(read_manifest(toys / "toy-regressor"), "onnxruntime", "cuda:0") as session:
        assert session.device == "cuda"
