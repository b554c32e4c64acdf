"""Every kind of file: whole under its own name or not there, whatever the name, the place, and who else writes."""

import errno
import os
import re
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from cliffvid import OutputError, UsageError, locks, read_tracks
from cliffvid.annotate.store.ownership import check_own
from cliffvid.files import Claim, NewFile, appearing, check_free, check_places, claims, write_folder, write_whole
from cliffvid.tables import Tracks, VideoInfo
from cliffvid.tracks.write import open_writer
from cliffvid.video.encode import Film

NOBODY = Tracks.empty(pose=69, shape=10)
VIDEO = {"name": "a.mp4", "codec": "h264", "width_px": 64, "height_px": 48}
META = {"video": VIDEO, "body": {"name": "open-body"}}


def tracks(kind):
    def write(out: Path, overwrite: bool = False, then=lambda: None) -> None:
        with open_writer(kind, out, NOBODY, META, overwrite) as writer:
            writer.write(NOBODY)
            then()
            writer.finish()

    return write


def film(out: Path, overwrite: bool = False, then=lambda: None) -> None:
    info = VideoInfo(Path("noise"), "images", "none", 64, 48, Fraction(25), Fraction(1, 25), None, None)
    noise = np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3), np.uint8)
    with Film(out, info, overwrite=overwrite) as written:
        for pts, image in enumerate(noise):
            written.write(image, pts)
        then()
        written.finish()


def whole(out: Path, overwrite: bool = False, then=lambda: None) -> None:
    with appearing(out, overwrite) as file:
        file.write(b"new" * 20000)
        then()


# Each with the ending that its name must have, and a reader that refuses what is not whole.
KINDS = {
    "parquet": (tracks("parquet"), ".parquet", read_tracks),
    "npz": (tracks("npz"), ".npz", read_tracks),
    "cliff": (tracks("cliff"), "_cliff.npz", read_tracks),
    "mp4": (film, ".mp4", lambda path: frames_in(path) == 40 or pytest.fail("frames are missing")),
    "mkv": (film, ".mkv", lambda path: frames_in(path) == 40 or pytest.fail("frames are missing")),
    "any": (whole, ".html", lambda path: path.read_bytes() == b"new" * 20000 or pytest.fail("not whole")),
}
EVERY = pytest.mark.parametrize(("write", "suffix", "read"), KINDS.values(), ids=KINDS)


def frames_in(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@EVERY
def test_a_name_may_be_as_long_as_the_system_lets_it(tmp_path, write, suffix, read):
    name = "a" * (255 - len(suffix)) + suffix
    write(tmp_path / name)
    read(tmp_path / name)
    with pytest.raises(OutputError, match=r"cannot write it \(File name too long\); choose a shorter name"):
        write(tmp_path / f"b{name}", then=lambda: pytest.fail("told after the work, not before it"))
    assert names(tmp_path) == [name]


@EVERY
def test_a_link_stays_and_what_it_points_to_is_written(tmp_path, write, suffix, read):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / f"real{suffix}", tmp_path / f"link{suffix}"
    link.symlink_to(target)  # to nothing yet
    for overwrite in (False, True):
        write(link, overwrite)
        assert link.is_symlink() and not target.is_symlink()
        read(target)
        target.write_bytes(b"old")
    circle = tmp_path / f"circle{suffix}"
    circle.symlink_to(circle)
    with pytest.raises(OutputError, match="Too many levels of symbolic links"):
        write(circle)
    assert names(tmp_path) == sorted([circle.name, link.name, "there"]) and names(tmp_path / "there") == [target.name]


@EVERY
@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_what_appeared_meanwhile_is_never_lost(tmp_path, write, suffix, read, links, monkeypatch):
    if not links:  # a file system without hard links, as on memory cards
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "Operation not permitted")))
    out = tmp_path / f"out{suffix}"
    with pytest.raises(OutputError, match="appeared while this one was being made, and is kept as it is"):
        write(out, then=lambda: out.write_bytes(b"theirs"))
    assert out.read_bytes() == b"theirs" and names(tmp_path) == [out.name]
    write(out, overwrite=True)
    read(out)
    out.unlink()
    write(out)
    read(out)
    assert names(tmp_path) == [out.name]


@EVERY
def test_leaving_early_leaves_what_was_there(tmp_path, write, suffix, read):
    out = tmp_path / f"out{suffix}"
    out.write_bytes(b"old")

    def fault() -> None:
        assert out.read_bytes() == b"old"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(out, overwrite=True, then=fault)
    assert out.read_bytes() == b"old" and names(tmp_path) == [out.name]


@EVERY
def test_the_old_temporary_name_is_no_ones_any_more(tmp_path, write, suffix, read):
    """A user's own file of that name, and one that a link there would have led to."""
    (tmp_path / "mine").write_bytes(b"mine")
    for name in (f"a{suffix}", f"b{suffix}"):
        part = tmp_path / f"{name}.part"
        part.symlink_to("mine") if name[0] == "a" else part.write_bytes(b"mine")
        write(tmp_path / name)
        assert part.read_bytes() == b"mine"
    assert (tmp_path / "mine").read_bytes() == b"mine"


@EVERY
def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path, write, suffix, read):
    (tmp_path / "file").write_text("")
    for place, why in (("file", "file is not a folder"), ("file/deeper", "file is not a folder"), ("/proc", "No such")):
        with pytest.raises(OutputError, match=rf"cannot write it \(.*{why}.*\); choose another place"):
            write(tmp_path / place / f"t{suffix}", then=lambda: pytest.fail("after the work"))
    assert names(tmp_path) == ["file"]


@EVERY
def test_permissions_are_those_of_the_users_mask(tmp_path, write, suffix, read):
    before = os.umask(0o027)
    try:
        write(tmp_path / f"t{suffix}")
    finally:
        os.umask(before)
    assert (tmp_path / f"t{suffix}").stat().st_mode & 0o777 == 0o640


FULL = """
import resource, signal, sys
from pathlib import Path
sys.path[:0] = {places}
from test_files import KINDS
from cliffvid import OutputError
import test_files as files, numpy as np
from cliffvid.tables import Tracks
files.NOBODY = Tracks(**{{n: np.random.default_rng(0).integers(0, 99, (3000, *c.shape[1:])).astype(c.dtype)
                        for n, c in files.NOBODY.columns().items()}})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
for write, suffix, _ in KINDS.values():
    try:
        write(Path("out" + suffix))
    except OutputError as error:
        print(error)
"""


def test_a_disk_that_fills_up_is_told_and_left_clean(tmp_path):
    """Here a limit on the size of files stands for it: the same error at the same place, by another name."""
    code = FULL.format(places=[str(Path(__file__).parent), str(Path(__file__).parents[1] / "support")])
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    said = [f"out{suffix}: cannot write it (File too large); choose another place" for _, suffix, _ in KINDS.values()]
    assert done.stdout.splitlines() == said and done.stderr == ""
    assert names(tmp_path) == []


def test_a_file_is_on_disk_before_it_has_its_name_and_the_name_before_it_is_told(tmp_path, monkeypatch):
    done = []
    real = {name: getattr(os, name) for name in ("fsync", "link", "replace")}
    monkeypatch.setattr(
        os, "fsync", lambda fd: (done.append(Path(os.readlink(f"/proc/self/fd/{fd}"))), real["fsync"](fd))
    )
    for name in ("link", "replace"):
        monkeypatch.setattr(os, name, lambda a, b, name=name: (done.append(name), real[name](a, b)))
    for overwrite, way in ((False, "link"), (True, "replace")):
        done.clear()
        write_whole(tmp_path / "a", b"a", overwrite)
        part, *rest = done
        assert part.parent == tmp_path and part.name.startswith(".cliffvid-") and rest == [way, tmp_path]


def test_devices_and_pipes_are_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for place in (Path("/dev/null"), tmp_path / "pipe"):
        with pytest.raises(UsageError, match="a device or pipe"):
            check_free(place, True)


def test_a_child_that_was_forked_meanwhile_removes_nothing(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from cliffvid.files import NewFile\n"
        "with NewFile(Path('a'), False) as new:\n"
        "    new.file.write(b'a'); new.file.flush()\n"
        "    if not (child := os.fork()): sys.exit()\n"
        "    os.waitpid(child, 0); new.keep()\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, check=True)
    assert (tmp_path / "a").read_bytes() == b"a" and names(tmp_path) == ["a"]


@pytest.mark.parametrize(("ignored", "code"), [(False, 128 + signal.SIGHUP), (True, 0)], ids=["terminal", "nohup"])
def test_a_hangup_ends_a_command_but_under_nohup(tmp_path, ignored, code):
    script = (
        f"import signal, os, sys; signal.signal(signal.SIGHUP, signal.{'SIG_IGN' if ignored else 'SIG_DFL'})\n"
        "from cliffvid.cli import app as cli, doctor\n"
        "cli._print_version = lambda *_: None\n"
        "cli.make_command = lambda app: lambda **how: os.kill(os.getpid(), signal.SIGHUP)\n"
        "cli.main()\n"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == code


def test_a_key_that_is_pressed_again_shows_no_traceback(tmp_path):
    script = (
        "import os, signal, sys; from cliffvid.cli import app as cli\n"
        "def press(*_): os.kill(os.getpid(), signal.SIGINT)\n"
        "cli.close_streams = press\n"  # as the command ends
        "sys.argv = ['cliffvid', 'doctor']; cli.TyperGroup.invoke = press\n"
        "cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 130 and re.fullmatch("interrupted: .*\n", done.stderr)


KILLED = """
import os, signal, sys
from pathlib import Path
from cliffvid.annotate.store.ownership import check_own
from cliffvid.files import Claim, NewFile
claim, new = Claim(Path("out")), NewFile(Path("out"), False)
print(new.part.name, flush=True)
os.kill(os.getpid(), signal.SIGKILL) if sys.argv[1] == "kill" else sys.stdin.read()
"""


def test_what_a_killed_run_left_is_swept_and_blocks_nobody(tmp_path):
    def run(how: str) -> tuple[subprocess.Popen, str]:
        command = [sys.executable, "-c", KILLED, how]
        run = subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return run, run.stdout.readline().strip()

    # Ours by their names alone are none of these.
    others = [".cliffvid-0123456789abcdef.parts", ".cliffvid-0123.part", "out.part", "a.cliffvid-0123456789abcdef.part"]
    for name in others:
        (tmp_path / name).write_bytes(b"mine")
    (tmp_path / ".cliffvid-1111111111111111.part").symlink_to("out.part")
    (tmp_path / ".cliffvid-2222222222222222.lock").write_bytes(b"mine")  # locks hold nothing
    kept = names(tmp_path)
    killed, left = run("kill")
    killed.communicate()
    assert left in names(tmp_path) and len(names(tmp_path)) == len(kept) + 2
    live, at_work = run("wait")
    try:
        assert left not in names(tmp_path)
        locks.sweep.cache_clear()
        with pytest.raises(UsageError, match="out: another run is at work on it"):
            Claim(tmp_path / "out")
        write_whole(tmp_path / "other", b"new", False)  # sweeps, and leaves what is held
        assert at_work in names(tmp_path)
    finally:
        live.communicate("")
    assert names(tmp_path) == sorted([*kept, "other"])
    assert all((tmp_path / name).read_bytes() == b"mine" for name in others)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_another_users_files_are_not_swept(tmp_path):
    theirs = tmp_path / ".cliffvid-0123456789abcdef.part"
    theirs.write_bytes(b"")
    os.chown(theirs, 12345, -1)
    write_whole(tmp_path / "a", b"a", False)
    assert theirs.exists()


def test_one_run_at_a_time_has_an_output(tmp_path):
    @claims
    def work(out: Path) -> list[str]:
        for other in (out, tmp_path / "link"):
            with pytest.raises(UsageError, match="another run is at work on it; wait for its end, or choose another"):
                Claim(other)
        with pytest.raises(UsageError, match="another run is at work on it"):
            check_places([tmp_path / "free", out])
        Claim(tmp_path / "free").release()
        return names(tmp_path)

    (tmp_path / "link").symlink_to("out")
    assert len(work(tmp_path / "out")) == 2 and names(tmp_path) == ["link"]
    assert len(work(out=tmp_path / "out")) == 2 and names(tmp_path) == ["link"]


@pytest.mark.parametrize("there", ["link", "folder", "pipe", "file"])
def test_a_strange_thing_at_the_name_of_a_lock_is_left_alone(tmp_path, there):
    with Claim(tmp_path / "out"):
        (lock,) = tmp_path.iterdir()
    (tmp_path / "mine").write_bytes(b"mine")
    {
        "link": lambda: lock.symlink_to("mine"),
        "folder": lock.mkdir,
        "pipe": lambda: os.mkfifo(lock),
        "file": lambda: lock.write_bytes(b"mine"),
    }[there]()
    with Claim(tmp_path / "out"):
        pass
    assert (tmp_path / "mine").read_bytes() == b"mine" and os.path.lexists(lock)
    assert there != "file" or lock.read_bytes() == b"mine"


def test_where_files_cannot_be_locked_both_are_whole_and_the_last_stays(tmp_path, monkeypatch):
    def none(*_) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", none)
    (tmp_path / ".cliffvid-0123456789abcdef.part").write_bytes(b"it cannot be told whose")
    out = tmp_path / "out"
    with Claim(out), NewFile(out, True) as first, Claim(out), NewFile(out, True) as second:
        for new, data in ((second, b"second"), (first, b"first")):
            new.file.write(data)
            new.keep()
            assert out.read_bytes() == data
    assert names(tmp_path) == [".cliffvid-0123456789abcdef.part", "out"]


def test_a_claim_leaves_no_folder(tmp_path):
    with Claim(tmp_path / "a" / "b" / "out"):
        assert (tmp_path / "a" / "b").is_dir()
    assert names(tmp_path) == []
    with Claim(tmp_path / "a" / "b" / "out"):
        write_whole(tmp_path / "a" / "b" / "out", b"", False)
    assert names(tmp_path / "a" / "b") == ["out"]


def test_a_folder_is_put_back_if_the_new_one_cannot_come(tmp_path, monkeypatch):
    folder, real = tmp_path / "model", Path.rename
    write_folder(folder, {"a": b"old"})

    def rename(path: Path, to: Path) -> Path:
        if path.name == "new":
            raise KeyboardInterrupt
        return real(path, to)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        write_folder(folder, {"a": b"new"})
    assert (folder / "a").read_bytes() == b"old" and names(tmp_path) == ["model"]
    (tmp_path / ".cliffvid-0123456789abcdef.part" / "aside").mkdir(parents=True)  # as SIGKILL between the two leaves it
    folder.rename(tmp_path / ".cliffvid-0123456789abcdef.part" / "aside" / "model")
    locks.sweep.cache_clear()
    locks.sweep(tmp_path)
    assert (folder / "a").read_bytes() == b"old" and names(tmp_path) == ["model"]


def test_an_address_is_no_place_for_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("s3://bucket/a.parquet", "gs://bucket/folder/a.npz", "https://host/a.mp4"):
        with pytest.raises(OutputError, match="an address; results are local files"):
            write_whole(Path(name), b"data", overwrite=True)
        with pytest.raises(UsageError, match="an address; name a local folder"):
            check_own(Path(name))
    write_whole(Path("a:b/c:d"), b"data", overwrite=True)
    assert names(tmp_path) == ["a:b"]
