"""Colours and sizes of displayed frames, against the standards' formulas."""

from itertools import product

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from cliffvid import Options
from cliffvid.errors import RefusedError
from cliffvid.video.color import Display, display_matrix, square_size
from cliffvid.video.reader import DecodeCounts, Video
from traps import ORIENTATIONS, encode_hdr

GREYS = [(v, v, v) for v in (0, 20, 90, 128, 200, 255)]
COLORS = [(200, 140, 110), (120, 80, 60), (60, 90, 140), (180, 60, 60), (60, 140, 70), (230, 200, 90), (200, 50, 20)]


def hdr_frame(colors, transfer):
    image = np.repeat(np.repeat(np.array([colors], np.uint8), 32, axis=0), 32, axis=1)
    frame = av.VideoFrame.from_ndarray(encode_hdr(image, transfer), format="rgb48le")
    frame = frame.reformat(format="yuv420p10le", dst_colorspace=9, dst_color_range=1)
    frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range = 9, 9, transfer, 1
    return frame


@pytest.mark.parametrize("transfer", [16, 18], ids=["pq", "hlg"])
def test_hdr_is_mapped_to_what_an_sdr_screen_shows(transfer):
    frame = hdr_frame(GREYS + COLORS, transfer)
    shown = Display(Options()).show(frame, None)[16, 16::32].astype(int)
    error = np.abs(shown - np.array(GREYS + COLORS))
    assert error[: len(GREYS)].max() <= 1 and error.max() <= 8
    with pytest.raises(RefusedError, match="HDR"):
        Display(Options(hdr="refuse")).show(frame, None)


def test_colours_by_rule():
    """One frame coded by BT.709 without a tag, read by each rule."""
    image = np.full((720, 64, 3), (200, 50, 20), np.uint8)
    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p", dst_colorspace=1)
    frame.colorspace = 2
    y, cb, cr = (float(np.frombuffer(plane, np.uint8)[0]) for plane in frame.planes)

    def decoded(kr, kb):  # ITU-T H.273, equations 35 to 39, limited range
        r = (y - 16) / 219 + 2 * (1 - kr) * (cr - 128) / 224
        b = (y - 16) / 219 + 2 * (1 - kb) * (cb - 128) / 224
        g = ((y - 16) / 219 - kr * r - kb * b) / (1 - kr - kb)
        return np.clip(np.array([r, g, b]) * 255, 0, 255)

    want = {"auto": (0.2126, 0.0722), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}
    want |= {"official": (0.299, 0.114), "bt601": (0.299, 0.114)}
    for rule, constants in want.items():
        shown = Display(Options(matrix=rule)).show(frame, None)[360, 32]
        assert np.abs(shown - decoded(*constants)).max() <= 3, rule
    assert np.abs(decoded(0.2126, 0.0722) - (200, 50, 20)).max() <= 3


def converted(frame):
    """What FFmpeg's own converter makes of a frame."""
    rgb = VideoReformatter().reformat(frame, frame.width, frame.height, "rgb24")
    rows = np.frombuffer(rgb.planes[0], np.uint8).reshape(frame.height, -1)
    return rows[:, : 3 * frame.width].reshape(frame.height, frame.width, 3)


def noise(width, height, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_plain_frames_are_to_the_bit_what_ffmpegs_converter_makes_of_them():
    display, shown = Display(Options()), []
    sizes = ((64, 48), (65, 49), (2, 2), (1, 1), (1366, 768), (1366, 768))
    for (width, height), matrix, span in product(sizes, (1, 5, 6, 9), (0, 1, 2)):
        frame = av.VideoFrame.from_ndarray(noise(width, height), format="rgb24").reformat(format="yuv420p")
        frame.colorspace, frame.color_range = matrix, span
        shown.append((display.show(frame, None), converted(frame)))
    for got, want in shown:  # all of them still there: no frame's memory is taken again before it was let go
        np.testing.assert_array_equal(got, want)


def coded(path, params):
    """A film of three frames of noise, by x264 with these parameters."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"x264-params": params})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise(64, 48, index), format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("params", ["interlaced=1:tff=1", "chromaloc=2", "colormatrix=fcc"])
def test_films_are_shown_as_ffmpegs_converter_does(tmp_path, params):
    display = Display(Options(matrix="official"))
    with av.open(str(coded(tmp_path / "a.mp4", params))) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 3 and all(frame.interlaced_frame == ("tff" in params) for frame in frames)
    for frame in frames:
        np.testing.assert_array_equal(display.show(frame, None), converted(frame))


@pytest.mark.parametrize("planes", [False, True])
def test_colours_that_ffmpeg_does_not_convert_are_told_and_can_be_read_as_others(tmp_path, planes):
    film = coded(tmp_path / "a.mp4", "colormatrix=YCgCo")
    with Video(film, Options()) as video, pytest.raises(RefusedError, match=r"a\.mp4: .* colours .*--matrix: bt601"):
        next(video.frames(1, DecodeCounts(), planes=planes))
    with Video(film, Options(matrix="bt709")) as video:
        assert sum(map(len, video.frames(1, DecodeCounts(), planes=planes))) == 3


def test_pixels_become_square_and_none_is_lost():
    from fractions import Fraction

    assert square_size(720, 576, Fraction(64, 45)) == (1024, 576)
    assert square_size(720, 480, Fraction(8, 9)) == (720, 540)
    assert square_size(720, 480, None) == square_size(720, 480, Fraction(0)) == (720, 480)
    with pytest.raises(RefusedError, match="--max-frame-mpx 64"):  # a lie about the pixels is a bomb too
        Display(Options()).show(av.VideoFrame(64, 64, "yuv420p"), Fraction(100_000))


def test_side_data_that_pyav_does_not_know_still_tells_the_angle():
    class Frame:
        @property
        def side_data(self):
            raise ValueError("31 is not a valid Type")

    for (a, b, c, d), rotation in [((1, 0, 0, 1), 0), ((0, 1, -1, 0), -90), ((-1, 0, 0, -1), 180), ((0, -1, 1, 0), 90)]:
        frame = Frame()
        frame.rotation = rotation
        assert display_matrix(frame)[:2, :2].tolist() == [[a, b], [c, d]] and (a, b, c, d) in ORIENTATIONS
