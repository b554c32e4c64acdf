"""Standard streams that are closed or full, and places that are gone: one clear line each, and an exit code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import cliffvid
from bulk import TOYS
from clips import make_clip

LOST = "error: stdout: cannot write the results there ({})\n"
CLOSED, FULL = LOST.format("Bad file descriptor"), LOST.format("No space left on device")
GONE = "error: the working folder is gone; change to one that is there, and give the command again\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory, toy_options):
    """A folder with a clip and its tracks."""
    folder = tmp_path_factory.mktemp("streams")
    clip = make_clip(folder / "a.mp4", frames=6, people=2)
    cliffvid.process(clip, folder / "a.parquet", toy_options())
    return folder


@pytest.fixture
def shell(place, toys):
    """Run a line of bash, where ``cliffvid`` is the command; answers (exit code, stdout, stderr)."""

    def command(line: str, **env: str) -> tuple[int, str, str]:
        models = " ".join(["--models", str(toys), *TOYS])
        given = f'cliffvid() {{ "{sys.executable}" -m cliffvid "$@"; }}; ' + line.replace("MODELS", models)
        done = subprocess.run(["bash", "-c", given], cwd=place, env=os.environ | env, capture_output=True, timeout=100)
        assert b"Traceback" not in done.stderr and b"internal error" not in done.stderr, done.stderr
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    return command


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_a_run_that_prints_no_result_needs_no_stream(shell, place, closed):
    assert shell(f"cliffvid process a.mp4 -o b.parquet --overwrite MODELS {closed}")[0] == 0
    assert (place / "b.parquet").read_bytes() == (place / "a.parquet").read_bytes()


def test_a_data_set_needs_no_stderr(shell, place):
    assert shell("cliffvid annotate a.mp4 -o set MODELS 2>&-") == (0, "", "")
    assert (place / "set" / "videos.parquet").exists()


@pytest.mark.parametrize(
    ("command", "to", "words"),
    [
        ("process a.mp4 -o c.parquet --json MODELS", ">/dev/full", FULL),
        ("annotate a.mp4 -o set2 --json MODELS", ">/dev/full", FULL),
        ("models", ">/dev/full", FULL),
        ("models", ">&-", CLOSED),
        ("--help", ">/dev/full", "error: No space left on device\n"),
    ],
)
def test_results_that_nobody_can_take_are_an_error(shell, command, to, words):
    assert shell(f"cliffvid {command} {to}") == (1, "", words)


def test_a_reader_that_has_seen_enough_is_no_error_to_tell(shell):
    code, out, err = shell("cliffvid models | head -n 1")
    assert (code, out.count("\n"), err) == (0, 1, "")


def test_a_working_folder_that_is_gone(shell, place):
    command = f"cliffvid process {place}/a.mp4 -q -o ../z.parquet MODELS"
    assert shell(f"mkdir gone && cd gone && rmdir ../gone && {command}") == (1, "", GONE)


def test_names_and_results_where_the_locale_is_ascii(shell, place):
    (place / "tanz 🕺.mp4").write_bytes((place / "a.mp4").read_bytes())
    line = "cliffvid process 'tanz 🕺.mp4' -o t.parquet --report t.html --overwrite --json MODELS"
    code, out, err = shell(line, LC_ALL="POSIX", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert (code, err) == (0, "") and json.loads(out)["video"] == "tanz 🕺.mp4"
    assert "tanz 🕺.mp4" in Path(place / "t.html").read_text(encoding="utf-8")
    assert cliffvid.read_meta(place / "t.parquet")["video"]["name"] == "tanz 🕺.mp4"
