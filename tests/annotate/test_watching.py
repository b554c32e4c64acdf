"""Data sets watched while jobs work on them: by annotate-status, and by Prometheus."""

import json
import os
import pty
import re
import subprocess
import time
from collections import Counter
from contextlib import suppress

import pyarrow.parquet as pq
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bulk import annotate, command, make_inputs, start


def metrics(text: str) -> dict[str, dict[str, float]]:
    """What Prometheus' own parser reads: by name, values by the labels other than the data set."""
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            others = [value for name, value in sample.labels.items() if name != "data_set"]
            found.setdefault(sample.name, {})[" ".join(others)] = sample.value
    return found


def test_metrics_are_those_of_the_data_set_at_any_time(tmp_path, toys):
    make_inputs(tmp_path / "in", clips=12)
    file, seen = tmp_path / "cliffvid.prom", []
    running = start("in", "-o", 'o"ut', "--metrics", file.name, "--checkpoint", 0, cwd=tmp_path, toys=toys)
    while running.poll() is None:
        with suppress(FileNotFoundError):
            seen.append(metrics(file.read_text()))
        time.sleep(0.05)
    _, err = running.communicate()
    assert running.returncode == 1, err
    assert len({each["cliffvid_written_timestamp_seconds"][""] for each in seen}) > 1
    assert seen[0]["cliffvid_at_work"][""] == 1
    last = metrics(file.read_text())
    table = pq.read_table(tmp_path / 'o"ut' / "videos.parquet").to_pylist()
    statuses = Counter(row["status"] for row in table)
    assert {name: count for name, count in last["cliffvid_inputs"].items() if count} == statuses
    assert last["cliffvid_finished_inputs_total"][""] == len(table)
    assert sum(last["cliffvid_worker_frames_total"].values()) == last["cliffvid_frames_total"][""]
    assert last["cliffvid_frames_total"][""] == sum(row["frames"] or 0 for row in table)
    assert last["cliffvid_at_work"][""] == 0 and len(last["cliffvid_worker_tasks_total"]) == os.cpu_count()
    annotate("in", "-o", 'o"ut', "--metrics", file.name, cwd=tmp_path, toys=toys, check=1)  # replaces its own
    assert metrics(file.read_text())["cliffvid_finished_inputs_total"][""] == 0
    (tmp_path / "notes.txt").write_text("a user's own")
    done = annotate("in", "-o", "x", "--metrics", "notes.txt", cwd=tmp_path, toys=toys, check=2)
    assert "notes.txt: a file that is not cliffvid's metrics" in done.stderr
    assert (tmp_path / "notes.txt").read_text() == "a user's own"


@pytest.fixture(scope="module")
def finished(tmp_path_factory, toys):
    """A folder with inputs under ``in``, and the data set ``out`` of those that are not broken."""
    base = tmp_path_factory.mktemp("watching")
    make_inputs(base / "in", clips=12)
    annotate("in", "-o", "out", cwd=base, toys=toys, check=1)
    return base


def test_a_watch_ends_with_the_job_and_tells_whether_all_is_done(finished, toys):
    running = start("in", "-o", "slow", "--workers", 1, "--checkpoint", 0, cwd=finished, toys=toys)
    journal = finished / "slow" / "journal.jsonl"
    while running.poll() is None and (not journal.exists() or b'"done"' not in journal.read_bytes()):
        time.sleep(0.01)
    watching = [
        subprocess.Popen(command("annotate-status", "slow", "--watch", *more), cwd=finished, stdout=subprocess.PIPE)
        for more in ([], ["--json"])
    ]
    text, lines = (each.communicate(timeout=60)[0].decode() for each in watching)
    running.communicate(timeout=60)
    assert [each.returncode for each in watching] == [0, 0]
    facts = [json.loads(line) for line in lines.splitlines()]
    assert facts[-1]["ended"] == "all done" and "last run (ended: all done)" in text
    assert facts[-1]["videos_per_min"] == pytest.approx(60 * 27 / facts[-1]["run"]["seconds"])
    done = subprocess.run(command("annotate-status", "out", "--watch"), cwd=finished, capture_output=True, text=True)
    assert done.returncode == 0 and "videos/min" in done.stdout and "frames/s for each of" in done.stdout


def test_a_watch_of_parts_that_were_killed_ends_with_1(finished, toys):
    for part in ("0/2", "1/2"):
        running = start(
            "in", "-o", "parts", "--shard", part, "--workers", 1, "--checkpoint", 0, cwd=finished, toys=toys
        )
        journal = finished / "parts" / "parts" / part.replace("/", "-of-") / "journal.jsonl"
        while not journal.exists() or b'"done"' not in journal.read_bytes():
            assert running.poll() is None
            time.sleep(0.01)
        running.kill()
        running.communicate()
    args = ("annotate-status", "parts", "--watch", "--json")
    done = subprocess.run(command(*args), cwd=finished, capture_output=True, text=True, timeout=60)
    folders = [json.loads(line)["folder"] for line in done.stdout.splitlines()]
    assert done.returncode == 1 and folders == ["parts/parts/0-of-2", "parts/parts/1-of-2"]


def test_a_terminal_shows_one_status_that_is_redrawn(finished, toys):
    running = start("in", "-o", "shown", "--workers", 1, "--checkpoint", 0, cwd=finished, toys=toys)
    while not (finished / "shown" / "journal.jsonl").exists():
        time.sleep(0.01)
    screen, terminal = pty.openpty()
    env = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    args = command("annotate-status", "shown", "--watch")
    with subprocess.Popen(args, cwd=finished, env=env, stdout=terminal, stderr=terminal) as watching:
        os.close(terminal)
        shown = b""
        with suppress(OSError):  # the command has ended
            while part := os.read(screen, 1 << 16):
                shown += part
        os.close(screen)
    running.communicate()
    assert watching.returncode == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
    assert "last run (at work)" in text and "last run (ended: all done)" in text
    assert b"\x1b[2K" in shown  # a line that is drawn anew
