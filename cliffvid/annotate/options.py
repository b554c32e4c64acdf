"""Define the options of annotating a data set."""

# ruff: noqa: RUF009  (option() makes a field, as dataclasses.field does)

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

from ..option import check, check_values, option
from ..options import SAFETY, SPEED


@dataclass(frozen=True)
class BulkOptions:
    """Settings of annotating a data set. Raises UsageError for an invalid value."""

    runner: Literal["local", "ray"] = option("local", "Where the workers run: here, or on a Ray cluster.", panel=SPEED)
    workers: int = option(0, "Worker processes. 0: one per core, or what a GPU needs.", panel=SPEED, least=0)
    networks: Literal["auto", "own", "shared"] = option(  # on a CPU own networks are as fast as shared ones, or faster
        "auto", "own: each worker's. shared: one process, --workers inputs at once. auto: shared on a GPU.", panel=SPEED
    )
    address: str | None = option(None, "Address of a Ray cluster, or auto.", "a new one on this machine", panel=SPEED)
    shard: str | None = option(
        None, "i/n: only part i, from 0, of n parts; then run annotate-merge.", "all", panel=SPEED
    )
    split_s: float = option(  # videos of twice that or more are split at key frames
        120.0,
        "Split long videos into segments of this many seconds. 0: never.",
        panel=SPEED,
        flags=("--split",),
        least=0,
    )
    checkpoint_s: float = option(
        30.0, "Write finished inputs every so many seconds.", panel=SAFETY, flags=("--checkpoint",), least=0
    )
    metrics: Path | None = option(
        None, "Keep a file of metrics for Prometheus up to date, every --checkpoint seconds.", "none", panel=SAFETY
    )
    retry_failed: bool = option(False, "Retry inputs that failed in an earlier run.", panel=SAFETY)
    max_failures: int | None = option(
        None, "Stop when more inputs than this have failed.", "no limit", panel=SAFETY, least=0
    )

    def __post_init__(self) -> None:
        check_values(self)
        check(
            self.networks != "shared" or self.runner == "local",
            f"--networks shared: not with --runner {self.runner}, whose workers each have their own",
        )
        check(self.address is None or self.runner == "ray", f"--address {self.address}: needs --runner ray")
        self.part()

    def part(self) -> tuple[int, int]:
        """Return ``(i, n)``: this job does part i, from 0, of n."""
        if self.shard is None:
            return 0, 1
        i, _, n = self.shard.partition("/")
        good = i.isdecimal() and n.isdecimal() and 0 <= int(i) < int(n)
        check(good, f"--shard {self.shard}: must be i/n with 0 <= i < n, as 0/3, 1/3, 2/3")
        return int(i), int(n)


# Written by `make docs-reference`, from the above, for checkers of types.
class BulkKeywords(TypedDict, total=False):
    """Fields of BulkOptions, as keywords."""

    runner: Literal["local", "ray"]
    workers: int
    networks: Literal["auto", "own", "shared"]
    address: str | None
    shard: str | None
    split_s: float
    checkpoint_s: float
    metrics: Path | None
    retry_failed: bool
    max_failures: int | None
