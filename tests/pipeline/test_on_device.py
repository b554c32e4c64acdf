"""Letterbox and crops on the networks' device, through the whole pipeline: on a stand-in for a GPU, and on the CPU."""

import shutil
import sys
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest

import fake_cuda_ort
from cliffvid.errors import BackendError
from cliffvid.geometry import box_iou
from cliffvid.pipeline.chain import Chain
from cliffvid.pipeline.networks import open_models
from cliffvid.pipeline.video_run import VideoRun, open_run
from cliffvid.tables import Bodies
from clips import make_clip
from fake_cuda_ort import FakeOrt


def bodies(path, options, models):
    with open_run(path, options, models) as run:
        found = Bodies.concat(list(run.bodies()))
        return found, [stage.name for stage in run.chain.stages.stages]


def on_cuda(options):
    return replace(options, device="cuda", frame_batch=4, person_batch=8)  # not measured


@pytest.fixture
def ort(monkeypatch, gpu):
    fake = FakeOrt(gpu)
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    return fake


@pytest.mark.parametrize(("prefetch", "pixels"), [(0, "exact"), (2, "exact"), (2, "planes")])
def test_people_are_those_of_the_host(clip, toy_options, ort, prefetch, pixels, monkeypatch):
    options = toy_options(prefetch=prefetch, pixels=pixels)
    with open_models(on_cuda(options)) as models:
        found, stages = bodies(clip, on_cuda(options), models)
    assert stages == ["decode", "upload", "detect", "crop", "regress"]
    monkeypatch.undo()
    with open_models(options) as models:
        want, stages = bodies(clip, options, models)
    assert "upload" not in stages
    assert_alike(found, want)


def test_frames_between_those_detected_wait_on_the_device(clip, toy_options, ort, monkeypatch):
    options = toy_options(detect_every=7)
    with open_models(on_cuda(options)) as models:
        found, _ = bodies(clip, on_cuda(options), models)
    assert sum(ort.gpu.fetched) == 4 * (6 * 4 * 6 + len(found) * (24 * 9 + 10 + 3 + 1))  # answers of six frames
    monkeypatch.undo()
    with open_models(options) as models:
        assert_alike(found, bodies(clip, options, models)[0])


def assert_alike(found, want):
    np.testing.assert_array_equal(found.frame_idx, want.frame_idx)
    assert box_iou(found.bbox_xyxy, want.bbox_xyxy).diagonal().min() > 0.9
    np.testing.assert_allclose(found.betas, want.betas, atol=0.05)  # the crop's mean colour


def test_films_of_several_sizes_share_batches(tmp_path, toy_options, ort, monkeypatch):
    sizes = [(192, 144), (320, 180), (144, 256)]
    clips = [make_clip(tmp_path / f"{i}.mp4", frames=7 + i, people=3, size=size) for i, size in enumerate(sizes)]

    def together(options):
        with open_models(options) as models, ExitStack() as stack:
            chain = Chain(options, models)
            runs = [stack.enter_context(VideoRun(clip, chain)) for clip in clips]
            stack.enter_context(chain)
            parts = list(chain.bodies(run.parts() for run in runs))
            return [Bodies.concat([part.rows for part in parts if part.video is run and len(part)]) for run in runs]

    found = together(on_cuda(toy_options(videos_at_once=3)))
    monkeypatch.undo()
    for one, other in zip(found, together(toy_options(videos_at_once=3)), strict=True):
        assert_alike(one, other)


def test_memory_that_does_not_suffice_halves_batches(clip, toy_options, ort):
    ort.most_rows = 3
    with open_models(on_cuda(toy_options())) as models:
        found, _ = bodies(clip, on_cuda(toy_options()), models)
        assert len(found) == 90 and len(models.take_warnings()) == 2


@pytest.fixture
def with_tensorrt(toys, toy_options, tmp_path, gpu, ort):  # the stand-in for TensorRT needs the real onnxruntime
    """Options for toys that have their plans, on a GPU that onnxruntime can use as well."""
    ort.gpu, engines = gpu, shutil.copytree(toys, tmp_path / "toys")
    options = replace(
        toy_options(frame_batch=10, person_batch=70), models_dir=engines, backend="tensorrt", device="cuda"
    )
    open_models(options).__exit__()
    return options


def test_tensorrt_takes_what_onnxruntime_made_on_its_gpu(clip, toy_options, with_tensorrt, ort, gpu, monkeypatch):
    with open_models(with_tensorrt) as models:
        assert models.detector.backend == models.regressor.backend == "tensorrt-rtx"
        assert gpu.batches  # plans were proven with pictures of the host
        gpu.sent.clear(), gpu.batches.clear()
        found, stages = bodies(clip, with_tensorrt, models)
    assert stages == ["decode", "upload", "detect", "crop", "regress"]
    frames, people = 3 * 30 * 144 * 192, (32, 32, 8, 32)  # 90 people in plans of up to 32, 16 lines for 10 frames
    assert sorted(gpu.batches) == sorted((16, 16, 16, *people))
    assert frames < sum(gpu.sent) < 1.5 * frames and ort.fetched == []
    assert {3 * 4 * rows for rows in people} <= set(gpu.sent)  # bbox_info: no picture
    assert gpu.allocated == {}
    monkeypatch.undo()
    with open_models(toy_options()) as models:
        want, _ = bodies(clip, toy_options(), models)
    assert_alike(found, want)


def test_where_pictures_do_not_fit_beside_tensorrt_batches_are_halved(clip, with_tensorrt, ort):
    with open_models(with_tensorrt) as models:
        ort.most_rows = 3
        found, _ = bodies(clip, with_tensorrt, models)
        assert len(found) == 90 and len(models.take_warnings()) == 2


def test_pictures_that_fail_beside_tensorrt_are_told(clip, with_tensorrt, monkeypatch):
    def fails(*_):
        raise RuntimeError("CUDA failure 700: an illegal memory access was encountered")

    with open_models(with_tensorrt) as models:
        monkeypatch.setattr(fake_cuda_ort.FakeSession, "run_with_iobinding", fails)
        with pytest.raises(BackendError, match=r"toy-detector: onnxruntime failed on the GPU .CUDA failure 700"):
            bodies(clip, with_tensorrt, models)


@pytest.mark.parametrize("missing", ["all of it", "CUDA", "a library"])
def test_tensorrt_without_onnxruntimes_cuda_takes_pictures_of_the_host(clip, with_tensorrt, ort, missing, monkeypatch):
    def does_not_load(*_, **__):
        raise RuntimeError("libcudnn.so.9: cannot open shared object file")

    ort.InferenceSession = does_not_load
    if missing != "a library":
        monkeypatch.setitem(sys.modules, "onnxruntime", onnxruntime if missing == "CUDA" else None)
    with open_models(with_tensorrt) as models:
        assert not models.pictures_on_device
        found, stages = bodies(clip, with_tensorrt, models)
    assert len(found) == 90 and "upload" not in stages


def test_the_stand_in_has_no_name_that_onnxruntime_lacks():
    for fake, real in (
        (fake_cuda_ort.FakeBinding, onnxruntime.IOBinding),
        (fake_cuda_ort.FakeSession, onnxruntime.InferenceSession),
        (fake_cuda_ort.FakeValues, onnxruntime.OrtValue),
        (fake_cuda_ort.Value, onnxruntime.OrtValue),
    ):
        assert {name for name in vars(fake) if not name.startswith("_")} <= set(dir(real))


@pytest.mark.parametrize("people", [0, 1])
def test_few_frames_are_held_where_people_are_few(tmp_path, toy_options, ort, people):
    """A batch of people would not be full before the end."""
    clip, most = make_clip(tmp_path / "clip.mp4", frames=100, people=people), []
    make = ort.OrtValue.ortvalue_from_shape_and_type

    def counted(*block):
        most.append(sum(value.shape()[1:] == [144, 192, 3] for value in ort.held))
        return make(*block)

    ort.OrtValue.ortvalue_from_shape_and_type = counted
    options = replace(toy_options(), device="cuda", frame_batch=1, person_batch=64)
    with open_models(options) as models, open_run(clip, options, models) as run:
        assert sum(map(len, run.bodies())) == 100 * people
    # four gathered, two in front of each of three stages, and what four are at work on
    assert len(most) == 100 and max(most) <= 4 + 3 * options.prefetch + 4


def test_frames_that_do_not_fit_are_told(clip, toy_options, ort):
    def full(*block):
        raise RuntimeError("Failed to allocate memory for requested buffer of size 331776")

    ort.OrtValue.ortvalue_from_shape_and_type = full
    with (
        open_models(on_cuda(toy_options())) as models,
        pytest.raises(BackendError, match="4 frames cannot be put on c"),
    ):
        bodies(clip, on_cuda(toy_options()), models)


@pytest.mark.parametrize(("resample", "expected"), [("antialias", False), ("bilinear", True)])
def test_what_the_graph_cannot_make_stays_on_the_host(toy_options, ort, resample, expected, monkeypatch):
    from cliffvid.pipeline import networks

    find = networks.find_model

    def found(task, *more):
        manifest = find(task, *more)
        if task == "detect":
            return manifest
        return replace(manifest, rules=manifest.rules | {"crop": replace(manifest.rules["crop"], resample=resample)})

    monkeypatch.setattr(networks, "find_model", found)
    with open_models(on_cuda(toy_options())) as models:
        assert models.pictures_on_device is expected
