"""Restrict a process to what it needs: memory, CPU time, and system calls that read and write open files."""

import ctypes
import platform
import struct
import sys
from contextlib import suppress

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]  # a module's name; as in locks.py

REFUSALS = () if sys.platform == "linux" else (OSError, ValueError)  # macOS refuses limits of the memory
CPU_S, CPU_S_PER_MB = 10, 1
OVERHEAD_BYTES, VALUE_BYTES, VALUES_BYTES_MAX = 128 << 20, 16, 2 << 30  # of memory; VALUE_BYTES a byte of the file
# By architecture: its number for seccomp, and those of allowed calls: read, write, fstat, lseek, mmap, mprotect,
# munmap, brk, mremap, madvise, rt_sigreturn, rt_sigaction, futex, clock_gettime, exit, exit_group.
CALLS = {
    "x86_64": (0xC000003E, (0, 1, 5, 8, 9, 10, 11, 12, 25, 28, 15, 13, 202, 228, 60, 231)),
    "aarch64": (0xC00000B7, (63, 64, 80, 62, 222, 226, 215, 214, 216, 233, 139, 134, 98, 113, 93, 94)),
}


def confine(size: int) -> None:
    """Give up what reading a file of ``size`` bytes does not need: memory, CPU time, and most system calls.

    What the system cannot limit stays: Windows limits nothing, macOS not the memory.
    """
    if resource:
        limit(size)
    if sys.platform == "linux" and platform.machine() in CALLS:
        filter_calls(*CALLS[platform.machine()])


def limit(size: int) -> None:
    """Limit memory, CPU time, and what can be opened or started."""
    seconds = CPU_S + CPU_S_PER_MB * (size >> 20)
    memory = OVERHEAD_BYTES + 4 * size + min(VALUE_BYTES * size, VALUES_BYTES_MAX)
    limits = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: memory,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 0,  # no further file, no socket
        resource.RLIMIT_NPROC: 0,
    }
    for kind, most in limits.items():
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with suppress(*REFUSALS):
            resource.setrlimit(kind, (most, most))


def filter_calls(machine: int, allowed: tuple[int, ...]) -> None:
    """Make Linux refuse all other system calls (seccomp), also to root; without seccomp only the limits hold."""
    load, equal, answer = 0x20, 0x15, 0x06
    refuse, allow = 0x00050001, 0x7FFF0000  # EPERM
    rest = len(allowed)
    lines = [(load, 0, 0, 4), (equal, 1, 0, machine), (answer, 0, 0, refuse), (load, 0, 0, 0)]
    lines += [(equal, rest - k, 0, number) for k, number in enumerate(allowed)]
    lines += [(answer, 0, 0, refuse), (answer, 0, 0, allow)]
    program = b"".join(struct.pack("=HBBI", *line) for line in lines)
    kept = ctypes.create_string_buffer(program)
    header = ctypes.create_string_buffer(struct.pack("@HP", len(lines), ctypes.addressof(kept)))
    prctl = ctypes.CDLL(None).prctl
    prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    prctl(22, 2, ctypes.addressof(header), 0, 0)  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
