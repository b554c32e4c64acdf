"""Pool of worker processes on this machine; a crash fails only the task that caused it."""

import faulthandler
import json
import logging
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path

from ..errors import BackendError
from ..machine import thread_environment, usable_cores
from ..options import Options
from .messages import LOG_LINES, Answer, Fault, Task, last_lines, limit_s, reply_of, task_of, to_json

log = logging.getLogger(__name__)
PIPE_BYTES = 1 << 16  # read at once, and the longest line
WARNING = "warning: "  # begins what a worker's log has to tell the user


class WorkerLog:
    """The last lines that a worker process wrote to stdout and stderr, read from a pipe without waiting.

    Its warnings are logged here too. What else its libraries print is kept for the record of a failed input.
    """

    def __init__(self) -> None:
        self.pipe, self.given = os.pipe()
        os.set_blocking(self.pipe, False)
        self.lines: deque[str] = deque(maxlen=LOG_LINES)
        self.open, self._begun = True, b""

    def read(self) -> None:
        """Take in what has been written since the last call."""
        with suppress(BlockingIOError):
            while part := os.read(self.pipe, PIPE_BYTES):
                *whole, self._begun = (self._begun + part).split(b"\n")
                self._begun = self._begun[-PIPE_BYTES:]
                for line in (each.decode(errors="surrogateescape") for each in whole):
                    self.lines.append(line)
                    if line.startswith(WARNING):
                        log.warning("%s", line.removeprefix(WARNING))
            self.open = False  # its other end is closed

    def close(self) -> None:
        os.close(self.pipe)


@dataclass
class Process:
    """A worker process, the connection to it, and its tasks."""

    popen: subprocess.Popen[bytes]
    line: Connection
    log: WorkerLog
    tasks: dict[Task, tuple[float, int]] = field(default_factory=dict)  # when each was submitted, and its place
    since: float = 0.0  # when it was idle or answered last

    def takes(self, task: Task, width: int) -> bool:
        """Return whether there is room for a task; a last attempt is alone in its process."""
        return len(self.tasks) < (1 if any(each.last for each in (task, *self.tasks)) else width)


class LocalPool:
    """Pool of ``count`` worker processes with up to ``width`` tasks each.

    Each opens the networks once. Results are sent as JSON and Arrow over a socket, so that a worker's messages cannot
    run code here. If a process ends, all its tasks have failed; the last attempt at a task is alone in its process.
    """

    def __init__(self, count: int, options: Options, work: Path, width: int = 1) -> None:
        self.count, self.width = count, width
        self._environment = os.environ | thread_environment(options.threads or usable_cores())
        self._hello = options.to_json() | {"work": str(work.absolute())}
        self._processes: list[Process] = []
        self._began = False  # whether any worker has started successfully

    def takes(self, task: Task) -> bool:
        """Return whether a task could start at once."""
        return len(self._processes) < self.count or any(each.takes(task, self.width) for each in self._processes)

    def at_work(self) -> list[tuple[str, Task, float]]:
        """Return ``(worker, task, seconds)`` of all tasks in the workers."""
        now = time.monotonic()
        return [
            (self._name(process, place), task, now - since)
            for process in self._processes
            for task, (since, place) in process.tasks.items()
        ]

    def _name(self, process: Process, place: int) -> str:
        return f"{process.popen.pid}" + (f".{place}" if self.width > 1 else "")

    def submit(self, task: Task) -> None:
        fitting = [process for process in self._processes if process.takes(task, self.width)]
        process = min(fitting, key=lambda each: len(each.tasks)) if fitting else self._start()
        if not process.tasks:
            process.log.read()
            process.log.lines.clear()
        now, taken = time.monotonic(), {place for _, place in process.tasks.values()}
        process.since = process.since if process.tasks else now
        process.tasks[task] = now, min(set(range(self.width)) - taken)
        with suppress(OSError):  # it has died; wait() reports that
            process.line.send_bytes(json.dumps(to_json(task)).encode())

    def wait(self, timeout_s: float) -> list[Answer]:
        """Return the answers to the tasks that ended, crashed ones included.

        Raises BackendError if a process ends before any worker has started.
        """
        busy = [process for process in self._processes if process.tasks]
        answers: list[Answer] = []
        logs = [process.log for process in self._processes if process.log.open]
        ready = wait([*(process.line for process in busy), *(each.pipe for each in logs)], timeout_s)
        for each in logs:
            each.read()
        for process in (each for each in busy if each.line in ready):
            try:
                answers += self._heard(process)
            except (EOFError, OSError):
                answers += self._buried(process)
        for process in self._processes[:]:
            most_s = limit_s(process.tasks)  # of all together, as each may wait for the others
            if process.tasks and time.monotonic() - process.since > most_s:
                process.popen.kill()
                late = Fault("TimedOut", f"took longer than {most_s:.0f} s; its process was ended", transient=True)
                answers += self._buried(process, late)
        return answers

    def close(self) -> None:
        """End all processes; unfinished tasks are dropped."""
        while self._processes:
            process = self._processes.pop()
            process.line.close()
            process.popen.kill()
            process.popen.wait()
            process.log.close()

    def _start(self) -> Process:
        here, there = socket.socketpair()
        output = WorkerLog()
        with there:
            popen = subprocess.Popen(
                [sys.executable, "-m", __name__, str(there.fileno())],
                pass_fds=[there.fileno()],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output.given,
                stderr=output.given,
            )
        os.close(output.given)
        process = Process(popen, Connection(here.detach()), output)
        self._processes.append(process)
        with suppress(OSError):
            process.line.send_bytes(json.dumps(self._hello).encode())
        return process

    def _heard(self, process: Process) -> list[Answer]:
        """Return the answer that a process sends; none if it says that it has started."""
        message = json.loads(process.line.recv_bytes())
        if "hello" in message:
            self._began = True
            return []
        task, reply, rows = task_of(message["task"]), reply_of(message["reply"]), process.line.recv_bytes()
        if isinstance(reply, Fault):
            process.log.read()
            reply = _with_log(reply, process)
        answer = Answer(task, reply, rows, self._name(process, process.tasks.pop(task)[1]))
        process.since = time.monotonic()
        return [answer]

    def _buried(self, process: Process, fault: Fault | None = None) -> list[Answer]:
        """Return the answers of a process that died: its tasks have failed. The next task gets a new process."""
        process.line.close()
        code = process.popen.wait()
        self._processes.remove(process)
        process.log.read()
        process.log.close()
        how = f"by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"with exit code {code}"
        if not self._began:
            last = f" ({process.log.lines[-1].strip()})" if process.log.lines else ""
            raise BackendError(
                f"a worker's process ended {how} before it began{last}; does `cliffvid doctor` work here?"
            )
        crash = Fault("Crashed", f"the process that worked on it ended {how}", transient=True)
        return [Answer(task, _with_log(fault or crash, process)) for task in process.tasks]


def _with_log(fault: Fault, process: Process) -> Fault:
    """Return the fault with the last lines that were read from its process, before those that it has."""
    return replace(fault, log=last_lines([*process.log.lines, *(fault.log or "").splitlines()]))


def main(handle: int) -> None:
    """Run a worker process until the other end closes."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they reach all processes of a terminal or job; the parent decides
        signal.signal(number, signal.SIG_IGN)
    faulthandler.enable(all_threads=False)  # those at work on other inputs would push it out of the log
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.INFO)
    logging.addLevelName(logging.WARNING, WARNING.strip(": "))
    line = Connection(handle)
    try:
        hello = json.loads(line.recv_bytes())
        from .worker import Worker

        worker = Worker(Options.from_json(hello), Path(hello["work"]))
        line.send_bytes(json.dumps({"hello": os.getpid()}).encode())
        tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
        threading.Thread(target=_receive, args=(line, tasks), daemon=True, name="cliffvid-tasks").start()
        while True:
            for answer in worker.run(_arriving(tasks)):
                line.send_bytes(json.dumps({"task": to_json(answer.task), "reply": to_json(answer.reply)}).encode())
                line.send_bytes(answer.rows)
    except (EOFError, ConnectionError):
        os._exit(0)  # the parent is gone, so nothing needs the result


def _receive(line: Connection, tasks: queue.SimpleQueue[Task]) -> None:
    """Take in tasks as they come, so that the parent never waits to send one; end the process when it is gone."""
    with suppress(EOFError, OSError):
        while True:
            tasks.put(task_of(json.loads(line.recv_bytes())))
    os._exit(0)


def _arriving(tasks: queue.SimpleQueue[Task]) -> Iterator[Task | None]:
    """Wait for a task and yield it; from then on, yield None where none has come."""
    yield tasks.get()
    while True:
        yield None if tasks.empty() else tasks.get()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
