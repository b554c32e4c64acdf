"""Colours and sizes of displayed frames, against the standards' formulas."""

import av
import numpy as np
import pytest

from cliffvid import Options
from cliffvid.display import Display, display_matrix, square_size
from cliffvid.errors import RefusedError
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
