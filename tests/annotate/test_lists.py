"""Lists of inputs: the names that were meant, whatever wrote them, and a word for what is no list."""

import datetime
import io
import json
import os
import subprocess
import sys
import tarfile

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from bulk import annotate, command, rows, videos, without_sums
from cliffvid.annotate.inputs import find_inputs
from cliffvid.cli.process import _inputs
from cliffvid.errors import InputError, UsageError
from clips import make_clip

NAMES = ["a b/1.mp4", "日本.mov", "#3, or so.mkv", " led by a space.avi", "a\u2028b.mp4"]
WRITTEN = {  # of a text by what people and programs save it as
    "utf-8": lambda text: text.encode(),
    "windows": lambda text: text.replace("\n", "\r\n").encode("utf-8-sig"),
    "utf-16, little end first": lambda text: b"\xff\xfe" + text.replace("\n", "\r\n").encode("utf-16-le"),
    "utf-16, big end first": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "utf-32": lambda text: b"\xff\xfe\0\0" + text.encode("utf-32-le"),
}


class Stdin(io.TextIOWrapper):
    def __init__(self, data):
        super().__init__(io.BytesIO(data))


def by_process(data, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Stdin(data))
    return [str(name) for name in _inputs(["-"])]


def by_annotate(data, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Stdin(data))
    return list(find_inputs(["-"], tmp_path).inputs)


def by_list(data, tmp_path, monkeypatch):
    (tmp_path / "list.txt").write_bytes(data)
    return list(find_inputs([str(tmp_path / "list.txt")], tmp_path).inputs)


def by_manifest(data, tmp_path, monkeypatch):
    (tmp_path / "list.csv").write_bytes(data)
    return list(find_inputs([str(tmp_path / "list.csv")], tmp_path).inputs)


READERS = [by_process, by_annotate, by_list, by_manifest]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("written", WRITTEN)
def test_names_are_those_that_were_written(tmp_path, monkeypatch, read, written):
    lines = ["path", *(f'"{name}"' for name in NAMES)] if read is by_manifest else ["", *NAMES[:2], "  ", *NAMES[2:]]
    assert read(WRITTEN[written]("\n".join(lines) + "\n"), tmp_path, monkeypatch) == NAMES


def test_names_need_not_be_utf_8_and_lists_may_be_joined(tmp_path, monkeypatch):
    data = b"caf\xe9.mp4\n\xef\xbb\xbfsecond list.mp4"
    for read in READERS[:3]:
        assert read(data, tmp_path, monkeypatch) == [os.fsdecode(b"caf\xe9.mp4"), "second list.mp4"]


FILMS = {"mp4": {}, "mkv": {}, "avi": {}, "ts": {}, "webm": {"codec": "libvpx-vp9"}}


@pytest.mark.parametrize("kind", [*FILMS, "y4m", "utf-16 without its mark", "half a character"])
def test_what_is_no_text_is_no_list(tmp_path, monkeypatch, kind):
    if kind in FILMS:
        data = make_clip(tmp_path / f"film.{kind}", frames=3, **FILMS[kind]).read_bytes()
    else:
        grey = b"YUV4MPEG2 W192 H144 F25:1\nFRAME\n" + b"\x80" * (192 * 144 * 3 // 2)
        text = "a.mp4\n".encode("utf-16-le")
        data = {"y4m": grey, "half a character": b"\xff\xfe" + text + b"a"}.get(kind, text)
    for read in (by_process, by_annotate):
        with pytest.raises(UsageError, match=r"-: stdin is no list of names but binary data.*save it to a file"):
            read(data, tmp_path, monkeypatch)
    if kind != "y4m":  # whose bytes are a text of one long line
        for read, name in ((by_list, "list.txt"), (by_manifest, "list.csv")):
            with pytest.raises(InputError, match=f"{name}: not a text file; a list has one name a line"):
                read(data, tmp_path, monkeypatch)


def test_a_film_is_known_by_its_first_bytes(tmp_path, monkeypatch):
    """Of a camera that goes on for hours, or a pipe that stalls."""
    end, begin = os.pipe()
    with open(end) as stdin, open(begin, "wb", buffering=0) as pipe:
        pipe.write(make_clip(tmp_path / "film.mp4", frames=3).read_bytes()[:40])
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(UsageError, match="binary data"):
            _inputs(["-"])  # while the pipe is open: what reads on waits for ever


def test_a_terminal_is_told_what_is_awaited_and_a_closed_stdin_is_an_error(monkeypatch, caplog):
    caplog.set_level("INFO", "cliffvid")
    screen, terminal = os.openpty()
    with open(screen, "wb", buffering=0) as keyboard, open(terminal) as stdin:
        keyboard.write(b"a.mp4\n\x04")
        monkeypatch.setattr(sys, "stdin", stdin)
        assert [str(name) for name in _inputs(["-"])] == ["a.mp4"] and "one name a line" in caplog.text
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UsageError, match="stdin is closed"):
        _inputs(["-"])


def test_a_manifest_gives_each_input_its_camera(toys, tmp_path):
    for name in "abc":
        make_clip(tmp_path / f"{name}.mp4", frames=3, people=1)
    cut = {"cwd": tmp_path, "toys": toys}
    annotate("a.mp4", "b.mp4", "-o", "own", "--focal-px", 300, "--cx-px", 80, **cut)
    (tmp_path / "m.csv").write_text("path,focal_px,cx_px,cy_px\na.mp4,300,80,\nb.mp4,300,80,\nc.mp4,,,\n")
    annotate("m.csv", "-o", "given", **cut)
    annotate("c.mp4", "-o", "plain", **cut)
    given = {video["video"]: video for video in videos(tmp_path / "given")}
    expected = videos(tmp_path / "own") + videos(tmp_path / "plain")
    assert {video["video"]: video["key"] for video in expected} == {name: row["key"] for name, row in given.items()}
    table = rows(tmp_path / "given").sort_by([("video", "ascending"), ("frame_idx", "ascending")])
    wanted = pa.concat_tables([rows(tmp_path / "own"), rows(tmp_path / "plain")])
    wanted = wanted.sort_by([("video", "ascending"), ("frame_idx", "ascending")])
    for name in ("focal_px", "transl"):
        assert table[name].to_pylist() == wanted[name].to_pylist()
    for row, words in (
        ("a.mp4,0,,", "--focal-px 0.0: must be"),
        ("a.mp4,1e39,,", "--focal-px 1e+39: must be"),
        ("a.mp4,,3,", "--cx-px and --cy-px: need the focal length"),
    ):
        (tmp_path / "m.csv").write_text(f"path,focal_px,cx_px,cy_px\n{row}\n")
        assert f"m.csv: row 1: {words}" in annotate("m.csv", "-o", "none", check=1, **cut).stderr
        assert not (tmp_path / "none" / "journal.jsonl").exists()


def test_two_columns_of_one_name_and_other_separators_are_refused(tmp_path):
    long = "x" * 200_000
    for text, words in (
        ("path,who,who\na.mp4,x,y", "two columns of one name"),
        ("path;who\na.mp4;x", "by commas"),
        (f"path,{long}\na.mp4,x", "not a readable manifest"),
    ):
        (tmp_path / "m.csv").write_text(text)
        with pytest.raises(InputError, match=f"m.csv: .*{words}"):
            find_inputs([str(tmp_path / "m.csv")], tmp_path)


def test_columns_of_a_csv_are_as_written_but_those_of_cameras(tmp_path):
    written = {"subject": "007", "day": "2026-01-02", "ok": "true", "height_m": "1.50", "site": "NA"}
    row = ",".join(["gr\udcfc.mp4", *written.values(), "300", ""])
    text = f"path,{','.join(written)},focal_px,cx_px\n{row}\n"
    (tmp_path / "m.csv").write_bytes(os.fsencode(text))
    found = find_inputs([str(tmp_path / "m.csv")], tmp_path)
    assert dict(found.inputs) == {"gr\udcfc.mp4": {**written, "focal_px": 300, "cx_px": None}}


@pytest.mark.parametrize("sources", [["m.csv"], ["one.csv", "two.csv"]])
def test_an_input_of_two_rows_that_differ_is_refused(tmp_path, monkeypatch, sources):
    monkeypatch.chdir(tmp_path)
    head, one, two = "path,who,focal_px\n", "a.mp4,x,300\nb.mp4,y,\n", "c.mp4,z,\na.mp4,x,400\n"
    for name, lines in (("m", one + two), ("one", one), ("two", two), ("same", one + one)):
        (tmp_path / f"{name}.csv").write_text(head + lines)
    with pytest.raises(InputError, match=r"^a\.mp4: named twice, with focal_px 300 and 400; keep one of the two"):
        find_inputs(sources, tmp_path)
    found = find_inputs(["a.mp4", "same.csv", "b.mp4"], tmp_path)
    assert dict(found.inputs) == {"a.mp4": {"who": "x", "focal_px": 300}, "b.mp4": {"who": "y", "focal_px": None}}
    assert found.doubled == 4


def test_a_shard_of_no_use_does_not_stop_those_beside_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0.tar").touch()
    for number, names in enumerate([["a.mp4"], []], 1):
        with tarfile.open(tmp_path / f"{number}.tar", "w") as tar:
            for name in names:
                tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    assert [*find_inputs(["{0..2}.tar"], tmp_path).inputs] == ["0.tar", "1.tar/a.mp4"]  # 0.tar is to fail alone
    with pytest.raises(UsageError, match=r"^\{2\.\.2\}\.tar: names no video"):
        find_inputs(["{2..2}.tar"], tmp_path)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"path": [b"a.mp4", "ü\udcff".encode(errors="surrogateescape")]}, None),
        (
            {
                "path": pa.array(["a.mp4", "ü\u2028"]).dictionary_encode(),
                "day": pa.array([0, 1000], pa.timestamp("ns")),
            },
            None,
        ),
        ({"path": ["a.mp4"], "day": pa.array([1 << 30], pa.date32())}, "column 'day': .*; store it as text"),
        ({"path": ["a.mp4"], "days": [[1 << 60]]}, None),
        ({"path": [7]}, "column 'path' holds 7, expected text"),
        ({"paths": ["a.mp4"]}, "has no column 'path'; its columns: paths"),
    ],
    ids=["bytes", "categories", "a late day", "lists", "numbers", "no path"],
)
def test_a_manifest_of_any_types_is_read_or_refused_by_its_column(columns, words, tmp_path):
    pq.write_table(pa.table(columns), tmp_path / "m.parquet")
    if words:
        with pytest.raises(InputError, match=f"m.parquet: {words}"):
            find_inputs([str(tmp_path / "m.parquet")], tmp_path)
        return
    names = pa.array(columns["path"]).to_pylist()
    assert list(find_inputs([str(tmp_path / "m.parquet")], tmp_path).inputs) == [os.fsdecode(name) for name in names]


BAD = {"text": "wide", "truth": True, "impossible": -1.0, "beyond": 1e400, "day": datetime.date(2026, 1, 2)}


@pytest.mark.parametrize("source", ["csv", "parquet"])
@pytest.mark.parametrize("column", ["focal_px", "fov_deg", "cx_px", "cy_px"])
def test_a_manifest_with_no_number_for_a_camera_is_refused_naming_the_row(tmp_path, source, column):
    for what, value in BAD.items() if not column.startswith("c") else [("text", "wide"), ("truth", True)]:
        path = tmp_path / f"m.{source}"
        table = pa.table({"path": ["a.mp4", "b.mp4"], column: [None, value]})
        pa.csv.write_csv(table, path) if source == "csv" else pq.write_table(table, path)
        with pytest.raises(
            InputError, match=rf"m\.{source}: row 2: (--)?{column.replace('_', '[-_]')} .*: must be a n"
        ):
            find_inputs([str(path)], tmp_path)
            pytest.fail(what)


def test_an_input_whose_own_camera_is_no_number_fails_alone(toys, tmp_path):
    clip = make_clip(tmp_path / "a.mp4", frames=3, people=1).read_bytes()
    columns = ["focal_px", "fov_deg", "cx_px", "cy_px"]
    given = [{column: value} for column in columns for value in ("wide", True, [1], "1" * 400)]
    given += [{"focal_px": 0}, {"cx_px": 3}, {"focal_px": "300", "cy_px": None}]
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for number, about in enumerate(given):
            for ending, content in ((".mp4", clip), (".json", json.dumps(about).encode())):
                info = tarfile.TarInfo(f"{number:02d}{ending}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    done = annotate("a.tar", "-o", "out", cwd=tmp_path, toys=toys, check=1)
    made = videos(tmp_path / "out")
    assert [video["status"] for video in made] == ["failed"] * (len(given) - 1) + ["ok"]
    for about, video in zip(given[:-1], made, strict=False):
        message = video["message"].replace("--", "").replace("-", "_")
        assert video["error"] == "InputError" and message.startswith(f"{video['video']}: {next(iter(about))}"), message
    assert sum(line.startswith("failed: ") for line in done.stderr.splitlines()) == len(given) - 1


def test_repair_of_an_old_data_set_whose_focal_px_was_text_fails_that_input_alone(toys, tmp_path):
    for name in "ab":
        make_clip(tmp_path / f"{name}.mp4", frames=3, people=1)
    (tmp_path / "m.csv").write_text("path,lens\na.mp4,wide\nb.mp4,\n")
    annotate("m.csv", "-o", "out", cwd=tmp_path, toys=toys)
    journal = tmp_path / "out" / "journal.jsonl"
    journal.write_text(without_sums(journal).replace('"lens"', '"focal_px"'))
    for shard in (tmp_path / "out" / "tracks").iterdir():
        shard.write_bytes(b"damaged")
    verify = command("annotate-verify", "out", "--repair")
    done = subprocess.run(verify, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert {video["video"]: video["status"] for video in videos(tmp_path / "out")} == {"a.mp4": "failed", "b.mp4": "ok"}
    assert "a.mp4: focal_px wide: must be a number" in done.stderr
