"""Help for tests of bulk annotation: inputs of every kind, the command in a process of its own, and the truth."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cliffvid import Options, process
from cliffvid.annotate.store.check import rows_of
from cliffvid.errors import InputError
from cliffvid.pipeline.networks import open_models
from cliffvid.tracks.read import read_tracks
from cliffvid.tracks.write import arrow_table
from clips import make_clip
from traps import TRAPS

TRAPPED = (
    *("b-frames.mp4", "uneven.mkv", "offset.ts", "cut.mp4", "rotten.mkv"),
    *("cover.mp4", "resized.ts", "trimmed.mp4", "vp9.webm", "moving.gif"),
)
TOYS = ["--detector", "toy-detector", "--regressor", "toy-regressor"]


def make_inputs(folder: Path, clips: int = 45) -> Path:
    """A folder of small clips, 10 of the trap corpus and 5 broken files, spread over folders with equal names."""
    made = folder / "made"
    made.mkdir(parents=True)
    for index in range(5):
        make_clip(made / f"{index}.mp4", frames=8 + 3 * index, people=index)
    for index in range(clips):
        place = folder / f"folder {index % 3}"
        place.mkdir(exist_ok=True)
        shutil.copy(made / f"{index % 5}.mp4", place / f"clip {index // 3}.mp4")
    shutil.rmtree(made)
    (folder / "traps").mkdir()
    for trap in TRAPS:
        if trap.name in TRAPPED:
            trap.make(folder / "traps" / trap.name)
    for path in (folder / "traps").iterdir():
        if path.name not in TRAPPED:  # what a trap was made from
            path.unlink()
    good = (folder / "folder 1" / "clip 0.mp4").read_bytes()
    broken = folder / "ünsound"
    broken.mkdir()
    (broken / "empty.mp4").touch()
    (broken / "text.mp4").write_text("no film\n" * 100)
    (broken / "headless.mp4").write_bytes(good[2000:])
    make_clip(broken / "sound.m4a", frames=0, video=False, audio=True).rename(broken / "sound.mp4")
    os.symlink("nowhere.mp4", broken / "dangling.mp4")
    return folder


def command(*args) -> list[str]:
    return [sys.executable, "-m", "cliffvid", *map(str, args)]


def annotate(*args, cwd, toys, env=None, check: int | None = 0) -> subprocess.CompletedProcess:
    """The command in a process of its own."""
    done = subprocess.run(
        command("annotate", *args, "--models", toys, *TOYS),
        cwd=cwd,
        env=os.environ | (env or {}),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert "Traceback" not in done.stderr and "internal error" not in done.stderr, done.stderr
    assert check is None or done.returncode == check, done.stderr
    return done


def start(*args, cwd, toys, env=None) -> subprocess.Popen:
    """The same, in a process group of its own, and going on."""
    return subprocess.Popen(
        command("annotate", *args, "--models", toys, *TOYS),
        cwd=cwd,
        env=os.environ | (env or {}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def kill_group(running: subprocess.Popen) -> None:
    if running.poll() is None:
        os.killpg(running.pid, signal.SIGKILL)
    running.communicate()


def rows(out: Path) -> pa.Table:
    """All rows of a data set, in an order that does not depend on its shards."""
    table = pq.read_table(out / "tracks", use_threads=False)
    return table.sort_by([(name, "ascending") for name in ("video", "frame_idx", "track_id")]).combine_chunks()


def without_sums(journal: Path) -> str:
    """A journal as versions wrote it whose lines had no sums: what stands in it can be changed."""
    return re.sub(r', "sum": "[0-9a-f]{16}"}\n', "}\n", journal.read_text())


VOLATILE = ("seconds", "finished", "shard", "attempts", "software")


def videos(out: Path) -> list[dict]:
    """What videos.parquet says, but for what differs from run to run."""
    table = pq.read_table(out / "videos.parquet", use_threads=False)
    return table.drop_columns(list(VOLATILE)).to_pylist()


def ended(out: Path) -> list[dict]:
    """Each record of an input that ended, in the order of the journal."""
    lines = [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()]
    done = [line["videos"] for line in lines if line["type"] == "done"]
    return [dict(video) for videos in done for video in (rows_of(videos) if isinstance(videos, dict) else videos)]


def truth(names: list[str], base: Path, toys: Path) -> pa.Table:
    """The rows that ``process`` gives for each input by itself."""
    options = Options(models_dir=toys, detector="toy-detector", regressor="toy-regressor", threads=1, overwrite=True)
    tables, out = [], base / "truth.parquet"
    with open_models(options) as models:
        for name in sorted(names):
            try:
                process(base / name, out, options, models=models)
            except InputError:
                continue
            table = arrow_table(read_tracks(out))
            video = pa.array([name] * len(table), pa.string())
            tables.append(table.add_column(0, pa.field("video", pa.string(), nullable=False), video))
    return pa.concat_tables(tables).combine_chunks()
