"""Pipes and devices instead of files, and small files that unpack to large ones: every reader refuses them."""

import os
import signal
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cliffvid.annotate.inputs import find_inputs
from cliffvid.annotate.lists import names_in
from cliffvid.errors import CliffvidError, InputError, RefusedError, UnreadableError
from cliffvid.evaluate.ground_truth import read_truth, truth_files
from cliffvid.evaluate.pseudogt.files import CliffGT, to_npz
from cliffvid.evaluate.pseudogt.make import read_regressor
from cliffvid.inputs import open_input
from cliffvid.models.manifest import read_manifest
from cliffvid.models.smpl_files import add_body, read_body_file
from cliffvid.tracks.read import read_meta, read_tracks
from cliffvid.tracks.write import COLUMNS
from cliffvid.video.image_files import Images, image_size
from cliffvid.video.open import open_source

READERS = {
    "tracks": read_tracks,
    "metadata": read_meta,
    "the original": lambda path: read_tracks(path, like=path),
    "pseudo-ground-truth": CliffGT,
    "pseudo-ground-truth kept": lambda path: to_npz(path, path.with_name("out.npz")),
    "regressor": lambda path: read_regressor(path, (None, 10)),
    "body": read_body_file,
    "body added": lambda path: add_body(path, "male"),
    "truth": lambda path: [read_truth(file) for file in truth_files(path)],
    "list": names_in,
    "video": open_source,
}
BY_SUFFIX = {
    ".png": lambda path: open_source(path),
    ".heic": lambda path: open_source(path),
    ".npz": read_tracks,
    ".json": lambda path: read_manifest(path.parent),
}
KINDS = {
    "pipe": (os.mkfifo, "a pipe or device"),
    "device": (lambda path: path.symlink_to("/dev/null"), "a pipe or device"),
    "terminal": (lambda path: path.symlink_to("/dev/ptmx"), "a pipe or device"),
    "folder": (Path.mkdir, "a folder"),
    "kernel's log": (lambda path: path.symlink_to("/proc/kmsg"), "the system's own"),
    "kernel's version": (lambda path: path.symlink_to("/proc/version"), "the system's own"),
}


@pytest.fixture(autouse=True)
def at_once():
    """Nothing waits."""

    def late(*_):
        raise TimeoutError("it waits")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_refused_by_every_reader(kind, tmp_path):
    make, words = KINDS[kind]
    make(tmp_path / "thing")
    for name, reader in READERS.items():
        if kind == "folder" and name in ("truth", "video"):  # all that is in it
            continue
        with pytest.raises(CliffvidError, match=f"thing: {words}") as raised:
            reader(tmp_path / "thing")
        assert "\n" not in str(raised.value), name


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "folder"])
def test_a_name_does_not_make_a_file_of_it(kind, tmp_path):
    make, words = KINDS[kind]
    for suffix, reader in BY_SUFFIX.items():
        path = tmp_path / f"manifest{suffix}"
        make(path)
        with pytest.raises(CliffvidError, match=words):
            reader(path)
    for suffix in (".txt", ".csv", ".parquet"):
        make(tmp_path / f"list{suffix}")
        try:
            names = find_inputs([str(tmp_path / f"list{suffix}")], tmp_path / "out").inputs
        except RefusedError as error:
            assert words in str(error)
        else:  # an input that fails when its turn comes
            with pytest.raises(RefusedError, match=words):
                open_source(Path(*names))


def test_a_pipe_that_comes_in_the_place_of_a_file_is_not_waited_for(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr("cliffvid.inputs.check_input", lambda path: None)
    with pytest.raises(RefusedError, match="a pipe or device"):
        open_input(tmp_path / "pipe")
    with pytest.raises(RefusedError, match="2 bytes, expected 1 at most"):
        (tmp_path / "file").write_text("xy")
        open_input(tmp_path / "file", 1)


def test_pages_of_a_tiff_are_not_counted(tmp_path):
    """Each page is asked for once: with 300,000 of them counting takes minutes."""
    path, pages = tmp_path / "many.tif", 300
    page = Image.new("L", (8, 8))
    page.save(path, save_all=True, append_images=[page] * (pages - 1))
    lines = []
    sys.setprofile(lambda frame, event, _: event == "call" and lines.append(frame.f_code.co_qualname))
    try:
        with Images(path) as images, pytest.raises(UnreadableError, match="more than one picture"):
            images._read(path)
    finally:
        sys.setprofile(None)
    assert 0 < sum("ImageFileDirectory_v2.load" in line for line in lines) < 20
    assert image_size(path) == (8, 8)
    Image.new("L", (8, 8), 77).save(tmp_path / "one.tif")
    assert Images(tmp_path / "one.tif")._read(tmp_path / "one.tif")[0].mean() == 77


def packed(path: Path, name: str, header: dict, zeros: int) -> Path:
    """An archive of one array: its header, and so many zeros."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(name, "w") as member,
    ):
        np.lib.format.write_array_header_1_0(member, header)
        block = bytes(1 << 20)
        for start in range(0, zeros, len(block)):
            member.write(block[: zeros - start])
    return path


def plain(shape: tuple, dtype: str = "<f8") -> dict:
    return {"descr": dtype, "fortran_order": False, "shape": shape}


@pytest.mark.parametrize(
    ("header", "zeros", "words"),
    [
        (plain((300 << 17,)), 300 << 20, "would unpack to"),
        (plain((1 << 40,)), 80, "holds 208 bytes instead of"),
        (plain((1 << 40, 0)), 0, "an empty array of"),
        (plain((1 << 33, 1 << 33)), 80, "instead of"),
        (plain((2,), "|O"), 16, "holds Python objects"),
        (plain((2,), "<M8[s]"), 16, "neither numbers nor text"),
        (plain((2,), "<U100000000"), 16, "instead of"),
    ],
)
def test_archives_unpack_to_what_they_say_and_to_no_more_than_such_files_do(header, zeros, words, tmp_path):
    path = packed(tmp_path / "v_template.npz", "v_template.npy", header, zeros)
    with zipfile.ZipFile(path, "a") as archive:
        for name in [*COLUMNS, "shapedirs", "posedirs", "weights", "J_regressor", "f", "kintree_table"]:
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array_header_1_0(member, header if name == COLUMNS[0] else plain((0,)))
                member.write(bytes(zeros if zeros < 100 and name == COLUMNS[0] else 0))
    with pytest.raises(CliffvidError, match=words):
        read_body_file(path)
    if zeros < 100:
        with pytest.raises(InputError, match=words):
            read_tracks(path)


def test_a_small_parquet_file_of_many_rows_is_refused_by_its_footer(tmp_path):
    path, table = tmp_path / "bomb.parquet", pa.table({"frame_idx": np.zeros(1 << 20, np.int32)})
    with pq.ParquetWriter(path, table.schema, compression="zstd") as writer:
        for _ in range(40):
            writer.write_table(table)
    assert path.stat().st_size < 1 << 20
    before = pa.total_allocated_bytes()
    with pytest.raises(InputError, match="would unpack to"):
        read_tracks(path)
    with pytest.raises(InputError, match="would unpack to"):
        find_inputs([str(path)], tmp_path / "out")
    assert pa.total_allocated_bytes() - before < 1 << 20
