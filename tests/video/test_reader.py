import struct
from pathlib import Path

import av
import numpy as np
import pytest

from cliffvid import InputError, Options
from cliffvid.video import container
from cliffvid.video.deinterlace import DisplayedFrame
from cliffvid.video.images.orientation import Orientation
from cliffvid.video.images.rgb import RgbImage
from cliffvid.video.reader import DecodeCounts, Video, batches
from clips import film, index_first, make_clip, picture, read_index
from plane_frames import smooth, stored
from traps import ORIENTATIONS, TRAPS, remuxed, with_packet


def decode(path, batch=7, **times):
    counts = DecodeCounts()
    with Video(path) as video:
        return list(video.frames(batch, counts, **times)), counts


def indices(tables):
    return [int(i) for table in tables for i in table.frame_idx]


@pytest.mark.parametrize("batch", [1, 7, 30, 64])
def test_every_frame_once_in_order_with_its_time_and_pixels(clip, batch):
    tables, counts = decode(clip, batch)
    assert indices(tables) == list(range(30)) == [read_index(image.rgb()) for table in tables for image in table.images]
    assert [len(table) for table in tables] == [batch] * (30 // batch) + ([30 % batch] if 30 % batch else [])
    np.testing.assert_allclose(np.concatenate([table.time_s for table in tables]), np.arange(30) / 25, atol=1e-9)
    assert (counts.frames, counts.damaged, counts.first_pts) == (30, 0, 0)
    pixels = tables[0].images[0].rgb().astype(int)
    assert np.abs(pixels - picture(0, 3, 192, 144)).mean() < 4  # 4:2:0 blurs the edges of colours


def test_images_of_a_batch_are_of_one_kind_and_size():
    """Whoever takes a batch asks its first image alone."""
    images = [RgbImage(smooth()), stored(smooth()), stored(smooth()), RgbImage(smooth()), RgbImage(smooth(96, 160))]
    frames = [DisplayedFrame(image, i, i, i / 25, False) for i, image in enumerate(images)]
    assert [indices([table]) for table in batches(frames, 8, DecodeCounts(), "film")] == [[0], [1, 2], [3], [4]]


def test_an_uneven_clock_keeps_its_true_times(tmp_path):
    times = [90000 + 3600 * i + (1700 if i % 3 == 0 else 0) for i in range(20)]
    tables, counts = decode(make_clip(tmp_path / "vfr.mkv", frames=20, times=times))
    got = np.concatenate([table.time_s for table in tables])
    np.testing.assert_allclose(got, (np.array(times) - times[0]) / 90000, atol=1e-3)
    assert counts.first_pts is not None and indices(tables) == list(range(20))


@pytest.mark.parametrize(("start_s", "end_s"), [(0, 0.4), (0.32, 0.8), (0.321, 99), (5, 6)])
def test_a_time_range_is_half_open_and_keeps_frame_numbers(clip, start_s, end_s):
    tables, _ = decode(clip, start_s=start_s, end_s=end_s)
    want = [i for i in range(30) if start_s <= i / 25 < end_s]
    assert indices(tables) == want == [read_index(image.rgb()) for table in tables for image in table.images]


@pytest.mark.parametrize("abcd", ORIENTATIONS)
def test_orientation(clip, tmp_path, abcd):
    a, b, c, d = (v << 16 for v in abcd)
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    matrix = np.array([[a, b, 0], [c, d, 0], [0, 0, 1 << 30]], np.int32)
    np.testing.assert_array_equal(Orientation.of(matrix).show(image), ORIENTATIONS[abcd](image))
    # the same through a real file, whose track header's matrix is replaced
    data = bytearray(clip.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    shift_x, shift_y = (192 << 16) * (a < 0 or c < 0), (144 << 16) * (d < 0 or b < 0)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, shift_x, shift_y, 1 << 30)
    (tmp_path / "turned.mp4").write_bytes(data)
    plain, turned = decode(clip)[0][0].images[0].rgb(), decode(tmp_path / "turned.mp4")[0][0].images[0].rgb()
    np.testing.assert_array_equal(turned, ORIENTATIONS[abcd](plain))


@pytest.mark.parametrize("at", ["inside a packet", "between two packets"])
def test_a_cut_file_gives_what_is_there_and_says_so(clip, tmp_path, at):
    data = index_first(clip, tmp_path / "whole.mp4").read_bytes()
    with av.open(str(tmp_path / "whole.mp4")) as source:
        packet = [packet for packet in source.demux(video=0) if packet.size][20]
    assert decode(tmp_path / "whole.mp4")[1].damaged == 0
    (tmp_path / "cut.mp4").write_bytes(data[: packet.pos + (packet.size // 2 if at == "inside a packet" else 0)])
    tables, counts = decode(tmp_path / "cut.mp4")
    assert 15 < counts.frames <= 21 and counts.damaged > 0
    assert indices(tables) == list(range(counts.frames))


def test_a_cut_matroska_file_says_so(tmp_path):
    path = make_clip(tmp_path / "whole.mkv", frames=100)
    assert decode(path)[1].damaged == 0
    (tmp_path / "cut.mkv").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    counts = decode(tmp_path / "cut.mkv")[1]
    assert 30 < counts.frames < 70 and counts.damaged > 0


def test_broken_packets_are_skipped_counted_and_the_rows_after_them_flagged(clip, tmp_path):
    with av.open(str(clip)) as source, av.open(str(tmp_path / "rot.mkv"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for index, packet in enumerate(source.demux(video=0)):
            if packet.dts is None:
                continue
            if index in (5, 6):  # a frame whose head is whole and whose body is noise
                data = bytes(packet)
                broken = av.Packet(data[:12] + np.random.default_rng(0).bytes(len(data) - 12))
                broken.pts, broken.dts, broken.time_base = packet.pts, packet.dts, packet.time_base
                packet = broken
            packet.stream = stream
            target.mux(packet)
    tables, counts = decode(tmp_path / "rot.mkv")
    assert counts.damaged >= 2 and counts.frames >= 26
    shown = [read_index(image.rgb()) for table in tables for image in table.images]
    flagged = np.concatenate([table.damaged for table in tables])
    assert flagged.any() and not flagged[0] and not flagged[shown.index(24) :].any()  # a key frame heals


def test_sound_and_cover_art_are_not_the_film(tmp_path):
    path = make_clip(tmp_path / "sound.mp4", frames=0, video=False, audio=True)
    with pytest.raises(InputError, match="no video stream; its streams: 0 audio"):
        Video(path)
    with av.open(str(tmp_path / "cover.mp4"), "w") as target:
        cover = target.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 512, 512, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        film = target.add_stream("libx264", rate=25)
        film.width, film.height, film.pix_fmt = 64, 48, "yuv420p"
        for index in range(3):
            if index == 0:
                target.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((512, 512, 3), np.uint8))))
            target.mux(film.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8))))
        target.mux(film.encode(None))
    with Video(tmp_path / "cover.mp4") as video:
        assert (video.info.width_px, video.info.height_px) == (64, 48)


def test_interlaced_frames_are_counted(tmp_path):
    trap = next(trap for trap in TRAPS if trap.name == "woven.mpg")
    trap.make(tmp_path / trap.name)
    assert (decode(tmp_path / trap.name)[1].interlaced, decode(tmp_path / trap.name)[1].deinterlaced) == (12, 0)


def test_a_name_that_looks_like_a_protocol_is_a_file(clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "concat:a.mp4").write_bytes(clip.read_bytes())
    assert decode(Path("concat:a.mp4"))[1].frames == 30


@pytest.mark.parametrize("how", ["noise", "half", "no head"])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_frame_not_flagged_is_the_true_one(tmp_path, how, threads):
    """Packet by packet is broken, so that the decoder notices: every frame that then looks different is flagged."""
    options = {"preset": "medium", "bf": "3", "g": "12", "x264-params": "b-pyramid=normal:open-gop=1"}
    whole = film(tmp_path / "whole.mkv", [picture(index, 3, 192, 144) for index in range(30)], options=options)

    def rows(path):
        with Video(path, Options(threads=threads)) as video:
            tables = list(video.frames(8, DecodeCounts()))
        return {
            int(p): (bool(d), image.rgb())
            for t in tables
            for p, d, image in zip(t.pts, t.damaged, t.images, strict=True)
        }

    noise = np.random.default_rng(0).bytes
    broken = {
        "noise": lambda data: data[:12] + noise(len(data) - 12),
        "half": lambda data: data[: len(data) // 2],
        "no head": lambda data: noise(len(data)),
    }[how]
    truth, reached = rows(whole), 0
    for which in range(1, 30, 2):
        hit = []

        def change(index, packet, which=which, hit=hit):
            if index != which:
                return packet
            hit.append(packet.pts)
            return with_packet(packet, broken(bytes(packet)))

        remuxed(whole, tmp_path / "broken.mkv", change)
        for pts, (damaged, rgb) in rows(tmp_path / "broken.mkv").items():
            different = np.abs(rgb.astype(int) - truth[pts][1]).max() > 0
            assert damaged or not different, (which, pts)
            reached += different
    assert reached > 20


@pytest.mark.parametrize(("cores", "threads", "used"), [(2, 0, 4), (12, 0, 16), (2, 3, 3), (2, 1, 1)])
def test_threads_of_the_decoder_suit_the_cores_unless_told(clip, monkeypatch, cores, threads, used):
    monkeypatch.setattr(container, "usable_cores", lambda: cores)
    opened, stream = container.open_video(clip, Options(), threads)
    assert stream.codec_context.thread_count == used
    opened.close()
