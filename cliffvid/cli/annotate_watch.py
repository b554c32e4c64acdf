"""Watch the status of a data set until no job is at work: redrawn in a terminal, else lines on stdout."""

import time
from contextlib import ExitStack
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

from ..annotate.status import Looks, Status, data_sets, is_over, unmerged
from ..annotate.store.opening import placed
from ..names import printable
from ..options import Options
from .annotate_view import EVERY_S, duration, rates, status_text
from .console import can_draw, live, result, result_json

LOOK_S, SHARE = 1.0, 10.0  # seconds between two looks, and at least so many times what a look takes


def watched(folder: Path, options: Options, as_json: bool) -> list[Status]:
    """Show the status again and again; return the last one of each data set, which is not shown."""
    found: list[Status] = []
    looks: dict[Path, Looks] = {}

    def draw(width: int) -> RenderableType:
        return Text("\n".join(map(printable, "\n".join(map(status_text, found)).split("\n"))))

    told = time.monotonic() - EVERY_S
    with live(draw), ExitStack() as places:
        while True:
            start, each_set = time.monotonic(), data_sets(folder, options)
            for each in each_set:
                if each not in looks:
                    looks[each] = Looks(places.enter_context(placed(each, options)))
            found = unmerged([looks[each].status() for each in each_set])
            if all(map(is_over, found)):
                return found
            if start - told >= EVERY_S and (as_json or not can_draw()):
                told = start
                for facts in found:
                    if as_json:
                        result_json(facts)
                    else:
                        result(_line(facts))
            time.sleep(max(LOOK_S, SHARE * (time.monotonic() - start)))


def _line(facts: Status) -> str:
    counts = ", ".join(f"{count} {name}" for name, count in facts["statuses"].items())
    left = f", about {duration(facts['left_s'])} left" if facts["left_s"] is not None else ""
    return f"{facts['folder']}: {counts or 'nothing yet'}{rates(facts)}{left}"
