"""Nothing calls home: packages that would report to their makers are stopped before they are loaded."""

import os
import subprocess
import sys

import pytest

import needs

SWITCHES = ("ORT_DISABLE_TELEMETRY", "RAY_USAGE_STATS_ENABLED")
BEGIN = """
import atexit, os, sys
from pathlib import Path
asked = []
sys.addaudithook(lambda event, args: event.startswith("socket.") and event != "socket.__new__" and asked.append(event))
atexit.register(lambda: asked and (print(asked, file=sys.stderr, flush=True), os._exit(9)))
"""
OPTIONS = "Options(models_dir=Path(sys.argv[1]), detector='toy-detector', regressor='toy-regressor')"
# Ways to the networks and the pictures; what is loaded there.
WAYS = {
    "library": f"from cliffvid import Options, process; process(sys.argv[2], 'a.parquet', {OPTIONS})",
    "OpenVINO": f"from cliffvid import Options, open_models; open_models({OPTIONS[:-1]}, backend='openvino')).close()",
    "worker": "from cliffvid.cli.app import main; sys.argv[1:] = ['annotate', sys.argv[2], '-o', 'set', '--workers', "
    "'1', '--models', sys.argv[1], '--detector', 'toy-detector', '--regressor', 'toy-regressor']; main()",
    "pictures": "from cliffvid.view.renderers import open_renderer; open_renderer('gl')",
}
# The same packages without cliffvid before them: what must not happen does happen then.
ALONE = {"library": "import onnxruntime", "OpenVINO": "import openvino"}


@pytest.fixture
def traces(tmp_path, toys, clip):
    """Run Python in an empty home; answers what it left there, and whether it used a socket."""

    def run(code: str, **env: str) -> set[str]:
        home = tmp_path / f"home{len(list(tmp_path.iterdir()))}"
        (home / "work").mkdir(parents=True)
        clean = {name: value for name, value in os.environ.items() if name not in SWITCHES}
        places = {"HOME": home, "XDG_CACHE_HOME": home / "cache", "XDG_DATA_HOME": home / "data"}
        (home / "cache").mkdir()
        command = [sys.executable, "-c", BEGIN + code, toys, clip]
        done = subprocess.run(
            command, cwd=home / "work", env=clean | places | env, capture_output=True, text=True, timeout=100
        )
        assert done.returncode == 0, done.stderr
        return {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}

    return run


@pytest.mark.parametrize("way", WAYS)
def test_a_run_writes_to_its_folder_and_its_own_cache_alone(way, traces, request):
    if way == "pictures":
        request.getfixturevalue("egl")
    left = {name for name in traces(WAYS[way]) if not name.startswith(("work/", "cache/cliffvid/"))}
    assert left == set()


@pytest.mark.parametrize("way", ALONE)
def test_the_packages_alone_do_leave_something(way, traces):
    """What the test above would see."""
    needs.package({"library": "onnxruntime", "OpenVINO": "openvino"}[way])
    if not traces(ALONE[way]):
        pytest.skip("this version of the package does not report")


def test_what_the_user_has_set_stays():
    code = "import cliffvid, os, sys; print(*(os.environ[name] for name in sys.argv[1:]))"
    for env, wanted in (({}, "1 0"), (dict.fromkeys(SWITCHES, "x"), "x x")):
        clean = {name: value for name, value in os.environ.items() if name not in SWITCHES}
        out = subprocess.check_output([sys.executable, "-c", code, *SWITCHES], env=clean | env, text=True)
        assert out.split() == wanted.split()
