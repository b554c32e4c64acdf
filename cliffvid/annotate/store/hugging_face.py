"""Export a data set as a folder that Hugging Face's ``datasets.load_dataset`` reads: Parquet files and a card."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

from ...errors import CliffvidError, InputError, UsageError
from ...files import appearing, appearing_folder, write_whole
from ...models.registry import find_model
from ...names import label
from ...options import Options
from ...tracks.write import CONVENTIONS
from .dataset import ROW_GROUP, sound
from .opening import FILES, placed
from .place import Place
from .records import ModelRecord
from .state import State

if TYPE_CHECKING:
    import pyarrow as pa

SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M", 10_000_000: "1M<n<10M"}
# Of an input's result, what tells nothing about the machine that it was made on.
VIDEO_FACTS = {"video": "string", "status": "string", "rows": "int64", "frames": "int64", "tracks": "int64"}


class Exported(TypedDict):
    """Counts of an export."""

    files: int
    videos: int
    rows: int


def export_hf(folder: Path, out: Path, options: Options = FILES) -> Exported:
    """Write a data set's rows, a table of its videos and a card to a new folder, all or nothing; return counts.

    ``folder`` may be the address of a store, with ``options`` that allow the network. Absolute names of videos become
    relative to the folder that they share. Raises UsageError if ``out`` holds files, InputError if there are no rows,
    or a shard is damaged.
    """
    if os.path.lexists(out) and (out.is_symlink() or not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: exists already and is no empty folder; name a new folder, or an empty one")
    with placed(folder, options) as place:
        return _export(place, out)


def _export(place: Place, out: Path) -> Exported:
    import pyarrow as pa
    import pyarrow.parquet as pq

    state = place.state()
    shards = state.shards()
    if not shards:
        raise InputError(f"{place.where}: holds no rows yet; nothing to export")
    names = _public_names(state)
    with appearing_folder(out) as new:
        (new / "data").mkdir()
        rows = 0
        for number, file in enumerate(sorted(shards)):
            with sound(place, file, state.hashes[file]) as path:
                schema, count = _copy(path, new / f"data/{number:05d}.parquet", names)
            rows += count
        table = pa.Table.from_pylist(_videos(state, names), pa.schema(list(VIDEO_FACTS.items())))
        with appearing(new / "videos.parquet", overwrite=False) as videos:
            pq.write_table(table, videos, compression="zstd")
        write_whole(new / "README.md", _card(state, rows, schema.names).encode(), overwrite=False)
    return {"files": len(shards), "videos": len(names), "rows": rows}


def _public_names(state: State) -> dict[str, str]:
    """Return each input's name, by its label: those of absolute paths without the folder that all of them share."""
    labels = {label(name): label(name) for name in (*state.inputs, *state.found)}
    if absolute := [name for name in labels if os.path.isabs(name)]:
        shared = os.path.commonpath([os.path.dirname(name) for name in absolute])
        labels.update((name, os.path.relpath(name, shared)) for name in absolute)
    return labels


def _copy(path: Path, out: Path, names: dict[str, str]) -> "tuple[pa.Schema, int]":
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False) as source:
        schema = source.schema_arrow
        with (
            appearing(out, overwrite=False) as file,
            pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer,
        ):
            for group in range(source.num_row_groups):
                table = source.read_row_group(group, use_threads=False)
                videos = pa.array([names[name] for name in table["video"].to_pylist()], pa.string())
                table = table.set_column(table.column_names.index("video"), schema.field("video"), videos)
                writer.write_table(table, row_group_size=ROW_GROUP)
        return schema, source.metadata.num_rows


def _videos(state: State, names: dict[str, str]) -> list[dict[str, object]]:
    ended = {
        label(name): {"status": status, "rows": rows, "frames": frames, "tracks": tracks}
        for name, status, rows, frames, tracks in state.live.select(
            "status", "rows", "counts.decode.frames", "counts.tracks"
        )
        if isinstance(name, str)
    }
    return [{"video": names[name], **ended.get(name, {"status": "skipped"})} for name in sorted(names)]


def _card(state: State, rows: int, columns: list[str]) -> str:
    size = next((text for most, text in SIZES.items() if rows < most), "n>10M")
    front = {
        "pretty_name": "SMPL body tracks by cliffvid",
        "license": "other",
        "license_name": "see-the-models-below",
        "size_categories": [size],
        "tags": ["smpl", "human-pose-estimation", "video", "cliffvid"],
        "configs": [
            {"config_name": "tracks", "data_files": "data/*.parquet", "default": True},
            {"config_name": "videos", "data_files": "videos.parquet"},
        ],
    }
    statuses = Counter(cast(str, status) for _, status in state.live.select("status"))
    if left := state.left():
        statuses["skipped"] += left
    counts = ", ".join(f"{count:,} {status}" for status, count in statuses.most_common())
    tracks = sum(cast(int, count or 0) for _, count in state.live.select("counts.tracks"))
    models = {_model(model, job["options"].get("models_dir")): None for job in state.jobs for model in job["models"]}
    settings = {name: value for job in state.jobs for name, value in job["settings"].items() if _plain(value)}
    lines = [
        "---",
        *(f"{name}: {json.dumps(value)}" for name, value in front.items()),  # JSON is YAML
        "---",
        "# SMPL body tracks",
        f"\nMade by {', '.join(sorted({job['software'] for job in state.jobs}))}: {rows:,} rows of "
        f"{len(columns)} columns, {tracks:,} tracks of people. Videos: {counts}.",
        "\nOne row is one person in one frame. `videos` has a row for each video.\n",
        "```python\nfrom datasets import load_dataset\n",
        'tracks = load_dataset("NAME", "tracks", split="train")',
        'videos = load_dataset("NAME", "videos", split="train")\n```',
        "\n## Models\n",
        *(f"- {line}" for line in models),
        "\n## Settings\n\nWhere runs differ, the value of the latest.\n",
        *(f"- `{name}`: {json.dumps(value)}" for name, value in settings.items()),
        "\n## Columns\n\n| column | meaning |\n|---|---|\n| `video` | name of the video |",
        *(f"| `{name}` | {CONVENTIONS[name]} |" for name in columns if name in CONVENTIONS),
    ]
    return "\n".join(lines) + "\n"


def _plain(value: object) -> bool:
    """Return whether a setting may be shown: numbers, and words that are no path."""
    return isinstance(value, bool | int | float) or (isinstance(value, str) and not {"/", "\\"} & set(value))


def _model(model: ModelRecord, engines: object) -> str:
    name = Path(model["name"]).name
    try:
        manifest = find_model(model["task"], model["name"], Path(engines) if isinstance(engines, str) else None)
        same = model["sha256"] in manifest.files.values()
    except CliffvidError:
        same = False
    licence = label(manifest.licence) if same else "not known: the model is not on the machine that wrote this card"
    return f"{model['task']}: {name}, {model['precision']}; licence: {licence}"
