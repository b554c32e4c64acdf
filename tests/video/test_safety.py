"""Hostile inputs: nothing but the file that was named is read, and nothing too large is begun."""

import ctypes
import http.server
import os
import threading
from contextlib import suppress

import numpy as np
import pytest

from cliffvid import Options
from cliffvid.errors import BackendError, EmptyError, NotFoundError, RefusedError, UnreadableError
from cliffvid.video.reader import DecodeCounts, Video
from clips import film, make_clip, picture

M3U8 = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n%s\n#EXT-X-ENDLIST\n"
PLAYLISTS = {
    "m3u8": M3U8 % "{uri}",
    "m3u8 of a relative name": M3U8 % "{name}",
    "m3u8 of an address": M3U8 % "{address}",
    "concat": "ffconcat version 1.0\nfile {name}\n",
    "concat of an address": "ffconcat version 1.0\nfile {address}\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
    "<Representation><BaseURL>{address}</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "text": "hello\n" * 1000,
}


class Opened:
    """Whether a file was opened since, by whatever code: Linux's inotify, because FFmpeg does not go through Python."""

    def __init__(self, path):
        libc = ctypes.CDLL(None)
        self._fd = libc.inotify_init1(os.O_NONBLOCK)
        assert self._fd >= 0 and libc.inotify_add_watch(self._fd, str(path).encode(), 0x20 | 0x1) > 0  # open, access

    def __call__(self) -> bool:
        try:
            return bool(os.read(self._fd, 4096))
        except BlockingIOError:
            return False


@pytest.fixture
def server(tmp_path):
    """``(address of a folder, names that were asked for)``."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=tmp_path)

        def do_GET(self):
            asked.append(self.path.strip("/"))
            super().do_GET()

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}", asked
        serving.shutdown()
        thread.join()


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("name", ["list.mp4", "list.m3u8", "list.txt"])
def test_playlists_read_nothing(clip, tmp_path, server, kind, name):
    address, asked = server
    bait = tmp_path / "bait.mp4"
    bait.write_bytes(clip.read_bytes())
    words = {"uri": bait.as_uri(), "name": bait.name, "address": f"{address}/bait.mp4"}
    (tmp_path / name).write_text(PLAYLISTS[kind].format(**words))
    opened = Opened(bait)
    with pytest.raises(UnreadableError, match="not a readable video"):
        Video(tmp_path / name)
    with pytest.raises(UnreadableError):
        Video(f"{address}/{name}", Options(allow_network=True))
    assert not opened() and "bait.mp4" not in asked
    bait.read_bytes()
    assert opened()  # the watch would have told


def gone_but_open() -> int:
    """Count the files that this process has open and that have no name."""
    count = 0
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the list itself
            count += os.readlink(f"/proc/self/fd/{number}").endswith(" (deleted)")
    return count


def test_addresses_are_read_only_on_demand(clip, server, tmp_path):
    address, asked = server
    (tmp_path / "film.mp4").write_bytes(clip.read_bytes())
    with pytest.raises(RefusedError, match="--allow-network"):
        Video(f"{address}/film.mp4")
    for other in ("ftp://127.0.0.1/film.mp4", "file:///etc/passwd", "concat://a|b", "data://text,hello"):
        with pytest.raises(RefusedError, match="addresses must begin with rtsp, s3, gs, http, https"):
            Video(other, Options(allow_network=True))
    assert asked == []
    with Video(f"{address}/film.mp4", Options(allow_network=True)) as near, Video(clip) as here:
        ours, theirs = (
            np.stack([image.rgb() for t in v.frames(30, DecodeCounts()) for image in t.images]) for v in (near, here)
        )
    np.testing.assert_array_equal(ours, theirs)
    before = gone_but_open()
    with Video(f"{address}/film.mp4", Options(allow_network=True)) as kept:  # its server knows no ranges
        assert gone_but_open() == before + 1
    assert gone_but_open() == before and kept  # and not only once ``kept`` is gone
    with pytest.raises(NotFoundError, match="the server has no such file"):
        Video(f"{address}/missing.mp4", Options(allow_network=True))


@pytest.mark.parametrize(("codec", "name"), [("mpeg4", "bomb.avi"), ("libx264", "bomb.mp4"), ("libx264", "bomb.ts")])
def test_a_frame_that_is_too_large_is_refused_before_it_is_decoded(tmp_path, codec, name):
    path = film(tmp_path / name, [picture(0, 1, 640, 480)], codec=codec)
    with pytest.raises(RefusedError, match=r"640 x 480 pixels are above --max-frame-mpx 0\.3"):
        Video(path, Options(max_frame_mpx=0.3))
    with Video(path, Options(max_frame_mpx=0.31)) as video:
        assert sum(len(t) for t in video.frames(1, DecodeCounts())) == 1


def test_a_stream_that_grows_midway_is_not_followed(tmp_path):
    small, large = (film(tmp_path / f"{w}.ts", [picture(i, 1, w, w) for i in range(8)]) for w in (96, 640))
    (tmp_path / "grows.ts").write_bytes(small.read_bytes() + large.read_bytes())
    counts = DecodeCounts()
    with Video(tmp_path / "grows.ts", Options(max_frame_mpx=0.1)) as video:
        tables = list(video.frames(4, counts))
    assert {image.size_wh for table in tables for image in table.images} == {(96, 96)} and counts.damaged >= 8


def test_each_kind_of_bad_input_has_its_class(tmp_path):
    with pytest.raises(NotFoundError):
        Video(tmp_path / "missing.mp4")
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    with pytest.raises(NotFoundError):
        Video(tmp_path / "loop.mp4")
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(EmptyError):
        Video(tmp_path / "empty.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(RefusedError, match="not a regular file"):  # opening it would wait for ever
        Video(tmp_path / "pipe.mp4")


def test_cuda_decoding_that_is_not_there_is_told(clip):
    from av.codec.hwaccel import hwdevices_available

    if os.path.exists("/dev/nvidia0"):
        pytest.skip("this machine has an NVIDIA GPU")
    assert "cuda" in hwdevices_available()  # FFmpeg has it; the device is missing
    with pytest.raises(BackendError, match="--decode-device cpu"):
        Video(clip, Options(decode_device="cuda"))


def test_what_is_wrong_with_one_file_is_not_said_of_the_cuda_device(tmp_path):
    """In a bulk job the others go on."""
    broken, gif = tmp_path / "broken.mp4", make_clip(tmp_path / "clip.gif", frames=2, codec="gif", pix_fmt="rgb8")
    broken.write_bytes(b"no video" * 1000)
    with pytest.raises(UnreadableError, match=r"broken.mp4: not a readable video"):
        Video(broken, Options(decode_device="cuda"))
    with pytest.raises(UnreadableError, match=r"clip.gif: .*no stream is compatible.*--decode-device cpu"):
        Video(gif, Options(decode_device="cuda"))


@pytest.mark.needs_cuda
def test_cuda_decoding_shows_the_same(tmp_path):
    path = make_clip(tmp_path / "clip.mp4", frames=30, people=3, size=(320, 240))
    images = []
    for device in ("cpu", "cuda"):
        with Video(path, Options(decode_device=device)) as video:
            (frames,) = video.frames(30, DecodeCounts())
        images.append(np.stack([image.rgb() for image in frames.images]).astype(int))
    assert images[0].shape == images[1].shape and np.abs(images[0] - images[1]).mean() < 2
