"""Whether the device sees what the CPU sees: a clip by the open models, row by row."""

from itertools import product

import numpy as np

from cliffvid.geometry import Array, box_iou
from cliffvid.options import Options
from cliffvid.pipeline.process import process
from cliffvid.pipeline.report import Report
from cliffvid.tables import Tracks
from cliffvid.tracks.read import read_tracks

from ..shapes import EXAMPLE, matched
from .notes import Notes, Row
from .plan import Decoder, Pixels, Plan

COMPARED = {
    "box_px": "bbox_xyxy",
    "score": "det_score",
    "pose_rad": "body_pose",
    "betas": "betas",
    "transl_m": "transl",
}
DECODERS: tuple[Decoder, ...] = ("cpu", "cuda")
PIXELS: tuple[Pixels, ...] = ("exact", "planes")
SECONDS, QUICK_SECONDS = 9.0, 0.3


def same(plan: Plan, notes: Notes) -> None:
    """Each way frames can go, beside exact pixels on the CPU."""
    clip = plan.clip or EXAMPLE

    def run(name: str, pixels: Pixels, decode: Decoder = "cpu", device: str = plan.device) -> tuple[Report, Tracks]:
        out = plan.work / f"same-{name.replace(' ', '-')}.parquet"
        options = Options(
            overwrite=True,
            frame_batch=4,
            person_batch=8,
            end_s=QUICK_SECONDS if plan.quick else SECONDS,
            pixels=pixels,
            decode_device=decode,
            device=device,
        )
        return process(clip, out, options), read_tracks(out)

    _, want = run("reference", "exact", device="cpu")
    for decode, pixels in notes.in_time(product(DECODERS if plan.on_gpu else DECODERS[:1], PIXELS)):
        name = f"{plan.device} {pixels}{' nvdec' if decode == 'cuda' else ''}"
        with notes.row(by=name) as row:
            report, got = run(name, pixels, decode)
            row |= compared(want, got) | {"seconds": round(report.seconds, 2), "warnings": report.warnings}


def compared(want: Tracks, got: Tracks) -> Row:
    """How far the rows of two runs are from one another, of those that are the same person's."""
    pairs = [pair for index in np.unique(want.frame_idx) for pair in _pairs(want, got, int(index))]
    i, j = np.array(pairs, np.int64).reshape(-1, 2).T
    far = {name: _far(getattr(want, column)[i], getattr(got, column)[j]) for name, column in COMPARED.items()}
    return {"rows": f"{len(want)}/{len(got)}", "pairs": len(pairs), **far}


def _pairs(want: Tracks, got: Tracks, frame: int) -> list[tuple[int, int]]:
    i, j = (np.flatnonzero(tracks.frame_idx == frame) for tracks in (want, got))
    both: list[tuple[int, int]] = matched(box_iou(want.bbox_xyxy[i], got.bbox_xyxy[j]))
    return [(int(i[a]), int(j[b])) for a, b in both]


def _far(a: Array, b: Array) -> dict[str, float] | None:
    apart = np.abs(a.astype(np.float64) - b)
    if not apart.size:
        return None
    return {"median": float(np.median(apart)), "p99": float(np.percentile(apart, 99)), "max": float(apart.max())}
