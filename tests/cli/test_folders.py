"""Folders of videos as inputs of process, and results of inputs that are called the same."""

import json
import shutil

import pytest
from PIL import Image

from cliffvid import UsageError, read_tracks
from cliffvid.cli.targets import distinct_names
from cliffvid.video.open import source_of
from clips import picture


def written(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def images(folder, count=3):
    folder.mkdir(parents=True)
    for index in range(count):
        Image.fromarray(picture(index, 2, 192, 144)).save(folder / f"{index}.png")


@pytest.fixture
def shelf(clip, tmp_path):
    """Videos of three folders, two of one name, two that differ in their endings alone; images; and a note."""
    for name in ("a/x.mp4", "b/x.mp4", "b/x.mkv", "y.mp4"):
        (tmp_path / "shelf" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, tmp_path / "shelf" / name)
    images(tmp_path / "shelf" / "walk")
    (tmp_path / "shelf" / "note.txt").write_text("seen in May")
    return tmp_path / "shelf"


def test_a_folder_of_videos_is_all_of_them(cliffvid, shelf, tmp_path):
    args = ("-o", "out", "--overlay", "films", "--report", "pages", "--view", "skeleton", "--end", "0.1")
    code, out, err = cliffvid("process", "shelf", *args)
    assert code == 0, err
    assert "shelf: 5 inputs; 1 file left out" in err and "shelf/note.txt" in err
    names = ["a/x", "b/x.mkv", "b/x.mp4", "walk", "y"]
    assert written(tmp_path / "out") == [f"{name}.parquet" for name in names]
    assert written(tmp_path / "films") == [f"{name}.mp4" for name in names]
    assert written(tmp_path / "pages") == [f"{name}.html" for name in names]
    assert len(read_tracks(tmp_path / "out" / "a" / "x.parquet")) == 9
    # what was made there is no input of the next run, although films are videos
    code, out, _ = cliffvid("process", ".", "--json", "--end", "0.05", *args[:6], "-y")
    assert code == 0 and len(out.splitlines()) == 5


def test_a_folder_of_images_is_one_input_and_a_mixed_one_is_told(cliffvid, clip, tmp_path):
    images(tmp_path / "walk")
    images(tmp_path / "walk" / "masks")
    code, out, err = cliffvid("process", "walk", "-o", "one.npz", "--json")
    assert code == 0 and json.loads(out)["frames"] == 3
    shutil.copy(clip, tmp_path / "walk" / "clip.mp4")
    code, out, err = cliffvid("process", "walk", "-o", "out", "--end", "0.1")
    assert code == 0 and written(tmp_path / "out") == ["clip.parquet", "masks.parquet"]
    assert "walk: 2 inputs; 3 files left out, no videos or images beside videos: walk/0.png" in err
    (tmp_path / "none").mkdir()
    assert "none: holds no images" in cliffvid("process", "none")[2]
    assert len(cliffvid("probe", "walk", "--json", toy_models=False)[1].splitlines()) == 2


def test_pictures_of_images_called_the_same_keep_their_folders(cliffvid, tmp_path):
    images(tmp_path / "a" / "walk", 1)
    images(tmp_path / "b" / "walk", 1)
    assert cliffvid("process", "a/walk", "b/walk", "-o", "out", "--visuals", "bbox")[0] == 0
    assert written(tmp_path / "out") == [
        *("a/walk.parquet", "a/walk_visuals/0_bbox.jpg", "b/walk.parquet", "b/walk_visuals/0_bbox.jpg")
    ]


@pytest.mark.parametrize(
    ("inputs", "names"),
    [
        (["x.mp4", "y.mp4"], ["x", "y"]),
        (["a/x.mp4", "b/x.mp4", "c/y.mp4"], ["a/x", "b/x", "y"]),
        (["/data/1/a/x.mp4", "/data/2/a/x.mp4"], ["1/a/x", "2/a/x"]),
        (["x.mp4", "sub/x.mp4"], ["x", "sub/x"]),
        (["../a/x.mp4", "x.mp4"], ["a/x", "here/x"]),
        (["x.mp4", "x.mkv"], ["x.mp4", "x.mkv"]),
        (["a/x.mp4", "a/x.mkv", "b/x.mp4"], ["a/x.mp4", "a/x.mkv", "b/x"]),
        (["x.mp4", "x.mkv", "x.mp4.avi"], ["x.mp4", "x.mkv", "x.mp4.avi"]),
        (["a/x.mp4", "a/x/*.png", "x.mp4"], ["a/x.mp4", "a/x", "x"]),
        (["https://host/a/x.mp4?k=1", "https://host/b/x.mp4"], ["a/x", "b/x"]),
        (["https://host/a/x.mp4", "x.mp4"], None),
    ],
)
def test_names_are_as_short_as_tells_inputs_apart(tmp_path, monkeypatch, inputs, names):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    found = distinct_names([source_of(name) for name in inputs])
    assert len(set(found)) == len(inputs) and not any(name.startswith(("/", "..")) for name in found)
    assert names is None or found == names


def test_an_input_named_twice_is_refused(cliffvid, clip, tmp_path):
    code, _, err = cliffvid("process", clip, clip, "-o", "out")
    assert code == 2 and f"{clip} and {clip}: their results would have one name" in err
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError):
        distinct_names([source_of("walk"), source_of("walk/*.png"), source_of("walk")])
