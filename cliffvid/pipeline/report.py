"""Report on a run: counts, warnings, time per stage and the bottleneck."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ..concurrency import Stages
from .networks import Models

Times: TypeAlias = tuple[dict[str, float], dict[str, float]]  # busy and waiting seconds of each stage
TRACK_AND_WRITE = "track and write"
ADVICE = {
    "decode": "decoding bounds this run: more cores, --stride or, if not yet given, --pixels planes; not other engines",
    "upload": "copying frames to the GPU bounds this run: smaller frames help, other engines do not",
    "detect": "the detector bounds this run: another --backend, --precision or --detector-shape, a smaller detector, "
    "or --detect-every",
    "crop": "cutting out people bounds this run: fewer of them (--max-people) or more cores",
    "regress": "the regressor bounds this run: another --backend or --precision, or fewer people (--max-people)",
    TRACK_AND_WRITE: "tracking and writing bound this run: a faster disk, or fewer people (--max-people)",
}
NETWORKS = (
    "the two networks bound this run, in turns on the same cores: another --backend, --precision or --detector-shape"
)
NOTHING = "nothing bounds this run: it had no frame to work on; see --start and --end"
# With a single batch no stages overlap, and one-time costs, such as opening the output file, dominate.
BRIEF = "all frames went in one batch, which does not show what bounds longer runs"
WAITING = "no stage was at work all the time, they waited for each other: try a larger --prefetch or larger batches"


@dataclass(frozen=True)
class Report:
    """Statistics of one run. With several videos in flight, stage times cover all of them during this run."""

    video: Path | str
    output: Path
    complete: bool
    frames: int
    frames_detected: int  # that the detector saw
    people: int  # rows: one per person and frame
    tracks: int
    bytes: int  # size of the tracks file
    seconds: float
    busy_s: dict[str, float]  # time per stage spent working
    waiting_s: dict[str, float]  # time per stage spent waiting for input or for its turn on the CPU
    batch_sizes: dict[str, int]  # per network, as given or chosen; smaller if a warning reports it
    batch_fill: dict[str, float]  # mean fill ratio of each network's batches, 0 to 1
    peak_memory_mb: float | None  # peak resident memory of this process
    detector: str | None  # None where the boxes were given
    regressor: str
    precision_chosen: list[str]  # the choice of --precision auto for each network, with its reason
    warnings: list[str]

    @property
    def frames_per_s(self) -> float:
        return self.frames / self.seconds if self.seconds else 0.0

    @property
    def people_per_s(self) -> float:
        return self.people / self.seconds if self.seconds else 0.0

    @property
    def busiest(self) -> tuple[str, float]:
        """Return the busiest stage and its share of the run time."""
        name = max(self.busy_s, key=lambda each: self.busy_s[each])
        return name, self.busy_s[name] / self.seconds if self.seconds else 0.0

    @property
    def bound_by(self) -> str:
        name, share = self.busiest
        return f"{name} (at work {share:.0%} of the time)"

    @property
    def advice(self) -> str:
        """Return one sentence that names the bottleneck and a remedy."""
        name, share = self.busiest
        if not self.frames:
            return NOTHING
        if self.frames <= self.batch_sizes["detect"]:
            return BRIEF
        if share > 0.6:
            return ADVICE[name]
        networks_s = self.busy_s.get("detect", 0.0) + self.busy_s["regress"]
        return NETWORKS if networks_s > 0.6 * self.seconds else WAITING

    def as_dict(self) -> dict[str, object]:
        """Return the report as plain values, for JSON."""
        derived = ("frames_per_s", "people_per_s", "bound_by", "advice")
        more = {"video": str(self.video), "output": str(self.output), "status": "ok" if self.complete else "partial"}
        return dataclasses.asdict(self) | more | {name: getattr(self, name) for name in derived}


def peak_memory_mb() -> float | None:
    """Return the peak resident memory of this process in MB; None if the system does not report it."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1000
    except (OSError, StopIteration):
        return None


def stage_times(stages: Stages, models: Models, track_s: float) -> Times:
    """Return the busy and the waiting seconds of each stage so far; ``track_s``: spent on tracking and writing."""
    busy = stages.busy_s() | {TRACK_AND_WRITE: track_s}
    waiting = stages.waiting_s() | {TRACK_AND_WRITE: stages.stages[-1].consumer_wait_s}
    for session in models.sessions:
        name = session.manifest.task
        busy[name] -= session.turn_wait_s
        waiting[name] += session.turn_wait_s
    return busy, waiting


def elapsed(before: Times, now: Times) -> Times:
    """Return the times between two moments."""
    busy, waiting = ({n: t - old[n] for n, t in new.items()} for old, new in zip(before, now, strict=True))
    return busy, waiting
