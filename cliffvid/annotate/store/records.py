"""Types of the journal's records, and the names of a data set's files."""

import re
from collections.abc import Sequence
from typing import Literal, NotRequired, TypeAlias, TypedDict

# File names of a data set; files with other names are never removed.
SHARD = re.compile(r"tracks/[0-9a-f]{8}-[0-9]{6,}\.parquet")
WORK_FILE = re.compile(r"[0-9a-f]{32}\.(parquet|npz|jsonl)")


class DecodeRecord(TypedDict, total=False):
    """Decode counts that are read back."""

    frames: int | None
    damaged: int | None
    clock_jumps: int


class CountsFacts(TypedDict, total=False):
    """Counts of a run as plain values; may be empty in a rebuilt journal."""

    decode: DecodeRecord
    tracks: int | None
    shots: list[tuple[int, int]]
    moving: list[int]
    flags: dict[str, int]


class ModelRecord(TypedDict):
    """A network that rows were computed with."""

    name: str
    task: str
    sha256: str | None
    precision: str


class JobLine(TypedDict):
    """A run began."""

    type: Literal["job"]
    started: float
    inputs: int
    settings: dict[str, object]
    models: list[ModelRecord]
    software: str
    options: dict[str, object]
    host: NotRequired[str]
    workers: NotRequired[int]


class InputLine(TypedDict):
    """An input is part of the data set."""

    type: Literal["input"]
    video: str
    key: str
    content: str
    kind: str | None
    duration_s: float | None
    frames: int | None
    cuts: list[float] | None
    split_s: float | None
    extra: dict[str, object]


class FoundLine(TypedDict):
    """The names of inputs that are part of the data set, and were not looked at yet."""

    type: Literal["found"]
    videos: list[str]


class InputsLine(TypedDict):
    """Several ``input`` lines, without their types."""

    type: Literal["inputs"]
    videos: Sequence[InputLine]


class _HowEnded(TypedDict):
    video: str
    key: str
    status: str
    message: str | None
    attempts: int
    finished: float
    job: int


class Ended(_HowEnded, total=False):
    """Result of an input: rows, or an error."""

    rows: int
    counts: CountsFacts
    seconds: float | None
    codec: str | None
    rate: str | None
    width_px: int | None
    height_px: int | None
    error: str
    log: str  # the last lines that the worker of a failed input logged
    file: str | None  # of its rows; in memory only, on disk the line has it


class ShardFacts(TypedDict):
    """A file of rows and its hash; both None for inputs without rows."""

    file: str | None
    sha256: str | None


class DoneLine(TypedDict):
    """Inputs are finished."""

    type: Literal["done"]
    file: str | None
    sha256: str | None
    videos: Sequence[Ended]
    forget: NotRequired[list[str]]


class FailedLine(Ended):
    """An input has failed."""

    type: Literal["failed"]


class Result(TypedDict):
    """What was made of an input or a segment; the rows are in ``file`` if they are many."""

    rows: int
    file: str | None
    counts: CountsFacts
    warnings: list[str]
    seconds: float
    codec: str | None
    width_px: int | None
    height_px: int | None
    rate: str | None


class SegmentLine(Result):
    """The people of one segment of a long input are in a file."""

    type: Literal["segment"]
    cut_key: str
    part: int
    thumbs: str


class ClaimLine(TypedDict):
    """A run has taken a data set in an object store: no earlier run can add lines any more."""

    type: Literal["claim"]
    id: str
    host: str
    claimed: float


class MergedLine(TypedDict):
    """All before this line is in another data set, and does not count any more; in an object store only."""

    type: Literal["merged"]


class EndLine(TypedDict):
    """A run ended."""

    type: Literal["end"]
    stopped: str | None
    finished: float
    videos_sha256: str
    statuses: NotRequired[dict[str, int]]


Line: TypeAlias = (
    JobLine
    | FoundLine
    | InputLine
    | InputsLine
    | DoneLine
    | FailedLine
    | SegmentLine
    | ClaimLine
    | MergedLine
    | EndLine
)
