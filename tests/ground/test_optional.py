"""Packages that need not be there: missing, there and broken, and interrupted while they load."""

import ast
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OPEN = "from cliffvid.models.session import open_session; from cliffvid.models.manifest import *"
LOADERS = {
    "onnxruntime": f"{OPEN}; open_session(read_manifest(BUNDLED / 'cliff-open'), 'onnxruntime')",
    "openvino": f"{OPEN}; open_session(read_manifest(BUNDLED / 'cliff-open'), 'openvino')",
    "torch": "from cliffvid.cli.exporting import _need; _need('torch')",
    "onnx": "from bench.nets import constant_nets; constant_nets(None, 1)",
    "onnxscript": "from cliffvid.cli.exporting import _need; _need('onnxscript')",
    "tensorrt": "from cliffvid.models.backends.trt_plans import load_tensorrt; load_tensorrt()",
    "tensorrt_rtx": "from cliffvid.models.backends.trt_plans import load_tensorrt; load_tensorrt()",
    "cuda.bindings.runtime": "from cliffvid.cuda import Gpu; Gpu()",
    "moderngl": "from cliffvid.view.renderers import open_renderer; open_renderer('gl')",
    "pyrender": "from cliffvid.view.renderers import open_renderer; open_renderer('pyrender')",
    "ray": "from cliffvid.annotate.ray_pool import _ray; _ray()",
}
STACK = "cannot enable executable stack as shared object requires: Invalid argument"
# How a package's import goes, and what is raised then.
BROKEN = {
    f"raise ImportError('native.so: {STACK}')": ("BackendError", f"native.so: {STACK}"),
    "raise OSError('libnative.so.1: cannot open shared object file')": ("BackendError", "libnative.so.1: cannot open"),
    "import a_package_that_is_not_there": ("BackendError", "No module named 'a_package_that_is_not_there'"),
    "raise AttributeError": ("BackendError", "AttributeError"),
}
FAILED_IMPORTS = {"ImportError", "ModuleNotFoundError"}
# As a compiled module does that is interrupted while it loads.
INTERRUPTED = """
try:
    raise KeyboardInterrupt
except KeyboardInterrupt as interrupt:
    raise ImportError("initialization failed") from interrupt
"""
# Loads a package once for each way in which it fails, and tells what was raised.
TRIALS = """
import importlib, json, sys
from pathlib import Path
package, load, *ways = sys.argv[1:]
top, sys.dont_write_bytecode = package.split(".")[0], True
for flavour in {"tensorrt", "tensorrt_rtx"} - {package}:
    sys.modules[flavour] = None
for way in ways:
    if way:
        Path(top).mkdir(exist_ok=True)
        Path(top, "__init__.py").write_text(way)
        importlib.invalidate_caches()
        for name in [name for name in sys.modules if f"{name}.".startswith(f"{top}.")]:
            del sys.modules[name]
    else:
        sys.modules[package] = None
    try:
        exec(load)
        print(json.dumps(["nothing", ""]))
    except BaseException as error:
        print(json.dumps([type(error).__name__, str(error)]))
"""


@pytest.mark.parametrize("package", LOADERS)
def test_what_is_missing_is_told_from_what_does_not_load(package, tmp_path):
    ways = [*BROKEN, INTERRUPTED, ""]
    command = [sys.executable, "-c", TRIALS, package, LOADERS[package], *ways]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT), str(ROOT / "tests")])}
    out = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True).stdout
    *broken, interrupted, missing = map(json.loads, out.splitlines())
    for (kind, words), (wanted, reason) in zip(broken, BROKEN.values(), strict=True):
        assert kind == wanted and words.startswith(f"{package} is installed but does not load: {reason}"), words
        assert "install it again" in words or "apt-get install" in words
    assert interrupted[0] == "KeyboardInterrupt"
    assert missing[0] == "NotInstalledError" and missing[1].startswith(
        f"{package.split('_')[0]} is not installed: pip install "
    )


@pytest.mark.parametrize(
    ("package", "code", "status", "words"),
    [
        (
            "onnxruntime",
            f"raise ImportError('{STACK}')",
            1,
            f"error: onnxruntime is installed but does not load: {STACK};",
        ),
        ("onnxruntime", INTERRUPTED, 130, ""),
        (
            "cv2",
            "raise ImportError('libGL.so.1: no such file')",
            1,
            "error: a package does not load: libGL.so.1: no such",
        ),
    ],
)
def test_the_command_ends_with_one_line(tmp_path, package, code, status, words):
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text(code)
    command = [sys.executable, "-m", "cliffvid", "process", str(ROOT / "examples" / "pedestrians.mp4"), "-o", "x.npz"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == status and "Traceback" not in done.stderr and "not installed" not in done.stderr
    assert done.stderr.startswith(words) and done.stderr.count("\n") == 1 and not (tmp_path / "x.npz").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_a_real_interrupt_while_onnxruntime_loads(tmp_path):
    """Its compiled module turns that into an ImportError."""
    code = (
        "import numpy, os, signal, sys, threading; from cliffvid.models.backends import ort\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'onnxruntime.capi.onnxruntime_pybind11_state': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "ort.load()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGINT and done.stderr.splitlines()[-1].startswith("KeyboardInterrupt")


def test_imports_that_may_fail_are_made_in_one_place():
    """An except clause elsewhere would take a broken package, or an interrupt, for a missing one."""
    found = set()
    for path in [*(ROOT / "cliffvid").rglob("*.py"), *(ROOT / "export").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Try):
                kinds = [name for handler in node.handlers if handler.type for name in ast.walk(handler.type)]
                names = {name.id for name in kinds if isinstance(name, ast.Name)}
                modules = set(imported(node.body))
                if modules - sys.stdlib_module_names or (names & FAILED_IMPORTS and not modules):
                    found.add(str(path.relative_to(ROOT)))
    assert not found


def imported(body):
    """The packages that statements import, but for cliffvid's own modules."""
    for node in (node for statement in body for node in ast.walk(statement)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.split(".")[0]
