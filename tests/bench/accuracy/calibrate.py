"""The calibration of confidences to real people: the numbers SCALE and OFFSET of export/open/confidence.py.

    PYTHONPATH=tests python -m bench.accuracy.calibrate bench/out/accuracy    # where `make accuracy` kept its tracks

Prints how good confidences are that were calibrated without a scene, or without a film, and the numbers by all.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cliffvid.export.open.confidence import OFFSET, SCALE
from cliffvid.models.body import load_body
from cliffvid.tracks.read import read_both

from .confidence import Estimates, facts, together
from .run import kept_scenes, size_of
from .score import measure, pair
from .truth import JOINTS, truth_of

Array = np.ndarray
STEPS = 50
SURE = 1e-6  # probabilities are taken from here to 1 less it
WEIGHT = {"joint_confidence": 1 / len(JOINTS), "confidence": 1.0}  # of a value: a row's joints weigh as the row


def films(folder: Path) -> Iterator[tuple[str, str, dict[str, Estimates]]]:
    """Yield scene, camera and logits, not yet calibrated, of each film."""
    for scene, people in kept_scenes(folder):
        for c, camera in enumerate(scene.cameras):
            rows, meta = read_both(folder / "bundled" / f"{scene.name}-{camera.name}.parquet")
            truth = truth_of(people, scene, c, size_of(scene.films[c]))
            given = measure(truth, pair(truth, rows, load_body(meta["body"]["name"]))).told
            plain = {name: Estimates(logits(name, each), each.off_m) for name, each in together(given).items()}
            yield scene.name, camera.name, plain


def logits(name: str, given: Estimates) -> Array:
    sure = np.clip(given.probability, SURE, 1 - SURE)
    return (np.log(sure / (1 - sure)) - OFFSET[name]) / SCALE


def fit(films: list[dict[str, Estimates]]) -> Array:
    """Return the scale of all logits and the offsets of the two columns that make what is true most likely (Platt)."""
    both = together(films)
    columns = np.concatenate([np.column_stack([both[n].probability, *_shares(n, len(both[n].near))]) for n in WEIGHT])
    near = np.concatenate([both[name].near for name in WEIGHT])
    weight = np.concatenate([np.full(len(both[name].near), value) for name, value in WEIGHT.items()])
    found = np.zeros(3)
    for _ in range(STEPS):  # Newton's, with half steps where a whole one would go too far
        p = sigmoid(columns @ found)
        bend = columns.T @ (columns * (weight * p * (1 - p))[:, None]) + 1e-6 * np.eye(3)
        step = np.linalg.solve(bend, columns.T @ (weight * (near - p)))
        while _unlikely(columns @ (found + step), near, weight) > _unlikely(columns @ found, near, weight) + 1e-9:
            step = step / 2
        found = found + step
    return found


def _shares(name: str, count: int) -> list[Array]:
    return [np.full(count, float(name == each)) for each in WEIGHT]


def _unlikely(values: Array, near: Array, weight: Array) -> float:
    return float((weight * (np.logaddexp(0, values) - near * values)).sum())


def sigmoid(values: Array) -> Array:
    return 1 / (1 + np.exp(-np.clip(values, -60, 60)))


def calibrated(given: dict[str, Estimates], numbers: Array) -> dict[str, Estimates]:
    """Return probabilities of logits."""
    offsets = dict(zip(WEIGHT, numbers[1:], strict=True))
    return {n: Estimates(sigmoid(numbers[0] * each.probability + offsets[n]), each.off_m) for n, each in given.items()}


def main(folder: Path) -> None:
    """Print the figures of what is held out, and the numbers."""
    seen = list(films(folder))
    for kind in ("scene", "film"):
        held_out = []
        for scene, camera, _ in seen if kind == "film" else {film[0]: film for film in seen}.values():
            out = [film[0] == scene and (kind == "scene" or film[1] == camera) for film in seen]
            numbers = fit([film[2] for film, held in zip(seen, out, strict=True) if not held])
            held_out += [calibrated(film[2], numbers) for film, held in zip(seen, out, strict=True) if held]
        for name, given in together(held_out).items():
            print(f"{kind} held out:", *(f"{key} {value}" for key, value in facts(name, given).items()))
    print("scale and offsets:", *fit([film[2] for film in seen]).round(2).tolist())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
