"""What every measurement shares: turns, medians, the machine's description, the JSON and the table."""

import json
import os
import platform
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from statistics import median
from time import perf_counter

from cliffvid.cli.console import result, result_table
from cliffvid.machine import processor, usable_cores


@dataclass
class Case:
    """One of the things that are compared. ``work`` is run ``repeats`` times, ``units`` are done in each."""

    name: str
    work: Callable[[], object]
    units: int
    seconds: list[float] = field(default_factory=list)

    @property
    def median_s(self) -> float:
        return median(self.seconds)

    @property
    def rate(self) -> float:
        """Units a second."""
        return self.units / self.median_s

    @property
    def spread(self) -> float:
        """Half the range of the times, as a share of their median."""
        return (max(self.seconds) - min(self.seconds)) / 2 / self.median_s

    def facts(self) -> dict:
        return {
            "case": self.name,
            "units": self.units,
            "seconds": [round(s, 6) for s in self.seconds],
            "median_s": self.median_s,
            "spread": self.spread,
            "per_s": self.rate,
        }


def take_turns(
    cases: list[Case], repeats: int, warm_up: bool = True, clock: Callable[[], float] = perf_counter
) -> list[Case]:
    """Run all cases ``repeats`` times, each in its turn: A B C A B C, so that a busy moment meets all alike."""
    for turn in range(-1 if warm_up else 0, repeats):
        for case in cases:
            start = clock()
            case.work()
            if turn >= 0:
                case.seconds.append(clock() - start)
    return cases


@dataclass
class Result:
    """The figures of one measurement. ``ratios`` are what is claimed: each of things measured side by side."""

    what: str
    unit: str
    settings: dict
    rows: list[dict] = field(default_factory=list)
    ratios: dict[str, float] = field(default_factory=dict)
    goals: dict[str, str] = field(default_factory=dict)  # what a ratio is to be, such as "<= 1.5"
    quality: dict = field(default_factory=dict)
    clips: dict[str, str] = field(default_factory=dict)  # name -> sha256
    begun_on: dict = field(default_factory=lambda: machine())
    begun_at: str | None = field(default_factory=lambda: commit())

    def save(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.what}.json"
        facts = {"what": self.what, "unit": self.unit, "date": date.today().isoformat(), "commit": self.begun_at}
        facts |= {"machine": self.begun_on, "versions": versions()}
        facts |= {name: getattr(self, name) for name in ("settings", "clips", "rows", "ratios", "goals", "quality")}
        path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        return path

    def met(self, name: str) -> bool | None:
        """Whether a ratio is what it is to be; None where nothing is said."""
        if name not in self.goals:
            return None
        sign, bound = self.goals[name].split()
        return self.ratios[name] <= float(bound) if sign == "<=" else self.ratios[name] >= float(bound)

    def show(self) -> None:
        from rich.table import Table

        table = Table(title=f"{self.what}, {self.settings.get('repeats', 1)} turns", title_justify="left")
        table.add_column("case")
        for column in (f"{self.unit}/s", f"ms/{self.unit}", "spread"):
            table.add_column(column, justify="right")
        for row in self.rows:
            ms = 1000 * row["median_s"] / max(row["units"], 1)
            table.add_row(row["case"], f"{row['per_s']:,.1f}", f"{ms:,.3f}", f"{row['spread']:.0%}")
        if self.rows:
            result_table(table)
        for name, value in self.ratios.items():
            mark = {True: "  met", False: "  NOT MET", None: ""}[self.met(name)]
            goal = f"  (goal {self.goals[name]})" if name in self.goals else ""
            result(f"{name}: {value:.3f}{goal}{mark}")
        for name, value in self.quality.items():
            result(f"{name}: {value}")


def commit() -> str | None:
    """The commit that was measured, with + if files were changed since; None outside a repository."""
    asked = ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    try:
        done = subprocess.run(asked, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def machine() -> dict:
    return {
        "cpu": processor(),
        "cores": usable_cores(),
        "memory_gb": _memory_gb(),
        "system": f"{platform.system()} {platform.machine()}",
        "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (ValueError, OSError, AttributeError):
        return None


def versions() -> dict:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in ("cliffvid", "numpy", "av", "opencv-python-headless", "onnxruntime", "openvino", "torch", "pyarrow"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
