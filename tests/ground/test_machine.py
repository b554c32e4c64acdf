"""What a process may use, in faked trees of /proc and /sys, and here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cliffvid import machine
from cliffvid.annotate import scheduler as handout
from cliffvid.cli.doctor import machine as finding
from cliffvid.options import Options

V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "31 23 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 master:1 - cgroup cgroup rw,cpu,cpuacct\n"
    "32 23 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)
# A container that sees its paths on the host: its own cgroup is what is mounted.
DOCKER = (
    "31 23 0:27 /docker/ab /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n"
    "32 23 0:28 /docker/ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
)
HYBRID = V1 + "33 23 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
NO_LIMIT = "9223372036854771712\n"  # what version 1 says of none
GB = 10**9
CPU1, MEMORY1 = "sys/fs/cgroup/cpu,cpuacct", "sys/fs/cgroup/memory"


def quota1(folder, quota, period=100000):
    return {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": f"{period}\n"}


def case(name, cores, memory_gb, mounts, own, files):
    return pytest.param(cores, memory_gb, mounts, own, files, id=name)


@pytest.mark.parametrize(
    ("cores", "memory_gb", "mounts", "own", "files"),
    [
        case("no cgroups", 8, 16, "", "", {}),
        case(
            "v2",
            2,
            3,
            V2,
            "0::/\n",
            {"sys/fs/cgroup/cpu.max": "200000 100000\n", "sys/fs/cgroup/memory.max": f"{3 * GB}\n"},
        ),
        case("v2, part of a core", 1, 16, V2, "0::/a\n", {"sys/fs/cgroup/a/cpu.max": "30000 100000\n"}),
        case("v2, rounded up", 3, 16, V2, "0::/a\n", {"sys/fs/cgroup/a/cpu.max": "210000 100000\n"}),
        case("v2, more than there is", 8, 16, V2, "0::/a\n", {"sys/fs/cgroup/a/cpu.max": "6400000 100000\n"}),
        case(
            "v2, no limit",
            8,
            16,
            V2,
            "0::/a\n",
            {"sys/fs/cgroup/a/cpu.max": "max 100000\n", "sys/fs/cgroup/a/memory.max": "max\n"},
        ),
        case(
            "v2, nested: each level may bind",
            4,
            5,
            V2,
            "0::/pods/one/main\n",
            {
                "sys/fs/cgroup/pods/cpu.max": "400000 100000",
                "sys/fs/cgroup/pods/memory.max": f"{9 * GB}",
                "sys/fs/cgroup/pods/one/cpu.max": "max 100000",
                "sys/fs/cgroup/pods/one/memory.max": f"{5 * GB}",
                "sys/fs/cgroup/pods/one/main/cpu.max": "600000 100000",
                "sys/fs/cgroup/other/cpu.max": "100000 100000",
            },
        ),
        case("v2, a path out of the namespace", 2, 16, V2, "0::/../x\n", {"sys/fs/cgroup/cpu.max": "200000 100000"}),
        case(
            "v1",
            2,
            3,
            V1,
            "4:memory:/a\n3:cpu,cpuacct:/a/b\n",
            quota1(f"{CPU1}/a", 150000)
            | quota1(f"{CPU1}/a/b", -1)
            | {f"{MEMORY1}/a/memory.limit_in_bytes": f"{3 * GB}"},
        ),
        case(
            "v1, no limit",
            8,
            16,
            V1,
            "4:memory:/\n3:cpu,cpuacct:/\n",
            quota1(CPU1, -1) | {f"{MEMORY1}/memory.limit_in_bytes": NO_LIMIT},
        ),
        case(
            "v1 in a container",
            2,
            4,
            DOCKER,
            "4:memory:/docker/ab\n3:cpu,cpuacct:/docker/ab\n",
            quota1("sys/fs/cgroup/cpu", 200000) | {"sys/fs/cgroup/memory/memory.limit_in_bytes": f"{4 * GB}"},
        ),
        case(
            "hybrid: controllers of v1 beside an empty v2",
            3,
            16,
            HYBRID,
            "4:memory:/\n3:cpu,cpuacct:/a\n0::/a\n",
            quota1(f"{CPU1}/a", 300000) | {"sys/fs/cgroup/unified/a/cgroup.procs": ""},
        ),
        case(
            "malformed",
            8,
            16,
            V2 + "nonsense\n" + V1 + "1 2 - cgroup\n",
            "nonsense\n0::/a\n3:cpu,cpuacct:/\n4:memory:/\n",
            quota1(CPU1, "", 0)
            | {
                "sys/fs/cgroup/a/cpu.max": "\n",
                "sys/fs/cgroup/cpu.max": "100000 0",
                "sys/fs/cgroup/a/memory.max": "a lot",
                f"{MEMORY1}/memory.limit_in_bytes": "0",
            },
        ),
    ],
)
def test_limits_are_the_least_of_all_levels(tmp_path, monkeypatch, cores, memory_gb, mounts, own, files):
    files = files | {
        "proc/self/mountinfo": "22 1 8:1 / / rw - ext4 /dev/sda rw\n" + mounts,
        "proc/self/cgroup": own,
        "proc/meminfo": f"MemTotal: {16 * GB // 1024} kB\nMemFree: 1 kB\n",
    }
    pretend(tmp_path, monkeypatch, files)
    assert machine.usable_cores() == cores
    assert machine.usable_memory_bytes() == pytest.approx(memory_gb * GB, rel=1e-6)


def pretend(root, monkeypatch, files):
    """A machine of eight cores with these files."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(machine, "ROOT", root)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


def test_where_nothing_is_told(tmp_path, monkeypatch):
    pretend(tmp_path, monkeypatch, {})
    assert machine.usable_cores() == 8 and machine.usable_memory_bytes() is None
    assert handout.default_workers(Options(), shared=False) == 8
    assert "8 usable cores (CPU affinity)" in finding().words and "memory" not in finding().words


@pytest.mark.parametrize(("limit_bytes", "workers"), [(1, 1), (3.5 * handout.WORKER_BYTES, 3), (1e12, 8)])
def test_workers_fit_into_the_memory(tmp_path, monkeypatch, limit_bytes, workers):
    meminfo = {"proc/meminfo": f"MemTotal: {2 * GB} kB\n", "sys/fs/cgroup/memory.max": str(int(limit_bytes))}
    pretend(tmp_path, monkeypatch, meminfo | {"proc/self/mountinfo": V2, "proc/self/cgroup": "0::/\n"})
    assert handout.default_workers(Options(), shared=False) == workers
    assert f"memory (limit of {tmp_path}/sys/fs/cgroup/memory.max)" in finding().words


def test_here_it_is_what_the_system_says():
    assert machine.usable_cores() <= len(os.sched_getaffinity(0))
    assert 1e8 < machine.usable_memory_bytes() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(("own", "threads"), [("", 1), ("0", 1), ("64", 1), ("1", 1)])
def test_libraries_start_as_many_threads_as_they_may(own, threads):
    code = "import cv2, pyarrow, numpy; print(cv2.getNumThreads(), pyarrow.cpu_count(), flush=True)"
    env = {**os.environ, **{name: own for name in machine.THREAD_VARIABLES}}
    told = subprocess.check_output(
        [sys.executable, "-c", f"from cliffvid.machine import *; os.environ.update(thread_environment(1)); {code}"],
        env=env,
        cwd=Path(__file__).parents[2],
        text=True,
    )
    assert told.split() == [str(threads)] * 2
