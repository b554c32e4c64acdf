"""Draw progress bars with rich; their state is read at each redraw by console.live."""

from collections.abc import Callable
from dataclasses import dataclass

from rich.console import RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

NARROW = 60  # terminal columns below which units are left out
BAR_WIDTH = 40  # maximum columns
BESIDE = 50, 31  # columns for a bar's text, in a wide and in a narrow terminal


@dataclass(frozen=True)
class Bar:
    """Progress of one item; ``total`` is None if unknown."""

    name: str
    unit: str
    done: int
    total: int | None


class Bars:
    """Progress lines, one for each bar of ``sources``, which are called at each redraw."""

    def __init__(self) -> None:
        self.sources: dict[str, Callable[[], list[Bar]]] = {}
        self._tasks: dict[tuple[Callable[[], list[Bar]], str], TaskID] = {}
        self._bar = KnownBar()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            self._bar,
            TextColumn("{task.fields[count]}", markup=False, table_column=Column(no_wrap=True, justify="right")),
            _Rate(table_column=Column(no_wrap=True, justify="right")),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True, table_column=Column(no_wrap=True)),
            auto_refresh=False,  # drawn by console.live, never started
        )

    def draw(self, width: int) -> RenderableType:
        narrow = width < NARROW
        self._bar.bar_width = min(BAR_WIDTH, width - BESIDE[narrow])
        shown = {(source, bar.name): bar for source in [*self.sources.values()] for bar in source()}
        for key in self._tasks.keys() - shown.keys():
            self._progress.remove_task(self._tasks.pop(key))
        for key, bar in shown.items():
            if key not in self._tasks:
                name = bar.name.split()[-1] if narrow else bar.name
                self._tasks[key] = self._progress.add_task(name, total=bar.total, count="")
            count = f"{bar.done}/{bar.total}" if bar.total else f"{bar.done}"
            count = count if narrow else f"{count} {bar.unit}"
            self._progress.update(self._tasks[key], total=bar.total, completed=bar.done, count=count)
        return self._progress.get_renderable() if shown else ""


class KnownBar(BarColumn):
    """Bar that is shown if the total is known; rich's pulsing bar would write 20 times as many bytes."""

    def render(self, task: Task) -> RenderableType:  # type: ignore[override]  # a column's may be anything
        return super().render(task) if task.total is not None else ""


class _Rate(ProgressColumn):
    """Items per second: recent, and at the end the average."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}/s" if speed else "")
