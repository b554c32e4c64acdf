"""Each command as a person at a terminal meets it: what moves, what is left, and what Ctrl-C leaves."""

import os
import pty
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

import cliffvid
from bulk import TOYS
from clips import make_clip
from pseudogt_files import gt_arrays
from terminal import Session, assert_clean, run
from truth_files import World, found_tracks, pw3d

SIZES = [(40, 24), (200, 50)]
FRAMES = 600  # on a busy machine too the bars are drawn a few times
STAGES = ["decode", "detect", "crop", "regress", "track and write"]
MODELS = r"models: toy-detector \+ toy-regressor, by onnxruntime on cpu \(open stand-ins; .*\)"
FILM = [r".*: \d+ frames, \d+ with people, sound: none", "  renderer: none needed", r"  .* frames/s, bounded by \w+"]
PAGE = r"\d+.*\.html: 3 tracks, 3 pictures, [\d.]+ MB"


def summary(name: str, frames: int) -> list[str]:
    return [
        rf"{name}: {frames} frames, \d\.\d people a frame, \d+ tracks",
        r"  [\d.]+ s, [\d.]+ frames/s, bounded by .+ \(at work \d+% of the time\)",
        "  .+",
        r"  batches of 4 frames and 8 people, \d+% and \d+% full",
        r"  .+\.parquet \(\d+ rows, \d+ kB\)",
    ]


MORE = r"(?: +.+\n)* +.+"
# name -> the command, where N stands for the columns; its exit code; all lines that it leaves.
RUNS = {
    "process": ("process long.mp4 -o N.parquet", 0, [MODELS, *summary("long.mp4", FRAMES)]),
    "several": (
        "process a.mp4 b.mp4 -o N",
        0,
        [MODELS, *summary(r"a\.mp4", 12), *summary(r"b\.mp4", 12), r"2 inputs: 24 frames, \d+ rows in .+ frames/s"],
    ),
    "overlay and report": (
        "process a.mp4 -o Nboth.parquet --overlay Nboth.mp4 --report Nboth.html --view skeleton",
        0,
        [MODELS, *summary("a.mp4", 12), *FILM, PAGE],
    ),
    "images": (
        "process images -o Nimages.parquet --visuals bbox",
        0,
        [MODELS, *summary("images", 3), r"  3 pictures: \d+images_visuals/\*_bbox\.jpg"],
    ),
    "annotate": (
        "annotate a.mp4 b.mp4 broken.mp4 -o Nset --workers 1",
        1,
        ["3 inputs", r"failed: broken\.mp4: not a readable video .+", r"\d+set: 2 ok, 1 failed"]
        + [r"  this run: 3 inputs, 24 frames, .+ frames/s", r"  failed inputs are in videos\.parquet .+"],
    ),
    "overlay": ("overlay long.mp4 long.parquet -o N.mp4 --view skeleton", 0, FILM),
    "report": ("report a.parquet -o N.html --video a.mp4 --skeleton-only", 0, [PAGE]),
    "smooth": ("smooth a.parquet -o Nsmooth.parquet", 0, [r"\d+smooth\.parquet: 36 rows, .+", *["  .+ -> .+"] * 5]),
    "convert": ("convert a.parquet --to csv -o N.csv", 0, [r"\d+\.csv, 3 tracks, 36 rows"]),
    "probe": ("probe a.mp4 none.mp4", 1, [r"a\.mp4", MORE, r"error: none\.mp4: no such file"]),
    "export": (
        "export yolov3 none.weights",
        1,
        [r"(?:reading none\.weights\nerror: none\.weights: .+|error: torch is not installed: .+)"],
    ),
    "models": (
        "models",
        0,
        [
            *(r"detect +person-open \(default\)", MORE, "detect +yolov3-tiny", MORE),
            *(r"regress +cliff-open \(default\)", MORE, "body .+", MORE),
        ],
    ),
    "pseudogt": ("pseudogt info gt.npz", 0, [r"gt\.npz: 4 rows, 2 images, .+", MORE]),
    "eval": (
        "eval walk_00.npz walk_00.pkl --truth-body open-body",
        0,
        ["demo: .+", r"(?:.+\n)*.*walk_00(?:.*\n)+.*overall(?:.*\n)+the 24 joints.+", "note: .+"],
    ),
    "doctor": ("doctor", None, [r"ok machine  Linux: .+", *[r"(?:ok|!!|--) \w+ +.+(?:\n.+)*"]]),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory, toy_options):
    """A folder with videos, images, tracks and ground truth."""
    folder = tmp_path_factory.mktemp("terminal")
    for name, frames in (("a.mp4", 12), ("long.mp4", FRAMES)):
        clip = make_clip(folder / name, frames=frames, people=3)
        cliffvid.process(clip, clip.with_suffix(".parquet"), toy_options())
    shutil.copy(folder / "a.mp4", folder / "b.mp4")
    (folder / "broken.mp4").write_text("no film")
    (folder / "images").mkdir()
    for number in range(3):
        Image.new("RGB", (192, 144), (255, 0, 0)).save(folder / "images" / f"{number}.png")
    np.savez(folder / "gt.npz", **gt_arrays(4))
    world = World(frames=4)
    pw3d(folder / "walk_00.pkl", world)
    found_tracks(folder / "walk_00.npz", world, [world.boxes(k) for k in range(world.count)])
    return folder


@pytest.fixture
def at_terminal(place, toys):
    def command(line: str, size: tuple[int, int] = (80, 24), **how) -> Session:
        words = re.sub(r"\bN", str(size[0]), line).split()
        models = ["--models", toys, *TOYS] if words[0] in ("process", "annotate") else []
        session = run(*words, *models, cwd=place, size=size, **how)
        assert_clean(session)
        return session

    return command


# What the installed wheel shows too; the rest draws by the same code.
ONCE = [
    pytest.param(name, marks=() if name in ("process", "overlay", "annotate") else pytest.mark.slow) for name in RUNS
]


@pytest.mark.parametrize("name", ONCE)
def test_each_command_leaves_its_lines_and_nothing_else(at_terminal, name):
    command, code, patterns = RUNS[name]
    with ThreadPoolExecutor(len(SIZES)) as pool:
        sessions = [*pool.map(lambda size: at_terminal(command, size), SIZES)]
    for size, session in zip(SIZES, sessions, strict=True):
        assert session.exit_code in ((0, 1) if code is None else (code,)), session.text
        assert re.fullmatch("\n".join(patterns), session.text), session.text
        if name in ("process", "overlay"):
            assert_bars_move(session, ["overlay"] if name == "overlay" else STAGES, narrow=size[0] == 40)


def assert_bars_move(session: Session, stages: list[str], narrow: bool) -> None:
    """A line for each stage, in order; a bar, frames a second and time left where the end is known."""
    names = [name.split()[-1] if narrow else name for name in stages]
    units = "" if narrow else " (frames|people|rows)"
    line = rf"^({'|'.join(names)}) +(?:[━╸╺]+ +)?(\d+)(?:/\d+)?{units} +[\d.]+/s"
    complete = [shown for screen in session.screens if len(shown := matches(line, screen)) == len(names)]
    assert complete, session.screens  # on a busy machine a short command may be drawn once
    assert all([match[1] for match in shown] == names for shown in complete)
    for place in range(len(names)):
        counts = [int(shown[place][2]) for shown in complete]
        assert counts == sorted(counts) and (counts[0] < counts[-1] or len(counts) == 1), counts
    known = rf"^{names[0]} +([━╸╺]+) +(\d+)/{FRAMES}{units} +[\d.]+/s \d\d:\d\d$"
    drawn = {match[2] for screen in session.screens for match in matches(known, screen)}
    assert len(drawn) > 2 or len(complete) < 3, drawn


def matches(pattern: str, screen: list[str]) -> list[re.Match]:
    return [match for line in screen if (match := re.search(pattern, line))]


STOPPED = "interrupted: what was finished is kept, nothing half-written is left behind"
FILM_TO_STOP = "overlay long.mp4 long.parquet -o stopped.mp4 --view skeleton"


@pytest.mark.parametrize(
    ("key", "code", "told", "command"),
    [
        (b"\x03", 130, STOPPED, "process long.mp4 -o stopped.parquet"),
        (b"\x03", 130, STOPPED, FILM_TO_STOP),
        (b"\x1c", 131, "ended by SIGQUIT: nothing half-written is left behind", FILM_TO_STOP),
    ],
    ids=["process", "overlay", "overlay by SIGQUIT"],
)
def test_a_key_that_ends_it_leaves_a_clean_terminal_and_no_file(at_terminal, place, key, code, told, command):
    typed = []

    def at_a_third(screen: list[str]) -> bytes:
        counts = [int(match[1]) for match in matches(r"^(?:decode|overlay) .*?(\d+)/\d+ frames", screen)]
        if typed or not counts or counts[0] < FRAMES / 3:
            return b""
        typed.append(counts[0])
        return key

    session = at_terminal(command, keys=at_a_third)
    assert typed and session.exit_code == code, session.text
    assert session.lines[-1] == told
    assert len(session.lines) <= 3 and not list(place.glob("*stopped*"))  # what models there are; ^C
    assert not list(place.glob(".cliffvid-*"))


@pytest.mark.parametrize("when", ["start", "stop"])
def test_a_signal_as_bars_come_or_go_shows_the_cursor_again(monkeypatch, when):
    from rich.live import Live

    from cliffvid.cli import console

    ours, theirs = pty.openpty()
    real = getattr(Live, when)

    def interrupted(live: Live) -> None:
        real(live)
        live.console.show_cursor(False)
        raise KeyboardInterrupt

    monkeypatch.setattr(Live, when, interrupted)
    monkeypatch.setenv("TERM", "xterm-256color")
    with open(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with pytest.raises(KeyboardInterrupt), console.live(lambda width: ""):
            pass
    written = b""
    with suppress(OSError):  # how Linux says that all was read
        while data := os.read(ours, 65536):
            written += data
    os.close(ours)
    assert written.rfind(b"\x1b[?25h") > written.rfind(b"\x1b[?25l") >= 0


def test_no_color_means_none(at_terminal):
    session = at_terminal("process long.mp4 -o nocolor.parquet", env={"NO_COLOR": "1"})
    assert session.exit_code == 0
    assert_bars_move(session, STAGES, narrow=False)
    styles = {style for found in re.findall(rb"\x1b\[([\d;]*)m", session.written) for style in found.split(b";")}
    assert styles <= {b"", b"0", b"1", b"2", b"3", b"4"}, styles


@pytest.mark.parametrize("command", ["process a.mp4 -o dumb.parquet", "annotate a.mp4 -o dumbset"])
def test_a_dumb_terminal_gets_lines_alone(at_terminal, command):
    session = at_terminal(command, env={"TERM": "dumb"})
    assert session.exit_code == 0 and not re.search(rb"\x1b|\r(?!\n)", session.written)
    assert "12 frames" in session.text


@pytest.mark.parametrize("columns", ["0", "00", "1", "-1", "many"])
def test_help_is_there_whatever_columns_says(at_terminal, columns):
    session = at_terminal("--help", env={"COLUMNS": columns})
    assert session.exit_code == 0
    if columns != "1":
        assert {"process", "annotate", "overlay"} <= set(session.text.split())
