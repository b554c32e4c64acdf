"""One place opens files for writing: what else does is named here, with the reason."""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "cliffvid"
WRITING = {
    "write_text",
    "write_bytes",
    "touch",
    "save",
    "savez",
    "savez_compressed",
    "savetxt",
    "tofile",
    "imwrite",
    "write_table",
    "write_csv",
    "write_parquet",
    "ParquetWriter",
    "NamedTemporaryFile",
    "mkstemp",
    "copyfile",
    "copy2",
    "copytree",
    "move",
    "symlink_to",
    "hardlink_to",
}
RENAMING = {"os.replace", "os.rename", "os.link", "os.symlink"}
BULK = "a data set's work folder, which the journal rules: what it does not name is removed by the next run"
MEMORY = "into memory, or a file that files.py opened"
# By module and call.
ALLOWED = {
    ("annotate/store/dataset.py", "path.open"): BULK,
    ("annotate/store/place.py", "os.link"): BULK,
    ("annotate/store/place.py", "part.open"): BULK,
    ("annotate/store/dataset.py", "pq.ParquetWriter"): BULK,
    ("annotate/store/dataset.py", "writer.write_table"): BULK,
    ("annotate/store/journal.py", "open"): "the journal itself, which only grows",
    ("annotate/store/journal.py", "os.replace"): "the journal, by one that was synced line by line",
    ("annotate/store/place.py", "os.replace"): BULK,
    ("annotate/store/rebuild.py", "open"): "the journal, to hold its lock",
    ("annotate/store/stored.py", "(self.folder / NAME).open"): "a copy of the journal in a temporary folder",
    (
        "annotate/store/rebuild.py",
        "os.replace",
    ): "a whole journal takes the place of a damaged one, which stays",
    ("annotate/store/hugging_face.py", "pq.write_table"): MEMORY,
    ("annotate/store/hugging_face.py", "pq.ParquetWriter"): MEMORY,
    ("annotate/store/hugging_face.py", "writer.write_table"): MEMORY,
    ("annotate/row_sink.py", "self._path.open"): BULK,
    ("annotate/row_sink.py", "self._writer.write_table"): BULK,
    ("annotate/row_sink.py", "writer.write_table"): "into memory, to travel between processes",
    ("annotate/task_runs.py", "path.open"): BULK,
    ("annotate/ray_pool.py", "path.open"): BULK,
    ("annotate/ray_pool.py", "path.write_bytes"): "a worker's own temporary folder",
    ("annotate/task_runs.py", "np.savez_compressed"): BULK,
    ("cli/console.py", "os.open"): "the null device, instead of a stream that was closed",
    ("locks.py", "os.open"): "locks, which hold nothing, and the new files that files.py writes",
    ("video/memory.py", "tempfile.mkstemp"): "a copy of what an open file holds, removed in the end",
    (
        "video/encode.py",
        "av.open",
    ): "a file that files.py opened: FFmpeg reads it again to put its index first",
    ("tracks/write.py", "zipfile.ZipFile"): MEMORY,
    ("tracks/write.py", "archive.open"): MEMORY,
    ("tracks/write.py", "pq.ParquetWriter"): MEMORY,
    ("tracks/write.py", "self._writer.write_table"): MEMORY,
    ("evaluate/pseudogt/files.py", "zipfile.ZipFile"): MEMORY,
    ("evaluate/pseudogt/files.py", "pq.ParquetWriter"): MEMORY,
    ("evaluate/pseudogt/files.py", "writer.write_table"): MEMORY,
    ("view/stills.py", "Image.fromarray(image).save"): MEMORY,
    ("models/smpl_files.py", "np.savez"): MEMORY,
    ("tracks/formats/amass.py", "np.savez_compressed"): MEMORY,
    ("tracks/formats/csv.py", "pyarrow.csv.write_csv"): MEMORY,
    ("tracks/formats/joints.py", "pq.write_table"): MEMORY,
}


def writes(tree: ast.AST) -> Iterator[str]:
    """The calls that open or make a file to write to, as they stand in the source."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        call = ast.unparse(node.func)
        name = call.rpartition(".")[2]
        given = [*node.args[:2], *(word.value for word in node.keywords if word.arg == "mode")]
        modes = [arg.value for arg in given if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
        opens = name in ("open", "ZipFile") and any(
            set(mode) <= set("rwaxbt+") and set(mode) & set("wax+") for mode in modes
        )
        flags = call == "os.open" and "O_RDONLY" not in ast.unparse(node)
        if opens or flags or name in WRITING or call in RENAMING:
            yield call


def test_one_place_writes_files():
    found = set()
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE).as_posix()
        if place != "files.py":
            found |= {(place, call) for call in writes(ast.parse(path.read_text()))}
    assert found == set(ALLOWED)


def test_each_way_to_write_is_seen():
    ways = (
        "open(p, 'w')", "p.open('ab')", "p.open(mode='x')", "open(p, 'r+b')", "os.open(p, os.O_WRONLY)",
        "np.savez(p, a=1)",
        "p.write_text('')", "av.open(p, 'w')", "zipfile.ZipFile(p, 'w')", "image.save(p)", "os.replace(a, b)",
    )  # fmt: skip
    for way in ways:
        assert list(writes(ast.parse(way))), way
    for way in (
        "open(p)",
        "p.open('rb')",
        "Image.open(p)",
        "av.open(p)",
        "text.replace('a', 'b')",
        "os.open(p, os.O_RDONLY)",
    ):
        assert not list(writes(ast.parse(way))), way
