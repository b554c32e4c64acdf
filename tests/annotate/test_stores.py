"""Data sets from where videos live: tar shards, and a local S3 server. The rows are those of loose files."""

import http.server
import io
import json
import os
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import needs
import s3_server
from bulk import annotate, rows, videos
from cliffvid import Options
from cliffvid.annotate.inputs import find_inputs, sidecar_values
from cliffvid.annotate.lists import numbered
from cliffvid.errors import RefusedError, UsageError
from cliffvid.video import stores
from clips import film, index_first, make_clip, picture

CLIPS = 12


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with 12 clips under ``in``."""
    base = tmp_path_factory.mktemp("stores")
    (base / "in").mkdir()
    for index in range(CLIPS):
        make_clip(base / "in" / f"{index:02d}.mp4", frames=8 + index, people=index % 4)
    return base


@pytest.fixture(scope="module")
def local(data, toys):
    """The data set that is made of the files."""
    annotate("in", "-o", "local", "--workers", 1, cwd=data, toys=toys)
    return data / "local"


def same_rows(out: Path, local: Path, leave_out: tuple[str, ...] = ()) -> bool:
    """Whether two data sets have the same rows, whatever folder the clips lay in."""
    tables = []
    for table in (rows(out), rows(local)):
        names = [name.split("/")[-1] for name in table["video"].to_pylist()]
        table = table.set_column(0, table.schema.field(0), [names]).filter([name not in leave_out for name in names])
        tables.append(table.sort_by([(name, "ascending") for name in ("video", "frame_idx", "track_id")]))
    return len(tables[0]) > 100 and tables[0].combine_chunks().equals(tables[1].combine_chunks())


def make_shards(folder: Path, clips: list[Path], count: int = 3) -> None:
    folder.mkdir()
    for number in range(count):
        with tarfile.open(folder / f"{number:03d}.tar", "w") as tar:
            for clip in clips[number::count]:
                tar.add(clip, clip.name)
                about = json.dumps({"caption": f"of {clip.stem}", "status": "fine", "boxes": [1, 2]}).encode()
                beside = tarfile.TarInfo(f"{clip.stem}.json")
                beside.size = len(about)
                tar.addfile(beside, io.BytesIO(about))


def test_shards_have_the_rows_of_loose_files_and_the_columns_of_their_sidecars(data, local, toys):
    make_shards(data / "shards", sorted((data / "in").iterdir()))
    annotate("shards/{000..002}.tar", "-o", "sharded", "--workers", 2, cwd=data, toys=toys)
    assert same_rows(data / "sharded", local)
    table = pq.read_table(data / "sharded" / "videos.parquet", use_threads=False)
    found = {row["video"]: row for row in table.to_pylist()}
    assert list(found)[:2] == ["shards/000.tar/00.mp4", "shards/000.tar/03.mp4"] and len(found) == CLIPS
    row = found["shards/000.tar/03.mp4"]
    assert (row["caption"], row["json_status"], row["boxes"]) == ("of 03", "fine", "[1, 2]")
    contents = {video["video"].split("/")[-1]: video["content"] for video in videos(local)}
    assert {name.split("/")[-1]: row["content"] for name, row in found.items()} == contents


def test_a_shard_that_is_cut_or_missing_costs_its_own_members_alone(data, local, toys, tmp_path):
    make_shards(tmp_path / "shards", sorted((data / "in").iterdir()))
    shard = tmp_path / "shards" / "001.tar"
    with tarfile.open(shard) as tar:
        place = tar.getmember("07.mp4").offset_data
    os.truncate(shard, place + 100)
    done = annotate("shards/{000..003}.tar", "-o", "out", "--workers", 1, cwd=tmp_path, toys=toys, check=1)
    failed = {video["video"]: video["error"] for video in videos(tmp_path / "out") if video["status"] == "failed"}
    assert failed == {
        "shards/001.tar": "UnreadableError",
        "shards/001.tar/07.mp4": "UnreadableError",
        "shards/003.tar": "NotFoundError",
    }
    assert "shards/001.tar: is cut short" in done.stderr
    assert same_rows(tmp_path / "out", local, leave_out=("07.mp4", "10.mp4"))


def test_ranges_in_braces():
    assert numbered("a/{008..010}.tar") == ["a/008.tar", "a/009.tar", "a/010.tar"]
    assert numbered("{1..0}-{9..10}.tar") == ["1-9.tar", "1-10.tar", "0-9.tar", "0-10.tar"]
    assert numbered("plain {a,b}.mp4") == ["plain {a,b}.mp4"]
    with pytest.raises(UsageError, match="more than 100,000"):
        numbered("{0..999}{0..999}.tar")


def test_sidecars_of_strangers_make_no_more_columns_than_a_table_can_bear(tmp_path):
    values = {f"column {i}": 1 << 80 for i in range(100)} | {"text": "\ud800", "none": float("nan")}
    texts = {"0": json.dumps(values), "1": "[1]", "2": "[" * 100_000, "3": "{}" + " " * (1 << 18)}
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for stem, text in texts.items():
            for name, content in ((f"{stem}.mp4", b"x"), (f"{stem}.json", text.encode())):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    found = find_inputs([str(tmp_path / "a.tar")], tmp_path)
    assert [len(extra) for extra in found.inputs.values()] == [64, 0, 0, 0] and found.ignored == 3
    values = sidecar_values(tmp_path / "a.tar" / "0.json", Options())
    assert values["column 1"] == str(1 << 80) and values["none"] is None and values["text"] == "\\ud800"


@pytest.fixture(scope="module")
def bucket(data):
    """A running S3 server with the clips under ``in/``."""
    needs.package("s3fs")
    needs.package("moto")
    with s3_server.serve() as bucket:
        for clip in sorted((data / "in").iterdir()):
            bucket.put(f"in/{clip.name}", clip.read_bytes())
        yield bucket


@pytest.mark.slow
def test_a_bucket_has_the_rows_of_loose_files_also_where_requests_fail(bucket, data, local, toys):
    bucket.faults(every=10)
    args = ("s3://clips/in/*.mp4", "-o", "stored", "--workers", 1, "--allow-network")
    annotate(*args, cwd=data, toys=toys, env=bucket.env)
    assert same_rows(data / "stored", local)
    statuses = [each["status"] for each in bucket.requests()]
    assert statuses.count(503) + statuses.count(500) >= 3  # it was put to the test
    assert all(video["content"].startswith("etag ") for video in videos(data / "stored"))
    bucket.faults()
    annotate(*args, cwd=data, toys=toys, env=bucket.env)  # the same again: nothing but a look at each
    assert {each["method"] for each in bucket.requests()} == {"HEAD"}


def test_what_a_bucket_refuses_fails_alone_in_one_line(bucket, data, local, toys, tmp_path):
    odd = "in/a b#c?d=%20é.mp4"
    bucket.put(odd, (data / "in" / "03.mp4").read_bytes())
    bucket.faults(forbid=["in/04.mp4"], lie=["in/05.mp4"])
    expected = {
        "s3://clips/in/04.mp4": ("AccessError", "forbids reading it"),
        "s3://clips/in/05.mp4": ("UnreadableError", "promised; upload it again"),
        "s3://clips/in/gone\nand more.mp4": ("NotFoundError", "no such object"),
        "s3://no-such-bucket/a.mp4": ("NotFoundError", "no such bucket"),
        "s3://clips": ("NotFoundError", "name one of them"),
    }
    lines = ["path", *(f'"{name}"' for name in (f"s3://clips/{odd}", *expected))]
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    args = ("list.csv", "-o", "out", "--workers", 1, "--allow-network")
    done = annotate(*args, cwd=tmp_path, toys=toys, env=bucket.env, check=1)
    made = {video["video"]: video for video in videos(tmp_path / "out")}
    people = {video["video"]: video["people"] for video in videos(local)}
    assert made.pop(f"s3://clips/{odd}")["people"] == people["in/03.mp4"] > 0
    assert made.keys() == expected.keys()
    for name, (error, words) in expected.items():
        assert made[name]["error"] == error and words in made[name]["message"]
    assert sum(line.startswith("failed: ") for line in done.stderr.splitlines()) == len(expected)


def test_a_store_is_asked_only_with_leave_and_credentials(bucket, toys, tmp_path):
    bucket.faults()
    args = ("s3://clips/in/*.mp4", "-o", "out")
    done = annotate(*args, cwd=tmp_path, toys=toys, env=bucket.env, check=1)
    assert "give --allow-network" in done.stderr and len(done.stderr.splitlines()) == 1
    nobody = bucket.env | {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "HOME": str(tmp_path)}
    done = annotate(*args, "--allow-network", cwd=tmp_path, toys=toys, env=nobody, check=1)
    assert "no credentials" in done.stderr and len(done.stderr.splitlines()) == 1
    assert bucket.requests() == [] and not os.path.exists(tmp_path / "out")


def test_a_store_that_nothing_installed_reads_is_refused_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    stores._file_system.cache_clear()
    with pytest.raises(RefusedError, match=r's3://clips/a\.mp4: s3fs is not .* pip install "cliffvid\[s3\]"'):
        stores.facts_of("s3://clips/a.mp4", Options(allow_network=True))


def test_shards_in_a_bucket_have_the_rows_of_loose_files(bucket, data, local, toys, tmp_path):
    make_shards(tmp_path / "shards", sorted((data / "in").iterdir()))
    for shard in (tmp_path / "shards").iterdir():
        bucket.put(f"shards/{shard.name}", shard.read_bytes())
    bucket.faults(every=10)
    args = ("s3://clips/shards/{000..003}.tar", "-o", "out", "--workers", 1, "--allow-network")
    annotate(*args, cwd=tmp_path, toys=toys, env=bucket.env, check=1)
    assert same_rows(tmp_path / "out", local)
    made = {video["video"]: video for video in videos(tmp_path / "out")}
    assert made.pop("s3://clips/shards/003.tar")["error"] == "NotFoundError" and len(made) == CLIPS
    assert made["s3://clips/shards/000.tar/03.mp4"]["caption"] == "of 03"


@pytest.mark.slow
def test_a_film_is_read_once_and_split_as_a_file_is(bucket, toys, tmp_path):
    noise = np.random.default_rng(0).integers(-40, 40, (144, 192, 3))
    pictures = [
        np.clip(picture(i, 2, 192, 144) + np.roll(noise, 7 * i, 1), 0, 255).astype(np.uint8) for i in range(200)
    ]
    behind = film(tmp_path / "behind.mp4", pictures)
    front = index_first(behind, tmp_path / "front.mp4")
    size = front.stat().st_size
    for clip in (front, behind):
        bucket.put(f"films/{clip.name}", clip.read_bytes())
    bucket.faults()
    args = ("--workers", 1, "--allow-network")
    annotate("s3://clips/films/front.mp4", "-o", "once", *args, cwd=tmp_path, toys=toys, env=bucket.env)
    assert size > 1_500_000 and size <= bucket.bytes_read("front") <= 1.15 * size
    bucket.faults()
    annotate("s3://clips/films/", "-o", "split", "--split", 2, *args, cwd=tmp_path, toys=toys, env=bucket.env)
    segments = (tmp_path / "split" / "journal.jsonl").read_text().count('"type": "segment"')
    assert segments >= 6 and bucket.bytes_read("front") < 3 * size  # not the whole film for each
    annotate("front.mp4", "behind.mp4", "-o", "local", "--workers", 1, cwd=tmp_path, toys=toys)
    assert same_rows(tmp_path / "split", tmp_path / "local")


def test_an_address_with_secrets_is_opened_as_given_and_named_without_them(data, toys, tmp_path):
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=data / "in")

        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{serving.server_port}"
        names = [f"http://me:5ec2e7@{host}/{name}.mp4?X-Amz-Signature=5ec2e7" for name in ("03", "gone")]
        (tmp_path / "list.txt").write_text("\n".join(names))
        done = annotate("list.txt", "-o", "out", "--allow-network", cwd=tmp_path, toys=toys, check=1)
        serving.shutdown()
    assert "/03.mp4?X-Amz-Signature=5ec2e7" in asked
    statuses = {video["video"]: video["status"] for video in videos(tmp_path / "out")}
    assert statuses == {f"http://{host}/03.mp4": "ok", f"http://{host}/gone.mp4": "failed"}
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert "5ec2e7" not in done.stderr and b"5ec2e7" not in written
