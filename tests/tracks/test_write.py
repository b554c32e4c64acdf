import json
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import needs
from cliffvid import InputError, OutputError, read_meta, read_tracks
from cliffvid.tables import Tracks
from cliffvid.tracks.write import COLUMNS, META_KEY, WRITERS, arrow_schema

SMPL, SMPLX = Tracks.empty(COLUMNS, pose=69, shape=10, joints=24), Tracks.empty(pose=63, shape=11)


def some_tracks(n, like=SMPL):
    rng = np.random.default_rng(0)
    columns = {}
    for name, empty in like.columns().items():
        raw = rng.integers(0, 256, (n, *empty.shape[1:], empty.dtype.itemsize), np.uint8)
        column = raw.view(empty.dtype).reshape(n, *empty.shape[1:])
        columns[name] = np.nan_to_num(column) if empty.dtype.kind == "f" else column
    columns["frame_idx"] = np.arange(n) // 3
    columns["track_id"] = (np.arange(n) % 3 + 1).astype(np.int32)
    columns["time_s"] = columns["frame_idx"] / 30
    return Tracks(**columns)


def save(path, format, tracks, cuts=()):
    with WRITERS[format](path, tracks) as writer:
        ends = [0, *sorted(cuts), len(tracks)]
        for start, stop in zip(ends[:-1], ends[1:], strict=True):
            writer.write(tracks[start:stop])
        writer.finish({"hello": "wörld"})


@pytest.mark.parametrize("format", WRITERS)
@pytest.mark.parametrize(("rows", "like"), [(0, SMPL), (1, SMPL), (40000, SMPL), (0, SMPLX), (5000, SMPLX)])
def test_every_bit_comes_back(tmp_path, format, rows, like):
    path, tracks = tmp_path / "t", some_tracks(rows, like)
    save(path, format, tracks)
    back, meta = read_tracks(path), read_meta(path)
    assert back.columns().keys() == like.columns().keys()
    for name, column in tracks.columns().items():
        np.testing.assert_array_equal(getattr(back, name), column)
    assert meta["hello"] == "wörld" and meta["schema_version"] == 1 and list(meta["columns"]) == list(COLUMNS)
    assert [p.name for p in tmp_path.iterdir()] == ["t"]


def test_rows_are_written_without_loading_pandas(tmp_path):
    """Which costs more time and memory than all rows of a short film."""
    needs.package("pandas")
    lines = "from cliffvid.tracks.write import arrow_table; from cliffvid.tables import Tracks; import sys"
    lines += "; table = arrow_table(Tracks.empty(pose=69, shape=10)); sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", lines]).returncode == 0


@pytest.mark.parametrize("format", WRITERS)
@given(cuts=st.lists(st.integers(0, 50), max_size=5))
def test_bytes_do_not_depend_on_how_rows_came(tmp_path_factory, format, cuts):
    folder, tracks = tmp_path_factory.mktemp("cuts"), some_tracks(50)
    save(folder / "a", format, tracks)
    save(folder / "b", format, tracks, cuts)
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes()


def test_parquet_opens_with_arrow_alone_as_the_page_says(tmp_path):
    save(tmp_path / "t.parquet", "parquet", some_tracks(9))
    table = pq.read_table(tmp_path / "t.parquet")
    assert table.column_names == list(COLUMNS)
    assert str(table.schema.field("body_pose").type) == "fixed_size_list<element: float not null>[69]"
    assert not any(field.nullable for field in table.schema)
    assert table.schema.equals(arrow_schema(SMPL))
    facts = pq.ParquetFile(tmp_path / "t.parquet").metadata
    assert json.loads(facts.metadata[META_KEY.encode()])["columns"]["transl"].startswith("metres")
    column = next(c for c in facts.row_group(0).to_dict()["columns"] if c["path_in_schema"].startswith("body_pose"))
    assert column["compression"] == "ZSTD" and "BYTE_STREAM_SPLIT" in column["encodings"]


def test_npz_opens_with_numpy_alone(tmp_path):
    tracks = some_tracks(9)
    save(tmp_path / "t.npz", "npz", tracks)
    with np.load(tmp_path / "t.npz", allow_pickle=False) as archive:
        assert set(archive.files) == {*COLUMNS, META_KEY}
        np.testing.assert_array_equal(archive["body_pose"], tracks.body_pose)


@pytest.mark.parametrize("format", WRITERS)
def test_nothing_appears_before_the_end_or_after_a_fault(tmp_path, format):
    path = tmp_path / "t"
    with pytest.raises(RuntimeError), WRITERS[format](path, SMPL) as writer:
        writer.write(some_tracks(20000))
        assert not path.exists()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", WRITERS)
def test_an_older_result_stays_good_until_the_new_one_is_whole(tmp_path, format):
    path = tmp_path / "t"
    save(path, format, some_tracks(5))
    with pytest.raises(RuntimeError), WRITERS[format](path, SMPL) as writer:
        writer.write(some_tracks(7))
        raise RuntimeError
    assert len(read_tracks(path)) == 5


@pytest.mark.parametrize("format", WRITERS)
def test_a_place_that_cannot_be_written_is_told(tmp_path, format):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write it \(.*file is not a folder\); choose another place"):
        WRITERS[format](tmp_path / "file" / "t", SMPL)


@pytest.mark.parametrize("format", WRITERS)
def test_confidences_of_another_body_are_told(tmp_path, format):
    save(tmp_path / "t", format, some_tracks(2, Tracks.empty(COLUMNS, pose=69, shape=10, joints=22)))
    with pytest.raises(InputError, match="'joint_confidence' has 22 numbers a row, expected 24"):
        read_tracks(tmp_path / "t")


@pytest.mark.parametrize("content", [b"PK\x03\x04", b"PAR1", b"hello" * 100])
def test_other_files_are_told(tmp_path, content):
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(InputError, match="damaged, or something else"):
        read_tracks(tmp_path / "t")
    with pytest.raises(InputError, match="no such file"):
        read_meta(tmp_path / "missing")
