"""What keeps a data set: parts and their merge, what the journal tells, verification and repair."""

import errno
import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bulk import annotate, command, make_inputs, rows, truth, videos, without_sums
from cliffvid.annotate.status import status
from cliffvid.annotate.store import journal as store_journal
from cliffvid.annotate.store.dataset import hash_of
from cliffvid.annotate.store.opening import open_journal
from cliffvid.annotate.upkeep import verify
from cliffvid.cli.annotate_view import status_text
from cliffvid.errors import OutputError
from clips import make_clip


def run(*args, cwd) -> tuple[int, str, str]:
    done = subprocess.run(command(*args), cwd=cwd, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr and "internal error" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def data(tmp_path_factory, toys):
    """A folder with inputs under ``in``, and the data set ``whole`` of them."""
    base = tmp_path_factory.mktemp("upkeep")
    make_inputs(base / "in", clips=15)
    annotate("in", "-o", "whole", "--workers", 1, "--checkpoint", 0, cwd=base, toys=toys, check=1)
    return base


@pytest.fixture
def copy(data, tmp_path):
    """A copy of the data set that may be damaged, beside its inputs."""
    shutil.copytree(data / "whole", tmp_path / "out")
    (tmp_path / "in").symlink_to(data / "in")
    return tmp_path


def test_three_parts_merged_are_the_same_data_set(data, toys):
    for part in range(3):
        annotate("in", "-o", "parts", "--shard", f"{part}/3", cwd=data, toys=toys, check=None)
    assert sorted(path.name for path in (data / "parts" / "parts").iterdir()) == ["0-of-3", "1-of-3", "2-of-3"]
    code, out, _ = run("annotate-merge", "parts", "--json", cwd=data)
    merged = {"parts": 3, "inputs": 30, "rows": len(rows(data / "whole")), "unfinished": 0}
    assert code == 0 and json.loads(out) == merged
    assert rows(data / "parts").equals(rows(data / "whole")) and videos(data / "parts") == videos(data / "whole")
    assert run("annotate-verify", "parts", cwd=data)[:2] == (0, "parts: whole\n")
    done = annotate("in", "-o", "parts", "--shard", "1/3", "--json", cwd=data, toys=toys, check=1)
    assert '"video", ' not in done.stdout  # the data set has it already
    assert run("annotate-merge", "parts", cwd=data)[0] == 0
    assert rows(data / "parts").equals(rows(data / "whole"))
    code, _, err = run("annotate-merge", "whole", cwd=data)
    assert code == 1 and "holds no parts of annotate --shard" in err


def test_a_part_that_was_made_anew_replaces_what_was_merged(data, toys, tmp_path):
    names = [f"{number}.mp4" for number in range(4)]
    for index, name in enumerate(names):
        make_clip(tmp_path / name, frames=8 + index, people=2)
    for _ in range(2):
        for part in range(2):
            annotate("?.mp4", "-o", "out", "--shard", f"{part}/2", cwd=tmp_path, toys=toys)
        assert run("annotate-merge", "out", cwd=tmp_path)[0] == 0
        assert rows(tmp_path / "out").equals(truth(names, tmp_path, toys))
        make_clip(tmp_path / "2.mp4", frames=20, people=3)
    assert run("annotate-verify", "out", cwd=tmp_path)[0] == 0


def test_the_journal_alone_tells_how_far_it_is(copy):
    code, out, _ = run("annotate-status", "out", "--json", cwd=copy)
    facts = json.loads(out)
    assert code == 0 and facts["statuses"] == {"ok": 19, "empty": 3, "failed": 5, "partial": 3}
    assert facts["errors"] == {"UnreadableError": 2, "EmptyError": 1, "NoVideoError": 1, "NotFoundError": 1}
    assert facts["rows"] == len(rows(copy / "out")) and facts["ended"] == "all done" and len(facts["slowest"]) == 5
    lines = (copy / "out" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    shards = [index for index, line in enumerate(lines) if b'"file": "tracks/' in line]
    half = b"".join(lines[: shards[0] + 1])
    (copy / "out" / "journal.jsonl").write_bytes(half + lines[shards[1]][:40])  # killed while it wrote the second
    shutil.rmtree(copy / "out" / "tracks")
    text = run("annotate-status", "out", cwd=copy)[1]
    assert "last run (broken off; the same command goes on from there)" in text
    assert " to do" in text and " left" in text and "5 failed" in text
    code, _, err = run("annotate-status", "in", cwd=copy)
    assert code == 1 and "no data set of `cliffvid annotate`" in err


def test_where_a_lock_tells_nothing_it_is_not_said_whether_a_job_is_at_work(copy, monkeypatch):
    journal = copy / "out" / "journal.jsonl"
    *lines, end = without_sums(journal).splitlines(keepends=True)
    assert json.loads(end)["type"] == "end"
    journal.write_text("".join(lines))
    assert status(copy / "out")["at_work"] is False

    def without_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    with monkeypatch.context() as patch:
        patch.setattr("fcntl.flock", without_locks)
        facts = status(copy / "out")
        assert facts["at_work"] is None and "(at work, or broken off)" in status_text(facts)
        with pytest.raises(OutputError, match="No locks available"):
            open_journal(copy / "out")
    journal.write_text("".join(lines).replace(f'"host": "{platform.node()}"', '"host": "another"'))
    assert status(copy / "out")["at_work"] is None  # that machine's locks may not be seen from here
    code = "import sys; sys.modules['fcntl'] = None; from cliffvid.cli.app import main; main()"
    args = [sys.executable, "-c", code, "annotate-status", copy / "out", "--json"]
    assert json.loads(subprocess.check_output(args))["at_work"] is None


def test_who_asks_for_the_status_does_not_stop_a_job_that_begins(copy, monkeypatch):
    monkeypatch.setattr(store_journal, "LOCK_WAIT_S", 10)
    with open(copy / "out" / "journal.jsonl", "rb") as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        with ThreadPoolExecutor() as threads:
            opened = threads.submit(open_journal, copy / "out")
            time.sleep(0.1)
            assert not opened.done()
            fcntl.flock(asking, fcntl.LOCK_UN)
        with opened.result() as journal:
            assert journal.state.end


def flip(path: Path) -> None:
    """One bit of a file's rows; what the file says about itself is at its end."""
    data = bytearray(path.read_bytes())
    data[len(data) // 8] ^= 4
    path.write_bytes(data)


def rewrite(path: Path, change) -> None:
    pq.write_table(change(pq.read_table(path, use_threads=False)), path, write_page_checksum=True)


def not_finite(table: pa.Table) -> pa.Table:
    focal = table["focal_px"].to_numpy().copy()
    focal[3] = np.nan
    return table.set_column(table.column_names.index("focal_px"), table.schema.field("focal_px"), pa.array(focal))


def doubled(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table.slice(1), table.slice(1, 1)])


DAMAGE = {
    "is not what was written": flip,
    "is missing": os.unlink,
    # and what a fault of the program might write
    "rows, the journal counts": lambda path: rewrite(path, lambda table: table.slice(1)),
    "holds a row twice": lambda path: rewrite(path, doubled),
    "numbers that are not finite": lambda path: rewrite(path, not_finite),
}


def test_damage_is_found_and_repaired(copy, data, toys):
    assert run("annotate-verify", "out", cwd=copy)[:2] == (0, "out: whole\n")
    shards = sorted((copy / "out" / "tracks").iterdir())
    journal = copy / "out" / "journal.jsonl"
    for number, (shard, damage) in enumerate(zip(shards, DAMAGE.values(), strict=False)):
        before = hash_of(shard)
        damage(shard)
        if number > 1:
            journal.write_text(without_sums(journal).replace(before, hash_of(shard)))
    (copy / "out" / "tracks" / "01234567-000001.parquet").write_bytes(b"")
    code, out, err = run("annotate-verify", "out", cwd=copy)
    assert code == 1 and f"{len(DAMAGE) + 1} problems; --repair" in err
    told = {line.split(": ")[0]: line for line in out.splitlines()}
    for shard, what in zip(shards, DAMAGE, strict=False):
        assert what in told[f"out/tracks/{shard.name}"]
    assert "no line of the journal names it" in told["out/tracks/01234567-000001.parquet"]
    code, _, err = run("annotate-verify", "out", "--repair", cwd=copy)
    assert code == 0 and "whole again" in err, err
    assert rows(copy / "out").equals(rows(data / "whole")) and videos(copy / "out") == videos(data / "whole")
    assert {path.name for path in shards[len(DAMAGE) :]} <= {path.name for path in (copy / "out" / "tracks").iterdir()}


def test_no_bit_can_flip_unnoticed(toys, tmp_path):
    for index in range(3):
        make_clip(tmp_path / f"{index}.mp4", people=2)
    annotate("?.mp4", "-o", "out", cwd=tmp_path, toys=toys)
    out = tmp_path / "out"
    assert not list(verify(out))
    (shard,) = (out / "tracks").iterdir()
    for path in (shard, out / "videos.parquet"):
        sound = path.read_bytes()
        footer = int.from_bytes(sound[-8:-4], "little") + 8
        places = {*np.linspace(0, len(sound) - 1, 60, dtype=int), *np.linspace(len(sound) - footer, len(sound) - 1, 60)}
        for place in sorted(map(int, places)):
            damaged = bytearray(sound)
            damaged[place] ^= 1 << place % 8
            path.write_bytes(damaged)
            found = list(verify(out))
            assert [each["file"] for each in found] == [str(path.relative_to(out))], (path.name, place, found)
        path.write_bytes(sound)
        assert not list(verify(out))


def test_rows_of_a_damaged_shard_are_not_written_anew_as_if_they_were_sound(toys, tmp_path):
    for index in range(3):
        make_clip(tmp_path / f"{index}.mp4", people=2)
    annotate("?.mp4", "-o", "out", cwd=tmp_path, toys=toys)
    (shard,) = (tmp_path / "out" / "tracks").iterdir()
    sound = shard.read_bytes()
    place = sound.rindex(b"detector's confidence")  # in the footer: any reader takes it
    shard.write_bytes(sound[:place] + b"D" + sound[place + 1 :])
    make_clip(tmp_path / "2.mp4", frames=9, people=1)
    done = annotate("?.mp4", "-o", "out", cwd=tmp_path, toys=toys, check=1)
    assert f"{shard.relative_to(tmp_path)}: damaged" in done.stderr and "annotate-verify --repair" in done.stderr
    code, _, err = run("annotate-verify", "out", "--repair", cwd=tmp_path)
    assert code == 0 and "whole again" in err, err
    assert rows(tmp_path / "out").equals(truth([f"{index}.mp4" for index in range(3)], tmp_path, toys))


def test_a_journal_damaged_in_its_middle_is_told_and_not_worked_on(copy, toys):
    journal = copy / "out" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:5], b'{"type": "inp\n', *lines[6:]]))
    before = sorted((copy / "out").rglob("*"))
    done = annotate("in", "-o", "out", cwd=copy, toys=toys, check=1)
    assert "journal.jsonl: line 6 is damaged" in done.stderr and sorted((copy / "out").rglob("*")) == before


def test_two_jobs_do_not_work_on_one_data_set(copy, toys):
    with open(copy / "out" / "journal.jsonl", "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = annotate("in", "-o", "out", cwd=copy, toys=toys, check=2)
    assert "another annotate is at work on it" in done.stderr
