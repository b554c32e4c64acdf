"""Progress and summary of a job."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .messages import Event
from .scheduler import Pool


@dataclass
class Summary:
    """Result of a run."""

    out: Path
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
class Progress:
    """Progress of a running job, for displays."""

    phase: str = "plan"
    inputs: int = 0
    planned: int = 0
    todo: int = 0  # inputs that no earlier run has finished; they are planned first
    known_s: float = 0.0  # of video to do in this run, of planned inputs
    done_s: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    frames: int = 0
    started: float = field(default_factory=time.monotonic)
    pool: Pool | None = None

    @property
    def size_s(self) -> float:
        """Return the seconds of video to do in this run, estimated from the inputs that are planned."""
        return self.known_s * max(self.todo / self.planned, 1.0) if self.planned else 0.0


Watch = Callable[[Event, Progress], None]  # called with each event, and regularly with {"type": "tick"}
