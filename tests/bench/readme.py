"""Figures into pages: what stands between the marks of measurements becomes the table of their runs; and plots."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from .plots import plots

ROOT = Path(__file__).parents[2]
FIGURES, PICTURES = ROOT / "docs" / "pages" / "explain" / "figures", ROOT / "docs" / "pages" / "pictures"
MARKS = re.compile(r"(<!-- bench ([\w -]+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs" / "pages").rglob("*.md"))]


def draw(figures: Path, pictures: Path = PICTURES) -> list[Path]:
    """Draw the plots of growth, if it was measured; their paths."""
    if not (figures / "growth.json").is_file():
        return []
    drawn = plots(json.loads((figures / "growth.json").read_text(encoding="utf-8")))
    for name, text in drawn.items():
        (pictures / name).write_text(text, encoding="utf-8")
    return [pictures / name for name in drawn]


def fill(page: Path, figures: Path) -> list[str]:
    """Rewrite the tables of ``page`` from the JSON files in ``figures``; the names of those that were found.

    Marks may name several measurements; their table is rewritten when all are there.
    """
    filled = []

    def table(match: re.Match) -> str:
        names = match[2].split()
        paths = [figures / f"{name}.json" for name in names]
        if not all(path.is_file() for path in paths):
            return match[0]
        filled.extend(names)
        facts = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
        return match[1] + "\n" + lines(facts) + "\n" + match[3]

    page.write_text(MARKS.sub(table, page.read_text(encoding="utf-8")), encoding="utf-8")
    return filled


def lines(measured: list[dict]) -> str:
    """Return the figures as a Markdown table, and of what they are; of times also on which machine."""
    rows = [row for facts in measured for row in TABLES.get(facts["what"], ratios)(facts)]
    head = HEADS.get(measured[0]["what"], ("", "ratio", "goal"))
    table = [line(head), line(["---"] * len(head)), *map(line, rows), ""] if rows else []
    said = [*dict.fromkeys(f"{facts['date']}, commit {facts['commit']}" for facts in measured)]
    if any("ratios" in facts for facts in measured):
        said[:0] = dict.fromkeys(f"{facts['machine']['cpu']}, {facts['machine']['cores']} cores" for facts in measured)
        load = max(facts["machine"]["load_1min"] or 0 for facts in measured)
        turns = ", ".join(f"{facts['what']} {facts['settings'].get('repeats', 1)}" for facts in measured)
        said[-1] += f". Load at the start: {load:g}. Turns: {turns}"
    return "\n".join([*table, f"{'; '.join(said)}.", ""])


def line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")


def ratios(facts: dict) -> list[list[str]]:
    """The ratios that have a goal."""
    return [[name, f"{facts['ratios'][name]:.2f}", goal] for name, goal in facts["goals"].items()]


def accuracy(facts: dict) -> list[list[str]]:
    """Each scene as a whole by each version of the models."""
    rows = []
    for version in facts["models"]:
        for scene in facts["scenes"]:
            whole = {"name": scene["scene"], "rows": "all"}.items()
            of = next(row for row in scene["figures"][version] if whole <= row.items())
            regressor = facts["models"][version].split(" + ")[1].split()[0]
            name = PEOPLE[scene["scene"]] + ("" if version == "bundled" else f", `{regressor}`")
            errors = (f"{of['mpjpe_mm']:.0f} mm", f"{of['pa_mpjpe_mm']:.0f} mm", f"{of['depth_ratio']:.2f}")
            rows.append([name, f"{of['found']} of {of['people']}", f"{of['precision']:.2f}", *errors])
    return rows


def every(facts: dict) -> list[list[str]]:
    """Each film by each step."""
    rows = []
    for case, of in facts["quality"].items():
        film, step = case.rsplit(", every ", 1)
        turned = f"{of['rotation_median_deg']:.1f}, {of['rotation_p90_deg']:.1f} degrees"
        speed = f"{facts['ratios'][f'{case}, times every frame']:.2f}"
        other = [f"{of[name]} %" for name in ("missed_percent", "made_up_percent")]
        rows.append([f"{film}, {of['rows']} rows", step, speed, *other, turned])
    return rows


def host_gpu(facts: dict) -> list[list[str]]:
    """Each kind of frames by the size of batches and the number of people."""
    rows: dict[str, list[str]] = {}
    for name, ms in facts["ratios"].items():
        case, _ = name.removeprefix("CPU ms a frame, ").rsplit(", ", 1)
        goal = f" (goal {facts['goals'][name]})" if name in facts["goals"] else ""
        rows.setdefault(case, []).append(f"{ms:.2f} ms{goal}")
    fed = {name: rate for name, rate in facts["quality"].items() if "frames/s" in name}
    more = [
        [f"processes at once, surfaces: {name.split()[2]}", *[""] * 3, f"{rate} frames/s", ""]
        for name, rate in fed.items()
    ]
    return [[case, *cells] for case, cells in rows.items()] + more


def overlay(facts: dict) -> list[list[str]]:
    """Each scene by what the other renderers take, times gl's."""
    per_s = {row["case"]: row["per_s"] for row in facts["rows"]}
    scenes: dict[str, list[str]] = {}
    for name, ratio in facts["ratios"].items():
        scene = name.split(": ")[0]
        scenes.setdefault(scene, [f"{per_s[f'{scene}, gl']:.0f} frames/s"]).append(f"{ratio:.1f}")
    return [[scene, *cells] for scene, cells in scenes.items()]


def shapes(facts: dict) -> list[list[str]]:
    """Each detector and runtime by the frame's shape."""
    rows: dict[str, list[str]] = {}
    for name, ratio in facts["ratios"].items():
        rows.setdefault(name.split(", ")[0], []).append(f"{ratio:.2f}")
    return [[case, *cells] for case, cells in rows.items()]


def open_run(facts: dict) -> list[list[str]]:
    """Rates, then the rest."""
    rows = [[f"frames/s, {row['case']}", f"{row['per_s']:.1f}"] for row in facts["rows"]]
    units = ("_percent", ", %"), ("_deg", ", degrees"), ("_", " "), ("rotation", "joints turn by"), ("p90", "(90 %)")
    for name, value in facts["quality"].items():
        for short, words in units:
            name = name.replace(short, words)
        rows.append([name, f"{value:g}"])
    return rows


def every_ratio(facts: dict) -> list[list[str]]:
    """All ratios, with the goals of those that have one."""
    return [[name, f"{ratio:.2f}", facts["goals"].get(name, "")] for name, ratio in facts["ratios"].items()]


def plan(facts: dict) -> list[list[str]]:
    """What has a goal, and the rest that was measured."""
    rows = [[name, f"{ratio:.4g}", facts["goals"][name]] for name, ratio in facts["ratios"].items()]
    for name, value in facts["quality"].items():
        parts = [f"{each} {unit}" for unit, each in value.items()] if isinstance(value, dict) else [f"{value:.4g}"]
        rows.append([name, ", ".join(parts), ""])
    return rows


def memory(facts: dict) -> list[list[str]]:
    """Each film by both kinds of pixels."""
    peaks: dict[str, dict[str, str]] = {}
    for name, peak in facts["quality"].items():
        film, pixels = name.removeprefix("peak memory in MB, ").rsplit(", --pixels ", 1)
        peaks.setdefault(film, {})[pixels] = f"{peak} MB"
    return [[film, by["exact"], by["planes"]] for film, by in peaks.items()]


PEOPLE = {"single": "one person", "several": "two and three people"}  # scene -> what it shows
TABLES = {
    "accuracy": accuracy,
    "annotate": every_ratio,
    "annotate-plan": plan,
    "every": every,
    "host-gpu": host_gpu,
    "memory": memory,
    "open": open_run,
    "overlay": overlay,
    "peers": every_ratio,
    "shapes": shapes,
}
HEADS = {
    "accuracy": ("scene", "found", "precision", "MPJPE", "PA-MPJPE", "depth, times the true one"),
    "annotate-plan": ("1,000,000 inputs", "value", "goal"),
    "host-gpu": ("frames, and batches of frames and of people", "nobody", "1 person", "2", "3", "10"),
    "open": ("example clip", ""),
    "overlay": ("scene", "`gl`", "as fast as `pyrender`", "as usual scripts with pyrender"),
    "shapes": ("detector", "16:9", "4:3"),
    "memory": ("film", "`--pixels exact`", "`--pixels planes`"),
    "every": ("film", "N", "times as fast", "missed", "made up", "joints turn by (median, 90 %)"),
}
