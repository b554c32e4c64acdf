"""What ``--detect-every`` costs and changes: ``make every FILMS="a.mp4 b.mp4"``; of the example clip if none is named.

Time is the CPU's, so that other programs hardly count. Rows are compared with those of ``--detect-every 1``.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path
from time import process_time

import numpy as np

from cliffvid.cli.console import result
from cliffvid.evaluate.quality import rotation_angle_deg
from cliffvid.geometry import box_iou
from cliffvid.options import Options
from cliffvid.pipeline.networks import Models, open_models
from cliffvid.pipeline.process import process
from cliffvid.pipeline.report import Report
from cliffvid.rotations import rotation_matrix
from cliffvid.tables import Tracks
from cliffvid.tracks.read import read_tracks

from .clips import sha256
from .harness import Case, Result, take_turns
from .shapes import EXAMPLE, matched

STEPS = 1, 2, 3, 5
SECONDS = 10.0  # of each film


def every(films: list[Path], repeats: int) -> Result:
    """Return the speed of each step, times that of 1, and how the rows of each film differ from those of 1."""
    measured = Result("every", "film", {"repeats": repeats, "clock": "CPU time", "seconds of each film": SECONDS})
    with open_models(Options(threads=1)) as models, tempfile.TemporaryDirectory() as folder:
        for film in films:
            outs = [Path(folder) / f"{film.stem}-{step}.parquet" for step in STEPS]
            reports: dict[int, Report] = {}
            cases = [
                Case(f"{film.name}, every {step}", partial(run, film, out, step, models, reports), 1)
                for step, out in zip(STEPS, outs, strict=True)
            ]
            take_turns(cases, repeats, warm_up=False, clock=process_time)
            whole, *others = [read_tracks(out) for out in outs]
            for case, step, some in zip(cases[1:], STEPS[1:], others, strict=True):
                measured.ratios[f"{case.name}, times every frame"] = cases[0].median_s / case.median_s
                seen = {"frames": reports[step].frames, "seen by the detector": reports[step].frames_detected}
                measured.quality[case.name] = seen | differences(whole, some)
            measured.rows += [case.facts() for case in cases]
            measured.clips[film.name] = sha256(film)
    return measured


def run(film: Path, out: Path, step: int, models: Models, reports: dict[int, Report]) -> None:
    """Write the tracks of the film's beginning."""
    options = Options(threads=1, detect_every=step, end_s=SECONDS, overwrite=True)
    reports[step] = process(film, out, options, models=models)


def differences(whole: Tracks, some: Tracks) -> dict[str, float]:
    """Return the share of people missed and made up, and how far the joints of the others turn."""
    same = [pair for index in np.unique(whole.frame_idx) for pair in pairs(whole, some, index)]
    one, other = np.array(same).reshape(-1, 2).T
    angle = rotation_angle_deg(rotations(whole[one]), rotations(some[other]))
    return {
        "rows": len(whole),
        "missed_percent": round(100 * (len(whole) - len(same)) / len(whole), 1),
        "made_up_percent": round(100 * (len(some) - len(same)) / len(whole), 1),
        "rotation_median_deg": round(float(np.median(angle)), 2),
        "rotation_p90_deg": round(float(np.quantile(angle, 0.9)), 2),
    }


def pairs(whole: Tracks, some: Tracks, index: int) -> list[tuple[int, int]]:
    """Return the rows of the same people in a frame."""
    (a, b), (c, d) = (np.searchsorted(rows.frame_idx, [index, index + 1]) for rows in (whole, some))
    return [(a + i, c + j) for i, j in matched(box_iou(whole.bbox_xyxy[a:b], some.bbox_xyxy[c:d]))]


def rotations(rows: Tracks) -> np.ndarray:
    """Return the rotations of all joints (P,J,3,3)."""
    return rotation_matrix(np.concatenate([rows.global_orient, rows.body_pose], axis=1).reshape(len(rows), -1, 3))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make every", description=__doc__)
    parser.add_argument("films", nargs="*", type=Path)
    parser.add_argument("--out", "-o", type=Path, default=Path("bench/out"), help="folder of the figures, as JSON")
    parser.add_argument("--repeats", type=int, default=3, help="how often each case has its turn")
    options = parser.parse_args()
    figures = every(options.films or [EXAMPLE], options.repeats)
    figures.show()
    result(f"{figures.save(options.out)}: written")
