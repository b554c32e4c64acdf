"""A re-creation of the loop that most published programs run, frame by frame, beside ours.

Re-created, not anybody's code: all frames are written as pictures, read back into memory, and then detected, cut out
and regressed one by one with torch's eager networks; an npz at the end. Both sides have the same networks (random
weights, so the people are injected after the detector ran) and the same people.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from cliffvid.errors import CliffvidError
from cliffvid.geometry import camera_to_transl, canvas_to_frame, crop_boxes, crop_corners, diagonal_focal_px
from cliffvid.machine import usable_cores
from cliffvid.models.manifest import read_manifest
from cliffvid.models.session import open_session
from cliffvid.option import choices
from cliffvid.options import Options
from cliffvid.pipeline.networks import Models
from cliffvid.pipeline.process import process
from cliffvid.rotations import axis_angle
from cliffvid.tracks.read import read_tracks
from cliffvid.video.images.rgb import crop_pixels

from .clips import clip, naive_frames, sha256
from .fakes import Injected, constant_models, people_seen
from .harness import Case, Result, take_turns
from .nets import random_nets


def frame_by_frame(film: Path, out: Path, people: int, detect: Callable, regress: Callable, models: Models) -> None:
    """The loop. ``detect`` takes a picture's canvas, ``regress`` a person's crop and bbox_info."""
    letterbox = models.detector.manifest.rules["letterbox"]
    rules = models.regressor.manifest.rules
    with tempfile.TemporaryDirectory() as folder:
        names = []
        for index, image in enumerate(naive_frames(film)):
            names.append(f"{folder}/{index:06d}.png")
            cv2.imwrite(names[-1], image[..., ::-1])
        pictures = [cv2.imread(name)[..., ::-1] for name in names]
    rows: dict[str, list] = {name: [] for name in ("pose", "betas", "transl", "frame")}
    seen = people_seen(people)["box_px"][:people]
    for index, image in enumerate(pictures):
        high, wide = image.shape[:2]
        scale = letterbox.width_px / wide
        small = cv2.resize(image, (letterbox.width_px, int(high * scale)), interpolation=cv2.INTER_CUBIC)
        canvas = np.full((letterbox.height_px, letterbox.width_px, 3), letterbox.fill, np.uint8)
        top = (letterbox.height_px - small.shape[0]) // 2
        canvas[top : top + small.shape[0]] = small
        detect(canvas[None])
        for box in canvas_to_frame(seen, (wide, high), letterbox):
            center_size = crop_boxes(box[None], rules["crop"])
            crop = crop_pixels(image, crop_corners(center_size, rules["crop"])[0], rules["crop"], "float32")
            focal = np.array([diagonal_focal_px((wide, high))])
            offset = (center_size[:, :2] - np.array([wide, high]) / 2) / focal[:, None] * 2.8
            info = np.concatenate([offset, (center_size[:, 2:] / focal[:, None] - 0.24) / 0.06], axis=1)
            rotmat, betas, camera = regress(crop[None], info.astype(np.float32))
            size = np.array([[wide, high]], np.float32)
            found = axis_angle(rotmat)[0], betas[0], camera_to_transl(camera, center_size, focal, size / 2)[0], index
            for column, value in zip(rows.values(), found, strict=True):
                column.append(value)
    np.savez(out, **{name: np.array(column) for name, column in rows.items()})


def host_only(repeats: int, folder: Path) -> tuple[list[Case], Path]:
    """Networks that cost nothing: 120 frames at 1080p, three people in each."""
    frames, models = 120, constant_models(3)
    film = clip(frames=frames)
    answer = models.regressor.run({"crop": np.zeros((1, 1))})
    null = lambda *_: tuple(answer.values())  # noqa: E731
    out = folder / "host.parquet"
    cases = [
        Case(
            "frame by frame, networks that cost nothing",
            lambda: frame_by_frame(film, folder / "host.npz", 3, lambda canvas: None, null, models),
            frames,
        )
    ]
    for pixels in choices(Options, "pixels"):
        options = Options(overwrite=True, pixels=pixels)
        work = lambda options=options: process(film, out, options, models=models)  # noqa: E731
        cases.append(Case(f"cliffvid, the same, --pixels {pixels}", work, frames))
    return take_turns(cases, repeats), film


WAYS = {  # backend, precision, the detector's canvas, and the goal
    "cliffvid, onnxruntime fp32, the official square (parity)": ("onnxruntime", "fp32", "square", ">= 1.25"),
    "cliffvid, onnxruntime fp32, the frame's shape": ("onnxruntime", "fp32", "frame", None),
    # Which of the two precisions is the faster one depends on the processor; --precision auto measures that.
    "cliffvid, openvino fp32, the frame's shape": ("openvino", "fp32", "frame", None),
    "cliffvid, openvino bf16, the frame's shape": ("openvino", "bf16", "frame", ">= 2.5"),
    "cliffvid, openvino bf16, the official square": ("openvino", "bf16", "square", None),
}


def peers(repeats: int) -> Result:
    """The loop and ours, once with networks that cost nothing, once with YOLOv3-416 and CLIFF-HR48."""
    repeats = min(repeats, 3)  # a turn takes half a minute
    nets = random_nets()
    result = Result("peers", "frame", {"repeats": repeats, "peer": "a re-creation of the frame-by-frame loop"})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        host, film = host_only(repeats, folder)
        result.clips[film.name] = sha256(film)
        short = clip(frames=8)
        result.clips[short.name] = sha256(short)
        detector, regressor = (read_manifest(nets / name) for name in ("random-yolov3", "random-cliff-hr48"))
        detect, regress = _eager(nets)
        rules = constant_models(1)  # the official ones
        peer = folder / "peer.npz"
        cases = [
            Case("frame by frame, torch eager fp32", lambda: frame_by_frame(short, peer, 1, detect, regress, rules), 8)
        ]
        opened: dict[str, Models] = {}
        for way, (backend, precision, shape, _) in WAYS.items():
            try:
                sessions = [
                    open_session(manifest, backend, "cpu", usable_cores(), precision)
                    for manifest in (detector, regressor)
                ]
            except CliffvidError as error:
                result.quality[f"left out: {way}"] = str(error)
                continue
            opened[way] = Models(Injected(sessions[0], lambda wh: people_seen(1, canvas_wh=wh)), sessions[1])
            options = Options(overwrite=True, detector_shape=shape)
            out = folder / f"{len(opened)}.parquet"
            work = lambda out=out, options=options, m=opened[way]: process(short, out, options, models=m)  # noqa: E731
            cases.append(Case(way, work, 8))
        take_turns(cases, repeats)
        for case in cases[1:]:
            result.ratios[f"{case.name}, times the loop"] = cases[0].median_s / case.median_s
        with np.load(peer) as theirs:
            for index, case in enumerate(cases[1:], 1):
                ours = read_tracks(folder / f"{index}.parquet")
                result.quality[f"largest difference from the loop, {case.name}"] = _apart(ours, theirs)
        for models in opened.values():
            models.__exit__()
    result.rows = [case.facts() for case in host + cases]
    alone = {
        f"host only, --pixels {pixels}, times the loop": case
        for pixels, case in zip(choices(Options, "pixels"), host[1:], strict=True)
    }
    result.ratios |= {name: host[0].median_s / case.median_s for name, case in alone.items()}
    result.goals = {f"{way}, times the loop": goal for way, (*_, goal) in WAYS.items() if goal and way in opened}
    result.goals |= dict.fromkeys(alone, ">= 20")
    return result


def _apart(ours, theirs) -> dict[str, float]:
    pose = np.concatenate([ours.global_orient, ours.body_pose], axis=1).reshape(len(ours), -1, 3)
    pairs = {"rows": (len(ours), len(theirs["pose"])), "pose_rad": (pose, theirs["pose"])}
    pairs |= {"betas": (ours.betas, theirs["betas"]), "transl_m": (ours.transl, theirs["transl"])}
    return {name: float(f"{np.max(np.abs(np.subtract(*pair))):.2g}") for name, pair in pairs.items()}


def _eager(nets: Path):
    from .eager import eager

    return eager(nets, usable_cores())
