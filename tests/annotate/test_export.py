"""What is handed on of a data set: a folder for Hugging Face."""

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import yaml

from bulk import annotate, rows
from cliffvid.annotate.store.hugging_face import export_hf
from cliffvid.errors import InputError, UsageError
from clips import make_clip


def test_an_export_has_all_rows_and_a_card_and_no_path_of_this_machine(toys, tmp_path):
    for index in range(2):
        make_clip(tmp_path / f"{index}.mp4", frames=8, people=2)
    (tmp_path / "2.mp4").write_text("no film\n" * 100)
    annotate(*(tmp_path / f"{index}.mp4" for index in range(3)), "-o", "out", cwd=tmp_path, toys=toys, check=1)
    hub = tmp_path / "hub"
    made = export_hf(tmp_path / "out", hub)
    have = ds.dataset(hub / "data").to_table().sort_by([(n, "ascending") for n in ("video", "frame_idx", "track_id")])
    want = rows(tmp_path / "out")
    assert made["rows"] == len(want) > 0 and have.drop_columns("video").equals(want.drop_columns("video"))
    assert have["video"].to_pylist() == [name.split("/")[-1] for name in want["video"].to_pylist()]
    videos = pq.read_table(hub / "videos.parquet").to_pylist()
    assert [(each["video"], each["status"]) for each in videos] == [
        ("0.mp4", "ok"),
        ("1.mp4", "ok"),
        ("2.mp4", "failed"),
    ]
    card = (hub / "README.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    assert [each["data_files"] for each in front["configs"]] == ["data/*.parquet", "videos.parquet"]
    assert (
        f"{len(want):,} rows" in card
        and "2 ok, 1 failed" in card
        and "toy-detector" in card
        and "not known" not in card
    )
    for path in hub.rglob("*.*"):
        assert bytes(tmp_path) not in path.read_bytes() and not path.is_symlink(), path
    with pytest.raises(UsageError, match="name a new folder"):
        export_hf(tmp_path / "out", hub)
    next((tmp_path / "out" / "tracks").iterdir()).write_bytes(b"")
    with pytest.raises(InputError, match="damaged or missing"):
        export_hf(tmp_path / "out", tmp_path / "other")
    assert not (tmp_path / "other").exists()
