"""What a job, its pool and its workers tell each other, and what they tell whoever watches."""

from typing import Literal, TypeAlias, TypedDict

from .store.records import CountsFacts, Ended, JobLine


class TaskFacts(TypedDict, total=False):
    """What is to be done with an input, beside what every task tells."""

    known: str | None  # probe: the content that it had
    split_s: float
    content: str  # whole, segment
    part: int  # segment
    start_s: float
    end_s: float | None
    files: list[str]  # join: of the segments
    thumbs: list[str]
    frames: int  # trial
    attempt: int
    last: bool  # no attempt follows


class Task(TaskFacts):
    """A unit of work: the worker's method ``do`` with an input."""

    do: str
    video: str
    size_s: float  # of video
    limit_s: float  # of work


class Report(TypedDict, total=False):
    """What a worker answers: an ``error`` and what follows it, or else what the task asked for."""

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
    stop: bool  # it would befall every task
    transient: bool  # it may go well another time


Answer: TypeAlias = tuple[Report, bytes]  # and rows as an Arrow stream


class Fault(TypedDict):
    """What went wrong."""

    error: str
    message: str


class LeftOut(TypedDict):
    """Files of folders that are no inputs, and the names of the first of them."""

    ignored: int
    ignored_names: list[str]


class TickEvent(TypedDict):
    """Nothing happened but time."""

    type: Literal["tick"]


class FoundEvent(LeftOut):
    """What the sources name."""

    type: Literal["found"]
    inputs: int
    doubled: int


class KeptEvent(TypedDict):
    """An input cannot be looked at any more; what is known of it is kept."""

    type: Literal["kept"]
    video: str
    error: str
    message: str


class RetryEvent(TypedDict):
    """A task will be tried again."""

    type: Literal["retry"]
    video: str
    attempt: int
    error: str
    message: str


class SegmentEvent(TypedDict):
    """A segment of a long input is in."""

    type: Literal["segment"]
    video: str
    part: int
    of: int


class VideoEvent(Ended):
    """An input ended."""

    type: Literal["video"]


class EndEvent(TypedDict):
    """The run ended."""

    type: Literal["end"]
    stopped: str | None
    statuses: dict[str, int]
    seconds: float


Event: TypeAlias = TickEvent | FoundEvent | JobLine | KeptEvent | RetryEvent | SegmentEvent | VideoEvent | EndEvent
