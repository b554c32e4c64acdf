"""Report what this process may use: CPU cores and memory within affinity and control groups (cgroups), and GPUs."""

import ctypes
import gc
import math
import os
import platform
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path("/")
# Libraries read these at load time for the threads that they start: numpy's BLAS, Arrow, torch; OpenCV; Mesa's
# software OpenGL. They respect the affinity, but no quota of cgroups version 2.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM", "LP_NUM_THREADS")


@dataclass(frozen=True)
class Bound:
    """An amount of something, and what limits it."""

    amount: int
    source: str


def usable_cores() -> int:
    """Return the number of cores that this process may keep busy."""
    return cores().amount


def usable_memory_bytes() -> int | None:
    """Return how much memory this process may use; None if that is unknown."""
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
    """Return the least of the physical memory and all limits of the process's cgroups; None if neither is known."""
    found = [*_limits()]
    with suppress(OSError, ValueError, StopIteration):
        lines = (ROOT / "proc/meminfo").read_text(encoding="utf-8").splitlines()
        kib = next(line.split()[1] for line in lines if line.startswith("MemTotal:"))
        found.insert(0, Bound(int(kib) * 1024, "physical memory"))
    return min(found, key=lambda bound: bound.amount, default=None)


def processor() -> str:
    """Return the name of the CPU: rounding and speed differ between CPUs."""
    try:
        lines = (ROOT / "proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def thread_environment(threads: int) -> dict[str, str]:
    """Return environment variables that limit a process's libraries to ``threads``; lower values set already stay."""
    found = {name: os.environ.get(name, "") for name in THREAD_VARIABLES}
    fewer = {name: own for name, own in found.items() if own.isdecimal() and 0 < int(own) < threads}
    return dict.fromkeys(THREAD_VARIABLES, str(threads)) | fewer


def release_memory() -> None:
    """Return freed memory to the system, which the allocator (glibc's) would keep for later."""
    gc.collect()
    with suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def _quotas() -> Iterator[Bound]:
    for folder in _levels("cpu"):
        for file in (folder / "cpu.max", folder / "cpu.cfs_quota_us"):  # version 2, version 1
            with suppress(OSError, ValueError, ZeroDivisionError):
                words = file.read_text("utf-8").split()
                words += [] if file.name == "cpu.max" else (folder / "cpu.cfs_period_us").read_text("utf-8").split()
                quota, period = map(int, words)  # "max" or -1: no limit
                if quota > 0:
                    yield Bound(math.ceil(quota / period), f"quota of {file}")


def _limits() -> Iterator[Bound]:
    for folder in _levels("memory"):
        for file in (folder / "memory.max", folder / "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):
                if (size := int(file.read_text("utf-8"))) > 0:
                    yield Bound(size, f"limit of {file}")


def _levels(controller: str) -> Iterator[Path]:
    """Yield the folders of the process's cgroups that may limit a controller, of both versions, from its own up."""
    own: dict[str, str] = {}
    for line in _lines("proc/self/cgroup"):
        with suppress(ValueError):
            _, controllers, path = line.split(":", 2)
            own |= dict.fromkeys(controllers.split(","), path)  # version 2 names none
    for line in _lines("proc/self/mountinfo"):
        mount, _, system = line.partition(" - ")
        with suppress(ValueError):
            (root, place), (kind, _, options) = mount.split()[3:5], system.split(maxsplit=2)
            if kind == "cgroup2" or (kind == "cgroup" and controller in options.split(",")):
                yield from _upward(ROOT / place.lstrip("/"), own.get("" if kind == "cgroup2" else controller), root)


def _upward(mount: Path, path: str | None, root: str) -> Iterator[Path]:
    """Yield a cgroup's folder, where the cgroup ``root`` is mounted, and those above it."""
    parts = Path(path).parts if path else ()
    above = Path(root).parts
    # A container may see its path on the host, but mount its cgroup alone; "/.." leads out of what it sees.
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


def on_gpu(device: str, backend: str) -> bool:
    """Return whether the networks run on a GPU, by these options."""
    return split_device(device)[0] == "cuda" or "tensorrt" in backend


def split_device(name: str) -> tuple[str, int]:
    """Return a device's kind and number; 0 if it has none."""
    kind, _, number = name.partition(":")
    return kind, int(number or 0)


def plain_device(name: str) -> str:
    """Return the shortest name of a device: cuda for cuda:0."""
    kind, number = split_device(name)
    return f"{kind}:{number}" if number else kind


def nvidia_gpus() -> tuple[bool | None, str]:
    """Return the NVIDIA GPUs and their driver in words, as nvidia-smi names them.

    The first value is True if there are any, False if the driver does not answer, None if there is no nvidia-smi.
    """
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    if not shutil.which(query[0]):
        return None, "none seen: there is no nvidia-smi; runs on the CPU"
    try:
        done = subprocess.run(query, capture_output=True, encoding="utf-8", errors="replace", timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, f"nvidia-smi does not answer ({error}); check the driver"
    if done.returncode:
        reason = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        return False, f"nvidia-smi fails ({reason[-1]}); check the driver"
    return True, "; ".join(done.stdout.strip().splitlines()) + " (name, memory, driver)"


@cache  # it reads and parses a file, which is noticeable for short clips
@contextmanager
def interruptible(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` at SIGTERM and Ctrl-C, instead of what they do otherwise; only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: stop()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@cache
def version() -> str:
    from importlib.metadata import version

    return version("cliffvid")
