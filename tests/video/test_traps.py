"""One contract over the trap corpus: every frame once, in order, upright, at its time, in its colours."""

import re
import subprocess

import av
import numpy as np
import pytest

import fake_nvdec
from cliffvid import Options
from cliffvid.models.backends.ort import load, open_pictures
from cliffvid.tables import image_column
from cliffvid.video.container import TITLES
from cliffvid.video.images.gpu import GpuImage
from cliffvid.video.reader import DecodeCounts, Video
from clips import COLORS, person_box, picture, read_index
from plane_frames import displayed
from traps import TRAPS


@pytest.fixture(scope="module")
def made_trap(tmp_path_factory):
    """A function from a trap to its file, made once."""
    folder = tmp_path_factory.mktemp("traps")

    def make(trap):
        path = folder / trap.name
        if not path.exists():
            trap.make(path)
        return path

    return make


def decode(path, planes=False, device=None, **options):
    """``[(index, time_s, damaged, image)], counts, info``."""
    counts = DecodeCounts()
    with Video(path, Options(**options), device) as video:
        tables = list(video.frames(5, counts, planes=planes))
    rows = [row for t in tables for row in zip(t.frame_idx, t.time_s, t.damaged, map(whole, t.images), strict=True)]
    return rows, counts, video.info


def whole(image):
    """RGB as displayed; of an image on a device what was made there."""
    if isinstance(image, GpuImage):
        return displayed(image_column([image]))[0]
    return image.rgb()


def far_from_truth(image, number):
    """``(mean difference of a pixel, largest difference of a walker's colour)`` from the picture of that number."""
    height, width = image.shape[:2]
    colors = []
    for person, color in enumerate(list(COLORS.values())[:3]):
        x0, y0, x1, y1 = person_box(person, number, width, height)
        inside = image[y0 + 3 : y1 - 3, x0 + 3 : x1 - 3].reshape(-1, 3)
        colors.append(np.abs(np.median(inside, axis=0) - color).max())
    return np.abs(image.astype(int) - picture(number, 3, width, height)).mean(), max(colors)


@pytest.mark.parametrize("planes", [False, True], ids=["exact", "planes"])
@pytest.mark.parametrize("trap", TRAPS, ids=str)
def test_every_frame_is_shown_once_as_it_is(made_trap, trap, planes):
    path = made_trap(trap)
    assert path.stat().st_size < 100_000
    check(trap, *decode(path, planes, **trap.options))


@pytest.mark.parametrize("trap", TRAPS, ids=str)
def test_so_it_is_where_frames_stay_on_the_gpu_that_decodes(made_trap, trap, gpu, monkeypatch):
    """By the stand-in for it, whatever can stay and whatever comes to the host."""
    path = made_trap(trap)
    with av.open(str(path), **TITLES) as container:
        stored = container.streams.video[0].codec_context.pix_fmt
    if stored not in fake_nvdec.STORED:
        pytest.skip(f"NVDEC does not know {stored}")
    nvdec = fake_nvdec.put_in_place(monkeypatch, fake_nvdec.FakeNvdec(gpu, asynchronous=False))
    stay = not trap.options.get("deinterlace")
    device = open_pictures(load(), "cpu", 1) if stay else None
    check(trap, *decode(path, True, device, decode_device="cuda", **trap.options))
    assert bool(nvdec.decoded) == stay
    if not re.match("wide|tall|ten-bit|pq|hlg", trap.name):
        assert nvdec.downloaded == []


def check(trap, rows, counts, info):
    """Raises AssertionError unless what was decoded is the truth about the trap."""
    assert [int(index) for index, *_ in rows] == list(range(len(rows))) and counts.frames == len(rows)
    assert (counts.damaged > 0) == trap.partial, counts
    assert (info.width_px, info.height_px) == trap.size
    sound = [(read_index(image), time_s, image) for _, time_s, damaged, image in rows if not damaged]
    if trap.at_least is None:
        assert [read_index(image) for *_, image in rows] == trap.shown
    else:
        assert len(sound) >= trap.at_least
        numbers = [number for number, *_ in sound]
        assert numbers == [number for number in trap.shown if number in numbers]  # in order, none twice
    times = dict(zip(trap.shown, trap.times or [i / 25 for i in range(len(trap.shown))], strict=True))
    for number, time_s, image in sound:
        assert abs(time_s - times[number]) <= trap.time_tolerance_s, number
        mean, color = far_from_truth(image, number)
        assert mean <= trap.tolerance and color <= trap.color_tolerance, (number, mean, color)
    for name, value in trap.counts.items():
        assert getattr(counts, name) == value, name


def by_ffmpeg(path, size, *options):
    """``(times, images)`` as the ffmpeg program decodes them."""
    from imageio_ffmpeg import get_ffmpeg_exe

    command = [
        get_ffmpeg_exe(),
        *options,
        "-i",
        str(path),
        "-map",
        "0:V:0",
        "-fps_mode",
        "passthrough",
        "-vf",
        "showinfo",
    ]
    done = subprocess.run([*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, timeout=60)
    times = [float(time) for time in re.findall(rb"pts_time:\s*([-0-9.]+)", done.stderr)]
    return times, np.frombuffer(done.stdout, np.uint8).reshape(-1, size[1], size[0], 3)


@pytest.mark.parametrize("trap", [trap for trap in TRAPS if trap.ffmpeg == "same"], ids=str)
def test_the_ffmpeg_program_shows_the_same(made_trap, trap):
    path = made_trap(trap)
    rows, _, _ = decode(path, **trap.options)
    times, images = by_ffmpeg(path, trap.size)
    assert len(images) == len(rows)
    for (_, time_s, damaged, image), their_s, theirs in zip(rows, times, images, strict=True):
        assert abs(time_s - (their_s - times[0])) <= max(trap.time_tolerance_s, 1e-3)
        if not damaged:  # swscale and ffmpeg's own copy of it round differently by a step or two
            assert np.abs(image.astype(int) - theirs).mean() < 1.5


def test_there_are_enough_traps():
    assert len(TRAPS) >= 25 and len({trap.name for trap in TRAPS}) == len(TRAPS)
