"""Data sets of very many inputs: what a plan opens and holds, and journals that are rewritten shorter."""

import json
import os
import random
import shutil
import signal
import sys
import tracemalloc
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bulk import annotate, make_inputs, rows, truth, videos
from cliffvid.annotate import job, plan, scheduler
from cliffvid.annotate.options import BulkOptions
from cliffvid.annotate.status import Looks, status
from cliffvid.annotate.store.columns import Packed
from cliffvid.annotate.store.dataset import NO_SHARD, Shards, conclude, done_line
from cliffvid.annotate.store.journal import Journal, read_state
from cliffvid.annotate.store.opening import compacted, open_journal
from cliffvid.annotate.store.place import Place
from cliffvid.annotate.store.reading import Reading
from cliffvid.annotate.store.state import State
from cliffvid.annotate.upkeep import verify
from cliffvid.errors import InputError
from clips import make_clip

INPUTS, BYTES_EACH = 20_000, 400


class IdlePool:
    """A pool whose workers take tasks and never answer; after the first look at them the job is stopped."""

    count = 2

    def __init__(self) -> None:
        self.submitted, self.held_bytes = [], 0

    def takes(self, task) -> bool:
        return len(self.submitted) < self.count

    def submit(self, task) -> None:
        self.held_bytes = self.held_bytes or tracemalloc.get_traced_memory()[0]
        self.submitted.append(task)

    def wait(self, timeout_s) -> list:
        os.kill(os.getpid(), signal.SIGTERM)
        return []

    def close(self) -> None: ...


def test_a_plan_opens_no_input_and_holds_little_of_each(tmp_path, toy_options, monkeypatch):
    manifest, out, opened = tmp_path / "inputs.csv", tmp_path / "out", []
    names = [f"{tmp_path}/films/{index:05d}.mp4" for index in range(INPUTS)]
    manifest.write_text("path,subject\n" + "".join(f"{name},s{i}\n" for i, name in enumerate(names)))
    watching = True
    sys.addaudithook(lambda event, args: opened.append(args[0]) if watching and event == "open" else None)
    pool = IdlePool()
    monkeypatch.setattr(job, "open_pool", lambda *_: pool)
    job.annotate(["nowhere.mp4"], tmp_path / "warm", toy_options())  # imports are not counted
    pool.submitted, pool.held_bytes = [], 0
    tracemalloc.start()
    try:
        summary = job.annotate([str(manifest)], out, toy_options())
    finally:
        tracemalloc.stop()
        watching = False
    assert not [path for path in opened if "films" in str(path)] and str(manifest) in map(str, opened)
    assert [task.video for task in pool.submitted] == names[:2]
    assert pool.held_bytes < BYTES_EACH * INPUTS
    assert (summary.stopped, summary.statuses) == ("interrupted", {"skipped": INPUTS})
    assert status(out)["statuses"] == {"to do": INPUTS} and status(out)["inputs"] == INPUTS
    assert pq.read_table(out / "videos.parquet")["status"].to_pylist() == ["skipped"] * INPUTS
    assert len(read_state(out).jobs) == 1 and len((out / "journal.jsonl").read_bytes().splitlines()) < 10


def facts(state: State) -> dict:
    """All that counts of a state."""
    return {
        "jobs": state.jobs,
        "found": set(state.found),
        "inputs": dict(state.inputs),
        "live": {name: {k: v for k, v in record.items() if k != "type"} for name, record in state.live.items()},
        "shards": {file: (sorted(names), state.hashes[file]) for file, names in state.shards().items()},
        "segments": state.segments,
        "end": state.end,
    }


JOB = {"type": "job", "started": 1.5, "inputs": 9, "settings": {}, "models": [], "software": "cliffvid 0.9"}
JOB |= {"options": {"end_s": None}}
COUNTS = {"decode": {"frames": 30, "damaged": 0}, "tracks": 0, "flags": {}}
RESULT = {"message": None, "attempts": 1, "finished": 2.5, "job": 0, "seconds": 0.5, "codec": "h264", "rate": "25"}
RESULT |= {"width_px": 320, "height_px": 240}
ODD = os.fsdecode(b"caf\xe9 \n.mp4")


def written_by_earlier_versions(count: int) -> list[dict]:
    """A line for each input, with its dicts, without sums; the first is replaced, the last has not ended."""
    lines, names = [JOB], [ODD, *(f"{index}.mp4" for index in range(count))]
    for index, name in enumerate(names):
        line = {"type": "input", "video": name, "key": f"{index:064x}", "content": f"{index + 1:064x}"}
        cuts = [1.5, 2.5] if index % 7 == 0 else []
        line |= {"kind": "video", "duration_s": index / 7, "frames": index, "cuts": cuts, "split_s": 600.0}
        lines.append({**line, "extra": {"subject": index} if index % 2 else {}})
    for index, name in enumerate(names[:-1]):
        ended = {"video": name, "key": f"{index:064x}", "status": "empty", **RESULT, "rows": 0, "counts": COUNTS}
        file = f"tracks/{index // 50:08x}-000001.parquet" if index % 50 == 3 else None
        if index % 5 == 0:
            keys = ("video", "key", "message", "attempts", "finished", "job")
            ended = {key: ended[key] for key in keys} | {"type": "failed", "status": "failed", "error": "EmptyError"}
            lines.append(ended)
            continue
        if file:
            ended |= {"status": "ok", "rows": 5, "counts": COUNTS if index % 100 == 3 else {}}
        lines.append({"type": "done", "file": file, "sha256": "ab" * 32 if file else None, "videos": [ended]})
    lines.append({**lines[1], "frames": 77})
    kept = {"type": "segment", "cut_key": "a key 1.5", "part": 0, "thumbs": "0" * 32 + ".npz", "file": None, "rows": 0}
    kept |= {"counts": COUNTS, "warnings": [], **{k: RESULT[k] for k in ("seconds", "codec", "rate")}}
    return [*lines, {**kept, "width_px": 320, "height_px": 240}]


def test_a_long_journal_of_an_earlier_version_is_rewritten_short_and_says_the_same(tmp_path):
    journal = tmp_path / "journal.jsonl"
    journal.write_text("".join(json.dumps(line) + "\n" for line in written_by_earlier_versions(800)))
    before = facts(read_state(tmp_path))
    with open_journal(tmp_path) as opened:
        assert facts(opened.state) == before
        assert len(journal.read_bytes().splitlines()) < 40
        opened.append({"type": "end", "stopped": None, "finished": 3.0, "videos_sha256": "00"})
    assert facts(read_state(tmp_path)) == before | {"end": read_state(tmp_path).end} and read_state(tmp_path).end
    size = journal.stat().st_size
    with open_journal(tmp_path):
        assert journal.stat().st_size == size  # once is enough
    assert not list((tmp_path / "work").iterdir())


def test_a_journal_is_whole_whenever_its_rewriting_is_broken_off(tmp_path, monkeypatch):
    journal = tmp_path / "journal.jsonl"
    journal.write_text("".join(json.dumps(line) + "\n" for line in written_by_earlier_versions(20)))
    open_journal(tmp_path).close()
    before, append, sound = journal.read_bytes(), Journal.append, facts(read_state(tmp_path))
    for error in (KeyboardInterrupt, OSError):
        for calls in range(4):

            def failing(self, *records, left=iter(range(calls, -1, -1)), error=error):  # noqa: B008
                if next(left) == 0:
                    raise error
                append(self, *records)

            with monkeypatch.context() as patch, Journal(tmp_path) as old:
                patch.setattr(Journal, "append", failing)
                if error is KeyboardInterrupt:  # as a kill does, it leaves a file behind
                    with pytest.raises(error):
                        compacted(tmp_path, old)
                else:
                    assert compacted(tmp_path, old) is old
            assert journal.read_bytes() == before and facts(read_state(tmp_path)) == sound
    with open_journal(tmp_path) as opened:
        Shards(Place(tmp_path), opened).clean()
        assert not list((tmp_path / "work").iterdir())
        with compacted(tmp_path, opened) as new:
            assert facts(new.state) == facts(read_state(tmp_path)) == sound


@pytest.mark.slow
def test_a_rewritten_journal_resumes_to_the_same_data_set_wherever_it_is_cut(tmp_path, toys):
    make_inputs(tmp_path / "in", clips=6)
    annotate("in", "-o", "out", "--workers", 1, "--checkpoint", 0, cwd=tmp_path, toys=toys, check=1)
    out = tmp_path / "out"
    expected, states = rows(out), videos(out)
    compacted(out, open_journal(out)).close()
    whole = facts(read_state(out))
    lines = (out / "journal.jsonl").read_bytes().splitlines(keepends=True)
    shutil.copytree(out, tmp_path / "kept")
    for cut in range(1, len(lines)):
        (out / "journal.jsonl").write_bytes(b"".join(lines[:cut]) + lines[cut][: len(lines[cut]) // 2])
        part = facts(read_state(out))
        for name in ("inputs", "live", "shards"):
            assert all(whole[name][key] == value for key, value in part[name].items())
        if cut % 6 == 2:
            annotate("in", "-o", "out", cwd=tmp_path, toys=toys, check=1)
            assert rows(out).equals(expected) and videos(out) == states, cut
            shutil.rmtree(out)
            shutil.copytree(tmp_path / "kept", out)


VALUES = {
    "equal": [1, 1, 1],
    "of several types": [1, True, 1.0],
    "hashes": ["a" * 64, "b" * 64, "c" * 64],
    "halves of one character": ["\ud83d" * 16, "\ude00" * 16, "\ud83d" * 16],
    "objects": [{"a": {"b": 1}}, {"a": {"b": 2}}, {"a": {"b": 2}}],
    "objects of other keys": [{"a": 1}, {"b": 2}, {}],
    "empty objects": [{}, {}, {}],
    "lists": [[1], [1, 2], []],
    "nothing": [None, None, 3],
}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("count", [1, 3])
def test_columns_hold_what_was_put_in_them(values, count):
    records = [{"video": f"{index}.mp4", "value": value} for index, value in enumerate(values[:count])]
    made = Packed.of(records)
    read = Packed(json.loads(json.dumps(made.columns)), len(made))
    assert repr(list(made)) == repr(list(read)) == repr(records)
    assert repr(list(read.values("value"))) == repr(values[:count])


def test_strange_columns_are_refused(tmp_path):
    record = {"key": "4b", "status": "empty", "rows": 0, "counts": COUNTS, **RESULT}
    ended = [{"video": f"{index}.mp4", **record} for index in range(2)]
    with open_journal(tmp_path) as journal:
        journal.append(JOB, done_line(NO_SHARD, ended))
    first, line = [json.loads(text) for text in (tmp_path / "journal.jsonl").read_text().splitlines()]
    columns = line["videos"]["columns"]
    strange = {
        "columns of 'videos' that are not all of 3 rows": {**line["videos"], "count": 3},
        "unknown or missing key 'rowz'": {"count": 2, "columns": {**columns, "rowz": [1]}},
        "'rows' is 'True'": {"count": 2, "columns": {**columns, "rows": [0, True]}},
        "'seconds' is 'inf'": {"count": 2, "columns": {**columns, "seconds": [0.5, float("inf")]}},
        "rows and no 'file'": {"count": 2, "columns": {**columns, "rows": [0, 7]}},
        "unknown status": {"count": 2, "columns": {**columns, "status": ["ok", "good"]}},
        "'job' is 1, of 1": {"count": 2, "columns": {**columns, "job": [0, 1]}},
        "'decode' is": {"count": 2, "columns": {**columns, "counts": {"tracks": [0], "flags": {}, "decode": [3]}}},
        "one name for 2 rows": {"count": 2, "columns": {**columns, "video": ["1.mp4"]}},
        "no key 'columns'": {"count": 2},
    }
    for message, videos_ in strange.items():
        lines = [{k: v for k, v in each.items() if k != "sum"} for each in (first, {**line, "videos": videos_})]
        (tmp_path / "journal.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
        with pytest.raises(InputError) as error:
            read_state(tmp_path)
        assert f"line 2 is damaged ({message}" in str(error.value)


def test_inputs_that_are_looked_at_a_few_at_a_time_are_done_once_each(tmp_path, toys, toy_options, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for module in (scheduler, plan):
        monkeypatch.setattr(module, "AHEAD", 4)
    names = [f"{index}.mp4" for index in range(9)]
    for index, name in enumerate(names):
        make_clip(tmp_path / name, frames=5 + index % 3, people=1 + index % 2)
    Path("gone.mp4").symlink_to("nowhere")
    bulk = BulkOptions(workers=1, checkpoint_s=0)
    for people in (9, 1):  # with other settings all are done again
        ended = []

        def watch(event, progress, ended=ended):
            if event["type"] == "video":
                ended.append(event["video"])

        summary = job.annotate(["."], "out", toy_options(max_people=people), bulk, watch)
        assert summary.statuses == {"ok": 9, "failed": 1} and sorted(ended) == [*names, "gone.mp4"]
        assert not list(verify(Path("out"))) and status(Path("out"))["statuses"] == summary.statuses
        if people == 9:
            assert rows(tmp_path / "out").equals(truth(names, tmp_path, toys))
    assert rows(tmp_path / "out").num_rows == sum(5 + index % 3 for index in range(9))
    assert job.annotate(["."], "out", toy_options(max_people=1), bulk).done == 0


def counted(folder: Path) -> dict:
    """What a status counts, from the state that a job works with."""
    state = read_state(folder)
    live, lengths = dict(state.live), {name: line["duration_s"] for name, line in state.inputs.items()}
    here = {name for name, video in live.items() if video["job"] == len(state.jobs) - 1}
    left = lengths.keys() - live.keys()
    took = sorted(((video["seconds"], name) for name, video in live.items() if "seconds" in video), reverse=True)
    statuses = Counter(video["status"] for video in live.values()) + Counter({"to do": len(left) + len(state.found)})
    return {
        "inputs": len(lengths) + len(state.found),
        "statuses": dict(statuses),
        "errors": dict(Counter(video["error"] for video in live.values() if "error" in video)),
        "rows": sum(video["rows"] for video in live.values()),
        "shards": len({video["file"] for video in live.values() if video["file"]}),
        "run": (len(here), sum(live[name]["counts"]["decode"]["frames"] for name in here if "counts" in live[name])),
        "slowest": [name for _, name in took[:5]],
    }


def test_inputs_that_came_without_columns_have_none_in_those_of_others(tmp_path):
    extras = [{}, {"n": 1, "label": "x", "mixed": 1}, {"n": None, "label": "", "mixed": "y"}, {"label": "z"}]
    line = {"type": "input", "key": "0" * 64, "content": "", "kind": "video", "duration_s": 2.0, "frames": 50}
    with open_journal(tmp_path) as journal:
        journal.append(JOB)
        for index, extra in enumerate(extras):
            journal.append(line | {"video": f"{index}.mp4", "cuts": None, "split_s": None, "extra": extra})
        conclude(Place(tmp_path), journal, None)
    table = pq.read_table(tmp_path / "videos.parquet").select(["status", "n", "label", "mixed"]).to_pydict()
    assert table == {
        "status": ["skipped"] * 4,
        "n": [None, 1, None, None],
        "label": [None, "x", "", "z"],
        "mixed": [None, "1", "y", None],
    }


def of_status(facts: dict) -> dict:
    known = {name: facts[name] for name in ("inputs", "statuses", "errors", "rows", "shards")}
    slowest = [each["video"] for each in facts["slowest"]]
    return known | {"run": (facts["run"]["inputs"], facts["run"]["frames"]), "slowest": slowest}


def test_a_status_counts_what_the_state_holds_whatever_lines_come_and_reads_each_once(tmp_path, monkeypatch):
    chance, names, taken = random.Random(0), [f"{index}.mp4" for index in range(40)], []
    (tmp_path / "work").mkdir()
    looks = Looks(Place(tmp_path))
    monkeypatch.setattr(Reading, "_take", lambda *args, take=Reading._take: taken.append(args[1]) or take(*args))
    with Journal(tmp_path) as journal:
        journal.append(JOB, {"type": "found", "videos": names[:30]})
        assert of_status(looks.status()) == counted(tmp_path)
        for turn in range(60):
            some, seconds = chance.sample(names, chance.choice([1, 1, 7, 20])), turn / 64
            known = [name for name in some if name in journal.state.inputs]
            ended = {"key": "0" * 64, **RESULT, "job": len(journal.state.jobs) - 1}
            failed = {k: v for k, v in ended.items() if k in ("key", "message", "attempts", "finished", "job")}
            line = {"key": "0" * 64, "content": "", "kind": "video", "duration_s": 2.0, "frames": 50}
            line |= {"cuts": None, "split_s": None, "extra": {}, "type": "input"}
            done = [{"video": name, **ended, "seconds": i + seconds} for i, name in enumerate(known)]
            done = [video | {"status": "ok", "rows": i, "counts": COUNTS} for i, video in enumerate(done)]
            file = {"file": f"tracks/{turn:08x}-000001.parquet", "sha256": "ab" * 32}
            gone = [name for name in known if chance.random() < 0.5]
            kept = [video for video in done if video["video"] not in gone]
            lines = {
                "input": [{**line, "video": name} for name in some],
                "found": [{"type": "found", "videos": some}],
                "done": [{"type": "done", **file, "videos": done}] if done else [],
                "failed": [{**failed, "type": "failed", "video": n, "status": "failed", "error": "E"} for n in known],
                "forget": [{"type": "done", **file, "videos": kept, "forget": gone}] if gone else [],
                "job": [JOB],
            }
            journal.append(*lines[chance.choice([*lines, "done", "input"])])
            del taken[:]
            now = of_status(looks.status())
            assert len(taken) <= 1 and now == of_status(status(tmp_path)) == counted(tmp_path), turn
        journal.append({"type": "end", "stopped": None, "finished": 3.0, "videos_sha256": "00"})
    assert looks.status()["ended"] == "all done" and now["statuses"].keys() == {"ok", "failed", "to do"}
    with Journal(tmp_path) as journal:
        size = journal.path.stat().st_size
        with compacted(tmp_path, journal) as shorter:
            shorter.append({"type": "found", "videos": [f"{index}.mkv" for index in range(size // 8)]})
            assert shorter.path.stat().st_size > size
    assert of_status(looks.status()) == counted(tmp_path)
