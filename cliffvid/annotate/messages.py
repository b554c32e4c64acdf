"""Define the messages between a job, its pool and its workers, and the events for observers."""

from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias, TypedDict

from ..names import printable
from .store.records import Ended, JobLine, Result

LEAST_LIMIT_S, LIMIT_PER_S = 900.0, 240.0  # time limit in seconds: in general, plus per second of video
LOG_LINES, LOG_WIDTH = 40, 200  # of a log's end
Parsed: TypeAlias = Any  # parsed JSON from our own process


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A unit of work on an input."""

    video: str
    address: str | None = None  # of the input, if its name leaves out secrets
    size_s: float = 0.0  # of video
    attempt: int = 1
    last: bool = False  # the final attempt, which runs alone in its process

    @property
    def do(self) -> str:
        return type(self).__name__.lower()

    @property
    def source(self) -> str:
        """Return what to open."""
        return self.address or self.video


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe(Task):
    """Find out what the plan needs to know about an input."""

    known: str | None  # the last known content hash
    split_s: float


class OwnCamera(TypedDict):
    """The camera of one input, which replaces that of the options if it has a focal length."""

    focal_px: float | None
    fov_deg: float | None
    cx_px: float | None
    cy_px: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Filmed(Task):
    """A task with the camera that a manifest gives for its input."""

    focal_px: float | None = None
    fov_deg: float | None = None
    cx_px: float | None = None
    cy_px: float | None = None

    @property
    def camera(self) -> OwnCamera:
        return {"focal_px": self.focal_px, "fov_deg": self.fov_deg, "cx_px": self.cx_px, "cy_px": self.cy_px}


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole(Filmed):
    """Process an input from its first frame to its last."""

    content: str  # its planned hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment(Filmed):
    """Process the frames between two split points of a long input; the rows have no track ids."""

    content: str
    part: int
    start_s: float
    end_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Join(Task):
    """Track the people of all segments of an input, as if it had not been split."""

    files: tuple[str, ...]  # rows of the segments
    thumbs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial(Task):
    """Measure the speed on the first frames of an input."""

    frames: int


@dataclass(frozen=True, slots=True)
class Fault:
    """The error that ended a task."""

    error: str  # its class
    message: str
    stop: bool = False  # every task would fail like this
    transient: bool = False  # a retry may succeed
    content: str | None = None  # of an input that could be hashed but not opened
    log: str | None = None  # the last lines that its worker logged


@dataclass(frozen=True, slots=True)
class Probed:
    """The facts about an input; its content hash alone if that is the known one."""

    content: str
    kind: str | None = None
    duration_s: float | None = None
    frames: int | None = None
    cuts: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Processed:
    """What was made of an input or a segment; for a segment also the file of its thumbnails."""

    result: Result
    thumbs: str | None = None


@dataclass(frozen=True, slots=True)
class TrialSpeed:
    """The speed of a trial."""

    frames_per_s: float


Reply: TypeAlias = Fault | Probed | Processed | TrialSpeed


@dataclass(frozen=True, slots=True)
class Answer:
    """A worker's answer to a task, and the rows as an Arrow stream unless the result names their file."""

    task: Task
    reply: Reply
    rows: bytes = b""
    worker: str = ""  # its name in the pool


TASKS = {kind.__name__: kind for kind in (Probe, Whole, Segment, Join, Trial)}
REPLIES = {kind.__name__: kind for kind in (Fault, Probed, Processed, TrialSpeed)}


def to_json(message: Task | Reply) -> dict[str, object]:
    """Return a message as plain values; ``task_of`` and ``reply_of`` are the inverse."""
    return {"type": type(message).__name__, **asdict(message)}


def task_of(plain: Parsed) -> Task:
    return TASKS[plain["type"]](**_fields(plain))


def reply_of(plain: Parsed) -> Reply:
    return REPLIES[plain["type"]](**_fields(plain))


def _fields(plain: Parsed) -> Parsed:
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}
    del fields["type"]
    return fields


def last_lines(lines: Iterable[str]) -> str | None:
    """Return the last lines of a log as printable text of bounded size; None if there are none."""
    kept = deque((line.rstrip() for line in lines if line.strip()), LOG_LINES)
    return "\n".join(printable(line)[:LOG_WIDTH] for line in kept) or None


def limit_s(tasks: Iterable[Task]) -> float:
    """Return the seconds within which a process has to answer one of the tasks that it has."""
    return LEAST_LIMIT_S + LIMIT_PER_S * sum(task.size_s for task in tasks)


class LeftOut(TypedDict):
    """Number of files in folders that are no inputs, and the first of their names."""

    ignored: int
    ignored_names: list[str]


class TickEvent(TypedDict):
    """Periodic event, so that displays can update."""

    type: Literal["tick"]


class FoundEvent(LeftOut):
    """The number of inputs that were found in the sources."""

    type: Literal["found"]
    inputs: int
    doubled: int


class FaultWords(TypedDict):
    """An error's class and message."""

    error: str
    message: str


class KeptEvent(FaultWords):
    """A finished input is unreadable now; its earlier results are kept."""

    type: Literal["kept"]
    video: str


class RetryEvent(FaultWords):
    """A task will be retried."""

    type: Literal["retry"]
    video: str
    attempt: int


class SegmentEvent(TypedDict):
    """A segment of a long input is finished."""

    type: Literal["segment"]
    video: str
    part: int
    of: int


class VideoEvent(Ended):
    """An input is finished or has failed."""

    type: Literal["video"]


class EndEvent(TypedDict):
    """The run ended."""

    type: Literal["end"]
    stopped: str | None
    statuses: dict[str, int]
    seconds: float


def said_of(fault: Fault) -> FaultWords:
    return {"error": fault.error, "message": fault.message}


Event: TypeAlias = TickEvent | FoundEvent | JobLine | KeptEvent | RetryEvent | SegmentEvent | VideoEvent | EndEvent
