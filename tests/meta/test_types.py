"""What checkers of types tell a user about a script of their own."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import cliffvid

SCRIPT = """from cliffvid import Options, OverlayOptions, convert, overlay, process, process_many, read_tracks, stream
report = process("video.mp4", "video.parquet", Options(scoer=0.5))
print(report.peopl, report.people)
print(read_tracks("video.parquet").body_pose.shape)
overlay("video.mp4", "video.parquet", "overlay.mp4", OverlayOptions(view="sideways"))
process("video.mp4", "video.parquet", device="cpu", scoer=0.5)
process("video.mp4", "video.parquet", device="cpu", score=0.5, detect_every=2)
list(process_many([("video.mp4", "video.parquet")], precison="fp16"))
for rows in stream("video.mp4", max_people=3):
    print(rows.joints(frame="level").shape, rows.video["name"])
    print(rows.joints(frame="world"))
convert("video.parquet", "video.glb", to="glb")
"""
WRONG = ("scoer", "peopl", "sideways", "scoer", "precison", "world", "glb")
CHECKERS = {"mypy": ["mypy", "--follow-imports=silent"], "basedpyright": ["basedpyright"]}


@pytest.mark.parametrize("checker", CHECKERS)
def test_mistakes_in_a_script_are_told_and_nothing_else(checker, tmp_path):
    """The library's own types reach a script: a wrong keyword and a wrong attribute fail, the rest passes."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    library = str(Path(cliffvid.__file__).parents[1])  # an editable install is found by no checker
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [library]}))
    done = subprocess.run(
        [sys.executable, "-m", *CHECKERS[checker], str(script)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"MYPYPATH": library},
    )
    faults = [line for line in done.stdout.splitlines() if "error:" in line or " - error" in line]
    assert done.returncode == 1 and len(faults) == len(WRONG), done.stdout + done.stderr
    assert all(word in fault for word, fault in zip(WRONG, faults, strict=True)), faults


def test_every_public_name_is_typed_from_where_it_is_imported():
    tree = ast.parse(Path(cliffvid.__file__).read_text())
    (typed,) = (node for node in tree.body if isinstance(node, ast.If))
    homes = {name.name: node.module for node in typed.body for name in node.names}
    assert homes == cliffvid._HOME and {*homes, "__version__"} == set(cliffvid.__all__)
