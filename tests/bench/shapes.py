"""What it costs and what it changes to give a detector the frame's own shape instead of a square."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from cliffvid.geometry import box_iou, shrunk
from cliffvid.models.manifest import BUNDLED, Manifest, read_manifest
from cliffvid.models.registry import scan_models
from cliffvid.models.session import KNOWN, open_session
from cliffvid.options import Options
from cliffvid.pipeline.detect import detect
from cliffvid.tables import Frames, People, image_column
from cliffvid.video.images.rgb import RgbImage
from cliffvid.video.open import open_source
from cliffvid.video.reader import DecodeCounts

from .clips import sha256
from .harness import Case, Result, take_turns

ASPECTS = {"16:9": (16, 9), "4:3": (4, 3)}
EXAMPLE = Path(__file__).parents[2] / "examples" / "pedestrians.mp4"  # in the repository alone
SAME_IOU = 0.5  # boxes that overlap less are not the same person's


def shapes(repeats: int) -> Result:
    """Each detector there is, by each runtime on the CPU, one frame at a time; and the boxes of the example clip."""
    detectors = [manifest for manifest in scan_models()[0] if manifest.task == "detect"]
    detectors = [manifest for manifest in detectors if manifest.rules["letterbox"].least_px]
    backends = [name for name, known in KNOWN.items() if known.devices[0] == "cpu" and find_spec(name)]
    cases, ratios = [], {}
    for manifest in detectors:
        for backend in backends:
            cases += _cases(manifest, backend)
    take_turns(cases, repeats)
    for start in range(0, len(cases), 1 + len(ASPECTS)):
        square, *others = cases[start : start + 1 + len(ASPECTS)]
        ratios |= {f"{case.name}, times the square": square.median_s / case.median_s for case in others}
    result = Result("shapes", "frame", {"repeats": repeats}, [case.facts() for case in cases], ratios)
    result.goals = {name: ">= 1.5" for name in ratios if "16:9" in name}
    if EXAMPLE.is_file():
        result.clips[EXAMPLE.name] = sha256(EXAMPLE)
        with open_source(EXAMPLE, Options()) as source:
            frames = list(source.frames(1, DecodeCounts()))
        result.quality |= {f"example clip: {name}": value for name, value in differences(frames).items()}
        wide = [cut_to_16_9(batch) for batch in frames]
        result.quality |= {f"cut to 16:9: {name}": value for name, value in differences(wide).items()}
    return result


def _cases(manifest: Manifest, backend: str) -> list[Case]:
    session, whole = open_session(manifest, backend, "cpu"), manifest.rules["letterbox"]
    rules = {"square": whole} | {name: shrunk(whole, wh) for name, wh in ASPECTS.items()}
    cases = []
    for name, rule in rules.items():
        image = np.random.default_rng(0).integers(0, 256, (1, rule.height_px, rule.width_px, 3), np.uint8)
        work = lambda image=image: session.run({"image": image})  # noqa: E731
        cases.append(Case(f"{manifest.name} by {backend}, {name} ({rule.width_px}x{rule.height_px})", work, 1))
    return cases


def cut_to_16_9(frames: Frames) -> Frames:
    """The middle rows of the frames."""
    width, height = frames.size_wh
    rows = width * 9 // 16
    top = (height - rows) // 2
    middle = [RgbImage(image.rgb()[top : top + rows]) for image in frames.images]
    return Frames(**frames.columns() | {"images": image_column(middle)})


def differences(batches: list[Frames]) -> dict[str, float]:
    """How the bundled detector's boxes differ between the two shapes, over all frames."""
    with open_session(read_manifest(BUNDLED / "person-open"), device="cpu") as session:

        def people(shape: str) -> list[People]:
            options = Options(detector_shape=shape)
            return [found.people for batch in batches for found in detect([batch], session, options)]

        pairs = list(zip(people("square"), people("frame"), strict=True))
    total, gone, new, moved = 0, 0, 0, []
    for square, frame in pairs:
        same = matched(box_iou(square.bbox_xyxy, frame.bbox_xyxy))
        total, gone, new = total + len(square), gone + len(square) - len(same), new + len(frame) - len(same)
        moved += [np.abs(square.bbox_xyxy[i] - frame.bbox_xyxy[j]).max() for i, j in same]
    shift = {f"{q} %": round(float(np.percentile(moved, q)), 2) for q in (50, 95, 100)}
    return {"people": total, "gone": gone, "new": new, "pixels that boxes moved": shift}


def matched(iou: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of rows and columns, each once, those of the largest overlaps first."""
    order = np.dstack(np.unravel_index(np.argsort(-iou, axis=None), iou.shape))[0]
    pairs, rows, columns = [], set(), set()
    for i, j in order.tolist():
        if iou[i, j] >= SAME_IOU and i not in rows and j not in columns:
            pairs.append((i, j))
            rows.add(i)
            columns.add(j)
    return pairs
