"""Pool of worker processes on this machine; a crash fails only the task that caused it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeAlias

from ..errors import BackendError
from ..machine import thread_environment, usable_cores
from ..options import Options
from .messages import Report, Task
from .networks import Line, Networks, NetworksLost

Message: TypeAlias = Any  # parsed JSON from our own process: hello, a task, or a report


@dataclass
class Process:
    """A worker process, the connection to it, and its current task."""

    popen: subprocess.Popen[bytes]
    line: Connection
    networks: Networks | None = None  # the process with the networks, if the worker does not hold them itself
    task: Task | None = None
    since: float = field(default_factory=time.monotonic)


class LocalPool:
    """Pool of ``count`` worker processes.

    Each opens the networks once; with the options ``shared``, one more process holds them for all workers. Results
    are sent as JSON and Arrow over a socket, so that a worker's messages cannot run code here.
    """

    def __init__(self, count: int, options: Options, work: Path, shared: Options | None = None) -> None:
        self.count, self._shared = count, shared
        self._networks: Networks | None = None
        self._environment = os.environ | thread_environment(options.threads or usable_cores())
        self._hello = options.to_json() | {"work": str(work.absolute())}
        self._processes: list[Process] = []
        self._began = False  # whether any worker has started successfully

    def free(self) -> int:
        """Return the number of tasks that could start at once."""
        return self.count - sum(process.task is not None for process in self._processes)

    def at_work(self) -> list[tuple[str, Task, float]]:
        """Return ``(worker, task, seconds)`` of all busy workers."""
        now = time.monotonic()
        return [(str(p.popen.pid), p.task, now - p.since) for p in self._processes if p.task]

    def submit(self, task: Task) -> None:
        for process in self._processes[:]:
            if process.task is None and process.networks and process.networks.ended():
                self._end(process)
        idle = [process for process in self._processes if process.task is None]
        process = idle[0] if idle else self._start()
        process.task, process.since = task, time.monotonic()
        with suppress(OSError):  # it has died; wait() reports that
            _send(process.line, task)

    def wait(self, timeout_s: float) -> list[tuple[Task, Report, bytes]]:
        """Return ``(task, report, rows)`` of the tasks that ended, crashed ones included.

        Raises BackendError if a process ends before any worker has started.
        """
        busy = [process for process in self._processes if process.task]
        ended: list[tuple[Task, Report, bytes]] = []
        ready = wait([process.line for process in busy], timeout_s)
        for process, task in [(p, p.task) for line in ready for p in busy if p.line is line and p.task]:
            try:
                report, rows = _receive(process.line)
            except (EOFError, OSError):
                ended.append((task, self._buried(process), b""))
                continue
            if "hello" in report:
                self._began = True
                continue
            ended.append((task, report, rows))
            process.task = None
            if process.networks and report.get("error") == NetworksLost.__name__:
                process.networks.end()
        for process in self._processes[:]:
            if process.task and time.monotonic() - process.since > process.task["limit_s"]:
                process.popen.kill()
                if process.networks:  # these may be what hangs
                    process.networks.end()
                taken = f"took longer than {process.task['limit_s']:.0f} s; its process was ended"
                late: Report = {**self._buried(process), "error": "TimedOut", "message": taken}
                ended.append((process.task, late, b""))
        return ended

    def close(self) -> None:
        """End all processes; unfinished tasks are dropped."""
        while self._processes:
            self._end(self._processes[0])
        if self._networks:
            self._networks.end()

    def _end(self, process: Process) -> None:
        process.line.close()
        process.popen.kill()
        process.popen.wait()
        self._processes.remove(process)

    def _start(self) -> Process:
        if self._shared and (self._networks is None or self._networks.ended()):
            self._networks = Networks.begin(self._shared)
        here, there = socket.socketpair()
        with ExitStack() as ends:
            theirs = [ends.enter_context(end) for end in (there, *(self._networks.lines() if self._networks else ()))]
            handles = [end.fileno() for end in theirs]
            command = [sys.executable, "-m", __name__, *map(str, handles)]
            popen = subprocess.Popen(
                command,
                pass_fds=handles,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=2,  # to stderr: stdout is for --json
            )
        process = Process(popen, Connection(here.detach()), self._networks)
        self._processes.append(process)
        with suppress(OSError):
            _send(process.line, self._hello)
        return process

    def _buried(self, process: Process) -> Report:
        """Return the report of a task whose process died; the next task gets a new process."""
        process.line.close()
        code = process.popen.wait()
        self._processes.remove(process)
        how = f"by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"with exit code {code}"
        if not self._began:
            raise BackendError(f"a worker's process ended {how} before it began; does `cliffvid doctor` work here?")
        message = f"the process that worked on it ended {how}"
        return {"error": "Crashed", "message": message, "stop": False, "transient": True}


def _send(line: Connection, value: Mapping[str, object], rows: bytes = b"") -> None:
    line.send_bytes(json.dumps(value).encode())
    line.send_bytes(rows)


def _receive(line: Connection) -> tuple[Message, bytes]:
    return json.loads(line.recv_bytes()), line.recv_bytes()


def main(handle: int, *networks: int) -> None:
    """Run a worker process until the other end closes. ``networks``: sockets to shared networks, if any."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent decides
    line = Connection(handle)
    try:
        hello, _ = _receive(line)
        from .worker import Worker

        worker = Worker(
            Options.from_json(hello), Path(hello["work"]), [Line(socket.socket(fileno=end)) for end in networks]
        )
        _send(line, {"hello": os.getpid()})
        while True:
            task, _ = _receive(line)
            _send(line, *worker.do(task))
    except (EOFError, ConnectionError):
        os._exit(0)  # the parent is gone, so nothing needs the result


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
