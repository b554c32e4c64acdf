"""The small graphs that make pictures where the networks run: letterbox, crops, thumbnails, RGB of planes."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cliffvid.geometry import crop_boxes, crop_corners
from cliffvid.models.backends import ort
from cliffvid.models.backends.ort_images import CANVAS, PICTURES, Pictures
from cliffvid.models.manifest import Manifest, read_manifest
from cliffvid.tables import Objects, image_column
from cliffvid.video.images.gpu import Block, GpuImage
from cliffvid.video.images.orientation import UPRIGHT
from cliffvid.video.images.yuv import YuvImage

from .notes import Notes, timed
from .plan import Plan

FRAME_HW, FRAMES = (1080, 1920), 16
QUICK_HW, QUICK_FRAMES = (270, 480), 2
PEOPLE = 3  # a frame
PROFILED = 5  # calls


def pictures(plan: Plan, notes: Notes) -> None:
    """Milliseconds a frame of each, and onnxruntime's own profile of the letterbox."""
    onnxruntime = ort.load()
    maker = ort.open_pictures(onnxruntime, plan.device, 0)
    detector, regressor = (read_manifest(plan.nets / name) for name in (plan.detector, plan.regressor))
    frames, works = _works(maker, plan.quick, detector, regressor)
    for name, run in notes.in_time(works.items()):
        with notes.row(what=name) as row:
            times = timed(run, plan.quick, least_s=1.0)
            row |= {"ms_a_frame": 1000 * times.each_s / len(frames), "first_s": times.first_s}
            row["frames_s"] = round(len(frames) / times.each_s)
    with notes.row(what="profile of the letterbox: us a call, host's clock") as row:
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 4
        settings.enable_profiling, settings.profile_file_prefix = True, str(plan.work / "picture")
        queue = ort.open_queue(onnxruntime, plan.device)
        provider = ort.provider_of(queue)
        session = onnxruntime.InferenceSession(str(PICTURES[CANVAS]), settings, providers=[provider], enable_fallback=0)
        watched = Pictures(onnxruntime, lambda path, queue: session, lambda: queue, plan.device)
        for _ in range(PROFILED):
            watched.make(GpuImage.letterboxed(frames, detector.rules["letterbox"]), "uint8")
        row["us"] = _by_operator(Path(session.end_profiling()))


def _works(
    maker: Pictures, quick: bool, detector: Manifest, regressor: Manifest
) -> tuple[Objects, dict[str, Callable[[], object]]]:
    """Frames that lie on the device, and what is done of so many."""
    count, (height, width) = (QUICK_FRAMES, QUICK_HW) if quick else (FRAMES, FRAME_HW)
    rgb = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)
    y, u = rgb[..., 0].copy(), rgb[:, ::2, ::2, 1].copy()
    planes = image_column([YuvImage(*each, "bt709", False, UPRIGHT) for each in zip(y, u, u, strict=True)])
    frames = Block(maker.upload(rgb), count, (width, height), maker).images()
    luma = YuvImage.uploaded(planes, maker)
    letterbox, rule = detector.rules["letterbox"], regressor.rules["crop"]
    of_people = np.arange(count).repeat(PEOPLE)
    box = np.array([0.3 * width, 0.2 * height, 0.45 * width, 0.85 * height], np.float32)
    corners = crop_corners(crop_boxes(np.tile(box, (len(of_people), 1)), rule), rule)
    return frames, {
        "stack": lambda: np.stack(list(rgb)),
        "upload of RGB": lambda: maker.upload(rgb),
        "upload of planes": lambda: YuvImage.uploaded(planes, maker),
        "letterbox of planes": lambda: maker.make(GpuImage.letterboxed(luma, letterbox), "uint8"),
        "letterbox, numbers alone": lambda: GpuImage.letterboxed(frames, letterbox),
        "letterbox": lambda: maker.make(GpuImage.letterboxed(frames, letterbox), "uint8"),
        "thumbnails, fetched": lambda: GpuImage.thumbnails(frames),
        f"crops, {PEOPLE} a frame": lambda: maker.make(
            GpuImage.cropped(frames, of_people, corners, rule, "float32"), "float32"
        ),
    }


def _by_operator(profile: Path) -> dict[str, int]:
    """Microseconds a call of each kind of operator, the largest first; the profile is removed."""
    took: Counter[str] = Counter()
    for event in json.loads(profile.read_text(encoding="utf-8")):
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            took[event["args"]["op_name"]] += event["dur"]
    profile.unlink()
    return {name: round(us / PROFILED) for name, us in took.most_common()}
