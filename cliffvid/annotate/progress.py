"""Progress and summary of a job, and its metrics for Prometheus."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import OutputError, UsageError
from ..files import check_free, write_whole
from ..inputs import open_input
from ..names import label
from .messages import Answer, Event, Join, Processed
from .scheduler import Pool
from .store.check import STATUSES

log = logging.getLogger(__name__)
BEGINNING = b"# HELP cliffvid_"  # of each file of metrics


@dataclass
class Summary:
    """Result of a run."""

    out: Path | str  # the folder of the data set, or its address in a store
    statuses: Counter[str]  # of the inputs of this run
    done: int = 0  # inputs that this run finished
    frames: int = 0  # of these inputs
    seconds: float = 0.0
    stopped: str | None = None  # reason for an early end: interrupted, failures or the name of an error

    @property
    def exit_code(self) -> int:
        if self.stopped == "interrupted":
            return 130
        return 1 if self.stopped or self.statuses["failed"] or self.statuses["partial"] else 0


@dataclass
class WorkerTotals:
    """What one worker has done: inputs, segments and joins, and their frames."""

    tasks: int = 0
    frames: int = 0


@dataclass
class Progress:
    """Progress of a running job, for displays."""

    phase: str = "plan"
    inputs: int = 0
    planned: int = 0
    todo: int = 0  # inputs that no earlier run has finished; they are planned first
    known_s: float = 0.0  # of video to do in this run, of planned inputs
    done_s: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    done: int = 0  # inputs that this run finished
    frames: int = 0  # of these inputs
    workers: dict[str, WorkerTotals] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    pool: Pool | None = None

    @property
    def size_s(self) -> float:
        """Return the seconds of video to do in this run, estimated from the inputs that are planned."""
        return self.known_s * max(self.todo / self.planned, 1.0) if self.planned else 0.0

    def take(self, answer: Answer) -> None:
        """Count a task that is finished."""
        self.done_s += answer.task.size_s
        totals = self.workers.setdefault(answer.worker, WorkerTotals())
        totals.tasks += 1
        if isinstance(answer.reply, Processed) and not isinstance(answer.task, Join):  # its segments are counted
            totals.frames += answer.reply.result["counts"]["decode"]["frames"] or 0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def left_s(self) -> float | None:
        """Seconds until the end, if the rest goes as fast as what is done; None if nothing is done."""
        return self.seconds * (self.size_s / self.done_s - 1) if 0 < self.done_s < self.size_s else None


Watch = Callable[[Event, Progress], None]  # called with each event, and regularly with {"type": "tick"}
Sample = tuple[dict[str, str], float]  # labels and value


class MetricsFile:
    """Watch that writes a job's metrics in Prometheus' text format, whole, every ``every_s`` seconds and at the end.

    It passes all events on to ``then``. Raises UsageError for a file that is something else, and OutputError if the
    first write fails; later the job goes on without.
    """

    def __init__(self, file: Path, data_set: str, every_s: float, then: Watch) -> None:
        self.file, self.data_set, self.every_s, self.then = file, data_set, max(every_s, 1.0), then
        self._written: float | None = None
        check_free(file, overwrite=True)
        if file.exists() and file.stat().st_size:
            with open_input(file) as old:
                if old.read(len(BEGINNING)) != BEGINNING:
                    raise UsageError(f"--metrics {file}: a file that is not cliffvid's metrics; name another one")

    def __call__(self, event: Event, progress: Progress) -> None:
        now = time.monotonic()
        if self._written is None or event["type"] == "end" or now - self._written >= self.every_s:
            text = metrics_text(progress, self.data_set, at_work=event["type"] != "end")
            try:
                write_whole(self.file, text.encode(), overwrite=True)
            except OutputError as error:
                if self._written is None:
                    raise
                log.warning("%s; the job goes on", error)
            self._written = now
        self.then(event, progress)


def metrics_text(progress: Progress, data_set: str, at_work: bool) -> str:
    """Return the metrics of a job in Prometheus' text exposition format."""
    families = _families(progress, at_work)
    lines: list[str] = []
    for name, kind, meaning, samples in families:
        lines += [f"# HELP cliffvid_{name} {meaning}", f"# TYPE cliffvid_{name} {kind}"]
        for labels, value in samples:
            said = ",".join(f'{key}="{_escaped(each)}"' for key, each in {"data_set": data_set, **labels}.items())
            lines.append(f"cliffvid_{name}{{{said}}} {value!r}")
    return "\n".join(lines) + "\n"


def _families(progress: Progress, at_work: bool) -> Iterator[tuple[str, str, str, list[Sample]]]:
    """Yield name, type, meaning and samples of each metric."""
    counts = {name: progress.statuses[name] for name in STATUSES}
    counts["to do"] = max(progress.inputs - sum(counts.values()), 0)
    yield "inputs", "gauge", "Inputs by status.", [({"status": name}, count) for name, count in counts.items()]
    yield "finished_inputs_total", "counter", "Inputs that this run finished.", [({}, progress.done)]
    yield "frames_total", "counter", "Frames of the inputs that this run finished.", [({}, progress.frames)]
    yield "video_seconds", "gauge", "Seconds of video in this run.", [({}, progress.size_s)]
    yield "video_seconds_done", "gauge", "Seconds of video that this run finished.", [({}, progress.done_s)]
    yield "run_seconds", "gauge", "Seconds since the workers began.", [({}, progress.seconds)]
    if progress.left_s is not None:
        yield "left_seconds", "gauge", "Estimated seconds until the end.", [({}, progress.left_s)]
    yield "at_work", "gauge", "1 while the job runs, 0 after its end.", [({}, int(at_work))]
    yield "written_timestamp_seconds", "gauge", "When this file was written.", [({}, time.time())]
    workers = sorted(progress.workers.items())
    tasks = [({"worker": name}, float(totals.tasks)) for name, totals in workers]
    yield "worker_tasks_total", "counter", "Inputs, segments and joins that a worker finished.", tasks
    frames = [({"worker": name}, float(totals.frames)) for name, totals in workers]
    yield "worker_frames_total", "counter", "Frames of what a worker finished.", frames
    busy = progress.pool.at_work() if progress.pool and at_work else []
    longest = [({"worker": name}, seconds) for name, _, seconds in busy]
    yield "worker_task_seconds", "gauge", "Seconds that a worker has been at its task.", longest


def _escaped(value: str) -> str:
    return label(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
