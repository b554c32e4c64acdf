"""The script for Blender: FBX and .blend files have the motion of the tracks, upright and at the right times."""

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest

import motions
import needs
from cliffvid.models.body import SMPL_JOINTS
from cliffvid.tracks.convert import convert
from motions import RATE, random_motion, truth_at

# Prints the joints of the one person at each frame, and how many frames a second there are.
READ = """
import bpy, json, sys
path = sys.argv[1]
bpy.ops.wm.read_factory_settings(use_empty=True)
if path.endswith(".fbx"):
    bpy.ops.import_scene.fbx(filepath=path, anim_offset=0)
else:
    bpy.ops.wm.open_mainfile(filepath=path)
scene, found = bpy.context.scene, []
(person,) = (each for each in bpy.data.objects if each.type == "ARMATURE")
# The importer of FBX makes frames of seconds by the whole number, and leaves the divisor out.
stretch = scene.render.fps_base if path.endswith(".fbx") else 1.0
for frame in range(int(sys.argv[2])):
    scene.frame_set(int(frame * stretch), subframe=frame * stretch % 1)
    found.append({bone.name: list(person.matrix_world @ bone.head) for bone in person.pose.bones})
kinds = sorted(each.type for each in bpy.data.objects)
print("READ", json.dumps([scene.render.fps / scene.render.fps_base, kinds, found]))
"""


def run(*command):
    return subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, timeout=200)


def test_the_script_is_python_with_the_frame_rate_of_the_video(tmp_path):
    tracks, _ = random_motion(tmp_path, 1, [1, 1, 1])
    (script,) = convert(tracks, tmp_path / "import.py").files
    text = script.read_text()
    compile(text, "import.py", "exec")
    assert text.count("RATE = ") == 1 and f"RATE = {RATE}" in text


@pytest.mark.slow
@pytest.mark.parametrize(("ending", "rate"), [("fbx", 12.5), ("blend", 30_000 / 1001)])
def test_blender_has_the_motion_of_the_tracks(ending, rate, tmp_path, monkeypatch):
    if importlib.util.find_spec("bpy") is None:
        needs.lacks("bpy", "the package bpy is not installed")
    monkeypatch.setattr(motions, "RATE", rate)  # Blender's rates are whole numbers, and a divisor
    tracks, rows = random_motion(tmp_path, 2, [1] * 50)
    for name in ("o.glb", "import.py"):
        convert(tracks, tmp_path / name)
    out = tmp_path / f"o.{ending}"
    done = run(tmp_path / "import.py", "--", tmp_path / "o.glb", out)
    assert done.returncode == 0 and out.stat().st_size > 10_000, done.stderr
    again = run(tmp_path / "import.py", "--", tmp_path / "o.glb", out)
    assert again.returncode == 1 and f"{out}: exists already" in again.stderr
    (tmp_path / "read.py").write_text(READ)
    told = run(tmp_path / "read.py", out, 54).stdout
    found_rate, kinds, found = json.loads(told.partition("READ ")[2])
    assert found_rate == pytest.approx(rate, rel=1e-5) and kinds == ["ARMATURE", "CAMERA", "MESH"]
    for row, time_s in enumerate(rows.time_s):
        truth = truth_at(rows, time_s)[:, [0, 2, 1]] * [1, 1, -1]  # Blender's z is up
        joints = found[rows.frame_idx[row]]
        np.testing.assert_allclose([joints[name] for name in SMPL_JOINTS], truth, atol=1e-4)
