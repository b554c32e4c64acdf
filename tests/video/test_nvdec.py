"""Frames that a GPU decoded stay there: on a stand-in for it, and with onnxruntime's CPU provider as the device."""

import gc
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

import fake_gpu
import fake_nvdec
from cliffvid import Options
from cliffvid.errors import BackendError, UnreadableError
from cliffvid.pipeline.chain import Chain
from cliffvid.pipeline.networks import open_models
from cliffvid.pipeline.video_run import VideoRun, open_run
from cliffvid.tables import Bodies
from cliffvid.video.color import Display
from cliffvid.video.images.base import kind_of
from cliffvid.video.images.gpu import GpuImage
from cliffvid.video.images.rgb import RgbImage
from cliffvid.video.reader import DecodeCounts, Video
from cliffvid.video.shots import ShotDetector
from clips import make_clip
from fake_cuda_ort import FakeOrt
from fake_gpu import FakeGpu
from fake_nvdec import FakeNvdec, FakePlane, FakeSurface
from plane_frames import displayed, rgb_images

EXAMPLE = Path(__file__).parents[2] / "examples" / "pedestrians.mp4"


@pytest.fixture
def nvdec(monkeypatch, gpu):
    return fake_nvdec.put_in_place(monkeypatch, FakeNvdec(gpu))


@pytest.fixture
def ort(monkeypatch, gpu):
    fake = FakeOrt(gpu)
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    return fake


def there(options, **more):
    return replace(options, device="cuda", decode_device="cuda", frame_batch=4, person_batch=8, **more)  # not measured


def bodies(path, options, models):
    with open_run(path, options, models) as run:
        return Bodies.concat(list(run.bodies())), run


def by_planes_of_the_host(path, options):
    """What the same device answers to planes that the CPU decoded."""
    options = replace(options, decode_device="cpu", pixels="planes")
    with open_models(options) as models:
        return bodies(path, options, models)[0]


def assert_same(found, want):
    for name, column in want.columns().items():
        np.testing.assert_array_equal(getattr(found, name), column, err_msg=name)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_rows_are_those_of_planes_that_were_sent(clip, toy_options, ort, gpu, nvdec, prefetch):
    """To the bit; and no frame keeps its memory, however far decoding runs ahead."""
    options = there(toy_options(prefetch=prefetch, pixels="planes"))
    want = by_planes_of_the_host(clip, options)
    with open_models(options) as models:
        found, _ = bodies(clip, options, models)
    assert_same(found, want)
    assert nvdec.decoded == 30 and nvdec.downloaded == []
    gc.collect()
    assert len(nvdec.live) == 0 and gpu.allocated == {}


def test_a_stream_of_both_kinds(clip, toy_options, ort, nvdec, gpu):
    """P010 comes to the host, as what no graph makes RGB of; the rest stays. All rows are there, in order."""
    options = there(toy_options(pixels="planes"))
    want = by_planes_of_the_host(clip, options)
    with av.open(str(clip)) as container:
        pts = sorted(packet.pts for packet in container.demux(video=0) if packet.pts is not None)
    nvdec.deep = set(pts[5:9]) | {pts[20]}
    with open_models(options) as models:
        found, run = bodies(clip, options, models)
    assert nvdec.downloaded == sorted(nvdec.deep) and run.counts.decode.frames == 30
    np.testing.assert_array_equal(found.frame_idx, want.frame_idx)
    np.testing.assert_allclose(found.bbox_xyxy, want.bbox_xyxy, atol=2)


@pytest.mark.parametrize("more", [{"pixels": "exact"}, {"pixels": "planes", "deinterlace": True}, {"device": "cpu"}])
def test_where_frames_cannot_stay_pyav_brings_them(clip, toy_options, ort, nvdec, gpu, more):
    """FFmpeg's own RGB and its deinterlacer are the CPU's; so are networks that run there."""
    options = replace(there(toy_options(pixels="planes")), **more)
    with open_models(options) as models:
        found, _ = bodies(clip, options, models)
    assert len(found) == 90 and nvdec.decoded == 0
    assert [accel.is_hw_owned for accel in nvdec.opened] == [False] * len(nvdec.opened) != []


def test_videos_that_are_decoded_at_once_and_by_parts(tmp_path, toy_options, ort, nvdec, gpu):
    sizes = [(192, 144), (320, 180), (144, 256)]
    clips = [make_clip(tmp_path / f"{i}.mp4", frames=20 + i, people=3, size=size) for i, size in enumerate(sizes)]
    options = there(toy_options(pixels="planes", videos_at_once=3, start_s=0.3, stride=2))
    want = [by_planes_of_the_host(clip, options) for clip in clips]
    with open_models(options) as models, ExitStack() as stack:
        chain = Chain(options, models)
        runs = [stack.enter_context(VideoRun(clip, chain)) for clip in clips]
        stack.enter_context(chain)
        parts = list(chain.bodies(run.parts() for run in runs))
    for run, rows in zip(runs, want, strict=True):
        assert len(rows)
        assert_same(Bodies.concat([part.rows for part in parts if part.video is run and len(part)]), rows)
    assert nvdec.downloaded == []


def test_tensorrt_has_its_pictures_of_frames_that_stayed(clip, toy_options, toys, tmp_path, gpu, ort, nvdec):
    import shutil

    engines = shutil.copytree(toys, tmp_path / "toys")
    options = there(replace(toy_options(pixels="planes"), models_dir=engines), backend="tensorrt")
    want = by_planes_of_the_host(clip, options)
    with open_models(options) as models:
        assert models.detector.backend == "tensorrt-rtx" and models.pictures_on_device
        found, _ = bodies(clip, options, models)
    assert_same(found, want)
    assert nvdec.decoded == 30 and nvdec.downloaded == []


# -- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_gpu_that_cannot_be_used_is_told(clip, toy_options, ort, gpu, nvdec, monkeypatch):
    options = there(toy_options(pixels="planes"))
    with open_models(options) as models:
        gpu.missing = True
        with pytest.raises(
            BackendError, match=r"clip.mp4: .*no GPU 0 that CUDA can use.*nvidia-smi.*--decode-device cpu"
        ):
            open_run(clip, options, models).__enter__()
        monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
        with pytest.raises(BackendError, match=r"clip.mp4: .*bindings.runtime is not installed: pip install .*\[gpu\]"):
            open_run(clip, options, models).__enter__()


def test_memory_that_does_not_suffice_is_told(clip, toy_options, ort, gpu, nvdec):
    options = there(toy_options(pixels="planes"))
    make = ort.OrtValue.ortvalue_from_shape_and_type

    def full(*_):
        raise RuntimeError("Failed to allocate memory for requested buffer of size 331776")

    with open_models(options) as models:
        ort.OrtValue.ortvalue_from_shape_and_type = full
        with pytest.raises(BackendError, match=r"clip.mp4: 4 frames .* cannot be kept there .*--frame-batch"):
            bodies(clip, options, models)
        ort.OrtValue.ortvalue_from_shape_and_type = make
        nvdec.failure = av.error.MemoryError(12, "Cannot allocate memory")
        with pytest.raises(BackendError, match=r"clip.mp4: .* no memory left to decode it.*--decode-device cpu"):
            bodies(clip, options, models)
    gc.collect()
    assert gpu.allocated == {}


def test_a_stream_that_nvdec_does_not_know_is_told(clip, toy_options, ort, gpu, nvdec, monkeypatch):
    options = there(toy_options(pixels="planes"))
    nvdec.failure = av.error.InvalidDataError(0, "Invalid data found when processing input")
    with (
        open_models(options) as models,
        pytest.raises(
            UnreadableError, match=r"clip.mp4: not one frame .*CUDA device does not know.*--decode-device cpu"
        ),
    ):
        bodies(clip, options, models)
    monkeypatch.setattr(fake_nvdec.FakeDecoder, "is_hwaccel", False)  # FFmpeg would decode it by itself
    with pytest.raises(UnreadableError, match=r"clip.mp4: CUDA devices decode no h264; try --decode-device cpu"):
        Video(clip, options)


# -- pixels ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def cpu(toys, monkeypatch):
    """onnxruntime's CPU provider as the device; pixels are there at once, since nobody waits for a CPU's streams."""
    gpu = fake_gpu.put_in_place(monkeypatch, FakeGpu())
    return fake_nvdec.put_in_place(monkeypatch, FakeNvdec(gpu, asynchronous=False))


def test_thumbnails_are_those_of_the_same_frames_on_the_host(cpu, toy_options):
    """By which cuts are found: the same ones."""
    found, finder = [], ShotDetector()
    with (
        open_models(toy_options()) as models,
        Video(EXAMPLE, Options(decode_device="cuda"), models.detector.pictures) as video,
        Video(EXAMPLE) as same,
    ):
        for frames in video.frames(8, DecodeCounts(), planes=True):
            assert kind_of(frames.images) is GpuImage
            rgb, thumbs = displayed(frames.images), GpuImage.thumbnails(frames.images)
            assert [image.row for image in frames.images] == list(range(len(frames)))
            want = np.stack(list(RgbImage.thumbnails(rgb_images(rgb))))
            # what RGB clips is clipped after it was averaged
            assert (np.abs(thumbs - want) < 1.01 / 255).mean() > 0.9 and np.abs(thumbs - want).mean() < 0.5 / 255
            found += finder.find(frames)
        finder = ShotDetector()
        assert found == [cut for t in same.frames(8, DecodeCounts(), planes=True) for cut in finder.find(t)]


@pytest.mark.slow
def test_the_example_clip_comes_out_the_same_to_the_bit(cpu):
    """By the open models: what stayed is RGB by the same numbers as planes that are sent."""
    options = Options(pixels="planes", end_s=2)
    with open_models(options) as models:
        models = replace(models, pictures_on_device=True)
        want, one = bodies(EXAMPLE, options, models)
        found, other = bodies(EXAMPLE, replace(options, decode_device="cuda"), models)
    assert cpu.decoded >= other.counts.decode.frames and cpu.downloaded == [] and len(want) > 100
    assert_same(found, want)
    assert one.counts.shots == other.counts.shots


# -- the stand-in, and the real thing --------------------------------------------------------------------------------


def test_the_stand_in_has_no_name_that_pyav_lacks():
    for fake, real in ((FakeSurface, av.VideoFrame), (FakePlane, av.video.plane.VideoPlane)):
        names = {name for name in vars(fake) if not name.startswith("_")}
        assert names <= set(dir(real))
    assert {"buffer_ptr", "line_size", "width", "height"} <= set(dir(av.video.plane.VideoPlane))
    assert av.VideoFrame(16, 16, "nv12").sw_format is None


def test_host_frames_of_nv12_are_planes(clip):
    """What PyAV brings of a GPU's frames is not made RGB as a whole."""
    with av.open(str(clip)) as container:
        frame = next(container.decode(video=0))
    display = Display(Options())
    want, got = display.planes(frame, None), display.planes(frame.reformat(format="nv12"), None)
    np.testing.assert_array_equal(got.rgb(), want.rgb())
    for size, interpolation in (((96, 72), 1), ((416, 312), 2), ((60, 45), 3)):
        np.testing.assert_array_equal(got.scaled(size, interpolation), want.scaled(size, interpolation))
