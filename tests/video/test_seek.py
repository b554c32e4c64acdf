"""--start and --end against a decode of the whole film, for random cuts and group structures."""

import functools
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cliffvid import Options
from cliffvid.video import reader as decode
from cliffvid.video.reader import DecodeCounts, Video
from cliffvid.video.seek import cuts
from clips import X264, film, picture
from decode_times import copied, packed

FRAMES = 60
MPEG4 = {"codec": "mpeg4", "options": {"q": "4", "bf": "2", "g": "9"}}
VP9 = {"codec": "libvpx-vp9", "options": {"crf": "30", "deadline": "realtime", "cpu-used": "8", "g": "14"}}
HEVC = {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=15:bframes=3:open-gop=1"}}
OPEN_GOP = X264 | {"preset": "medium", "x264-params": "open-gop=1:keyint=11:bframes=3:b-pyramid=normal"}
UNEVEN = [900000 + 3600 * i + (1500 if i % 3 == 1 else 0) for i in range(FRAMES)]  # the clock does not begin at 0
KINDS = {
    "one-key.mp4": {"options": X264 | {"g": "500"}},
    "all-keys.mkv": {"options": X264 | {"g": "1"}},
    "closed.mp4": {"options": X264 | {"preset": "medium", "bf": "3", "g": "12"}},
    "closed.ts": {"options": X264 | {"preset": "medium", "bf": "3", "g": "12"}},
    "open.mkv": {
        "options": X264 | {"preset": "medium", "x264-params": "open-gop=1:keyint=11:bframes=3:b-pyramid=normal"}
    },
    "open.ts": {
        "options": X264 | {"preset": "medium", "x264-params": "open-gop=1:keyint=11:bframes=3:b-pyramid=normal"}
    },
    "refresh.mp4": {"options": X264 | {"x264-params": "intra-refresh=1:keyint=12"}},
    "sparse.flv": {"options": X264 | {"g": "25"}},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {"q": "3", "bf": "2", "g": "10"}},
    "mpeg4.avi": MPEG4,
    "vp9.webm": VP9,
    "hevc.mp4": HEVC,
    "raw.h264": {"options": X264 | {"g": "12"}},
    **{
        f"{name}.{suffix}": how
        for name, how in {
            "by-dts-closed": {"options": X264 | {"preset": "medium", "bf": "3", "g": "12"}},
            "by-dts-open": {"options": OPEN_GOP},
            "by-dts-packed": MPEG4,
        }.items()
        for suffix in ("avi", "mp4", "mkv")
    },
}


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A function from a kind and a clock to a film and all of its frames."""
    folder = tmp_path_factory.mktemp("seek")

    @functools.cache
    def make(kind, uneven):
        path = folder / f"{uneven}-{kind}"
        steady = KINDS[kind].get("codec") in ("mpeg4", "mpeg2video") or kind.startswith("raw")
        times = (
            [900000 + 3600 * i + (1500 if i % 3 == 1 else 0) for i in range(FRAMES)] if uneven and not steady else None
        )
        how = {"pictures": [picture(index, 3, 96, 96) for index in range(FRAMES)], **KINDS[kind]}
        if kind.startswith("by-dts"):
            raw, change = ("m4v", packed) if "codec" in how else ("h264", iter)
            copied(lambda source: film(source, **how), raw, change)(path)
        else:
            film(path, times=times, **how)
        return path, read(path)

    return make


def read(path, options=None, **span):
    """``[(frame_idx, pts, time_s, damaged, checksum of the pixels)]`` of the frames in a span."""
    with Video(path, options) as video:
        tables = list(video.frames(8, DecodeCounts(), **span))
    rows = [row for t in tables for row in zip(t.frame_idx, t.pts, t.time_s, t.damaged, t.images, strict=True)]
    return [(int(i), int(p), float(s), bool(d), zlib.crc32(image.rgb().tobytes())) for i, p, s, d, image in rows]


@given(
    kind=st.sampled_from(list(KINDS)),
    uneven=st.booleans(),
    start=st.one_of(st.floats(0, 2.6), st.integers(0, FRAMES).map(lambda i: i / 25)),
    length=st.one_of(st.floats(0.001, 3), st.integers(1, FRAMES).map(lambda i: i / 25)),
    stride=st.integers(1, 5),
)
def test_a_span_holds_exactly_the_frames_of_its_half_open_range(films, kind, uneven, start, length, stride):
    path, whole = films(kind, uneven)
    assert [row[0] for row in whole] == list(range(FRAMES))
    end = start + length
    want = [row for row in whole if start <= row[2] < end and row[0] % stride == 0]
    assert read(path, start_s=start, end_s=end, stride=stride) == want


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_can_be_the_first(films, kind):
    path, whole = films(kind, True)
    for row in whole[1::7]:
        assert read(path, start_s=row[2], end_s=row[2] + 0.1) == [r for r in whole if row[2] <= r[2] < row[2] + 0.1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_pieces_are_together_the_whole(films, kind):
    path, whole = films(kind, False)
    with Video(path) as video:
        times, frames = cuts(video, 0.4)
    assert frames == FRAMES or not times
    spans = pairwise([0.0, *times, float("inf")])
    assert [row for start, end in spans for row in read(path, start_s=start, end_s=end)] == whole


@pytest.mark.parametrize("kind", ["closed.mp4", "open.mkv", "closed.ts", "vp9.webm", "hevc.mp4", "mpeg4.avi"])
def test_seeking_decodes_little(films, kind, monkeypatch):
    path, whole = films(kind, False)
    decoded = []

    class Counting(decode.Damage):
        def show(self, frame):
            decoded.append(frame.pts)
            return super().show(frame)

    monkeypatch.setattr(decode, "Damage", Counting)
    assert read(path, start_s=whole[50][2]) == whole[50:]
    assert len(decoded) < 45  # of 60: some for the first frame's time, then from a key frame at most 36 before


@pytest.mark.parametrize("start", range(1, 24, 3))
def test_deinterlacing_looks_back_over_the_cut(tmp_path, start):
    images = [picture(index, 3, 96, 96) for index in range(25)]
    for index in range(24):
        images[index] = images[index].copy()
        images[index][::2] = images[index + 1][::2]
    options = {"q": "2", "g": "6", "bf": "0", "flags": "+ildct+ilme"}
    path = film(tmp_path / "woven.mpg", images[:24], codec="mpeg2video", options=options)
    whole = read(path, Options(deinterlace=True))
    assert read(path, Options(deinterlace=True), start_s=whole[start][2], end_s=0.9) == [
        r for r in whole[start:] if r[2] < 0.9
    ]
