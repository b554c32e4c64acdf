"""Whatever a command is told to write, and whatever lies there: no other file is touched."""

import os
import shutil
import tempfile
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st
from PIL import Image

from cliffvid import Options, process
from cliffvid.locks import OURS
from in_process import run
from pseudogt_files import gt_arrays
from track_files import make_tracks
from truth_files import World, found_tracks, pw3d

EXAMPLES = settings.default.max_examples // 3
ENDINGS = (".parquet", ".npz", ".html", ".mp4", ".csv", ".glb", ".usd", ".bvh", ".trc", ".part", "")
# Of each command the words, with {out} and {more} where the outputs go, and the endings that these should have.
COMMANDS = [
    ("process in/clip.mp4 -o {out} {models}", (".parquet", ".npz", "")),
    ("process in/clip.mp4 -o new.npz --overlay {out} --view skeleton {models}", (".mp4", "")),
    ("process in/clip.mp4 -o new.npz --report {out} --view skeleton {models}", (".html", "")),
    ("process in/images -o {out} --smooth --visuals bbox {models}", (".parquet", ".npz")),
    ("overlay in/clip.mp4 in/t.npz -o {out} --view skeleton", (".mp4",)),
    ("report in/t.npz -o {out} --skeleton-only", (".html",)),
    ("smooth in/t.npz -o {out}", (".parquet", ".npz")),
    *((f"convert in/t.npz --to {to} -o {{out}}", (end, "")) for to, end in (("csv", ".csv"), ("gltf", ".glb"))),
    *((f"convert in/t.npz --to {to} -o {{out}}", (end, "")) for to, end in (("bvh", ".bvh"), ("amass", ".npz"))),
    *(("convert in/t.npz -o {out}", (end,)) for end in (".glb", ".usd", ".trc", ".csv", ".parquet")),
    ("pseudogt convert in/gt.npz -o {out}", (".parquet",)),
    ("pseudogt make in/found.npz in/images -o {out}", (".npz",)),
    ("pseudogt view in/gt.npz --images in/images -o {out} --skeleton-only", (".html",)),
    ("eval in/walk_00.npz in/walk_00.pkl --json", ("",)),
    ("probe in/clip.mp4 in/images", ("",)),
]
names = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["a", "b b", "-c", "é\n\x1b[31m", "'\"$(d)", "[e]*", "new", "t", "clip", ".cliffvid-0", "%s"]),
        st.sampled_from(ENDINGS),
    ),
)
things = st.sampled_from(["file", "file", "read-only", "folder", "link to a file", "link", "hard link", "pipe"])


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, clip, toys):
    folder = tmp_path_factory.mktemp("kept") / "in"
    (folder / "images" / "train").mkdir(parents=True)
    shutil.copy(clip, folder / "clip.mp4")
    make_tracks(folder / "t.npz", folder / "clip.mp4", [[-1.0, 0.2, 5.0], [0.9, 0.1, 6.0]], 6)
    for number in range(2):
        Image.new("RGB", (192, 144), (255, 0, 0)).save(folder / "images" / f"{number}.png")
    Image.new("RGB", (640, 480)).save(folder / "images" / "train" / "000000.jpg")
    np.savez(folder / "gt.npz", **gt_arrays(2))
    world = World(frames=4)
    pw3d(folder / "walk_00.pkl", world)
    found_tracks(folder / "walk_00.npz", world, [world.boxes(k) for k in range(world.count)])
    models = Options(models_dir=toys, detector="toy-detector", regressor="toy-regressor", threads=1)
    process(folder / "images", folder / "found.npz", models)
    return folder


@settings(max_examples=EXAMPLES, phases=[Phase.generate])  # to shrink these takes minutes
@given(
    tree=st.lists(st.tuples(names, things), max_size=8, unique_by=lambda each: each[0]),
    command=st.sampled_from(COMMANDS),
    stem=st.one_of(names, st.integers(0, 7), st.sampled_from(["in/t.npz", "in/clip.mp4", "in/gt.npz", "deep/er"])),
    fitting=st.integers(0, 3),
    overwrite=st.booleans(),
)
def test_no_other_file_is_touched(inputs, toys, tree, command, stem, fitting, overwrite):
    words, endings = command
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        shutil.copytree(inputs, "in")
        for number, (name, kind) in enumerate(tree):
            make(name, kind, number)
        out = tree[stem % len(tree)][0] if isinstance(stem, int) and tree else str(stem)
        if fitting and not out.endswith(endings):
            out += endings[fitting % len(endings)]
        models = ["--models", str(toys), "--detector", "toy-detector", "--regressor", "toy-regressor"]
        given = [word.format(out=out) for word in words.replace(" {models}", "").split()]
        given += [*models] if "{models}" in words else []
        writes = "{out}" in words
        given += ["--overwrite"] if overwrite and writes else []
        before = kept()
        named = {path for path in before if overwrite and writes and is_named(path, out)}
        sources = {word for word in given if word.startswith("in/") and word != out and os.path.isfile(word)}
        code, told = run(given)
        event(f"{words.split()[0]}: exit code {code}")
        assert code in (0, 1, 2) and "Traceback" not in told and "internal error" not in told, told
        after = kept()
        touched = {path for path, what in before.items() if after.get(path) != what}
        assert touched <= named - sources, (given, told)
        assert not [path for path in after if OURS.fullmatch(os.path.basename(path))], told


def is_named(path: str, out: str) -> bool:
    """Whether a path is meant by an output's name: itself, or in a folder what is called like the input."""
    path, outs = os.path.realpath(path), {os.path.realpath(name) for name in (out, "new.npz")}
    beside = os.path.join(os.path.dirname(os.path.realpath(out)), Path(out).stem)
    return (
        path in outs
        or path.startswith(f"{beside}_")
        or any(path.startswith(os.path.join(os.path.realpath(out), stem)) for stem in ("clip", "t", "images"))
    )


def make(name: str, kind: str, number: int) -> None:
    """Put something at a name; links lead to what is there, or to nothing yet."""
    files = sorted(path for path in os.listdir() if os.path.isfile(path)) + ["in/t.npz", "in/clip.mp4"]
    target = files[number % len(files)]
    if kind in ("file", "read-only"):
        Path(name).write_bytes(os.urandom(20))
        os.chmod(name, 0o644 if kind == "file" else 0o444)
    elif kind == "folder":
        os.mkdir(name)
        Path(name, "t.csv").write_bytes(b"mine")
        Path(name, "clip.parquet").write_bytes(b"mine")
    elif kind == "link to a file":
        os.symlink(target, name)
    elif kind == "link":
        os.symlink(["nowhere", name, "in", "/dev/null"][number % 4], name)
    elif kind == "hard link":
        os.link(target, name)
    else:
        os.mkfifo(name)


def kept() -> dict[str, object]:
    """Of each path in the working folder what is there."""
    found: dict[str, object] = {}
    for folder, folders, files in os.walk("."):
        for name in (*folders, *files):
            path = os.path.join(folder, name).removeprefix("./")
            if os.path.islink(path):
                found[path] = os.readlink(path)
            elif os.path.isfile(path):
                found[path] = Path(path).read_bytes(), os.stat(path).st_mode
            else:
                found[path] = os.stat(path).st_mode
    return found
