"""The networks that are measured: the official kinds with random weights, made once and kept in the user's cache."""

import sys
from importlib.util import find_spec
from pathlib import Path

from ..errors import BackendError


def random_nets() -> Path:
    """A folder with ``random-yolov3`` and ``random-cliff-hr48``. Raises BackendError without torch and onnx."""
    import platformdirs

    for package in ("torch", "onnx", "onnxscript"):
        if not find_spec(package):
            raise BackendError(f'{package} is not installed: pip install "cliffvid[cpu,export]" to make the networks')
    from ..export.random_nets import random_models

    folder = Path(platformdirs.user_cache_dir("cliffvid")) / "bench" / "models"
    return random_models(folder, lambda line: print(line, file=sys.stderr, flush=True))
