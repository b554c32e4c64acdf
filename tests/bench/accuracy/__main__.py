"""How accurate the models are on real people: a table on the terminal, and bench/out/accuracy.json.

Two scenes of four calibrated cameras, which are downloaded; films and stills with labels, from a folder that has them;
and rows that no person can have, in all of these and in the demo. Models of a second folder are measured in the same
run, and so are the bundled ones in other precisions; also on the rows that all versions found.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date
from itertools import product
from pathlib import Path

from bench.harness import commit, machine, versions
from cliffvid.cli.console import result, say
from cliffvid.errors import CliffvidError, describe
from cliffvid.models.session import KNOWN

from .labels import read_labels
from .run import EXACT, Version, judge_labels, judge_rows, judge_scenes

DEMO = Path(__file__).parents[3] / "examples" / "pedestrians.mp4"


def main() -> None:
    """Measure, print and write."""
    options = arguments()
    for name, known in read_labels().items():
        if not options.films or not (options.films / name).is_file():
            say(f"{name} is not judged: give --films a folder that has it (from {known['from']})")
    with ExitStack() as stack:
        folder = options.out / "accuracy"
        under_test = [stack.enter_context(version) for version in versions_of(options, folder)]
        figures = {
            "what": "accuracy",
            "date": date.today().isoformat(),
            "commit": commit(),
            "machine": machine(),
            "versions": versions(),
            "settings": {"repeats": 1},
            "models": {version.name: version.words for version in under_test},
            "scenes": judge_scenes(under_test, folder),
            "labels": {version.name: judge_labels(version, options.films) for version in under_test},
        }
        for version in under_test:
            version.tracks(DEMO, "demo")
        figures["rows"] = {version.name: judge_rows(version) for version in under_test}
    path = options.out / "accuracy.json"
    path.write_text(json.dumps(figures, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    show(figures)
    result(f"written to {path}")


def versions_of(options: argparse.Namespace, folder: Path) -> Iterator[Version]:
    """Yield the bundled models, those of another folder, and the bundled ones in each combination of precisions."""
    yield Version("bundled", folder)
    if options.against:
        yield Version("against", folder, options.against)
    for detector, regressor in product([EXACT, *options.detector], [EXACT, *options.regressor]):
        if (detector, regressor) != (EXACT, EXACT):
            yield Version(f"{detector} {regressor}", folder, None, detector, regressor)


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(prog="make accuracy", description=__doc__)
    parser.add_argument("--against", type=Path, help="folder of model folders to compare with the bundled models")
    for network in ("detector", "regressor"):
        parser.add_argument(
            f"--{network}",
            choices=[f"{backend}:{precision}" for backend, known in KNOWN.items() for precision in known.precisions],
            nargs="+",
            default=[],
            metavar="BACKEND:PRECISION",
            help=f"run the {network} like this as well; `cliffvid export int8` makes a network in int8",
        )
    parser.add_argument("--films", type=Path, help="folder of the labelled films and stills, see labels.json")
    parser.add_argument("--out", type=Path, default=Path("bench/out"), help="folder of the figures")
    return parser.parse_args()


def show(figures: dict) -> None:
    """Print the figures as tables."""
    for name, words in figures["models"].items():
        result(f"{name}: {words}")
    for scene in figures["scenes"]:
        for cameras, error in scene["truth"].items():
            words = f"{scene['scene']}: the truth's own error, cameras {cameras}"
            result("", words, *(f"  {k}: {plain(v)}" for k, v in error.items()))
        table_of(scene["scene"], scene["figures"])
        if all(scene["confidence"].values()):
            table_of("confidence", scene["confidence"])
    for kind in ("labels", "rows"):
        if any(figures[kind].values()):
            table_of(kind, figures[kind])


def table_of(title: str, by_version: dict[str, list[dict]]) -> None:
    """Print rows of figures, those of the versions below each other; wide, for a file as well as for a terminal."""
    first = next(rows for rows in by_version.values() if rows)
    lines = [["version", *(column.replace("_", " ") for column in first[0])]]
    for number in range(len(first)):
        lines += [[version, *map(plain, rows[number].values())] for version, rows in by_version.items()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    result("", title)
    result(*("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines))


def plain(value: object) -> str:
    """Return a figure as it is printed."""
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {plain(each)}" for key, each in value.items())
    if isinstance(value, list):
        return " ".join(map(plain, value))
    return "–" if value is None else str(value)


if __name__ == "__main__":
    try:
        main()
    except CliffvidError as error:
        sys.exit(describe(error))
