"""One place opens the files of others for reading: what else opens a file to read is named here, with the reason."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
READING = {
    "read_text",
    "read_bytes",
    "fromfile",
    "memmap",
    "mmap",
    "loadtxt",
    "genfromtxt",
    "ParquetFile",
    "ParquetDataset",
    "read_table",
    "read_csv",
    "read_schema",
    "read_metadata",
    "read_model",
    "load_model",
    "InferenceSession",
    "imread",
    "VideoCapture",
    "memory_map",
    "is_zipfile",
}
LOADING = {"np.load", "numpy.load", "torch.load", "onnx.load", "pickle.load", "pickle.Unpickler"}
OPENED = "what inputs.py opened, or bytes in memory"
OWN = "a file of cliffvid's own: shipped with it, or kept in its cache"
LOCK = "a lock, which holds nothing, or a new file"
SYSTEM = "what the system says of itself"
BULK = "a data set's work folder, which the journal rules"
CHECKED = "a library that takes paths alone; inputs.py has checked this one"
HASHED = "a model folder's file, opened by inputs.py and found to be the one its manifest names"
SOURCES = "what the open models are made from: known by its hash, or kept in the repository"
# By module and call.
ALLOWED = {
    ("cliffvid/models/backends/ort.py", "onnxruntime.InferenceSession"): HASHED,
    ("cliffvid/models/backends/ov.py", "core.read_model"): HASHED,
    ("cliffvid/models/backends/trt_plans.py", "model.read_bytes"): HASHED,
    ("cliffvid/models/backends/trt_plans.py", "facts_path(path).read_text"): OWN,
    ("cliffvid/models/backends/trt_plans.py", "path.read_bytes"): OWN,
    ("cliffvid/annotate/ray_pool.py", "path.read_bytes"): OWN,
    ("cliffvid/models/backends/trt.py", "plan.path.read_bytes"): OWN,
    ("cliffvid/models/backends/trt.py", "self._cache_path().read_bytes"): OWN,
    ("cliffvid/models/remembered.py", "_file(name).read_text"): OWN,
    ("cliffvid/models/manifest.py", "original.read_bytes"): OWN,
    ("cliffvid/tracks/formats/blender_script.py", "Path(__file__).with_name('in_blender.py').read_text"): OWN,
    (
        "cliffvid/tracks/formats/usd.py",
        "path.read_bytes",
    ): "what usd-core has just written",
    ("cliffvid/view/html.py", "(WEB / name).read_text"): OWN,
    ("cliffvid/evaluate/precision.py", "path.read_bytes"): OWN,
    ("cliffvid/models/backends/trt_plans.py", "open"): LOCK,
    ("cliffvid/locks.py", "os.open"): LOCK,
    ("cliffvid/files.py", "open"): "a new file, which files.py made",
    ("cliffvid/files.py", "os.open"): "a folder, to put its names on disk",
    ("cliffvid/annotate/store/dataset.py", "path.open"): BULK,
    ("cliffvid/annotate/store/place.py", "(other.folder / file).open"): BULK,
    ("cliffvid/annotate/store/dataset.py", "pq.ParquetFile"): BULK,
    ("cliffvid/annotate/store/journal.py", "(folder / NAME).open"): BULK,
    ("cliffvid/annotate/store/reading.py", "path.open"): BULK,
    ("cliffvid/annotate/store/hugging_face.py", "pq.ParquetFile"): "a shard with the hash that the journal names",
    (
        "cliffvid/annotate/store/ownership.py",
        "journal.open",
    ): "a line of a regular file: is it a journal?",
    ("cliffvid/annotate/store/rebuild.py", "pq.ParquetFile"): OPENED,
    ("cliffvid/annotate/store/rows.py", "pq.ParquetFile"): OPENED,
    ("cliffvid/annotate/task_runs.py", "np.load"): BULK,
    ("cliffvid/annotate/task_runs.py", "pq.ParquetFile"): BULK,
    ("cliffvid/annotate/upkeep.py", "pq.ParquetFile"): BULK,
    ("cliffvid/annotate/lists.py", "pa.csv.read_csv"): OPENED,
    ("cliffvid/annotate/lists.py", "pq.ParquetFile"): OPENED,
    ("cliffvid/video/image_files.py", "Image.open"): OPENED,
    ("cliffvid/npz.py", "ZipFile"): OPENED,
    ("cliffvid/npz.py", "archive.open"): OPENED,
    ("cliffvid/models/onnx_file.py", "mmap.mmap"): OPENED,
    ("cliffvid/models/pickle_child.py", "mmap.mmap"): OPENED,
    ("cliffvid/evaluate/pseudogt/files.py", "pq.ParquetFile"): OPENED,
    ("cliffvid/evaluate/pseudogt/files.py", "self._archive.open"): OPENED,
    ("cliffvid/evaluate/pseudogt/files.py", "zipfile.ZipFile"): OPENED,
    ("cliffvid/tracks/boxes.py", "pc.read_csv"): OPENED,
    ("cliffvid/tracks/boxes.py", "pq.ParquetFile"): OPENED,
    ("cliffvid/tracks/data_set.py", "pq.ParquetFile"): OPENED,
    ("cliffvid/tracks/read.py", "pq.ParquetFile"): OPENED,
    ("cliffvid/tracks/read.py", "zipfile.ZipFile"): OPENED,
    ("cliffvid/video/container.py", "av.open"): CHECKED,
    ("cliffvid/video/encode.py", "av.open"): CHECKED,
    ("cliffvid/cli/console.py", "open"): "the standard streams",
    ("cliffvid/cli/console.py", "os.open"): "the null device, instead of a stream that was closed",
    ("cliffvid/machine.py", "(ROOT / 'proc/cpuinfo').read_text"): SYSTEM,
    ("cliffvid/machine.py", "(ROOT / 'proc/meminfo').read_text"): SYSTEM,
    ("cliffvid/machine.py", "(ROOT / name).read_text"): SYSTEM,
    ("cliffvid/machine.py", "(folder / 'cpu.cfs_period_us').read_text"): SYSTEM,
    ("cliffvid/machine.py", "file.read_text"): SYSTEM,
    ("cliffvid/pipeline/report.py", "Path('/proc/self/status').read_text"): SYSTEM,
    ("export/cliff/checkpoints.py", "torch.load"): OPENED,
    ("export/cliff/checkpoints.py", "zipfile.ZipFile"): OPENED,
    ("export/cliff/checkpoints.py", "zipfile.is_zipfile"): OPENED,
    ("export/folder/half.py", "onnx.load"): HASHED,
    ("export/folder/int8.py", "onnx.load"): HASHED,
    ("export/folder/proof.py", "onnxruntime.InferenceSession"): "a network that was just made",
    ("export/open/body.py", "ZipFile"): SOURCES,
    ("export/open/body.py", "path.open"): SOURCES,
    ("export/open/build.py", "np.load"): SOURCES,
    ("export/open/head.py", "np.load"): SOURCES,
    ("export/open/build.py", "(BUNDLED / name / SAMPLES).read_bytes"): OWN,
    ("export/open/build.py", "path.read_bytes"): OWN,
    ("export/open/sources.py", "(OPEN / 'sources.json').read_text"): SOURCES,
    ("export/open/sources.py", "data.open"): SOURCES,
    ("export/open/sources.py", "tarfile.open"): SOURCES,
    ("export/open/sources.py", "zipfile.ZipFile"): SOURCES,
    ("export/open/sources.py", "zipfile.is_zipfile"): SOURCES,
}


def reads(tree: ast.AST) -> Iterator[str]:
    """The calls that open a file to read it, as they stand in the source."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        call = ast.unparse(node.args[0] if ast.unparse(node.func) == "partial" and node.args else node.func)
        name = call.rpartition(".")[2]
        given = [*node.args[:2], *(word.value for word in node.keywords if word.arg == "mode")]
        modes = [arg.value for arg in given if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
        writes = any(set(mode) <= set("rwaxbt+") and set(mode) & set("wax") for mode in modes)
        if (name in ("open", "ZipFile") and not writes) or name in READING or call in LOADING:
            yield call


def test_one_place_opens_the_files_of_others():
    found = set()
    for package in ("cliffvid", "export"):
        for path in (ROOT / package).rglob("*.py"):
            place = path.relative_to(ROOT).as_posix()
            if place != "cliffvid/inputs.py":
                found |= {(place, call) for call in reads(ast.parse(path.read_text()))}
    assert found == set(ALLOWED)


def test_each_way_to_read_is_seen():
    ways = (
        "open(p)", "open(p, 'rb')", "p.open()", "p.open('r+b')", "p.read_text()", "np.load(p)", "zipfile.ZipFile(p)",
        "Image.open(p)", "av.open(p)", "os.open(p, os.O_RDONLY)", "pq.ParquetFile(p)", "torch.load(p)",
        "np.fromfile(p)", "partial(Image.open, formats=f)",
    )  # fmt: skip
    for way in ways:
        assert list(reads(ast.parse(way))), way
    for way in ("open(p, 'wb')", "p.open(mode='x')", "open_input(p)", "json.load(file)", "ZipFile(p, 'w')"):
        assert not list(reads(ast.parse(way))), way
