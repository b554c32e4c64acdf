"""Windows and macOS, as far as Linux can play them: what they lack, what they refuse, and how they name files."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import like_windows
from bulk import TOYS, rows, truth
from cliffvid import OutputError, UsageError
from cliffvid.annotate.inputs import find_inputs
from cliffvid.annotate.store.journal import read_state
from cliffvid.cli import targets
from cliffvid.files import NewFile
from cliffvid.models import confine
from cliffvid.view.renderers import gl


@pytest.mark.slow
def test_every_way_to_write_works_where_windows_refuses_what_linux_allows(tmp_path, clip, toys):
    shutil.copy(clip, tmp_path / "a.mp4")
    (tmp_path / "in").mkdir()
    for name in ("b.mp4", "c.mp4"):
        shutil.copy(clip, tmp_path / "in" / name)
    environment = os.environ | like_windows.environment(tmp_path / "site")

    def run(*args: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "cliffvid", *args]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100)
        assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
        return done.stderr

    models = ["--models", str(toys), *TOYS]
    made = ["-o", "out/a.parquet", "--overlay", "out/a.mkv", "--report", "out/a.html", "--view", "skeleton"]
    run("process", "a.mp4", *made, *models)
    assert "exists already" in run("process", "a.mp4", "-o", "out/a.parquet", *models, code=2)
    run("process", "in/*.mp4", "-o", "out", "--overwrite", *models)  # as its prompt leaves it
    assert sorted(os.listdir(tmp_path / "out")) == ["a.html", "a.mkv", "a.parquet", "b.parquet", "c.parquet"]
    assert pq.read_table(tmp_path / "out" / "a.parquet").num_rows > 0
    annotated = ("annotate", "in", "-o", "set", "--workers", "2", *models)
    run(*annotated)
    expected = truth(["in/b.mp4", "in/c.mp4"], tmp_path, toys)
    assert rows(tmp_path / "set").equals(expected)
    (tmp_path / "set" / "journal.jsonl").unlink()
    run("annotate-verify", "set", "--rebuild")
    run(*annotated)
    run("annotate-verify", "set")
    assert rows(tmp_path / "set").equals(expected)
    assert not [path for path in tmp_path.rglob(".cliffvid-*")] and not os.listdir(tmp_path / "set" / "work")


def test_a_journal_is_shortened_where_no_open_file_can_be_renamed(tmp_path):
    code = (
        "import like_windows; like_windows.become()\n"
        "from pathlib import Path\n"
        "from cliffvid.annotate.store import opening\n"
        "opening.LINES_LEAST = 1\n"
        "for turn in range(14):\n"
        "    with opening.open_journal(Path('set')) as journal:\n"
        "        journal.append(*opening.found_lines(['a.mp4']))\n"
    )
    played(code, tmp_path)
    assert 1 <= len((tmp_path / "set" / "journal.jsonl").read_text().splitlines()) < 13
    assert not os.listdir(tmp_path / "set" / "work")
    assert [*read_state(tmp_path / "set").found] == ["a.mp4"]


def test_a_shard_of_another_disk_is_synced_as_windows_allows_it(tmp_path):
    code = (
        "import like_windows, os; like_windows.become()\n"
        "from pathlib import Path\n"
        "from cliffvid.annotate.store.dataset import Shards\n"
        "from cliffvid.annotate.store.place import Place\n"
        "def refuse(*_, **__): raise OSError\n"
        "os.link = refuse\n"
        "print(Shards(Place(Path('.')), None).bring(Place(Path('.')), 'shard', 'hash')['file'])\n"
    )
    for folder in ("work", "tracks"):
        (tmp_path / folder).mkdir()
    (tmp_path / "shard").write_bytes(b"rows")
    assert (tmp_path / played(code, tmp_path).strip()).read_bytes() == b"rows"


def played(code: str, folder: Path) -> str:
    """Return what code prints in a process that begins as on Linux."""
    place = {"PYTHONPATH": str(Path(like_windows.__file__).parent)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env=os.environ | place, stdout=-1, text=True, check=True).stdout


@pytest.mark.parametrize("name", ["con.parquet", "NUL", "a:b.parquet", "com1.tar.gz", "a.parquet ", "aux .npz"])
def test_a_name_that_windows_takes_for_something_else_is_refused_there(name, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "win32")
        with pytest.raises(OutputError, match="takes this name for something else"):
            NewFile(tmp_path / name, False)
        with NewFile(tmp_path / "console.parquet", False) as new:
            new.keep()
    with NewFile(tmp_path / name, False) as new:
        new.keep()
    assert (tmp_path / name).exists()


def test_data_sets_name_files_alike_on_all_systems(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sep", "\\")
    (tmp_path / "list.txt").write_text("in\\a.mp4\nin/b.mp4\nin/a.mp4\n")
    found = find_inputs([str(tmp_path / "list.txt")], tmp_path / "out")
    assert [*found.inputs] == ["in/a.mp4", "in/b.mp4"] and found.doubled == 1


def test_names_that_differ_by_case_alone_do_not_share_a_file(monkeypatch):
    inputs = [Path("x/A.mp4"), Path("y/a.mp4")]
    assert targets.distinct_names(inputs) == ["A", "a"]
    monkeypatch.setattr(targets, "CASELESS", True)
    assert targets.distinct_names(inputs) == ["x/A", "y/a"]
    with pytest.raises(UsageError, match="their results would have one name"):
        targets.distinct_names([Path("x/A.mp4"), Path("x/a.mp4")])


def test_a_limit_that_a_system_refuses_is_left_out_except_on_linux(monkeypatch):
    def refused(*_):
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(confine.resource, "setrlimit", refused)
    with pytest.raises(ValueError, match="current limit"):
        confine.limit(1)
    monkeypatch.setattr(confine, "REFUSALS", (OSError, ValueError))
    confine.limit(1)
    code = "import sys; sys.modules['resource'] = None; from cliffvid.models import confine; sys.platform = 'win32'; "
    subprocess.run([sys.executable, "-c", code + "confine.confine(1); open('/etc/passwd')"], check=True, timeout=60)


@pytest.mark.parametrize("platform, given", [("linux", {"backend": "egl"}), ("darwin", {}), ("win32", {})])
def test_only_linux_renders_through_egl(platform, given, monkeypatch):
    asked = []

    class ModernGl:
        def create_context(self, **how):
            asked.append(how)
            raise RuntimeError("no context")

    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(gl, "load_package", lambda name: ModernGl())
    with pytest.raises(Exception, match="no context"):
        gl.open()
    assert asked == [{"standalone": True, **given}]
