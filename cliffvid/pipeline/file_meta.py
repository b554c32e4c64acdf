"""Describe a run for the metadata of its tracks file."""

import dataclasses
import math
from typing import Any

from ..machine import version
from ..models.manifest import MODEL_FILES, canvas_shape
from ..names import label
from ..options import OF_THE_DETECTOR, Options
from ..tables import VideoInfo
from .counts import Counts
from .networks import Models, body_size

# Settings that affect how a result is computed but not the result. They are not recorded, to keep the bytes stable.
NOT_RECORDED = (
    "models_dir",
    "threads",
    "frame_batch",
    "person_batch",
    "prefetch",
    "videos_at_once",
    "gate_rotation_median_deg",
    "gate_rotation_p99_deg",
    "gate_persons_percent",
    "overwrite",
    "format",
    "max_frame_mpx",
    "allow_network",
)
# Settings that are recorded where they are given alone.
ADDED = "boxes", "cx_px", "cy_px", "camera_wh_px"


def file_meta(info: VideoInfo, options: Options, models: Models, counts: Counts) -> dict[str, Any]:
    """Return the metadata of a video's tracks, see ``tracks.meta.Meta``. It is identical between two runs of a job."""
    joints, betas = body_size(models.regressor.manifest)
    body = models.regressor.manifest.body
    return {
        "software": f"cliffvid {version()}",
        "video": _video(info, counts),
        "settings": _settings(options, models),
        "models": [
            {
                "name": session.manifest.name,
                "task": session.manifest.task,
                "sha256": session.manifest.files[MODEL_FILES[session.precision]],
                "licence": session.manifest.licence,
                "backend": session.backend,
                "device": session.device,
                "precision": session.precision,
            }
            for session in models.sessions
        ],
        "body": {
            "name": body,
            "joints": joints,
            "betas": betas,
            "note": f"pose and betas belong to the body {body!r} and to no other",
        },
        "counts": dataclasses.asdict(counts),
        "complete": counts.decode.damaged == 0,
    }


def _video(info: VideoInfo, counts: Counts) -> dict[str, object]:
    video = dataclasses.asdict(info) | {"first_pts": counts.decode.first_pts}
    del video["path"]
    video["name"] = info.name
    if not info.files:
        del video["files"]
    for name in ("rate", "time_base"):
        video[name] = str(video[name]) if video[name] else None
    return video


def _settings(options: Options, models: Models) -> dict[str, object]:
    settings = {k: v for k, v in dataclasses.asdict(options).items() if k not in NOT_RECORDED}
    settings = {k: v for k, v in settings.items() if k not in ADDED or v is not None}
    if models.detector:
        settings["detector_shape"] = canvas_shape(models.detector.manifest, options)
    else:
        settings = {k: v for k, v in settings.items() if k not in OF_THE_DETECTOR}
    if options.boxes is not None:
        settings["boxes"] = label(options.boxes.name)
    settings |= {"precision_chosen": list(models.chosen)} if models.chosen else {}
    settings["end_s"] = None if math.isinf(options.end_s) else options.end_s
    return settings
