"""What probe tells, against what the films were made of."""

import pytest

from cliffvid import Options
from cliffvid.errors import NotFoundError
from cliffvid.video.probe import probe
from clips import film, make_clip, picture
from traps import ORIENTATIONS, TRAPS

BY_NAME = {trap.name: trap for trap in TRAPS}


def made(tmp_path, name):
    BY_NAME[name].make(tmp_path / name)
    return tmp_path / name


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("plain.mp4", {"codec": "h264", "bit_depth": 8, "stored_px": [192, 144], "rate": 25.0, "rate_varies": False}),
        ("uneven.mkv", {"container": "matroska,webm", "rate_varies": True}),
        ("offset.ts", {"container": "mpegts", "rate_varies": False}),
        ("ten-bit.mkv", {"bit_depth": 10, "pixel_format": "yuv420p10le"}),
        ("wide-pixels.mp4", {"pixel_aspect": "2", "stored_px": [96, 144], "displayed_px": [192, 144]}),
        ("tall-pixels.mkv", {"pixel_aspect": "1/2", "stored_px": [192, 72], "displayed_px": [192, 144]}),
        ("tagged-709.mp4", {"matrix": "bt709", "range": "limited", "matrix_used": "bt709"}),
        ("full-range.mp4", {"range": "full"}),
        ("untagged-sd.mp4", {"matrix": None, "matrix_used": "bt601"}),
        ("untagged-hd.mp4", {"matrix": None, "matrix_used": "bt709"}),
        ("pq.mp4", {"hdr": "pq", "matrix": "bt2020", "primaries": "bt2020", "bit_depth": 10}),
        ("hlg.mp4", {"hdr": "hlg"}),
        ("woven.mpg", {"interlaced": True}),
        ("two-streams.mp4", {"stream": 1}),
    ],
)
def test_facts(tmp_path, name, facts):
    told = probe(made(tmp_path, name))
    assert told | facts == told
    assert told["scan"] is None


@pytest.mark.parametrize("abcd", ORIENTATIONS)
def test_orientation_is_told_as_a_mirror_and_a_turn(tmp_path, abcd):
    a, b, c, d = (v << 16 for v in abcd)
    path = film(tmp_path / "a.mp4", [picture(0, 1, 96, 64)], display=(a, b, 0, c, d, 0, 0, 0, 1 << 30))
    told = probe(path)
    x, y = -1 if told["mirrored"] else 1, 0  # the picture's right: mirrored, then turned clockwise, y pointing down
    for _ in range(told["rotation_deg"] // 90):
        x, y = -y, x
    assert (x, y) == abcd[:2] and told["mirrored"] == (abcd[0] * abcd[3] - abcd[1] * abcd[2] < 0)
    assert told["displayed_px"] == ([64, 96] if abcd[0] == 0 else [96, 64])


def test_claims_and_findings_are_told_apart(tmp_path):
    whole, cut = made(tmp_path, "plain.mp4"), made(tmp_path, "cut.mp4")
    told = probe(whole, count=True)
    assert told["header"]["frames"] == told["scan"]["frames"] == 12 and told["scan"]["damaged"] == 0
    assert told["scan"]["duration_s"] == pytest.approx(12 / 25)
    told = probe(cut, count=True)
    assert told["header"]["frames"] == 24 > told["scan"]["frames"] and told["scan"]["damaged"] > 0
    told = probe(made(tmp_path, "decode-times.avi"), count=True)["scan"]
    assert (told["frames"], told["damaged"], told["clock_jumps"]) == (12, 0, 0)
    assert told["duration_s"] == pytest.approx(12 / 25) and not told["rate_varies"]
    assert probe(made(tmp_path, "resized.ts"), count=True)["scan"]["stored_sizes_px"] == [[192, 144], [128, 96]]
    streams = probe(made(tmp_path, "cover.mp4"))["streams"]
    assert [s["attached_picture"] for s in streams] == [False, True]
    sound = probe(make_clip(tmp_path / "sound.mp4", frames=3, audio=True))["streams"]
    assert [s["type"] for s in sound] == ["video", "audio"]


def test_images_are_told_too(tmp_path):
    from PIL import Image

    for index in range(3):
        Image.fromarray(picture(index, 1, 96, 64)).save(tmp_path / f"{index}.png")
    told = probe(tmp_path, Options(image_fps=50), count=True)
    assert told["header"] == {"frames": 3, "rate": "50", "duration_s": 0.06} and told["scan"]["frames"] == 3
    with pytest.raises(NotFoundError):
        probe(tmp_path / "missing.mp4")
