"""Names that hold bytes which are not UTF-8, or what terminals and rich take for orders; places that take no file."""

import json
import os
import subprocess

import pyarrow.parquet as pq
import pytest

import cliffvid as api
from clips import make_clip

NAMES = {
    "bytes": (b"gr\xfc\xdfe", r"gr\xfc\xdfe"),
    "orders": (b"e\x1b[31m\r[bold]{x}\xc2\x9b", "e\x1b[31m\r[bold]{x}\x9b"),
}
SHOWN = {"bytes": r"gr\xfc\xdfe", "orders": r"e\x1b[31m\x0d[bold]{x}\x9b"}
SKELETON = ["--view", "skeleton"]


@pytest.mark.parametrize("kind", NAMES)
def test_any_name_goes_through_every_command(kind, cliffvid, tmp_path):
    raw, label = NAMES[kind]
    name, shown = os.fsdecode(raw), SHOWN[kind]
    make_clip(tmp_path / f"{name}.mp4", frames=6, people=2)

    def run(*args, code=0, **how) -> tuple[str, str]:
        found, out, err = cliffvid(*args, **how)
        assert found == code, err
        for text in (out, err):
            assert text.isascii() and "\x1b" not in text and "\r" not in text, text
        return out, err

    made = ["-o", f"{name}.parquet", "--overlay", f"{name}.mkv", "--report", f"{name}.html", *SKELETON]
    err = run("process", f"{name}.mp4", *made)[1]
    for line in (".mp4: 6 frames", ".mkv: 6 frames", ".html: 2 tracks", ".parquet (12 rows"):
        assert f"{shown}{line}" in err, err
    out = json.loads(run("process", f"{name}.mp4", *made, "--overwrite", "--json")[0])
    assert [out[key] for key in ("video", "output", "overlay", "report")] == [
        f"{label}.{ending}" for ending in ("mp4", "parquet", "mkv", "html")
    ]
    assert api.read_meta(tmp_path / f"{name}.parquet")["video"]["name"] == f"{label}.mp4"
    assert label in (tmp_path / f"{name}.html").read_bytes().decode()
    tracks = [f"{name}.parquet"]
    plain = {"toy_models": False}
    run("overlay", f"{name}.mp4", *tracks, "-o", f"{name}.mp4.mov", *SKELETON, **plain)
    run("report", *tracks, "-o", f"{name}.2.html", "--video", f"{name}.mp4", "--skeleton-only", **plain)
    run("smooth", *tracks, "-o", f"{name}.s.parquet", **plain)
    for to in ("csv", "gltf", "amass", "cliff"):
        assert shown in run("convert", *tracks, "--to", to, "-o", f"{name}.{to}", **plain)[1]
    assert json.loads(run("probe", f"{name}.mp4", "--json", **plain)[0])["path"] == f"{label}.mp4"
    assert run("probe", f"{name}.mp4", **plain)[0].startswith(f"{shown}.mp4\n")
    (tmp_path / f"{name}.avi").write_text("no film")
    events = run("annotate", f"{name}.mp4", f"{name}.avi", "-o", f"{name}.set", "--workers", 1, "--json", code=1)[0]
    assert {event["video"] for event in map(json.loads, events.splitlines()) if event["type"] == "video"} == {
        f"{label}.mp4",
        f"{label}.avi",
    }
    with (tmp_path / f"{name}.set" / "videos.parquet").open("rb") as file:
        videos = pq.read_table(file).to_pylist()
    (broken,) = [video for video in videos if video["status"] == "failed"]
    assert broken["message"].startswith(f"{label}.avi: not a readable video")
    assert shown in run("annotate-status", f"{name}.set", **plain)[0]
    assert f"error: {shown}.none: no such file" in run("process", f"{name}.none", "-o", "none.parquet", code=1)[1]


def test_images_by_any_name_become_ground_truth(cliffvid, tmp_path):
    from PIL import Image

    (tmp_path / "in").mkdir()
    Image.new("RGB", (96, 96), (255, 0, 0)).save(tmp_path / "in" / os.fsdecode(b"gr\xfc\xdfe.png"))
    assert cliffvid("process", "in", "-o", "in.parquet")[0] == 0
    code, _, err = cliffvid("pseudogt", "make", "in.parquet", "in", "-o", "gt.npz", toy_models=False)
    assert code == 0 and "gt.npz: 1 rows, 1 images" in err


@pytest.fixture(scope="module")
def readonly(tmp_path_factory):
    """An empty file system that cannot be written, not even by root; None where none can be mounted."""
    folder = tmp_path_factory.mktemp("readonly")
    mounted = not subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", folder], capture_output=True).returncode
    yield folder if mounted else None
    if mounted:
        subprocess.run(["umount", folder], check=True)


def test_a_place_that_takes_no_file_is_told_in_one_line(cliffvid, readonly, clip, tmp_path, toy_options):
    """A file system that is read-only, one that makes no files, a file where a folder would have to be."""
    tracks = tmp_path / "a.parquet"
    api.process(clip, tracks, toy_options())
    for place in filter(None, (readonly, "/proc", clip)):
        for command in (
            ("process", clip, "-q", "-o", f"{place}/x.parquet"),
            ("process", clip, "-q", "-o", tracks, "--overwrite", "--overlay", f"{place}/x.mp4", *SKELETON),
            ("annotate", clip, "-o", f"{place}/x"),
            ("overlay", clip, tracks, "-o", f"{place}/x.mp4", *SKELETON),
            ("report", tracks, "-o", f"{place}/x.html"),
            ("smooth", tracks, "-o", f"{place}/x.parquet"),
            ("convert", tracks, "--to", "csv", "-o", f"{place}/x.csv"),
        ):
            code, out, err = cliffvid(*command, toy_models=command[0] in ("process", "annotate"))
            assert (code, out) == (1, "") and err.count("\n") == 1, (command, err)
            assert err.startswith(f"error: {place}/x") and "choose another" in err, (command, err)
