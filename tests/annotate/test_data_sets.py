"""Data sets in folders that are somebody else's, with journals that are damaged or lost, of inputs that change."""

import hashlib
import os
import random
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bulk import annotate, rows, truth, videos
from cliffvid import Options
from cliffvid.annotate.estimate import dry_run
from cliffvid.annotate.job import annotate as annotate_here
from cliffvid.annotate.options import BulkOptions
from cliffvid.annotate.status import status
from cliffvid.annotate.store.dataset import conclude
from cliffvid.annotate.store.journal import read_state
from cliffvid.annotate.store.opening import open_journal
from cliffvid.annotate.store.place import Place
from cliffvid.annotate.store.rebuild import rebuild
from cliffvid.annotate.upkeep import merge, verify
from cliffvid.errors import InputError, UsageError
from clips import make_clip

FLIPS = int(os.environ.get("CLIFFVID_FLIPS", "100"))


@pytest.fixture(scope="module")
def made(tmp_path_factory, toys):
    """A folder with four inputs, one of them broken, and the data set ``out`` of them."""
    base = tmp_path_factory.mktemp("data sets")
    for index in range(3):
        make_clip(base / f"{index}.mp4", people=index)
    (base / "3.mp4").write_text("no film")
    done = annotate("?.mp4", "-o", "out", "--workers", 1, "--checkpoint", 0, cwd=base, toys=toys, check=1)
    assert "1 failed" in done.stderr and "error:" not in done.stderr and not list(verify(base / "out"))
    return base


@pytest.fixture
def base(made, tmp_path, monkeypatch):
    """A copy of it, which is the working folder."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tree(folder: Path) -> dict[str, bytes | str]:
    """All that is in a folder: what files hold and where links point."""
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.is_file() and path.read_bytes()
        for path in folder.rglob("*")
    }


def lose_journal(out: Path) -> None:
    (out / "journal.jsonl").unlink()


def link(out: Path, name: str) -> None:
    """The place of a data set's own, made a link to one elsewhere."""
    (out / name).rename(out.parent / "elsewhere")
    (out / name).symlink_to(out.parent / "elsewhere")


def foreign(out: Path, name: str, text: str = "a user's own\n") -> None:
    shutil.rmtree(out)
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text(text)


REFUSED = {
    "a user's work": (lambda out: foreign(out, "work/thesis.docx"), "holds other files (work/thesis.docx); name a new"),
    "a user's tracks": (lambda out: foreign(out, "tracks/my.parquet"), "holds other files (tracks/my.parquet)"),
    "a user's videos": (lambda out: foreign(out, "videos.parquet"), "holds other files (videos.parquet)"),
    "a user's journal": (lambda out: foreign(out, "journal.jsonl", "dear diary"), "not the journal of a data set"),
    "a lost journal": (lose_journal, "has lost its journal; put back a copy of it, or make a new one"),
    "an empty journal": (lambda out: (out / "journal.jsonl").write_text(""), "has lost its journal"),
    "linked tracks": (lambda out: link(out, "tracks"), "out/tracks: a link"),
    "linked work": (lambda out: link(out, "work"), "out/work: a link"),
    "a linked journal": (lambda out: link(out, "journal.jsonl"), "out/journal.jsonl: a link"),
}


@pytest.mark.parametrize("change, message", REFUSED.values(), ids=REFUSED)
def test_a_folder_that_is_no_data_set_is_refused_and_left_as_it_is(base, toys, change, message):
    change(base / "out")
    before = tree(base)
    options = Options(models_dir=toys, detector="toy-detector", regressor="toy-regressor")
    for shard in (None, "0/2"):
        bulk = BulkOptions() if shard is None else BulkOptions(shard=shard)
        for work in (annotate_here, dry_run):
            with pytest.raises(UsageError) as refused:
                work(["0.mp4"], Path("out"), options, bulk)
            assert message in str(refused.value) and "\n" not in str(refused.value) and refused.value.exit_code == 2
    with pytest.raises((UsageError, InputError)):
        merge(Path("out"))
    assert tree(base) == before


def test_nothing_but_its_own_files_is_removed(base):
    out = base / "out"
    shutil.copytree(out, base / "part")
    own = {"work/thesis.docx", "tracks/my.parquet", "tracks/0123abcd-000001.parquet.bak", "notes.txt"}
    places = [out, out / "parts" / "0-of-1"]
    shutil.move(base / "part", places[1])
    for place in places:
        for name in own:
            (place / name).write_text("a user's own")
        (place / "tracks" / "0123abcd-000001.parquet").symlink_to(base / "0.mp4")
        (place / "tracks" / "0123abcd-000002.parquet").write_text("left by a process that was killed")
        (place / "work" / ("0" * 32 + ".npz")).write_text("this too")
    film = (base / "0.mp4").read_bytes()
    merge(out)
    assert not (places[1] / "journal.jsonl").exists() and (base / "0.mp4").read_bytes() == film
    for place in places:
        assert {name for name in own if (place / name).read_text() == "a user's own"} == own
        assert (place / "tracks" / "0123abcd-000001.parquet").is_symlink()
        assert (
            not (place / "tracks" / "0123abcd-000002.parquet").exists() and len(list((place / "work").iterdir())) == 1
        )
    found = {finding["file"]: finding["problem"] for finding in verify(out)}
    assert "move it elsewhere" in found.pop("tracks/my.parquet")
    assert all("move it elsewhere" in found[name] for name in found) and not any("videos" in name for name in found)


def message_of(work) -> str:
    with pytest.raises(InputError) as error:
        work()
    return str(error.value)


def test_a_flipped_bit_of_the_journal_is_told_by_its_line(base):
    journal = base / "out" / "journal.jsonl"
    torn = b'{"type": "input", "vid'
    sound = journal.read_bytes() + torn
    places = random.Random(7).sample(range(8 * len(sound)), FLIPS)
    ends = [place * 8 for place, byte in enumerate(sound) if byte == ord("\n")]
    for place in [*places, *ends, ends[-1] + 3, 8 * len(sound) - 2]:
        data = bytearray(sound)
        data[place // 8] ^= 1 << place % 8
        journal.write_bytes(data)
        if place // 8 < len(sound) - len(torn):
            line = sound[: place // 8].count(b"\n") + 1
            assert f"journal.jsonl: line {line} is damaged (" in message_of(lambda: read_state(base / "out")), place
        else:
            assert read_state(base / "out").live.keys() == {f"{index}.mp4" for index in range(4)}
    options = Options(models_dir=base, detector="toy-detector", regressor="toy-regressor")
    data = bytearray(sound)
    data[ends[2] // 8 + 9] ^= 1
    journal.write_bytes(data)
    before = tree(base)
    ways = (status, lambda out: list(verify(out)), lambda out: annotate_here(["0.mp4"], out, options), merge)
    for way in ways[:3]:
        message = message_of(lambda way=way: way(Path("out")))
        assert "line 4 is damaged" in message and "cliffvid annotate-verify out --rebuild" in message
    assert tree(base) == before


@pytest.mark.parametrize("change", ["dropped", "doubled", "swapped"])
def test_lines_that_go_or_come_are_noticed(base, change):
    journal = base / "out" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    for index in range(len(lines) - 1):
        begin, line, after, end = lines[:index], lines[index], lines[index + 1], lines[index + 2 :]
        changed = {"dropped": [after], "doubled": [line, line, after], "swapped": [after, line]}[change]
        journal.write_bytes(b"".join([*begin, *changed, *end]))
        number = index + 1 + (change == "doubled")
        assert f"line {number} is damaged" in message_of(lambda: read_state(base / "out")), index
    journal.write_bytes(b"".join(lines[:-1]))
    assert read_state(base / "out").end is None  # as when the last line was not written yet


JOB = '{"type": "job", "started": 1.5, "inputs": 2, "settings": {"stride": 1}, "models": [], "software": "cliffvid 0.9"'
JOB += ', "options": {"end_s": null, "engines": null}}'
INPUT = '{"type": "input", "video": "a.mp4", "key": "4b", "content": "c0", "kind": "video", "duration_s": 1.2'
INPUT += ', "frames": 30, "cuts": [], "split_s": 600.0, "extra": {"subject": "s1"}}'
COUNTS = '{"decode": {"frames": 30, "damaged": 0}, "tracks": 0, "flags": {}}'
DONE = '{"type": "done", "file": null, "sha256": null, "videos": [{"video": "a.mp4", "key": "4b", "status": "empty"'
DONE += ', "message": null, "attempts": 1, "rows": 0, "counts": ' + COUNTS + ', "seconds": 0.3, "codec": "h264"'
DONE += ', "width_px": 320, "height_px": 240, "rate": "25", "finished": 2.5, "job": 0}]}'
FAILED = '{"type": "failed", "video": "b.mp4", "key": "5c", "status": "failed", "error": "EmptyError", "message": "b"'
FAILED += ', "attempts": 0, "finished": 2.0, "job": 0}'
END = '{"type": "end", "stopped": null, "finished": 3.0, "videos_sha256": "00", "statuses": {"empty": 1, "failed": 1}}'
OLD = [JOB, INPUT, INPUT.replace("a.mp4", "b.mp4"), FAILED, DONE, END]


def test_a_journal_without_sums_is_read_and_its_next_line_vouches_for_it(tmp_path):
    journal = tmp_path / "journal.jsonl"
    journal.write_text("\n".join(OLD) + "\n" + END[:30])
    ended = {name: (video["status"], video["rows"]) for name, video in read_state(tmp_path).live.items()}
    assert ended == {"a.mp4": ("empty", 0), "b.mp4": ("failed", 0)} and read_state(tmp_path).end["finished"] == 3
    with open_journal(tmp_path) as opened:
        conclude(Place(tmp_path), opened, "interrupted")
    sound = journal.read_bytes()
    *old, last = sound.decode().splitlines()
    assert old == OLD and read_state(tmp_path).end["stopped"] == "interrupted"
    record = last[: last.index(', "sum"')]
    sum_ = hashlib.sha256("".join(line + "\n" for line in OLD).encode() + record.encode()).hexdigest()[:16]
    assert last == record + f', "sum": "{sum_}"}}'
    for place in random.Random(7).sample(range(8 * len(sound)), FLIPS):
        data = bytearray(sound)
        data[place // 8] ^= 1 << place % 8
        journal.write_bytes(data)
        assert "is damaged (" in message_of(lambda: read_state(tmp_path)), place


STRANGE = {
    "unknown type 'undone'": DONE.replace('"done"', '"undone"'),
    "unknown key 'rowz' of 'videos'": DONE.replace('"rows"', '"rowz"'),
    "unknown key 'more' of 'end'": END.replace('"stopped"', '"more": 1, "stopped"'),
    "no key 'key' in 'failed'": FAILED.replace('"key": "5c", ', ""),
    "'started' is 'nan'": JOB.replace("1.5", "NaN"),
    "'rows' is 'True'": DONE.replace('"rows": 0', '"rows": true'),
    "'job' is 7, of 1": DONE.replace('"job": 0', '"job": 7'),
    "'file' is '../../x.parquet'": DONE.replace(
        '"file": null, "sha256": null', '"file": "../../x.parquet", "sha256": ""'
    ),
    "unknown status 'good'": DONE.replace('"empty"', '"good"'),
    "'decode' is '[]'": DONE.replace('{"frames": 30, "damaged": 0}', "[]"),
    "no JSON object": "[]",
}


@pytest.mark.parametrize("message, line", STRANGE.items(), ids=STRANGE)
def test_what_no_journal_can_hold_is_refused_by_its_name(tmp_path, message, line):
    (tmp_path / "journal.jsonl").write_text("\n".join([*OLD[:3], line, END]) + "\n")
    told = message_of(lambda: read_state(tmp_path))
    assert told.startswith(f"{tmp_path / 'journal.jsonl'}: line 4 is damaged ({message}"), told


@pytest.mark.slow
def test_a_lost_or_damaged_journal_is_made_anew_from_the_shards(base, toys):
    out, names = base / "out", [f"{index}.mp4" for index in range(4)]
    expected, states, journal = rows(out), videos(out), out / "journal.jsonl"
    with pytest.raises(UsageError, match="its journal is whole"):
        rebuild(out)
    damaged = journal.read_bytes().replace(b'"done"', b'"dona"', 1)
    for content in (None, damaged):
        journal.write_bytes(content) if content else journal.unlink()
        made = rebuild(out)
        assert (made.shards, made.inputs, made.rows, made.unknown) == (2, 4, len(expected), [])
        assert not list(verify(out)) and rows(out).equals(expected) and videos(out) == states
    (kept,) = out.glob("journal-*.damaged")
    assert kept.read_bytes() == damaged
    done = annotate("?.mp4", "-o", "out", "--json", cwd=base, toys=toys, check=1)
    assert '"type": "video"' not in done.stdout  # what failed is known too
    first, second = sorted((out / "tracks").iterdir(), key=lambda path: pq.read_metadata(path).num_rows)
    shutil.copy(second, out / "tracks" / "0123abcd-000001.parquet")  # placed before the process was killed
    for name in ("journal.jsonl", "videos.parquet"):
        (out / name).unlink()
    first.write_bytes(first.read_bytes()[:-9])
    made = rebuild(out)
    assert (made.shards, made.inputs, made.unknown) == (1, 1, ["2.mp4"]) and first.name in made.unreadable[0]
    assert status(out)["ended"] == "rebuilt"
    annotate("?.mp4", "-o", "out", cwd=base, toys=toys, check=1)
    assert rows(out).equals(truth(names, base, toys)) and not list(verify(out))
    assert rows(out).equals(expected) and videos(out) == states


def test_a_part_that_is_elsewhere_is_not_merged(base):
    (base / "out" / "parts").mkdir()
    shutil.copytree(base / "out", base / "elsewhere")
    (base / "out" / "parts" / "0-of-2").symlink_to(base / "elsewhere")
    before = tree(base)
    with pytest.raises(UsageError, match="0-of-2: a link"):
        merge(base / "out")
    assert tree(base) == before


def test_what_a_new_journal_would_replace_must_be_a_data_sets_own(base):
    (base / "out" / "journal.jsonl").unlink()
    (base / "out" / "videos.parquet").write_text("a user's own")
    before = tree(base / "out")
    with pytest.raises(InputError, match=r"videos\.parquet: not readable as that of a data set"):
        rebuild(base / "out")
    assert {name: data for name, data in tree(base / "out").items() if data or name != "journal.jsonl"} == before


# Put first on PYTHONPATH, it replaces or writes to an input while a worker is at it.
SITE = """
import os, sys
from cliffvid.pipeline.video_run import VideoRun
parts = VideoRun.parts

def changing(self):
    name = os.path.basename(str(self.info.path))
    if os.path.exists("new/" + name):
        os.replace("new/" + name, name)
    if os.path.exists("new/touch " + name):
        os.remove("new/touch " + name)
        os.utime(name)
    return parts(self)

VideoRun.parts = changing
"""


@pytest.mark.slow
def test_an_input_that_changes_meanwhile_has_no_rows_and_is_done_again(tmp_path, toys):
    films = {"same": 1, "swapped": 2, "touched": 3, "long": 4}
    for name, people in films.items():
        frames = 100 if name == "long" else 30
        make_clip(tmp_path / f"{name}.mp4", frames=frames, people=people, options={"g": "25"})
    (tmp_path / "new").mkdir()
    for name in ("swapped", "long"):
        make_clip(tmp_path / "new" / f"{name}.mp4", frames=20, people=1)
    (tmp_path / "new" / "touch touched.mp4").touch()
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
    args = ("*.mp4", "-o", "out", "--split", 1, "--workers", 1)
    env = {"PYTHONPATH": str(tmp_path / "site")}
    done = annotate(*args, cwd=tmp_path, toys=toys, env=env, check=1)
    ended = {video["video"]: (video["status"], video["error"]) for video in videos(tmp_path / "out")}
    changed = {f"{name}.mp4": ("failed", "ChangedError") for name in films if name != "same"}
    assert ended == changed | {"same.mp4": ("ok", None)} and "changed while read" in done.stderr
    assert not list(verify(tmp_path / "out"))
    annotate(*args, cwd=tmp_path, toys=toys)
    assert rows(tmp_path / "out").equals(truth([f"{name}.mp4" for name in films], tmp_path, toys))
