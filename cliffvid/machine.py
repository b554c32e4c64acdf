"""What this process may use: CPU cores and memory, as affinity and control groups (cgroups) bound them; GPUs."""

import ctypes
import gc
import math
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path("/")
# What libraries read when they are loaded, for the threads that they start unasked: numpy's BLAS, Arrow, torch; OpenCV;
# Mesa's software OpenGL. They know the affinity and no quota of version 2.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM", "LP_NUM_THREADS")


@dataclass(frozen=True)
class Bound:
    """How much there is of something, and what bounds it."""

    amount: int
    source: str


def usable_cores() -> int:
    """Return the number of cores that this process may keep busy."""
    return cores().amount


def usable_memory_bytes() -> int | None:
    """Return how much memory this process may take; None where that cannot be told."""
    found = memory()
    return found.amount if found else None


def cores() -> Bound:
    """Return the least of the CPU affinity and all quotas of the process's cgroups, in whole cores, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        here = Bound(len(os.sched_getaffinity(0)), "CPU affinity")
    else:
        here = Bound(os.cpu_count() or 1, "number of processors")
    return min([here, *_quotas()], key=lambda bound: bound.amount)


def memory() -> Bound | None:
    """Return the least of the physical memory and all limits of the process's cgroups; None where neither is told."""
    found = [*_limits()]
    with suppress(OSError, ValueError, StopIteration):
        lines = (ROOT / "proc/meminfo").read_text(encoding="utf-8").splitlines()
        kib = next(line.split()[1] for line in lines if line.startswith("MemTotal:"))
        found.insert(0, Bound(int(kib) * 1024, "physical memory"))
    return min(found, key=lambda bound: bound.amount, default=None)


def processor() -> str:
    """Return the name of the CPU: rounding and speed differ from one to another."""
    try:
        lines = (ROOT / "proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def thread_environment(threads: int) -> dict[str, str]:
    """Return the environment that holds a process's libraries to so many threads; fewer that are set already stay."""
    found = {name: os.environ.get(name, "") for name in THREAD_VARIABLES}
    fewer = {name: own for name, own in found.items() if own.isdecimal() and 0 < int(own) < threads}
    return dict.fromkeys(THREAD_VARIABLES, str(threads)) | fewer


def release_memory() -> None:
    """Return freed memory to the system, where the allocator (glibc's) would keep it for later."""
    gc.collect()
    with suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def _quotas() -> Iterator[Bound]:
    for folder in _levels("cpu"):
        for file in (folder / "cpu.max", folder / "cpu.cfs_quota_us"):  # of version 2, of version 1
            with suppress(OSError, ValueError, ZeroDivisionError):
                words = file.read_text().split()
                words += [] if file.name == "cpu.max" else (folder / "cpu.cfs_period_us").read_text().split()
                quota, period = map(int, words)  # without a limit "max" and -1
                if quota > 0:
                    yield Bound(math.ceil(quota / period), f"quota of {file}")


def _limits() -> Iterator[Bound]:
    for folder in _levels("memory"):
        for file in (folder / "memory.max", folder / "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):
                if (size := int(file.read_text())) > 0:
                    yield Bound(size, f"limit of {file}")


def _levels(controller: str) -> Iterator[Path]:
    """The folders of the process's cgroups that may bound a controller, of both versions, from its own up."""
    own: dict[str, str] = {}
    for line in _lines("proc/self/cgroup"):
        with suppress(ValueError):
            _, controllers, path = line.split(":", 2)
            own |= dict.fromkeys(controllers.split(","), path)  # of version 2 they have no name
    for line in _lines("proc/self/mountinfo"):
        mount, _, system = line.partition(" - ")
        with suppress(ValueError):
            (root, place), (kind, _, options) = mount.split()[3:5], system.split(maxsplit=2)
            if kind == "cgroup2" or (kind == "cgroup" and controller in options.split(",")):
                yield from _upward(ROOT / place.lstrip("/"), own.get("" if kind == "cgroup2" else controller), root)


def _upward(mount: Path, path: str | None, root: str) -> Iterator[Path]:
    """The folder of a cgroup, where the cgroup ``root`` is mounted, and those above it."""
    parts = Path(path).parts if path else ()
    above = Path(root).parts
    # A container may see its path on the host, and its own cgroup mounted; "/.." leads out of what it sees.
    inside = parts[len(above) :] if parts[: len(above)] == above and ".." not in parts else ()
    for depth in range(len(inside), -1, -1):
        yield mount.joinpath(*inside[:depth])


def _lines(name: str) -> list[str]:
    try:
        return (ROOT / name).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):  # another system, or /proc is hidden
        return []


def is_device(name: str) -> bool:
    return re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", name) is not None


def split_device(name: str) -> tuple[str, int]:
    """Return a device's kind and its number, 0 where none is named."""
    kind, _, number = name.partition(":")
    return kind, int(number or 0)


def plain_device(name: str) -> str:
    """Return the shortest name of a device: cuda for cuda:0."""
    kind, number = split_device(name)
    return f"{kind}:{number}" if number else kind


def nvidia_gpus() -> tuple[bool | None, str]:
    """Return the NVIDIA GPUs and their driver in words, as nvidia-smi names them.

    The first value is False where the driver does not answer, None where there is none.
    """
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    if not shutil.which(query[0]):
        return None, "none seen: there is no nvidia-smi; runs on the CPU"
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, f"nvidia-smi does not answer ({error}); check the driver"
    if done.returncode:
        reason = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        return False, f"nvidia-smi fails ({reason[-1]}); check the driver"
    return True, "; ".join(done.stdout.strip().splitlines()) + " (name, memory, driver)"


@cache  # a file is read and parsed for it, which short clips feel
def version() -> str:
    from importlib.metadata import version

    return version("cliffvid")
