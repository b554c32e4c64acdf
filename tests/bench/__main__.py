"""``make bench-WHAT``: measure this machine, print a table, keep the figures."""

import argparse
import sys
from importlib import import_module
from pathlib import Path

from cliffvid.cli.console import result
from cliffvid.errors import CliffvidError, describe

from .harness import Result
from .readme import draw, fill, pages
from .timeline import profile

# name -> where it is measured
KNOWN = {
    "decode": "stages:decode",
    "detect": "stages:detect_stage",
    "crop": "stages:crop_stage",
    "regress": "stages:regress_stage",
    "track": "stages:track_stage",
    "write": "stages:write_stage",
    "shapes": "shapes:shapes",
    "host": "whole:host",
    "host-gpu": "host_gpu:host_gpu",
    "engine": "whole:engine_bound",
    "many": "whole:many",
    "start": "whole:start",
    "memory": "whole:memory",
    "threads": "threads:threads",
    "annotate": "bulk:bulk",
    "annotate-plan": "planning:planning",
    "peers": "peers:peers",
    "engines": "engines:engines",
    "open": "open_run:open_run",
    "overlay": "overlay:overlay",
    "growth": "growth:growth",
}
GROUPS = {"e2e": ("host", "engine", "many", "start", "memory")}  # end to end


def main() -> int:
    """Measure what is asked for; 1 if a goal was missed."""
    parser = argparse.ArgumentParser(prog="bench", description="Compared cases are interleaved. Close other programs.")
    parser.add_argument("what", nargs="+", choices=[*KNOWN, *GROUPS, "profile", "readme"])
    parser.add_argument("--out", "-o", type=Path, default=Path("bench/out"), help="folder of the figures, as JSON")
    parser.add_argument("--repeats", type=int, default=5, help="how often each case has its turn")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)  # before hours of work rather than after them
    missed = False
    for name in [name for each in options.what for name in GROUPS.get(each, (each,))]:
        if name == "profile":
            result(f"{' '.join(map(str, profile(options.out)))} written")
        elif name == "readme":
            for page in pages():
                if names := fill(page, options.out):
                    result(f"{page}: filled in {', '.join(names)}")
            for path in draw(options.out):
                result(f"{path}: drawn")
        else:
            module, function = KNOWN[name].split(":")
            measured: Result = getattr(import_module(f".{module}", __package__), function)(options.repeats)
            measured.show()
            result(f"{measured.save(options.out)}: written")
            missed |= any(measured.met(ratio) is False for ratio in measured.ratios)
    return 1 if missed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CliffvidError as error:
        sys.exit(describe(error))
