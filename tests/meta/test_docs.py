"""What the README and the pages of the documentation tell a user to type: all of it runs."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import av
import pytest
from PIL import Image

from cliffvid.cli.app import app
from cliffvid.cli.flags import make_command
from doc_pages import BLOCK, PAGES, blocks

ROOT = Path(__file__).parents[2]
NAMES = {path: str(path.relative_to(ROOT)) for path in PAGES}


def commands(page: Path) -> list[str]:
    """Return each command of cliffvid on a page, in blocks and in running text."""
    lines = [part for text in blocks(page, "sh") for line in text.splitlines() for part in re.split(r" && | \| ", line)]
    inline = re.findall(r"`(cliffvid [^`\n]+)`", BLOCK.sub("", page.read_text()))
    return [line for line in [*lines, *inline] if line.startswith("cliffvid ") and "COMMAND" not in line]


@pytest.mark.parametrize("page", PAGES, ids=NAMES.values())
def test_every_command_has_the_options_that_it_names(page):
    if page.name == "commands.md":  # generated; it shows how to use each command, in the abstract
        return
    for line in commands(page):
        command, words = make_command(app), shlex.split(line, comments=True)[1:]
        while hasattr(command, "commands") and words and words[0] in command.commands:
            command, words = command.commands[words[0]], words[1:]
        known = {flag for each in command.params for flag in (*each.opts, *each.secondary_opts)} | {"--help"}
        assert not hasattr(command, "commands") or not words or words[0] in known, line
        assert {word for word in words if word.startswith("-") and len(word) > 1} <= known, line


@pytest.fixture(scope="module")
def few_frames(tmp_path_factory):
    """The first frames of the example clip as a film, and as pictures."""
    folder = tmp_path_factory.mktemp("few")
    with av.open(ROOT / "examples" / "pedestrians.mp4") as source, av.open(folder / "video.mp4", "w") as film:
        stream = film.add_stream("libx264" if "libx264" in av.codecs_available else "mpeg4", 10)
        stream.width, stream.height, stream.pix_fmt = 768, 576, "yuv420p"
        for number, frame in zip(range(4), source.decode(video=0), strict=False):
            Image.fromarray(frame.to_ndarray(format="rgb24")).save(folder / f"{number}.jpg")
            film.mux(stream.encode(frame.reformat(format="yuv420p")))
        film.mux(stream.encode(None))
    return folder


@pytest.fixture
def desk(few_frames, tmp_path):
    """A folder with all that the pages name."""
    for name in ("video.mp4", "a.mp4", "clips/a.mp4", "clips/b.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(few_frames / "video.mp4", tmp_path / name)
    for name in ("photo.jpg", "frames/1.jpg", "more/2.jpg", "photos/3.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(few_frames / "0.jpg", tmp_path / name)
    Image.open(few_frames / "0.jpg").save(tmp_path / "photo.png")
    return tmp_path


def run(command: list[str], folder: Path) -> None:
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(command, cwd=folder, env=os.environ | {"PATH": tools}, capture_output=True, text=True)
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "sh", True)], ids=lambda page: page.stem)
def test_every_command_block_runs(page, desk, request):
    script = "\n".join(blocks(page, "sh", True))
    if re.search("overlay |--visuals", script):
        request.getfixturevalue("egl")
    run(["bash", "-euo", "pipefail", "-c", script], desk)


@pytest.fixture(scope="module")
def results(few_frames):
    """The files that the Python blocks read, which commands beside them make."""
    made = "cliffvid process video.mp4 -q; cliffvid convert video.parquet -o video_joints.parquet"
    run(["bash", "-ec", made], few_frames)
    return [few_frames / name for name in ("video.parquet", "video_joints.parquet")]


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python", True)], ids=lambda page: page.stem)
def test_every_python_block_runs(page, desk, results):
    for path in results:
        shutil.copy(path, desk)
    run([sys.executable, "-c", "\n".join(blocks(page, "python", True))], desk)


def test_the_site_is_complete_and_its_links_lead_somewhere(tmp_path):
    pytest.importorskip("mkdocs")
    config = str(ROOT / "docs" / "mkdocs.yml")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "-q", "-f", config, "-d", str(tmp_path / "site")],
        capture_output=True,
        text=True,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr
    shown = (tmp_path / "site" / "index.html").read_text()
    loads = re.findall('<(?:link|script|img)[^>]+https?://([^"]+)', shown)
    assert "onnxruntime" in shown and [each for each in loads if not each.startswith("github.com/cliffvid")] == []


@pytest.mark.parametrize("page", [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")], ids=str)
def test_links_in_the_repository_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        if "://" in path:
            continue
        assert (page.parent / path).exists(), target
        headings = re.findall(r"^#+ (.+)$", (page.parent / path).read_text(), re.M) if anchor else []
        slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
        assert not anchor or anchor in slugs, target
