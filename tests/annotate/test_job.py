"""Bulk annotation by the real command, on toy networks and generated clips."""

import json
import os
import pty
import re
import shutil
import subprocess
from collections import Counter
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bulk import TOYS, annotate, command, make_inputs, rows, truth, videos
from clips import film, make_clip, picture

PAGE = Path(__file__).parents[2] / "docs" / "pages" / "howto" / "datasets.md"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with 30 inputs under ``in``."""
    base = tmp_path_factory.mktemp("bulk")
    make_inputs(base / "in", clips=15)
    return base


@pytest.fixture(scope="module")
def undisturbed(data, toys):
    """The data set that one worker makes of them, in one go."""
    done = annotate("in", "-o", "one", "--workers", 1, cwd=data, toys=toys, check=1)
    assert "30 inputs" in done.stderr and "5 failed" in done.stderr
    return data / "one"


def test_each_input_has_the_rows_that_process_gives_it(undisturbed, data, toys):
    expected = truth([video["video"] for video in videos(undisturbed)], data, toys)
    assert rows(undisturbed).equals(expected) and len(expected) > 500
    states = videos(undisturbed)
    assert Counter(video["status"] for video in states) == {"ok": 19, "empty": 3, "failed": 5, "partial": 3}
    errors = {video["video"].split("/")[-1]: video["error"] for video in states if video["status"] == "failed"}
    assert errors == {
        "empty.mp4": "EmptyError",
        "text.mp4": "UnreadableError",
        "headless.mp4": "UnreadableError",
        "sound.mp4": "NoVideoError",
        "dangling.mp4": "NotFoundError",
    }
    people = Counter(rows(undisturbed)["video"].to_pylist())
    assert all(video["people"] == people[video["video"]] for video in states)


def test_two_workers_make_the_same_data_set(undisturbed, data, toys):
    annotate("in", "-o", "two", "--workers", 2, "--checkpoint", 0.3, cwd=data, toys=toys, check=1)
    assert rows(data / "two").equals(rows(undisturbed)) and videos(data / "two") == videos(undisturbed)
    assert len(list((data / "two" / "tracks").iterdir())) > 1 == len(list((undisturbed / "tracks").iterdir()))


def test_shared_networks_make_the_same_data_set(undisturbed, data, toys):
    annotate("in", "-o", "shared", "--networks", "shared", "--workers", 3, cwd=data, toys=toys, check=1)
    assert rows(data / "shared").equals(rows(undisturbed)) and videos(data / "shared") == videos(undisturbed)


@pytest.mark.parametrize("networks", ["own", "shared"])
def test_networks_that_cannot_be_opened_are_told_at_once(data, toys, tmp_path, networks):
    engines = shutil.copytree(toys, tmp_path / "engines")
    (engines / "toy-regressor" / "model.onnx").write_bytes(b"no network")
    done = annotate("in", "-o", tmp_path / "out", "--networks", networks, cwd=data, toys=engines, check=1)
    assert "toy-regressor/model.onnx: damaged or exchanged" in done.stderr and "export or install" in done.stderr
    assert not list((tmp_path / "out" / "tracks").iterdir())


def test_what_is_done_is_not_done_again_and_what_changed_is(undisturbed, data, toys):
    shutil.copytree(data / "in", data / "again" / "in", symlinks=True)
    base = data / "again"
    annotate("in", "-o", "out", cwd=base, toys=toys, check=1)
    shards = sorted((base / "out" / "tracks").iterdir())
    done = annotate("in", "-o", "out", "--json", cwd=base, toys=toys, check=1)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert not [event for event in events if event["type"] == "video"]  # failures too are remembered
    assert sorted((base / "out" / "tracks").iterdir()) == shards
    make_clip(base / "in" / "folder 0" / "clip 1.mp4", frames=20, people=2)
    done = annotate("in", "-o", "out", "--json", cwd=base, toys=toys, check=1)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["video"] for event in events if event["type"] == "video"] == ["in/folder 0/clip 1.mp4"]
    assert rows(base / "out").equals(truth([video["video"] for video in videos(base / "out")], base, toys))
    annotate("in/folder 0", "-o", "out", "--max-people", 1, cwd=base, toys=toys)  # other settings
    table = rows(base / "out").to_pandas()
    most = table.groupby(["video", "frame_idx"]).size().groupby("video").max()
    assert (most[[name for name in most.index if "folder 0" in name]] == 1).all() and most.max() > 1


def test_a_long_video_is_cut_and_nobody_can_tell(data, toys):
    images = [picture(index, 4, 192, 144) for index in range(400)]
    dark = [image // 2 + 100 * (np.indices((144, 192))[0][..., None] // 40 % 2).astype(np.uint8) for image in images]
    ground = cv2.resize(np.random.default_rng(0).integers(0, 150, (6, 40), np.uint8), (960, 144))[..., None]
    behind = [np.where(image == 90, ground[:, k : k + 192], image) for k, image in enumerate(images)]  # the camera pans
    shots = [*images[:75], *dark[75:200], *behind[200:]]  # cuts: at a key frame where segments begin, and elsewhere
    film(data / "long.mp4", shots, options={"g": "25"})
    whole = annotate("long.mp4", "-o", "whole", "--json", cwd=data, toys=toys)
    cut = annotate("long.mp4", "-o", "cut", "--split", 3, "--json", cwd=data, toys=toys)
    pieces = [event for event in map(json.loads, cut.stdout.splitlines()) if event["type"] == "segment"]
    assert len(pieces) == 5 and '"segment"' not in whole.stdout
    assert rows(data / "cut").equals(rows(data / "whole")) and videos(data / "cut") == videos(data / "whole")
    assert rows(data / "cut").equals(truth(["long.mp4"], data, toys))
    counts = {}
    for out in ("whole", "cut"):
        lines = [json.loads(line) for line in (data / out / "journal.jsonl").read_text().splitlines()]
        counts[out] = next(line["videos"][0]["counts"] for line in lines if line["type"] == "done")
    assert {75, 200} <= {frame for frame, _ in counts["cut"]["shots"]} and counts["cut"]["moving"]
    assert all(counts["cut"][name] == counts["whole"][name] for name in ("shots", "moving"))
    assert not list((data / "cut" / "work").iterdir())


def test_sources_of_every_kind(data, toys):
    names = ["in/folder 0/clip 0.mp4", "in/folder 1/clip 0.mp4", "in/folder 2/clip 0.mp4"]
    expected = truth(names, data, toys)
    (data / "list.txt").write_text("\n".join(names) + "\n")
    lines = [f"{name},s{i},1.{i}" for i, name in enumerate(names)]
    (data / "table.csv").write_text("\n".join(["path,subject,height_m", *lines]))
    pq.write_table(pa.table({"path": names, "subject": ["s0", "s1", "s2"]}), data / "table.parquet")
    kinds = [["in/folder ?/clip 0.mp4"], ["list.txt"], ["table.csv"], ["table.parquet"], names]
    for number, sources in enumerate(kinds):
        annotate(*sources, "-o", f"kind{number}", cwd=data, toys=toys)
        assert rows(data / f"kind{number}").equals(expected), sources
    table = pq.read_table(data / "kind2" / "videos.parquet").to_pylist()
    assert [(row["subject"], row["height_m"]) for row in table] == [("s0", "1.0"), ("s1", "1.1"), ("s2", "1.2")]


def test_outputs_stay_under_out_whatever_the_inputs_are_called(data, toys, tmp_path):
    base = tmp_path / "base"
    (base / "a").mkdir(parents=True)
    source = data / "in" / "folder 1" / "clip 0.mp4"
    names = ["a/same.mp4", "same.mp4", "x" * 251 + ".mp4", "ä ö\t日本.mp4", "-.mp4", "a/quote'\".mp4"]
    for name in names:
        shutil.copy(source, base / name)
    odd = os.fsdecode(b"caf\xe9.mp4")  # no UTF-8
    shutil.copy(source, base / odd)
    os.symlink(source, base / "link.mp4")
    shutil.copy(source, tmp_path / "up.mp4")
    before = sorted(path for path in tmp_path.rglob("*") if "out" not in path.parts)
    annotate(".", "../up.mp4", source, base / "same.mp4", "-o", "out", cwd=base, toys=toys)
    assert sorted(path for path in tmp_path.rglob("*") if "out" not in path.relative_to(tmp_path).parts) == before
    found = Counter(rows(base / "out")["video"].to_pylist())
    labels = [*names, "caf\\xe9.mp4", "link.mp4", "../up.mp4", str(source), str(base / "same.mp4")]
    assert found == dict.fromkeys(labels, len(rows(base / "out")) // len(labels))


def test_a_dry_run_tells_the_plan_and_writes_nothing(data, toys):
    done = annotate("in", "-o", "dry", "--dry-run", cwd=data, toys=toys)
    assert "25 of 30 inputs to do" in done.stdout and "in/ünsound/text.mp4: not a readable video" in done.stdout
    assert "about " in done.stdout and not (data / "dry").exists()
    done = annotate("in", "-o", "dry", "--dry-run", "--json", cwd=data, toys=toys)
    *lines, total = map(json.loads, done.stdout.splitlines())
    assert total["estimate_s"] > 0
    assert total["frames"] == sum(line["frames"] or 0 for line in lines if line["todo"])


def test_what_folders_leave_out_is_named(data, toys, tmp_path):
    shutil.copy(data / "in" / "folder 0" / "clip 0.mp4", tmp_path)
    for name in ("a.json", "b.png", "c.txt", "d", "e", ".f", "g"):
        (tmp_path / name).touch()
    words = "7 files left out, no videos or images beside videos: a.json, b.png, c.txt, d, e and 2 more"
    done = annotate(".", "-o", "out", "--dry-run", cwd=tmp_path, toys=toys)
    assert words in done.stdout
    done = annotate(".", "-o", "out", cwd=tmp_path, toys=toys)
    assert f"1 input; {words}" in done.stderr


def test_a_dry_run_counts_what_will_be_taken(clip, toys, tmp_path):
    """Of 30 frames in 1.2 s those between --start and --end, every second one; the trial is of those as well."""
    (tmp_path / "in").mkdir()
    shutil.copy(clip, tmp_path / "in" / "a.mp4")
    span = ("--start", "0:00.2", "--end", "1.0", "--stride", 2)
    done = annotate("in", "-o", "x", "--dry-run", "--json", *span, cwd=tmp_path, toys=toys)
    line, total = map(json.loads, done.stdout.splitlines())
    assert line["frames"] == total["frames"] == 10 and line["duration_s"] == pytest.approx(0.8)
    assert total["estimate_s"] > 0
    annotate("in", "-o", "x", *span, cwd=tmp_path, toys=toys)
    assert len(set(rows(tmp_path / "x")["frame_idx"].to_pylist())) == 10
    done = annotate("in", "-o", "y", "--dry-run", "--json", "--start", 5, cwd=tmp_path, toys=toys)
    total = json.loads(done.stdout.splitlines()[-1])
    assert (total["frames"], total["duration_s"]) == (0, 0)


def test_a_terminal_shows_a_bar_for_each_stage_and_worker_whatever_the_names(data, toys, tmp_path):
    name = "a name as long as those that people give " * 4 + "to part 7.mp4"
    shutil.copy(data / "in" / "folder 2" / "clip 2.mp4", tmp_path / name)
    (tmp_path / "broken.mp4").write_text("no film")
    screen, terminal = pty.openpty()
    running = subprocess.Popen(
        command("annotate", ".", "-o", "out", "--workers", 1, "--models", toys, *TOYS),
        cwd=tmp_path,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
        stdout=subprocess.DEVNULL,
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""
    with suppress(OSError):  # the command has ended
        while part := os.read(screen, 1 << 16):
            shown += part
    os.close(screen)
    assert running.wait(60) == 1
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode()).replace("\r", "\n").splitlines()
    for begin, end in (("plan  ", "2 of 2"), ("annotate  ", "inputs, 1 failed"), ("worker ", "part 7.mp4")):
        assert [line for line in lines if line.startswith(begin) and end in line], (begin, lines)
    (failed,) = [line for line in lines if line.startswith("failed: broken.mp4: not a readable video")]
    assert failed.count("broken.mp4") == 1


def test_every_reader_sees_one_table(undisturbed, data):
    import duckdb
    import pandas
    import polars

    expected, states = rows(undisturbed), pq.read_table(undisturbed / "videos.parquet", use_threads=False)
    key = ["video", "frame_idx", "track_id"]
    by_pandas = pandas.read_parquet(undisturbed / "tracks").sort_values(key)
    by_polars = polars.read_parquet(undisturbed / "tracks" / "*.parquet").sort(key)
    order = ", ".join(key)
    by_duckdb = duckdb.sql(f"select * from '{undisturbed}/tracks/*.parquet' order by {order}").to_arrow_table()
    for name in expected.column_names:
        want = expected[name].to_pylist()
        assert [v.tolist() if hasattr(v, "tolist") else v for v in by_pandas[name]] == want, name
        assert by_polars[name].to_list() == want and by_duckdb[name].to_pylist() == want, name
    query = re.search(r"```sql\n(.*?)```", PAGE.read_text(), re.S).group(1)
    answer = duckdb.sql(query.replace("annotated/", f"{undisturbed}/")).fetchall()
    scores = expected.group_by("video").aggregate([("det_score", "mean")]).to_pylist()
    people = {row["video"]: (row["status"], row["people"]) for row in states.to_pylist()}
    want = {(row["video"], *people[row["video"]], round(row["det_score_mean"], 5)) for row in scores}
    assert {(*row[:3], round(row[3], 5)) for row in answer} == want
    assert [row[3] for row in answer] == sorted((row[3] for row in answer), reverse=True)
