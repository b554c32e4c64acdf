"""Images as frames: which, in what order, upright, whole."""

import os
import struct

import numpy as np
import pytest
from PIL import Image

from cliffvid import Options
from cliffvid.errors import NotFoundError, NoVideoError, RefusedError, UnreadableError
from cliffvid.pipeline.counts import Counts
from cliffvid.video.image_files import Images
from cliffvid.video.open import open_source, source_of, stem
from cliffvid.video.reader import DecodeCounts, Video
from clips import EXIF, picture, read_index


def read(path, options=None, batch=4, **span):
    counts = DecodeCounts()
    with open_source(path, options) as source:
        return list(source.frames(batch, counts, **span)), counts, source.info


def write(folder, names, size=(96, 64), **how):
    folder.mkdir(exist_ok=True)
    for index, name in enumerate(names):
        Image.fromarray(picture(index, 2, *size)).save(folder / name, **how)
    return folder


def shown(tables):
    return [read_index(image.rgb()) for table in tables for image in table.images]


def test_a_folder_is_read_in_the_order_people_count(tmp_path):
    folder = write(tmp_path / "shot.v2", [f"img{i}.png" for i in (1, 2, 9, 10, 11, 100)])
    (folder / "notes.txt").write_text("not a picture")
    (folder / "._img1.png").write_bytes(b"a Mac's note")
    tables, counts, info = read(folder, Options(image_fps=50))
    assert shown(tables) == list(range(6)) == [int(i) for table in tables for i in table.frame_idx]
    np.testing.assert_allclose(np.concatenate([table.time_s for table in tables]), np.arange(6) / 50)
    assert (counts.frames, counts.damaged, counts.ignored_files) == (6, 0, 2)
    assert (info.frames_claimed, info.rate, info.width_px, info.height_px, info.codec) == (6, 50, 96, 64, "png")
    np.testing.assert_array_equal(tables[0].images[1].rgb(), picture(1, 2, 96, 64))
    assert stem(folder) == "shot.v2" and stem(folder / "img*.png") == "shot.v2"


def test_a_pattern_chooses_and_a_single_image_is_one_frame(tmp_path):
    folder = write(tmp_path / "shot", ["a1.png", "a2.png", "b1.png"])
    assert shown(read(folder / "a*.png")[0]) == [0, 1]
    tables, _, info = read(folder / "b1.png")
    assert shown(tables) == [2] and info.frames_claimed == 1
    with pytest.raises(NotFoundError, match=r"c\*.png: no such file"):
        open_source(folder / "c*.png")
    (folder / "film.mp4").write_bytes(b"")
    with pytest.raises(NoVideoError, match=r"matches files that are no images \(film.mp4\)"):
        open_source(folder / "*")


def test_span_and_stride_choose_by_time_and_number(tmp_path):
    folder = write(tmp_path / "shot", [f"{i:03}.png" for i in range(12)])
    options = Options(image_fps=10)
    assert shown(read(folder, options, start_s=0.3, end_s=0.8)[0]) == [3, 4, 5, 6, 7]
    assert shown(read(folder, options, start_s=0.3, end_s=1.1, stride=4)[0]) == [4, 8]


@pytest.mark.parametrize("orientation", EXIF)
def test_photos_are_turned_as_their_exif_says(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = picture(5, 2, 96, 64)
    for name in ("a.png", "a.jpg", "a.webp"):
        how = {"lossless": True} if name == "a.webp" else {"quality": 95, "subsampling": 0}
        Image.fromarray(stored).save(tmp_path / name, exif=exif, **how)
        tables, _, info = read(tmp_path / name)
        want = EXIF[orientation](stored)
        assert tables[0].images[0].rgb().shape == want.shape == (info.height_px, info.width_px, 3)
        error = np.abs(tables[0].images[0].rgb().astype(int) - want)
        assert error.max() == 0 if name != "a.jpg" else error.mean() < 2


def test_mixed_sizes_come_in_batches_of_one_size(tmp_path):
    for index, size in enumerate([(96, 64), (64, 96), (64, 96)]):
        Image.fromarray(picture(index, 2, *size)).save(tmp_path / f"{index}.png")
    tables, counts, _ = read(tmp_path, batch=8)
    assert [(len(table), *table.images[0].rgb().shape) for table in tables] == [(1, 64, 96, 3), (2, 96, 64, 3)]
    assert shown(tables) == [0, 1, 2] and counts.damaged == 0


# What a file's colours are worth: Pillow's mode -> the RGB of half grey, dark red and nothing at all. By their
# definitions: Rec. 601 for grey and YCbCr, sRGB's D50 white for CIELAB.
HALF, RED, BLACK = (128, 128, 128), (100, 0, 0), (0, 0, 0)
GREY = [HALF, (30, 30, 30), BLACK]
MODES = {
    "1": (np.array([[255, 0, 0]], np.uint8), [(255, 255, 255), BLACK, BLACK]),
    "L": (np.array([[128, 30, 0]], np.uint8), GREY),
    "LA": (np.array([[[128, 255], [30, 9], [0, 0]]], np.uint8), GREY),  # what is transparent is shown all the same
    "RGB": (np.array([[HALF, RED, BLACK]], np.uint8), [HALF, RED, BLACK]),
    "RGBA": (np.array([[(*HALF, 255), (*RED, 9), (0, 0, 0, 0)]], np.uint8), [HALF, RED, BLACK]),
    "CMYK": (np.array([[(127, 127, 127, 0), (155, 255, 255, 0), (0, 0, 0, 255)]], np.uint8), [HALF, RED, BLACK]),
    "YCbCr": (np.array([[(128, 128, 128), (30, 111, 178), (0, 128, 128)]], np.uint8), [HALF, RED, BLACK]),
    "LAB": (np.array([[(137, 0, 0), (49, 41, 30), (0, 0, 0)]], np.uint8), [HALF, RED, BLACK]),
    "I;16": (np.array([[128 << 8, 30 << 8, 255]], np.uint16), GREY),
    "I;16B": (np.array([[128 << 8, 30 << 8, 255]], ">u2"), GREY),
    "F": (np.array([[128 / 255, 30 / 255, 0]], np.float32), GREY),
}
HOLDS = {
    "png": ("1", "L", "LA", "RGB", "RGBA", "I;16", "I;16B"),
    "tif": tuple(MODES),
    "ppm": ("1", "L", "RGB", "RGBA", "I;16", "F"),
}


@pytest.mark.parametrize(("suffix", "mode"), [(suffix, mode) for suffix, modes in HOLDS.items() for mode in modes])
def test_every_kind_of_pixel_has_its_colour(tmp_path, suffix, mode):
    stored, wanted = MODES[mode]
    raw = "1;8" if mode == "1" else mode  # a byte a pixel
    Image.frombytes(mode, (3, 1), stored.tobytes(), "raw", raw).save(tmp_path / f"a.{suffix}")
    tables, counts, _ = read(tmp_path / f"a.{suffix}")
    error = np.abs(tables[0].images[0].rgb()[0].astype(int) - wanted)
    assert error.max() <= (3 if mode in ("YCbCr", "LAB") else 0) and counts.scaled == (mode == "F")


@pytest.mark.parametrize("mode", ["P", "PA"])
def test_palettes_are_looked_up(tmp_path, mode):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    image.putpalette([*HALF, *RED, *BLACK])
    for name in ("a.png", "a.tif") if mode == "P" else ("a.tif",):
        image.convert(mode).save(tmp_path / name)
        np.testing.assert_array_equal(read(tmp_path / name)[0][0].images[0].rgb()[0], [HALF, RED, BLACK])


@pytest.mark.parametrize(
    ("bits", "black_is_zero", "pixels", "grey"),
    [
        (12, 1, "800FFF 1E0000", [128, 255, 30, 0]),  # as microscopes write them: two values in three bytes
        (16, 1, "0080 FFFF 001E FF00", [128, 255, 30, 0]),
        (16, 0, "FF7F 0000 FFE1 FFFF", [128, 255, 30, 0]),  # as scanners of film do
    ],
)
def test_grey_of_more_bits_is_brought_to_eight(tmp_path, bits, black_is_zero, pixels, grey):
    data = bytes.fromhex(pixels)
    tags = {256: 4, 257: 1, 258: bits, 259: 1, 262: black_is_zero, 273: 8, 277: 1, 278: 1, 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + struct.pack("<H", len(tags))
    (tmp_path / "a.tif").write_bytes(head + entries + bytes(4))
    assert read(tmp_path / "a.tif")[0][0].images[0].rgb()[0, :, 0].tolist() == grey


def test_values_without_a_known_white_are_refused_and_their_images_named(tmp_path):
    folder = write(tmp_path / "shot", [f"{i}.png" for i in range(3)])
    kinds = {"f": np.float32([[0, 1.5]]), "g": np.float32([[np.nan, 0]]), "h": np.int32([[0, 70_000]])}
    for name, values in kinds.items():
        Image.fromarray(values).save(folder / f"{name}.tif")
        with pytest.raises(
            UnreadableError, match=rf"{name}.tif: .*(which of them is white|no numbers); save it with 8"
        ):
            read(folder / f"{name}.tif")
    Image.fromarray(np.float32([[0, 1]])).save(folder / "i.tif")
    tables, counts, _ = read(folder)
    assert [int(i) for table in tables for i in table.frame_idx] == [0, 1, 2, 6]
    warnings = Counts(decode=counts).warnings()
    assert "1 of the images hold floating-point values, 1 taken for white: i.tif" in warnings
    (unread,) = [warning for warning in warnings if "could not be read" in warning]
    assert unread.startswith("3 of the images could not be read: f.tif, g.tif, h.tif; ") and "which of them" in unread


def test_folders_name_what_they_leave_out(tmp_path):
    folder = write(tmp_path / "shot", ["1.png"])
    for name in (".hidden", *(f"{i}.txt" for i in (10, 9, 2)), os.fsdecode(b"caf\xe9"), "clip.mov", "z"):
        (folder / name).touch()
    _, counts, _ = read(folder)
    left_out = r"2.txt, 9.txt, 10.txt, caf\xe9, clip.mov and 2 more"
    assert Counts(decode=counts).warnings() == [f"7 of the folder's files left out, as no images: {left_out}"]


def test_damaged_images_are_skipped_counted_and_keep_their_number(tmp_path):
    folder = write(tmp_path / "shot", [f"{i}.jpg" for i in range(5)])
    (folder / "1.jpg").write_bytes((folder / "1.jpg").read_bytes()[:-400])
    (folder / "3.jpg").write_text("no picture")
    tables, counts, _ = read(folder)
    assert [int(i) for table in tables for i in table.frame_idx] == [0, 2, 4] and counts.damaged == 2
    for name in ("1.jpg", "3.jpg"):
        with pytest.raises(UnreadableError, match=f"{name}: not a readable image"):
            read(folder / name)


def test_what_is_no_picture_or_too_much_of_one_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoVideoError, match="holds no images"):
        open_source(tmp_path / "empty")
    with pytest.raises(NotFoundError):
        open_source(tmp_path / "missing.jpg")
    Image.new("1", (12_000, 9_000)).save(tmp_path / "bomb.png")  # 108 million pixels in 14 kB
    with pytest.raises(RefusedError, match="--max-frame-mpx 64"):
        read(tmp_path / "bomb.png")
    Image.new("RGB", (1000, 1000)).save(tmp_path / "large.png")
    with pytest.raises(RefusedError, match=r"--max-frame-mpx 0.5"):
        read(tmp_path / "large.png", Options(max_frame_mpx=0.5))
    blink = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    blink[0].save(tmp_path / "blink.webp", save_all=True, append_images=blink[1:])
    with pytest.raises(UnreadableError, match="more than one picture"):
        read(tmp_path / "blink.webp")
    (tmp_path / "script.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")
    with pytest.raises(UnreadableError):  # Pillow would hand PostScript to Ghostscript
        read(tmp_path / "script.jpg")


def test_names_choose_the_source(tmp_path, clip):
    assert isinstance(open_source(write(tmp_path / "a", ["1.png"])), Images)
    with open_source(clip) as source:
        assert isinstance(source, Video)
    for address in ("https://host/a.mp4", "rtsp://camera/1", "ftp://host/a.mp4"):
        assert source_of(address) == address
        with pytest.raises(RefusedError, match=r"--allow-network|addresses must begin with"):
            open_source(source_of(address))
    assert stem("https://host/dir/a.mp4?key=1") == "a"
