"""``cliffvid bench``: measure on this machine, print a table, keep the figures."""

from pathlib import Path
from typing import Annotated

import typer

from .cli.console import result
from .cli.flags import offering
from .errors import OutputError, UsageError
from .option import check_choice

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
    "engine": "whole:engine_bound",
    "many": "whole:many",
    "start": "whole:start",
    "memory": "whole:memory",
    "threads": "threads:threads",
    "annotate": "bulk:bulk",
    "peers": "peers:peers",
    "engines": "engines:engines",
    "overlay": "overlay:overlay",
}
GROUPS = {"e2e": ("host", "engine", "many", "start", "memory")}  # end to end
KINDS = (*KNOWN, *GROUPS, "profile")


def bench(
    what: Annotated[list[str], typer.Argument(metavar="WHAT", help=" | ".join(KINDS), **offering(KINDS))],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the figures, as JSON.")] = Path("bench/out"),
    repeats: Annotated[int, typer.Option(help="How often each case has its turn.")] = 5,
) -> None:
    """Measure this machine: things that are compared take turns in one run. Wants a quiet machine.

    e2e is host, engine, many, start and memory.
    """
    from importlib import import_module

    names = [name for each in what for name in GROUPS.get(each, (each,))]
    for name in names:
        if name not in (*KNOWN, "profile", "readme"):
            check_choice("bench", name, KINDS)
    if repeats < 1:
        raise UsageError(f"--repeats {repeats}: must be 1 or more")
    page = Path("README.md")
    if "readme" in names and not page.is_file():
        raise UsageError(f"{page}: not here; give the command in the folder that has it")
    try:
        out.mkdir(parents=True, exist_ok=True)  # before hours of work rather than after them
    except OSError as error:
        raise OutputError(f"{out}: cannot write there ({error.strerror}); choose another --out") from error
    missed = False
    for name in names:
        if name == "profile":
            from .bench.timeline import profile

            result(f"{' '.join(map(str, profile(out)))} written")
            continue
        if name == "readme":
            from .bench.readme import fill

            result(f"README.md: filled in {', '.join(fill(page, out)) or 'nothing'}")
            continue
        module, function = KNOWN[name].split(":")
        measured = getattr(import_module(f".bench.{module}", __package__), function)(repeats)
        measured.show()
        result(f"{measured.save(out)}: written")
        missed |= any(measured.met(ratio) is False for ratio in measured.ratios)
    raise typer.Exit(1 if missed else 0)
