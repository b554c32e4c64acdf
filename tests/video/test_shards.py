"""Tar shards: the members that Python's own tarfile finds, and nothing worse than an error from hostile ones."""

import io
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cliffvid import Options
from cliffvid.errors import InputError, NotFoundError, RefusedError, UnreadableError
from cliffvid.video.ranges import read_member
from cliffvid.video.shards import read_shard


def shard(path: Path, members: dict[str, bytes], format=tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=format) as tar:
        for name, data in members.items():
            add(tar, name, data)
    return path


def add(tar: tarfile.TarFile, name: str, data: bytes = b"", **how) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in how.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(data))


NAMES = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1, max_size=300)


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@given(members=st.dictionaries(NAMES, st.binary(max_size=1500), max_size=6))
def test_members_are_those_that_tarfile_finds(tmp_path_factory, format, members):
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    try:
        shard(path, members, format)
    except ValueError:  # a name that the format cannot hold
        return
    with tarfile.open(path) as tar:
        expected = {each.name: (each.offset_data, each.size) for each in tar if each.isreg()}
    tidy = {"/".join(part for part in name.split("/") if part not in ("", ".")): at for name, at in expected.items()}
    found = read_shard(path)
    assert {name: tuple(at) for name, at in found.members.items()} == {n: at for n, at in tidy.items() if n}
    assert found.fault is None


def test_what_is_no_regular_file_is_counted_and_names_are_only_names(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            add(tar, "link.mp4", type=kind, linkname="/etc/passwd")
        for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            add(tar, "odd.mp4", type=kind)
        add(tar, "sparse.mp4", b"x", pax_headers={"GNU.sparse.major": "1", "GNU.sparse.realsize": "9" * 15})
        add(tar, "/etc/passwd", b"absolute")
        add(tar, "../../etc/passwd", b"above")
        add(tar, "twice.mp4", b"first")
        add(tar, "twice.mp4", b"last")
        add(tar, "last.mp4", b"end")
    found = read_shard(tmp_path / "a.tar")
    assert list(found.members) == ["etc/passwd", "../../etc/passwd", "twice.mp4", "last.mp4"]
    assert len(found.ignored) == 7 and found.doubled == 1 and found.fault is None
    for name, data in {"etc/passwd": b"absolute", "../../etc/passwd": b"above", "twice.mp4": b"last"}.items():
        assert read_member(tmp_path / "a.tar" / name, 100, Options()) == data
    with pytest.raises(NotFoundError, match="no such member"):
        read_member(tmp_path / "a.tar" / "link.mp4", 100, Options())
    with pytest.raises(RefusedError, match="8 bytes, expected 7"):
        read_member(tmp_path / "a.tar" / "etc/passwd", 7, Options())


def test_a_large_pax_header_costs_its_member_alone(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "bomb.mp4", b"x", pax_headers={"comment": "x" * 1_000_000})
        add(tar, "good.mp4", b"good")
    found = read_shard(tmp_path / "a.tar")
    assert list(found.members) == ["good.mp4"] and found.ignored == ["bomb.mp4"] and found.fault is None


def test_a_member_of_a_size_beyond_the_file_fails_alone(tmp_path):
    path = shard(tmp_path / "a.tar", {"good.mp4": b"good"})
    huge = tarfile.TarInfo("huge.mp4")
    huge.size = 1 << 62
    path.write_bytes(path.read_bytes()[:1024] + huge.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    assert "cut short" in read_shard(path).fault
    assert read_member(path / "good.mp4", 100, Options()) == b"good"
    with pytest.raises(UnreadableError, match=r"huge\.mp4: cut short"):
        read_member(path / "huge.mp4", 1 << 63, Options())


def test_cut_or_damaged_shards_keep_what_stands_before(tmp_path):
    path = shard(tmp_path / "a.tar", {f"{i}.mp4": bytes([i]) * 700 for i in range(4)})
    whole = path.read_bytes()
    for size in range(0, 4 * 1536, 100):
        path.write_bytes(whole[:size] or b"\1")
        found = read_shard(path)
        assert found.fault and len(found.members) <= size // 512
        for name in list(found.members)[: size // 1536]:
            assert read_member(path / name, 1000, Options()) == bytes([int(name[0])]) * 700
    path.write_bytes(whole[:1536] + b"\xff" + whole[1537:])
    assert list(read_shard(path).members) == ["0.mp4"] and "damaged at byte 1,536" in read_shard(path).fault


@given(st.data())
def test_no_bytes_make_it_raise_anything_else_or_read_beyond(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    headers = {"path": "long" * 60 + ".mp4", "size": "4"}
    with tarfile.open(path, "w") as tar:
        add(tar, "a.mp4", b"data", pax_headers=headers)
        add(tar, "b" * 150, b"data" * 300)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    for name in read_shard(path).members:
        with suppress(InputError):
            assert len(read_member(path / name, 1 << 20, Options())) <= len(content)
