"""Export public weights and checkpoints to model folders that cliffvid runs."""

from importlib import import_module

_HOME = {"load_cliff": "cliff.network", "load_yolov3": "yolov3.export"}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    """Import a network on first use: rebuilding the open models must not need torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'cliffvid.export' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
