"""Types of the messages between a job, its pool and its workers, and of the events for observers."""

from typing import Literal, TypeAlias, TypedDict

from .store.records import CountsFacts, Ended, JobLine


class TaskFacts(TypedDict, total=False):
    """Keys that depend on the kind of task."""

    known: str | None  # probe: the last known content hash
    split_s: float
    content: str  # whole, segment
    part: int  # segment
    start_s: float
    end_s: float | None
    files: list[str]  # join: rows of the segments
    thumbs: list[str]
    frames: int  # trial
    attempt: int
    last: bool  # the final attempt


class Task(TaskFacts):
    """A unit of work: the worker's method ``do`` with an input."""

    do: str
    video: str
    size_s: float  # of video
    limit_s: float  # of work


class Report(TypedDict, total=False):
    """A worker's answer: ``error`` and the keys after it, or the results of the task."""

    content: str  # probe
    kind: str
    duration_s: float | None
    frames: int | None
    cuts: list[float]
    rows: int  # whole, segment, join
    file: str | None
    counts: CountsFacts
    warnings: list[str]
    seconds: float
    codec: str | None
    width_px: int | None
    height_px: int | None
    rate: str | None
    thumbs: str  # segment
    frames_per_s: float  # trial
    error: str
    message: str
    stop: bool  # every task would fail like this
    transient: bool  # a retry may succeed


Answer: TypeAlias = tuple[Report, bytes]  # and rows as an Arrow stream


class Fault(TypedDict):
    """Error class and message."""

    error: str
    message: str


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


class KeptEvent(TypedDict):
    """A finished input is unreadable now; its earlier results are kept."""

    type: Literal["kept"]
    video: str
    error: str
    message: str


class RetryEvent(TypedDict):
    """A task will be retried."""

    type: Literal["retry"]
    video: str
    attempt: int
    error: str
    message: str


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


Event: TypeAlias = TickEvent | FoundEvent | JobLine | KeptEvent | RetryEvent | SegmentEvent | VideoEvent | EndEvent
