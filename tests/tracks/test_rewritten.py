"""Tracks that pandas, polars, DuckDB and pyarrow wrote again: taken where nothing is lost, else told by the column."""

import json

import numpy as np
import pytest

from cliffvid import InputError, read_meta, read_tracks
from cliffvid.cli import app as cli
from cliffvid.tables import Tracks
from cliffvid.tracks.read import read_both
from cliffvid.tracks.write import COLUMNS, META_KEY, WRITERS
from track_files import make_tracks

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def original(tmp_path):
    """Two people in 30 frames, no two rows alike, as parquet."""
    made = make_tracks(tmp_path / "t.npz", tmp_path / "a.mp4", [(0, 0, 5), (1, 0, 6)], 30)
    rows, meta = read_both(made)
    rng = np.random.default_rng(0)
    noisy = {n: c + rng.normal(0, 1, c.shape).astype(c.dtype) for n, c in rows.columns().items() if c.dtype == "f4"}
    told = {"confidence": rng.random(60, np.float32), "joint_confidence": rng.random((60, 24), np.float32)}
    rows = Tracks(**(rows.columns() | noisy | told))
    with WRITERS["parquet"](tmp_path / "t.parquet", rows, meta) as writer:
        writer.write(rows)
        writer.finish()
    return tmp_path / "t.parquet"


def by_pandas(source, out):
    pandas = pytest.importorskip("pandas")
    table = pandas.read_parquet(source)
    table[table.track_id == 2].sample(frac=1, random_state=0).to_parquet(out)  # the index becomes a column


def by_pandas_with_other_types(source, out):
    pandas = pytest.importorskip("pandas")
    table = pandas.read_parquet(source)
    table = table[table.track_id == 2].astype(
        {"track_id": float, "frame_idx": "int32", "flags": int, "det_score": float}
    )
    table["transl"] = table.transl.map(lambda values: values.astype(float))
    table.to_parquet(out)


def by_polars(source, out):
    polars = pytest.importorskip("polars")
    table = polars.read_parquet(source).filter(polars.col("track_id") == 2).sort("frame_idx", descending=True)
    table.with_columns(polars.col("betas").arr.to_list()).write_parquet(out)


def by_duckdb(source, out):
    duckdb = pytest.importorskip("duckdb")
    duckdb.sql(f"copy (select * from '{source}' where track_id = 2 order by random()) to '{out}' (format parquet)")


def by_numpy(source, out):
    rows = read_tracks(source)
    with out.open("wb") as file:
        np.savez(file, **rows[rows.track_id == 2].columns())


@pytest.mark.parametrize("again", [by_pandas, by_pandas_with_other_types, by_polars, by_duckdb, by_numpy])
def test_rows_that_others_wrote_get_their_metadata_back(original, tmp_path, again, monkeypatch, capfd):
    again(original, tmp_path / "their rows")
    for read in (read_tracks, read_meta):
        with pytest.raises(
            InputError, match=r"lost its metadata .*convert '.*their rows' --like ORIGINAL --to parquet"
        ):
            read(tmp_path / "their rows")
    whole = read_tracks(original)
    wanted = whole[whole.track_id == 2]
    monkeypatch.chdir(tmp_path)
    given = ["convert", "their rows", "--like", "t.parquet", "--to", "parquet", "-o", "fixed.parquet"]
    monkeypatch.setattr("sys.argv", ["cliffvid", *given])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code, capfd.readouterr().err
    for rows in (read_tracks("their rows", like=original), read_tracks("fixed.parquet")):
        for name in COLUMNS:
            got = getattr(rows, name)
            assert got.dtype == getattr(wanted, name).dtype
            np.testing.assert_array_equal(got, getattr(wanted, name), err_msg=name)
    meta, before = read_meta("fixed.parquet"), read_meta(original)
    assert {k: v for k, v in meta.items() if k != "counts"} == {k: v for k, v in before.items() if k != "counts"}
    assert (meta["counts"]["rows"], meta["counts"]["tracks"]) == (30, 1)
    assert meta["counts"]["decode"] == before["counts"]["decode"]


def test_pyarrow_keeps_what_was_known_at_the_start(original, tmp_path):
    table = pq.read_table(original)
    told = json.loads(table.schema.metadata[META_KEY.encode()])
    assert told["schema_version"] == 1 and told["columns"]["transl"].startswith("metres")
    assert table.schema.field("transl").metadata[b"description"].startswith(b"metres")
    pq.write_table(table.take([5, 3, 1]), tmp_path / "some.parquet")
    rows, whole = read_tracks(tmp_path / "some.parquet"), read_tracks(original)
    np.testing.assert_array_equal(rows.transl, whole.transl[[1, 3, 5]])  # in order again
    before, after = read_meta(original), read_meta(tmp_path / "some.parquet")
    assert {"counts", "complete"} <= before.keys()
    assert after == {name: value for name, value in before.items() if name not in ("counts", "complete")}


@pytest.mark.parametrize("program", ["pandas", "duckdb", "pyarrow"])
def test_no_rows_at_all_are_taken(original, tmp_path, program):
    if program == "pandas":
        pytest.importorskip("pandas").read_parquet(original)[:0].to_parquet(tmp_path / "none")
    elif program == "duckdb":
        pytest.importorskip("duckdb").sql(
            f"copy (select * from '{original}' where false) to '{tmp_path}/none' (format parquet)"
        )
    else:
        pq.write_table(pq.read_table(original)[:0], tmp_path / "none")
    rows = read_tracks(tmp_path / "none", like=original)
    assert len(rows) == 0 and rows.body_pose.shape == (0, 69)


def replaced(name, make):
    def change(table):
        return table.set_column(table.column_names.index(name), name, make(table[name]))

    return change


def later(column):
    return pa.array(np.asarray(column) + 0.25)


def ragged(column):
    return pa.array([row[:-1] if i == 3 else row for i, row in enumerate(column.to_pylist())], pa.list_(pa.float32()))


MISFITS = {
    "it has no column 'flags'": lambda table: table.drop_columns("flags"),
    "column 'det_score' holds nulls": replaced("det_score", lambda c: pa.array([None, *c.to_pylist()[1:]], c.type)),
    "column 'focal_px' holds 0.3333333333333333, which float32 cannot hold exactly": replaced(
        "focal_px", lambda c: pa.array(np.full(len(c), 1 / 3))
    ),
    "column 'flags' holds 70000, which uint16 cannot hold": replaced("flags", lambda c: pa.array([70000] * len(c))),
    "column 'track_id' holds 1.5, which int32 cannot": replaced("track_id", lambda c: pa.array([1.5] * len(c))),
    "column 'track_id' is string, expected int32": replaced("track_id", lambda c: pa.array(["1"] * len(c))),
    "column 'transl' is double, expected a list": replaced("transl", lambda c: pa.array([1.0] * len(c))),
    "column 'betas' has lists of 9 to 10 numbers": replaced("betas", ragged),
    "frame 0 has two rows of track 1": lambda table: pa.concat_tables([table, table]),
    "column 'time_s' of frame 0 is not as in": replaced("time_s", later),
    "none of its boxes is in": replaced("bbox_xyxy", lambda c: pa.array([[0.0, 1, 2, 3]] * len(c))),
    "column 'body_pose' has 63 numbers a row, those of .* have 69": lambda table: replaced(
        "body_pose", lambda c: pa.array([row[:63] for row in c.to_pylist()], pa.list_(pa.float32()))
    )(table.drop_columns("joint_confidence")),
}


@pytest.mark.parametrize(("said", "change"), MISFITS.items(), ids=list(MISFITS))
def test_what_does_not_fit_is_told_by_its_column(original, tmp_path, said, change):
    table = change(pq.read_table(original)).replace_schema_metadata(None)
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(InputError, match=rf"x\.parquet: .*{said}"):
        read_tracks(tmp_path / "x.parquet", like=original)


VIDEO = {"name": "a.mp4", "codec": "h264", "width_px": 64, "height_px": 48}
ODD = {
    "it is \\[\\], expected an object": [],
    "lost its metadata": None,
    "it has no 'schema_version'": {},
    "schema 2, this cliffvid reads 1": {"schema_version": 2},
    "video is 'a.mp4', expected an object": {"schema_version": 1, "video": "a.mp4"},
    "video has no 'codec'": {"schema_version": 1, "video": {"name": "a"}},
    "video.width_px is '64', expected a whole number": {"schema_version": 1, "video": VIDEO | {"width_px": "64"}},
    "video.height_px is 0, expected": {"schema_version": 1, "video": VIDEO | {"height_px": 0}},
    "video.rate is '1/0', expected a ratio": {"schema_version": 1, "video": VIDEO | {"rate": "1/0"}},
    "video.files\\[1\\] is 7, expected text": {"schema_version": 1, "video": VIDEO | {"files": ["a", 7]}},
    "settings.stride is 'two', expected": {"schema_version": 1, "settings": {"stride": "two"}},
    "models is {}, expected a list": {"schema_version": 1, "models": {}},
    "body.name is None, expected text": {"schema_version": 1, "body": {"name": None}},
    "counts.decode.frames is -1": {"schema_version": 1, "counts": {"decode": {"frames": -1}}},
    "complete is 'yes', expected true or false": {"schema_version": 1, "complete": "yes"},
    "names no video and no body": {"schema_version": 1},
}


@pytest.mark.parametrize(("said", "meta"), ODD.items(), ids=list(ODD))
@pytest.mark.parametrize("command", ["convert", "smooth", "report"])
def test_metadata_of_another_shape_is_told(original, tmp_path, said, meta, command, monkeypatch, capfd):
    table = pq.read_table(original).replace_schema_metadata({META_KEY: json.dumps(meta)})
    pq.write_table(table, tmp_path / "x.parquet")
    monkeypatch.chdir(tmp_path)
    ending = {"convert": ["-o", "o.csv", "--to", "csv"], "smooth": ["-o", "o.npz"], "report": ["-o", "o.html"]}[command]
    monkeypatch.setattr("sys.argv", ["cliffvid", command, "x.parquet", *ending])
    monkeypatch.setenv("COLUMNS", "300")
    with pytest.raises(SystemExit) as end:
        cli.main()
    err = capfd.readouterr().err
    assert end.value.code == 1 and "internal" not in err
    with pytest.raises(InputError, match=said):
        read_both(tmp_path / "x.parquet")


@pytest.mark.parametrize("text", ["{", "[" * 100000, "nonsense"])
def test_metadata_that_is_no_json_is_told(original, tmp_path, text):
    table = pq.read_table(original).replace_schema_metadata({META_KEY: text})
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(InputError, match=r"x\.parquet: "):
        read_meta(tmp_path / "x.parquet")
