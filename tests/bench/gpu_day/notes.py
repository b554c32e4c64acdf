"""What every step shares: its rows, on the terminal and in its JSON; times; what the GPU was at meanwhile."""

import json
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, median
from time import perf_counter
from types import ModuleType
from typing import NamedTuple, Self, TypeAlias, TypeVar

from cliffvid.cli.console import result
from cliffvid.machine import split_device

T = TypeVar("T")
Row: TypeAlias = dict[str, object]
WIDTHS = {"what": 34, "net": 17, "by": 26, "function": 60, "first": 40}  # of columns; the others are as wide as names


class Notes:
    """The rows of a step. Its file is written anew with each of them, so that not even a crash takes what was found."""

    def __init__(self, path: Path, columns: tuple[str, ...], seconds: float, settings: Row) -> None:
        self._path, self._columns, self._seconds, self._start = path, columns, seconds, perf_counter()
        self.rows: list[Row] = []
        self.facts: Row = {"ended": False, "seconds": 0.0, "limit_s": seconds, "settings": settings}
        self.save()

    def save(self) -> None:
        self.facts["seconds"] = round(self.passed_s, 1)
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps(self.facts | {"rows": self.rows}, indent=1, default=str) + "\n", encoding="utf-8")
        part.replace(self._path)

    @property
    def passed_s(self) -> float:
        return perf_counter() - self._start

    def add(self, row: Row) -> None:
        """Keep a row, and print it below the columns' names."""
        if not self.rows:
            result(_line(self._columns, dict(zip(self._columns, self._columns, strict=True))))
        self.rows.append(row)
        result(_line(self._columns, row))
        self.save()

    @contextmanager
    def row(self, **known: object) -> Iterator[Row]:
        """A row to fill in. What fails meanwhile becomes its error, and the step goes on."""
        found = dict(known)
        try:
            yield found
        except Exception as error:
            found |= told(error)
        self.add(found)

    def in_time(self, items: Iterable[T]) -> Iterator[T]:
        """The items, as long as the step has time to begin another."""
        for item in items:
            if self.passed_s > self._seconds:
                result("out of time")
                self.facts["out_of_time"] = True
                return
            yield item

    @contextmanager
    def ending(self) -> Iterator[None]:
        """The step itself: its fault is told, kept, and ends nothing else; Ctrl-C does."""
        try:
            yield
        except BaseException as error:
            self.facts |= told(error)
            result(str(self.facts["trace"]))
            if not isinstance(error, Exception):
                raise
        finally:
            self.facts["ended"] = True
            self.save()


def told(error: BaseException) -> Row:
    """A fault as the columns of a row."""
    trace = "".join(traceback.format_exception(error))
    return {"error": f"{type(error).__name__}: {error}"[:600], "trace": trace[-3000:]}


def _line(columns: tuple[str, ...], row: Row) -> str:
    cells = (f"{_cell(row.get(name, '')):{WIDTHS.get(name, max(len(name), 8))}}" for name in columns)
    fault = str(row.get("error", "")).partition("\n")[0]
    return f"{' '.join(cells)} {fault}".rstrip()


def _cell(value: object) -> str:
    if isinstance(value, dict):  # a distribution
        return f"{value['median']:.2g}..{value['max']:.2g}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


class Times(NamedTuple):
    """Seconds of the first call, and of the median one."""

    first_s: float
    each_s: float


def timed(
    run: Callable[[], object], quick: bool, wait: Callable[[], object] = lambda: None, least_s: float = 0.6
) -> Times:
    """How long a call takes; ``wait`` returns once all that was called is done. All together about ``least_s``."""

    def calls(count: int) -> float:
        start = perf_counter()
        for _ in range(count):
            run()
        wait()
        return (perf_counter() - start) / count

    first = calls(1)
    if quick:
        return Times(first, calls(1))
    calls(2)
    rounds, once = 5, calls(1)
    count = max(1, min(200, int(least_s / rounds / max(once, 1e-5))))
    return Times(first, median(calls(count) for _ in range(rounds)))


class Watch:
    """What a GPU was at while a block ran, by a sample each 0.1 s; of a CPU nothing."""

    NAMES = "gpu_percent", "memory_bus_percent", "decoder_percent", "memory_gb", "power_w", "sm_mhz"

    def __init__(self, device: str) -> None:
        self._device, self._rows, self._why = device, list[tuple[float, ...]](), ""
        self._stop, self._thread = threading.Event(), threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        kind, number = split_device(self._device)
        if kind != "cuda":
            return
        try:
            import pynvml

            pynvml.nvmlInit()
            gpu = pynvml.nvmlDeviceGetHandleByIndex(number)
            while not self._stop.wait(0.1):
                self._rows.append(_sample(pynvml, gpu))
        except Exception as error:  # the package is missing, or its library, or an answer
            self._why = f"{type(error).__name__}: {error}"

    def facts(self) -> Row:
        """The mean of each figure, and the most memory."""
        if not self._rows:
            return {"gpu": self._why} if self._why else {}
        columns = zip(*self._rows, strict=True)
        means = {name: round(mean(column), 1) for name, column in zip(self.NAMES, columns, strict=True)}
        return {**means, "memory_gb_most": round(max(row[3] for row in self._rows), 2)}


def _sample(nvml: ModuleType, gpu: object) -> tuple[float, ...]:
    rates = nvml.nvmlDeviceGetUtilizationRates(gpu)
    return (
        rates.gpu,
        rates.memory,
        nvml.nvmlDeviceGetDecoderUtilization(gpu)[0],
        nvml.nvmlDeviceGetMemoryInfo(gpu).used / 1e9,
        nvml.nvmlDeviceGetPowerUsage(gpu) / 1e3,
        nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM),
    )
