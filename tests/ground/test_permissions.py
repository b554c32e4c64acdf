"""Files and folders that may not be read or written, by processes whose user cannot overrule that: not even root."""

import ctypes
import os
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from bulk import TOYS, rows, truth
from clips import make_clip

DROP_BOUND = 24  # prctl's PR_CAPBSET_DROP
OVERRULING = (1, 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


def obey() -> None:
    """From the next program on, permissions hold for this process too. Raises PermissionError where it may not."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in OVERRULING if os.geteuid() == 0 else ():
        if libc.prctl(DROP_BOUND, capability, 0, 0, 0):
            raise PermissionError(ctypes.get_errno(), "prctl")


@pytest.fixture
def run(tmp_path, toys):
    """The command where permissions hold; answers (exit code, stderr). Skips where root cannot be made to obey."""
    secret = tmp_path / "secret"
    secret.touch(mode=0)
    try:
        tried = subprocess.run([sys.executable, "-c", f"open({str(secret)!r})"], preexec_fn=obey, capture_output=True)
    except subprocess.SubprocessError:
        pytest.skip("the capabilities of root cannot be dropped here")
    assert b"PermissionError" in tried.stderr
    secret.unlink()

    def command(*args, models=True) -> tuple[int, str]:
        models = ["--models", str(toys), *TOYS] if models else []
        command = [sys.executable, "-m", "cliffvid", *map(str, args), *models]
        done = subprocess.run(command, cwd=tmp_path, preexec_fn=obey, capture_output=True, text=True, timeout=100)
        assert "Traceback" not in done.stderr and "internal error" not in done.stderr, done.stderr
        return done.returncode, done.stderr

    yield command
    for place in tmp_path.rglob("*"):
        place.chmod(0o755)


def test_one_input_that_may_not_be_read_is_told(run, tmp_path):
    (tmp_path / "in").mkdir()
    make_clip(tmp_path / "in" / "a.mp4").chmod(0)
    code, err = run("process", "in/a.mp4", "-o", "a.parquet")
    assert code == 1 and "in/a.mp4: not allowed to read it; check the file's permissions" in err
    code, err = run("probe", "in/a.mp4", models=False)
    assert code == 1 and "not allowed to read it" in err
    (tmp_path / "in").chmod(0)
    code, err = run("process", "in/a.mp4", "-o", "a.parquet")
    assert code == 1 and "in/a.mp4: not allowed to look for it; check the folder's permissions" in err
    code, err = run("process", "in", "-o", "a.parquet")
    assert code == 1 and "not allowed" in err
    assert not list(tmp_path.glob("a.*"))


def test_what_a_data_set_may_not_read_fails_alone_and_is_done_once_it_may(run, tmp_path, toys):
    for place in ("in", "in/closed", "in/locked"):
        (tmp_path / place).mkdir()
    names = ["in/a.mp4", "in/b.mp4", "in/closed/c.mp4", "in/locked/d.mp4"]
    for name in names:
        make_clip(tmp_path / name, people=2)
    (tmp_path / "in" / "b.mp4").chmod(0)
    (tmp_path / "in" / "closed").chmod(0)  # cannot be listed
    (tmp_path / "in" / "locked").chmod(0o444)  # can be listed, and nothing in it opened
    code, err = run("annotate", "in", "-o", "out")
    ended = {row["video"]: row for row in pq.read_table(tmp_path / "out" / "videos.parquet").to_pylist()}
    assert code == 1 and {name: row["status"] for name, row in ended.items()} == {
        "in/a.mp4": "ok",
        "in/b.mp4": "failed",
        "in/closed": "failed",
        "in/locked/d.mp4": "failed",
    }
    for name in ended.keys() - {"in/a.mp4"}:
        assert ended[name]["error"] == "AccessError" and f"{name}: not allowed to" in err, (ended[name], err)
    assert rows(tmp_path / "out").equals(truth(names[:1], tmp_path, toys))
    for name in ("b.mp4", "closed", "locked"):
        (tmp_path / "in" / name).chmod(0o755)
    code, err = run("annotate", "in", "-o", "out", "--retry-failed")
    assert code == 0, err
    assert rows(tmp_path / "out").equals(truth(names, tmp_path, toys))


def test_a_place_that_may_not_be_written_is_told(run, tmp_path):
    make_clip(tmp_path / "a.mp4")
    (tmp_path / "place").mkdir()
    for mode in (0o555, 0):
        (tmp_path / "place").chmod(mode)
        for command, out in (("annotate", "place/out"), ("process", "place/a.parquet")):
            code, err = run(command, "a.mp4", "-o", out)
            assert code == 1 and "place" in err and "Permission denied" in err, err
    (tmp_path / "place").chmod(0o755)
    assert not list((tmp_path / "place").iterdir())
