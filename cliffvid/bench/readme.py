"""Figures into a page: what stands between the marks of a measurement becomes the table of its last run."""

import json
import re
from pathlib import Path

MARKS = re.compile(r"(<!-- bench (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def fill(page: Path, figures: Path) -> list[str]:
    """Rewrite the tables of ``page`` from the JSON files in ``figures``; the names of those that were found."""
    filled = []

    def table(match: re.Match) -> str:
        path = figures / f"{match[2]}.json"
        if not path.is_file():
            return match[0]
        filled.append(match[2])
        return match[1] + "\n" + lines(json.loads(path.read_text(encoding="utf-8"))) + "\n" + match[3]

    page.write_text(MARKS.sub(table, page.read_text(encoding="utf-8")), encoding="utf-8")
    return filled


def lines(facts: dict) -> str:
    """The ratios of a measurement as a Markdown table, and what they were measured on."""
    rows = [f"| {name} | {value:.2f} | {facts['goals'].get(name, '')} |" for name, value in facts["ratios"].items()]
    machine, turns = facts["machine"], facts["settings"].get("repeats", 1)
    where = f"{machine['cpu']}, {machine['cores']} cores; medians of {turns} turns"
    return "\n".join([f"| {facts['what']} | ratio | goal |", "|---|---|---|", *rows, "", f"{where}.", ""])
