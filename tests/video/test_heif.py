"""Photos of phones: HEIC in tiles, AVIF, whatever they are called, and where nothing reads them."""

import sys

import av
import numpy as np
import pytest
from PIL import Image, features

import needs
from cliffvid import Options
from cliffvid.errors import NoVideoError, RefusedError, UnreadableError
from cliffvid.video.image_files import Images, image_size
from cliffvid.video.open import open_source
from cliffvid.video.probe import probe
from cliffvid.video.reader import DecodeCounts, Video
from clips import EXIF, make_clip, picture, read_index

SIZE = (192, 144)
HEIC = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(100)  # as much of one as tells what it is


def read(path, options=None):
    counts = DecodeCounts()
    with open_source(path, options) as source:
        return [image.rgb() for table in source.frames(4, counts) for image in table.images], counts


def heic(path, image, orientation=1, **how):
    """An image as HEIC, or skips: the encoder comes with the reader."""
    pillow_heif = needs.package("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = orientation
    how = {"quality": 95, "chroma": 444, "exif": exif.tobytes()} | how
    pillow_heif.from_pillow(Image.fromarray(image)).save(path, **how)
    return path


def avif(path, image, orientation=1, **how):
    if not features.check("avif"):
        needs.lacks("avif", "this Pillow has no AVIF")
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(image).save(path, "AVIF", quality=95, subsampling="4:4:4", exif=exif, **how)
    return path


@pytest.mark.parametrize("name", ["a.heic", "a.HIF", "a.jpg", "a.mov", "a"])
def test_a_picture_in_tiles_is_whole_whatever_it_is_called(tmp_path, name):
    path = heic(tmp_path / name, picture(5, 3, *SIZE), tile_size=64)
    with av.open(str(path)) as container:
        assert [(stream.width, stream.height) for stream in container.streams.video] == [(64, 64)] * 9
    (image,), counts = read(path)
    assert image.shape == (144, 192, 3) and np.abs(image.astype(int) - picture(5, 3, *SIZE)).mean() < 2
    assert counts.damaged == 0 and image_size(path) == SIZE and probe(path)["displayed_px"] == [*SIZE]


@pytest.mark.parametrize("make", [heic, avif])
@pytest.mark.parametrize("orientation", EXIF)
def test_photos_are_upright(tmp_path, make, orientation):
    stored = picture(5, 2, 96, 64)
    path = make(tmp_path / f"a.{make.__name__}", stored, orientation)
    (image,), _ = read(path)
    want = EXIF[orientation](stored)
    assert image.shape == want.shape == (*image_size(path)[::-1], 3)
    assert np.abs(image.astype(int) - want).mean() < 2


def test_a_folder_of_them_is_in_order_and_a_burst_is_its_best_picture(tmp_path):
    for index in range(3):
        heic(tmp_path / f"IMG_{index}.HEIC", picture(index, 2, *SIZE))
    avif(tmp_path / "IMG_3.avif", picture(3, 2, *SIZE))
    pillow_heif = needs.package("pillow_heif")
    burst = pillow_heif.from_pillow(Image.fromarray(picture(9, 2, *SIZE)))
    burst.add_from_pillow(Image.fromarray(picture(4, 2, *SIZE)))
    burst.save(tmp_path / "IMG_4.heic", primary_index=1, quality=95)
    images, counts = read(tmp_path)
    assert [read_index(image) for image in images] == [0, 1, 2, 3, 4] and counts.damaged == 0


def test_more_bits_transparency_and_grey_have_their_colours(tmp_path):
    pillow_heif = needs.package("pillow_heif")
    rgb = picture(5, 3, *SIZE)
    grey = rgb[..., 1]
    deep = pillow_heif.from_bytes(mode="I;16", size=SIZE, data=(grey.astype(np.uint16) * 257).tobytes())
    deep.save(tmp_path / "deep.heic", quality=95)
    Image.fromarray(np.dstack([rgb, grey])).save(tmp_path / "clear.png")
    heic(tmp_path / "clear.heic", np.dstack([rgb, grey]))
    heic(tmp_path / "grey.heic", grey)
    for name, want in {"deep": grey[..., None], "clear": rgb, "grey": grey[..., None]}.items():
        (image,), _ = read(tmp_path / f"{name}.heic")
        assert image.shape == rgb.shape and np.abs(image.astype(int) - want).mean() < 2, name


@pytest.mark.parametrize("make", [heic, avif])
def test_the_rules_for_large_and_damaged_images_hold(tmp_path, make):
    path = make(tmp_path / f"a.{make.__name__}", picture(5, 3, *SIZE))
    with pytest.raises(RefusedError, match=r"larger than --max-frame-mpx 0.02"):
        read(path, Options(max_frame_mpx=0.02))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(UnreadableError, match=f"{path.name}: not a readable image"):
        read(path)


def test_an_animation_is_a_film_of_all_its_pictures(tmp_path):
    more = [Image.fromarray(picture(index, 2, *SIZE)) for index in range(1, 5)]
    path = avif(tmp_path / "a.avif", picture(0, 2, *SIZE), save_all=True, append_images=more, duration=40)
    images, _ = read(path)
    assert [read_index(image) for image in images] == [0, 1, 2, 3, 4]


def test_a_film_is_one_whatever_it_is_called(tmp_path):
    path = make_clip(tmp_path / "clip.mp4", frames=3).rename(tmp_path / "clip.heic")
    with open_source(path) as source:
        assert isinstance(source, Video)


def test_tiles_are_never_a_video(tmp_path):
    """Of a picture whose brand gives nothing away, and of one that was named as a video all the same."""
    path = heic(tmp_path / "a.mp4", picture(5, 3, *SIZE), tile_size=64)
    with pytest.raises(NoVideoError, match=r"a picture \(hei[cx]\), not a video"):
        Video(path)
    data = path.read_bytes()
    path.write_bytes(data[:8] + b"isom" + data[12:])
    for options in (Options(), Options(stream=0)):
        with pytest.raises(NoVideoError, match="0 tile of a picture, 1 tile of a picture"):
            open_source(path, options)


@pytest.mark.parametrize("broken", [False, True])
def test_where_nothing_reads_them_they_are_refused_with_what_to_do(tmp_path, monkeypatch, broken):
    for name in [name for name in sys.modules if name.split(".")[0] == "pillow_heif"]:
        monkeypatch.delitem(sys.modules, name)
    if broken:
        (tmp_path / "pillow_heif.py").write_text("raise ImportError('libheif.so.1: cannot open shared object file')")
        monkeypatch.syspath_prepend(tmp_path)
        words = r"installed but does not load: libheif.so.1: cannot open .*install it again, or save it as JPEG"
    else:
        monkeypatch.setitem(sys.modules, "pillow_heif", None)
        words = r'not installed: pip install "cliffvid\[heic\]", or save it as JPEG'
    folder = tmp_path / "shot"
    folder.mkdir()
    for name in ("1.png", "2.png"):
        Image.new("RGB", (8, 8)).save(folder / name)
    for name in ("3.HEIC", "4.mp4", "4.jpg"):
        (folder / name).write_bytes(HEIC)
        with pytest.raises(RefusedError, match=f"{name}: HEIC: pillow_heif is {words}"):
            open_source(folder / name)
    (folder / "5.HEIC").write_bytes(HEIC)
    with pytest.raises(RefusedError, match=f"3.HEIC: .*{words}"):  # before the work, not after half of it
        Images(folder)
    (folder / "3.HEIC").unlink()
    (folder / "5.HEIC").unlink()
    with pytest.raises(RefusedError, match=f"4.jpg: .*{words}"):
        read(folder)


def test_a_pillow_without_avif_is_told(tmp_path, monkeypatch):
    path = avif(tmp_path / "a.avif", picture(0, 2, *SIZE))
    check = features.check
    monkeypatch.setattr(features, "check", lambda feature: feature != "avif" and check(feature))
    with pytest.raises(RefusedError, match=r"a.avif: AVIF, which this Pillow does not read: pip install -U pillow"):
        open_source(path)
