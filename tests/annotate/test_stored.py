"""Data sets in an object store: a local S3 server that fails now and then. The rows are those of a folder."""

import hashlib
import os
import random
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

import needs
import s3_server
from bulk import annotate, kill_group, rows, start
from cliffvid import Options
from cliffvid.annotate.status import data_sets, status, statuses
from cliffvid.annotate.store import stored
from cliffvid.annotate.store.dataset import Shards, conclude, done_line
from cliffvid.annotate.store.hugging_face import export_hf
from cliffvid.annotate.store.opening import found_lines, opened, planned_state
from cliffvid.annotate.upkeep import merge, verify
from cliffvid.errors import AccessError, InputError, NotFoundError, OutputError, RefusedError, UsageError
from cliffvid.video import stores
from clips import make_clip
from in_process import run

CLIPS = 5
JOB = {"type": "job", "started": 1.5, "inputs": 9, "settings": {}, "models": [], "software": "cliffvid 0.9"}
JOB |= {"options": {"end_s": None}}
INPUT = {"type": "input", "video": "a.mp4", "key": "0" * 64, "content": "", "kind": "video", "duration_s": 2.0}
INPUT |= {"frames": 50, "cuts": None, "split_s": None, "extra": {}}
ENDED = {"video": "a.mp4", "key": "0" * 64, "status": "empty", "message": None, "attempts": 1, "finished": 2.5}
ENDED |= {"job": 0, "rows": 0, "counts": {"decode": {"frames": 30, "damaged": 0}, "tracks": 0, "flags": {}}}
ENDED |= {"seconds": 0.5, "codec": "h264", "rate": "25", "width_px": 320, "height_px": 240}
NETWORK = Options(allow_network=True)
AT_ONCE = ("--workers", 2, "--checkpoint", 0, "--split", 2, "--allow-network")


@pytest.fixture(scope="module")
def bucket():
    needs.package("s3fs")
    needs.package("moto")
    with s3_server.serve() as bucket:
        yield bucket


@pytest.fixture
def here(bucket, monkeypatch):
    """The server, whole, for this process."""
    import s3fs

    for name, value in bucket.env.items():
        monkeypatch.setenv(name, value)
    stores._file_system.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()
    for name in ("WRITE", "REMOVE", "FETCH"):
        monkeypatch.setattr(stored, name, getattr(stored, name)._replace(waits_s=(0.01,)))
    bucket.faults()
    yield bucket
    bucket.faults()
    stores._file_system.cache_clear()


def listed(bucket, prefix: str) -> dict[str, int]:
    """The keys below a prefix, without it, and the sizes of the objects."""
    found = as_pyarrow(bucket).get_file_info(pafs.FileSelector(f"clips/{prefix}", recursive=True, allow_not_found=True))
    return {info.path.removeprefix(f"clips/{prefix}/"): info.size for info in found if info.type == pafs.FileType.File}


def as_pyarrow(bucket) -> pafs.S3FileSystem:
    keys = {"access_key": "test", "secret_key": "test", "region": "us-east-1", "scheme": "http"}
    return pafs.S3FileSystem(endpoint_override=bucket.endpoint.split("//")[1], **keys)


def puts(bucket) -> int:
    return sum(each["method"] == "PUT" for each in bucket.requests())


@pytest.mark.slow
def test_parts_that_are_killed_where_requests_fail_are_merged_to_the_rows_of_a_folder(here, toys, tmp_path):
    bucket = here
    (tmp_path / "in").mkdir()
    for index in range(CLIPS):
        make_clip(tmp_path / "in" / f"{index}.mp4", frames=8 + index, people=index % 3)
    make_clip(tmp_path / "in" / "long.mp4", frames=150, people=2)
    annotate("in", "-o", "local", "--workers", 2, cwd=tmp_path, toys=toys)
    out, draw, temporary = "a b#c?d=%20é[1]", random.Random(0), {"TMPDIR": str(tmp_path)}
    where, way = Path(f"s3://clips/{out}"), {"cwd": tmp_path, "toys": toys, "env": bucket.env | temporary}
    for part in range(2):
        bucket.faults(every=10)
        until, job = draw.randint(3, 8), ("in", "-o", f"s3://clips/{out}", *AT_ONCE, "--shard", f"{part}/2")
        running = start(*job, **way)
        while puts(bucket) < until and running.poll() is None:
            time.sleep(0.01)
        kill_group(running)
        annotate(*job, **way)
        assert {each["status"] for each in bucket.requests()} >= {500, 503}
    assert [status(each, NETWORK)["ended"] for each in data_sets(where, NETWORK)] == ["all done"] * 2
    assert not any(name.startswith("tracks") for name in listed(bucket, out))
    assert merge(where, NETWORK)["inputs"] == CLIPS + 1
    bucket.faults()
    assert [*verify(where, NETWORK)] == [] and len(statuses(where, NETWORK)) == 1
    before = listed(bucket, out)
    annotate("in", "-o", f"s3://clips/{out}", *AT_ONCE, **way)
    assert {*before} <= {*listed(bucket, out)} and status(where, NETWORK)["run"]["inputs"] == 0
    read = {"filesystem": as_pyarrow(bucket), "use_threads": False}
    table = pq.read_table(f"clips/{out}/tracks", **read)
    table = table.sort_by([(name, "ascending") for name in ("video", "frame_idx", "track_id")]).combine_chunks()
    assert len(table) > 250 and table.equals(rows(tmp_path / "local"))
    videos = pq.read_table(f"clips/{out}/videos.parquet", **read)
    assert videos["status"].to_pylist() == pq.read_table(tmp_path / "local/videos.parquet")["status"].to_pylist()
    places = {name.split("/")[0] for name in listed(bucket, out)}
    assert places == {"tracks", "journal", "videos.parquet", "parts"}  # nothing is left in work
    assert not [name for name in listed(bucket, f"{out}/parts") if "/journal/" not in name]
    assert not list(tmp_path.glob(".cliffvid-*"))
    assert export_hf(where, tmp_path / "hub", NETWORK)["rows"] == len(table)
    pafs.copy_files(f"clips/{out}", str(tmp_path / "copy"), source_filesystem=as_pyarrow(bucket), use_threads=False)
    pieces = sorted((tmp_path / "copy" / "journal").iterdir())
    (tmp_path / "copy" / "journal.jsonl").write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    assert list(verify(tmp_path / "copy")) == []


def test_a_damaged_shard_in_a_bucket_is_found_and_made_anew(here, toys, tmp_path, monkeypatch):
    make_clip(tmp_path / "0.mp4", frames=8, people=2)
    out, where = "s3://clips/damaged", Path("s3://clips/damaged")
    annotate("0.mp4", "-o", out, "--workers", 1, "--allow-network", cwd=tmp_path, toys=toys)
    (shard,) = (name for name in listed(here, "damaged") if name.startswith("tracks/"))
    with as_pyarrow(here).open_output_stream(f"clips/damaged/{shard}") as file:
        file.write(b"other")
    here.put("damaged/tracks/mine.parquet", b"mine")
    there = [*verify(where, NETWORK)]
    assert [each["file"] for each in there] == [shard, "tracks/mine.parquet"]
    assert "sha256 is another" in there[0]["problem"] and "move it elsewhere" in there[1]["problem"]
    monkeypatch.chdir(tmp_path)
    code, told = run(["annotate-verify", out, "--repair", "--allow-network"])
    assert code == 1 and f"{out}/{shard}: is not what was written" in told  # the file that is not its own is left
    assert [each["file"] for each in verify(where, NETWORK)] == ["tracks/mine.parquet"]
    assert shard not in listed(here, "damaged") and len(listed(here, "damaged/tracks")) == 2


def made_part(part: Path, names: list[str]) -> None:
    """A finished part, one of whose inputs has a shard; and a file of somebody else's below its journal."""
    with opened(part, NETWORK) as (place, journal):
        journal.append(JOB, *found_lines(names), *(INPUT | {"video": name} for name in names))
        shards = Shards(place, journal)
        for name in names[1:]:
            shards.add(ENDED | {"video": name}, b"")
        shards.commit()
        (place.folder / "work" / "part").write_bytes(b"rows")
        place.publish(place.folder / "work" / "part", "tracks/00000000-000001.parquet")
        ended = ENDED | {"video": names[0], "status": "ok", "rows": 3}
        shard = {"file": "tracks/00000000-000001.parquet", "sha256": hashlib.sha256(b"rows").hexdigest()}
        journal.append(done_line(shard, [ended]))
        conclude(place, journal, None)


def test_a_merge_that_is_killed_at_any_moment_is_done_by_the_next(here, monkeypatch):
    for moment in (4, 9, 11, 13, 15):
        out = Path(f"s3://clips/merged{moment}")
        made_part(out / "parts/0-of-2", ["a.mp4", "b.mp4"])
        here.put(f"merged{moment}/parts/0-of-2/journal/notes.txt", b"mine")
        left = [moment]

        def killed(self, *args, act=stored._written, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return act(self, *args)

        with monkeypatch.context() as patch:
            patch.setattr(stored, "_written", killed)
            with suppress(KeyboardInterrupt):
                merge(out, NETWORK)
        merge(out, NETWORK)
        reached = left[0] < 0
        (facts,) = statuses(out, NETWORK)
        assert (facts["statuses"], facts["rows"]) == ({"ok": 1, "empty": 1}, 3), moment
        assert [
            (each["file"], each["problem"]) for each in verify(out, NETWORK) if "is missing" in each["problem"]
        ] == []
        kept = [name for name in listed(here, out.name) if name.startswith("parts") and "jsonl" not in name]
        assert kept == ["parts/0-of-2/journal/notes.txt"]
        assert merge(out, NETWORK)["parts"] == 0
    assert not reached  # all moments were tried


def test_a_job_that_goes_on_with_a_part_as_it_is_merged_loses_nothing(here, monkeypatch):
    out, part = Path("s3://clips/races"), Path("s3://clips/races/parts/0-of-2")
    made_part(part, ["a.mp4", "b.mp4"])
    with opened(part, NETWORK) as (_, early):
        merge(out, NETWORK)
        with pytest.raises(OutputError, match="another annotate has taken it over"):
            early.append(*found_lines(["late.mp4"]))
    late = ExitStack()
    made_part(part, ["c.mp4", "d.mp4"])
    take_back = stored.StoredPlace.take_back

    def begun(self, name):
        if not journals and "parts" in str(self.where):
            journals.append(late.enter_context(opened(part, NETWORK)))
        take_back(self, name)

    journals = []
    monkeypatch.setattr(stored.StoredPlace, "take_back", begun)
    with late:
        merge(out, NETWORK)
        journals[0][1].append(JOB, *found_lines(["e.mp4"]))
    assert [*planned_state(part, NETWORK).found] == ["e.mp4"]
    assert status(out, NETWORK)["statuses"] == {"ok": 2, "empty": 2}
    assert merge(out, NETWORK)["unfinished"] == 1 and [*planned_state(part, NETWORK).found] == ["e.mp4"]


def test_a_key_that_leads_elsewhere_removes_nothing_here(here, tmp_path, monkeypatch):
    monkeypatch.setattr(stored.tempfile, "gettempdir", lambda: str(tmp_path))
    mine = tmp_path / "set" / "tracks" / "0a1b2c3d-000001.parquet"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with opened(Path("s3://clips/dots"), NETWORK) as (place, journal):
        monkeypatch.setattr(type(place), "_listed", lambda *_: ["tracks/../../set/tracks/0a1b2c3d-000001.parquet"])
        place.__dict__.pop("_found")
        assert len(place.names()) == 1
        Shards(place, journal).clean()
    assert mine.read_bytes() == b"mine"


def test_of_two_runs_the_later_goes_on_and_the_earlier_adds_and_removes_nothing(here, tmp_path):
    out = Path("s3://clips/two")
    with opened(out, NETWORK) as (first, journal):
        journal.append(JOB, *found_lines(["a.mp4"]))
        (first.folder / "work" / "part").write_bytes(b"the first's")
        first.publish(first.folder / "work" / "part", "tracks/00000000-000001.parquet")  # and no line that names it
        with opened(out, NETWORK) as (second, taken):
            Shards(second, taken).clean()
            assert not [name for name in listed(here, "two") if "tracks" in name]
            taken.append(*found_lines(["b.mp4"]))
            before = listed(here, "two")
            for act in (
                lambda: journal.append(*found_lines(["c.mp4"])),
                lambda: conclude(first, journal, None),
            ):
                with pytest.raises(OutputError, match="s3://clips/two: another annotate has taken it over"):
                    act()
            assert listed(here, "two") == before
            taken.append(*found_lines(["d.mp4"]))
    assert [*planned_state(out, NETWORK).found] == ["a.mp4", "b.mp4", "d.mp4"]


def test_an_answer_that_is_lost_is_no_other_run(here):
    here.faults(lose=["lost/"])  # a put that is done and yet fails is tried again, and finds itself
    with opened(Path("s3://clips/lost"), NETWORK) as (_, journal):
        for number in range(3):
            journal.append(*found_lines([f"{number}.mp4"]))
    assert [each["status"] for each in here.requests()].count(500) == 4
    here.faults()
    assert len(planned_state(Path("s3://clips/lost"), NETWORK).found) == 3


def refused(error: type[Exception], words: str, out: str, options: Options = NETWORK) -> None:
    """Assert that a data set cannot be opened, and why, in one line."""
    with pytest.raises(error) as caught, opened(Path(out), options):
        pass
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).startswith("s3://")


def test_what_a_bucket_refuses_is_told_in_one_line_and_nothing_is_written(here, monkeypatch):
    refused(RefusedError, "give --allow-network", "s3://clips/x", Options())
    refused(NotFoundError, "no such bucket", "s3://no-such-bucket/x")
    here.put("others/mine.txt", b"mine")
    here.put("others/tracks/00.parquet", b"mine")
    refused(UsageError, "holds other files (mine.txt and 1 more)", "s3://clips/others")
    here.put("orphans/tracks/00000000-000001.parquet", b"rows")
    refused(UsageError, "has lost its journal", "s3://clips/orphans")
    here.faults(forbid=["forbidden/journal/"])
    refused(OutputError, "forbids writing it", "s3://clips/forbidden")
    here.faults(replace=True)
    refused(OutputError, "the store replaces objects that should stay", "s3://clips/replaced")
    here.faults()
    assert listed(here, "others") == {"mine.txt": 4, "tracks/00.parquet": 4}
    assert not any(listed(here, name) for name in ("x", "forbidden", "replaced"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", os.devnull)
    stores._file_system.cache_clear()
    __import__("s3fs").S3FileSystem.clear_instance_cache()
    refused(AccessError, "no credentials", "s3://clips/x")


def test_a_store_that_keeps_fewer_bytes_or_loses_lines_is_found_out(here):
    out = Path("s3://clips/lying")
    with opened(out, NETWORK) as (place, journal):
        here.faults(lie=["lying/tracks/"])
        (place.folder / "work" / "part").write_bytes(b"rows")
        with pytest.raises(OutputError, match=r"holds 1,004 bytes of the 4 that were sent"):
            place.publish(place.folder / "work" / "part", "tracks/00000000-000001.parquet")
        here.faults()
        for number in range(3):
            journal.append(*found_lines([f"{number}.mp4"]))
    piece = as_pyarrow(here).open_input_stream("clips/lying/journal/000000003.jsonl").read()
    with as_pyarrow(here).open_output_stream("clips/lying/journal/000000003.jsonl") as file:
        file.write(piece.replace(b"1.mp4", b"9.mp4"))
    refused(InputError, "s3://clips/lying/journal: line 3 is damaged", str(out))
    as_pyarrow(here).delete_file("clips/lying/journal/000000003.jsonl")
    refused(InputError, "lying/journal/000000003.jsonl: missing", str(out))
