"""Images as frames: which, in what order, upright, whole."""

import numpy as np
import pytest
from PIL import Image

from cliffvid import Options
from cliffvid.decode import DecodeCounts, Video
from cliffvid.errors import NotFoundError, NoVideoError, RefusedError, UnreadableError
from cliffvid.images import Images
from cliffvid.source import open_source, source_of, stem
from clips import picture, read_index


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
    return [read_index(image) for table in tables for image in table.images]


def test_a_folder_is_read_in_the_order_people_count(tmp_path):
    folder = write(tmp_path / "shot.v2", [f"img{i}.png" for i in (1, 2, 9, 10, 11, 100)])
    (folder / "notes.txt").write_text("not a picture")
    (folder / "._img1.png").write_bytes(b"a Mac's note")
    tables, counts, info = read(folder, Options(image_fps=50))
    assert shown(tables) == list(range(6)) == [int(i) for table in tables for i in table.frame_idx]
    np.testing.assert_allclose(np.concatenate([table.time_s for table in tables]), np.arange(6) / 50)
    assert (counts.frames, counts.damaged, counts.ignored_files) == (6, 0, 2)
    assert (info.frames_claimed, info.rate, info.width_px, info.height_px, info.codec) == (6, 50, 96, 64, "png")
    np.testing.assert_array_equal(tables[0].images[1], picture(1, 2, 96, 64))
    assert stem(folder) == "shot.v2" and stem(folder / "img*.png") == "shot.v2"


def test_a_pattern_chooses_and_a_single_image_is_one_frame(tmp_path):
    folder = write(tmp_path / "shot", ["a1.png", "a2.png", "b1.png"])
    assert shown(read(folder / "a*.png")[0]) == [0, 1]
    tables, _, info = read(folder / "b1.png")
    assert shown(tables) == [2] and info.frames_claimed == 1
    with pytest.raises(NotFoundError, match=r"c\*.png: no such file"):
        open_source(folder / "c*.png")
    (folder / "film.mp4").write_bytes(b"")
    with pytest.raises(NoVideoError, match="matches files that are no images"):
        open_source(folder / "*")


def test_span_and_stride_choose_by_time_and_number(tmp_path):
    folder = write(tmp_path / "shot", [f"{i:03}.png" for i in range(12)])
    options = Options(image_fps=10)
    assert shown(read(folder, options, start_s=0.3, end_s=0.8)[0]) == [3, 4, 5, 6, 7]
    assert shown(read(folder, options, start_s=0.3, end_s=1.1, stride=4)[0]) == [4, 8]


# EXIF orientation -> what a viewer shows of the stored pixels (CIPA DC-008, 4.6.5.1.6)
EXIF = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: np.rot90(image, 2),
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).transpose(1, 0, 2),
    8: lambda image: np.rot90(image, 1),
}


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
        assert tables[0].images[0].shape == want.shape == (info.height_px, info.width_px, 3)
        error = np.abs(tables[0].images[0].astype(int) - want)
        assert error.max() == 0 if name != "a.jpg" else error.mean() < 2


def test_mixed_sizes_depths_and_colours_are_all_rgb(tmp_path):
    Image.fromarray(picture(0, 2, 96, 64)).save(tmp_path / "0.png")
    Image.fromarray(picture(1, 2, 64, 96)).save(tmp_path / "1.png")
    Image.fromarray(picture(2, 2, 64, 96)).convert("P").save(tmp_path / "2.png")
    Image.fromarray(picture(3, 2, 64, 96)).convert("CMYK").save(tmp_path / "3.jpg", quality=95)
    Image.fromarray(picture(4, 2, 64, 96)[..., 1].astype(np.uint16) * 257).save(tmp_path / "4.png")  # 16 bits of grey
    tables, counts, _ = read(tmp_path, batch=8)
    assert [np.stack(table.images).shape for table in tables] == [(1, 64, 96, 3), (4, 96, 64, 3)]
    assert shown(tables) == list(range(5)) and counts.damaged == 0
    np.testing.assert_array_equal(tables[1].images[3], picture(4, 2, 64, 96)[..., [1, 1, 1]])


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
    with pytest.raises(UnreadableError, match="an animation of 2 pictures"):
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
