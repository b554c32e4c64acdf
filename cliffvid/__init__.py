"""cliffvid: video to per-frame SMPL body tracks.

from cliffvid import process, read_tracks

report = process("video.mp4", "video.parquet", device="cpu")
tracks = read_tracks("video.parquet")
tracks.select(track=1).joints()   # (rows, 24, 3) metres, one row per frame; docs/python.md tells the rest
"""

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the names that __getattr__ resolves, for editors and type checkers
    from .annotate.job import annotate
    from .annotate.options import BulkOptions
    from .errors import BackendError, CliffvidError, InputError, ModelError, OutputError, UsageError
    from .evaluate.evaluate import evaluate
    from .evaluate.options import EvalOptions
    from .models.body import load_body
    from .options import Options
    from .pipeline.networks import open_models
    from .pipeline.process import process, process_many, stream
    from .pipeline.report import Report
    from .tables import Tracks
    from .tracks.convert import convert
    from .tracks.level import Levels
    from .tracks.options import ConvertOptions, SmoothOptions
    from .tracks.read import read_meta, read_tracks
    from .tracks.smooth import smooth
    from .tracks.video_tracks import VideoTracks, level
    from .video.memory import FrameSource
    from .video.probe import probe
    from .view.options import OverlayOptions
    from .view.overlay import overlay
    from .view.report import report

# Some dependencies send telemetry and store a machine id in the user's home. The settings that disable this
# must exist before the packages are imported. A value set by the user is kept.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # OpenVINO has no variable for this

_HOME = {
    "BackendError": "errors",
    "BulkOptions": "annotate.options",
    "CliffvidError": "errors",
    "ConvertOptions": "tracks.options",
    "EvalOptions": "evaluate.options",
    "FrameSource": "video.memory",
    "InputError": "errors",
    "Levels": "tracks.level",
    "ModelError": "errors",
    "Options": "options",
    "OutputError": "errors",
    "OverlayOptions": "view.options",
    "Report": "pipeline.report",
    "SmoothOptions": "tracks.options",
    "Tracks": "tables",
    "UsageError": "errors",
    "VideoTracks": "tracks.video_tracks",
    "annotate": "annotate.job",
    "convert": "tracks.convert",
    "evaluate": "evaluate.evaluate",
    "level": "tracks.video_tracks",
    "load_body": "models.body",
    "open_models": "pipeline.networks",
    "overlay": "view.overlay",
    "probe": "video.probe",
    "process": "pipeline.process",
    "process_many": "pipeline.process",
    "read_meta": "tracks.read",
    "read_tracks": "tracks.read",
    "report": "view.report",
    "smooth": "tracks.smooth",
    "stream": "pipeline.process",
}
__all__ = [
    "BackendError",
    "BulkOptions",
    "CliffvidError",
    "ConvertOptions",
    "EvalOptions",
    "FrameSource",
    "InputError",
    "Levels",
    "ModelError",
    "Options",
    "OutputError",
    "OverlayOptions",
    "Report",
    "SmoothOptions",
    "Tracks",
    "UsageError",
    "VideoTracks",
    "__version__",
    "annotate",
    "convert",
    "evaluate",
    "level",
    "load_body",
    "open_models",
    "overlay",
    "probe",
    "process",
    "process_many",
    "read_meta",
    "read_tracks",
    "report",
    "smooth",
    "stream",
]
__version__: str  # resolved by __getattr__ too


def __getattr__(name: str) -> object:
    """Import a public name on first use, so that ``cliffvid --help`` does not load FFmpeg, OpenCV and Arrow."""
    if name == "__version__":
        from .machine import version

        return version()
    if name not in _HOME:
        raise AttributeError(f"module 'cliffvid' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


class _Door(ModuleType):
    """This module; importing the rooms ``annotate`` and ``evaluate`` does not hide the functions of these names."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Door


def __dir__() -> list[str]:
    return [*globals(), *__all__]
