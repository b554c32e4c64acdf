"""The networks that are measured: the official kinds with random weights, kept in the user's cache; constant ones."""

from pathlib import Path

from cliffvid.cli.console import say
from cliffvid.optional import load
from cliffvid.options import Options


def random_nets() -> Path:
    """A folder with ``random-yolov3`` and ``random-cliff-hr48``. Raises BackendError without torch and onnx."""
    import platformdirs

    _need("torch", "onnx", "onnxscript")
    from .random_nets import random_models

    folder = Path(platformdirs.user_cache_dir("cliffvid")) / "bench" / "models"
    return random_models(folder, say)


def constant_nets(folder: Path, people: int) -> Options:
    """Options that choose networks in ``folder``, made there, which cost nothing and see ``people`` in each frame.

    Raises BackendError without onnx.
    """
    _need("onnx")
    from .constant_nets import constant_nets

    detector, regressor = constant_nets(folder, people)
    return Options(models_dir=folder, detector=detector, regressor=regressor, overwrite=True)


def _need(*packages: str) -> None:
    for package in packages:
        load(package, 'pip install "cliffvid[cpu,export]" to make the networks')
