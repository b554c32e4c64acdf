"""The examples: each runs as it stands, on a short piece of the example clip, and is typed, as the pages are."""

import csv
import json
import os
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import pytest

import cliffvid
from cliffvid import process, read_tracks
from doc_pages import PAGES, blocks

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
FRAMES = 8
LOOSE = ("reportUnknown", "reportMissing", "reportUntyped")  # rules that fail where a library has no types


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the first frames of the example clip as video.mp4, its tracks, and a data set of it."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "clips").mkdir()
    with av.open(str(ROOT / "examples" / "pedestrians.mp4")) as source, av.open(str(folder / "video.mp4"), "w") as film:
        stream = film.add_stream("libx264", rate=25, options={"crf": "12"})
        for index, frame in enumerate(source.decode(video=0)):
            if index == FRAMES:
                break
            if not index:
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
            frame.pts, frame.time_base = index, Fraction(1, 25)
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
    (folder / "clips" / "a.mp4").write_bytes((folder / "video.mp4").read_bytes())
    (folder / "clips" / "b.mp4").write_text("no film")
    process(folder / "video.mp4", folder / "video.parquet")
    cliffvid.annotate(folder / "clips", folder / "annotated", workers=1)
    return folder


def run(place: Path, name: str, *args: str) -> str:
    command = [sys.executable, str(ROOT / "examples" / name), *args]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_tracks_to_pandas(place):
    run(place, "tracks_to_pandas.py", "video.parquet", "out.csv")
    rows = list(csv.DictReader((place / "out.csv").read_text().splitlines()))
    joints = read_tracks(place / "video.parquet").joints("level")
    assert len(rows) == len(joints) > 0
    assert float(rows[-1]["head_z_m"]) == pytest.approx(joints[-1, 15, 2], abs=1e-6)


def test_frames_from_memory(place):
    """OpenCV converts the colours in its own way: the places differ a little."""
    lines, tracks = run(place, "frames_from_memory.py", "video.mp4").splitlines(), read_tracks(place / "video.parquet")
    assert abs(len(lines) - len(tracks)) < 0.2 * len(tracks)
    assert re.fullmatch(r" +0\.00 s  person 1  at x -?\d+\.\d+, y -?\d+\.\d+, z \d+\.\d+ m", lines[0])


def test_websocket_server(place):
    from websockets.sync.client import connect

    command = [sys.executable, str(ROOT / "examples" / "websocket_server.py"), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            port = server.stdout.readline().split()[-1]
            answers = []
            with av.open(str(place / "video.mp4")) as source, connect(f"ws://localhost:{port}") as client:
                for frame in source.decode(video=0):
                    client.send(cv2.imencode(".jpg", frame.to_ndarray(format="bgr24"))[1].tobytes())
                client.send(b"")
                answers = [json.loads(client.recv(timeout=120)) for _ in range(FRAMES)]
        finally:
            server.terminate()
    tracks = read_tracks(place / "video.parquet")
    assert abs(sum(map(len, answers)) - len(tracks)) < 0.2 * len(tracks)
    assert len(answers[0][0]["joints_m"]) == 24


def test_dataloader(place):
    lines, rows = (
        run(place, "dataloader.py", "video.mp4", "video.parquet").splitlines(),
        read_tracks(place / "video.parquet"),
    )
    assert lines[0] == "(16, 3, 224, 224) (16, 72)"
    assert sum(int(re.match(r"\((\d+)", line)[1]) for line in lines) == len(rows)


def test_duckdb_queries(place):
    out = run(place, "duckdb_queries.py", "annotated")
    assert "who is seen longest\n  (" in out and "b.mp4', 'failed'" in out


def test_gmr_input(place):
    out = run(place, "gmr_input.py", "video.parquet", "gmr/")
    assert "the camera" in out and "frames of 60.0/s, betas (10,)" in out


def test_the_python_page_names_all_that_is_public():
    page = (ROOT / "docs" / "pages" / "reference" / "python.md").read_text()
    assert [name for name in cliffvid.__all__ if name not in page] == []


@pytest.fixture
def scripts(tmp_path):
    """The examples, and the blocks of the pages, in a folder of their own."""
    for page in PAGES:
        if found := blocks(page, "python", run=True):
            (tmp_path / f"page_{page.stem.lower().replace('-', '_')}.py").write_text("\n".join(found))
    for path in EXAMPLES:
        (tmp_path / path.name).write_text(path.read_text())
    return tmp_path


def check(scripts: Path, *command: str) -> str:
    """What a checker of types says of them."""
    names = sorted(path.name for path in scripts.glob("*.py"))
    done = subprocess.run(
        [sys.executable, "-m", *command, *names],
        capture_output=True,
        text=True,
        cwd=scripts,
        env=os.environ | {"MYPYPATH": str(ROOT)},
    )
    assert done.stdout, done.stderr
    return done.stdout


def test_examples_and_pages_are_strictly_typed_for_mypy(scripts):
    said = check(scripts, "mypy", "--strict", "--follow-imports=silent", "--ignore-missing-imports")
    assert said.startswith("Success"), said


def test_examples_and_pages_are_strictly_typed_for_pyright(scripts):
    """But for what libraries without types make unknown."""
    (scripts / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(ROOT)], "typeCheckingMode": "strict"}))
    said = json.loads(check(scripts, "basedpyright", "--outputjson", "--pythonpath", sys.executable))
    faults = [each for each in said["generalDiagnostics"] if not each.get("rule", "").startswith(LOOSE)]
    assert said["summary"]["filesAnalyzed"] == len([*scripts.glob("*.py")]) > len(EXAMPLES) + 2 and faults == []
