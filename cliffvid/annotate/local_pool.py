"""Pool of worker processes on this machine; a crash fails only the task that caused it."""

import faulthandler
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, TypeAlias

from ..errors import BackendError
from ..machine import thread_environment, usable_cores
from ..options import Options
from .messages import LOG_LINES, Answer, Fault, Task, last_lines, limit_s, reply_of, task_of, to_json

Message: TypeAlias = dict[str, Any]  # parsed JSON from our own process
log = logging.getLogger(__name__)
LINE_BYTES = 1 << 16  # the longest line of a log
SETTLE_S = 1.0  # how long at most what a process logged before its answer, or its end, may take to arrive
MARK = "\x1eanswer"  # a line of the log: what was logged before an answer ends here
PARENTS = signal.SIGINT, signal.SIGTERM  # they reach all processes of a terminal or job; the parent decides
WARNING = "warning: "  # begins what a worker's log has to tell the user


class WorkerLog:
    """The last lines that a worker process wrote to stderr, and to stdout, read by a thread.

    Its warnings are logged here too. What else its libraries print is kept for the record of a failed input.
    """

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._marks: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.lines: deque[str] = deque(maxlen=LOG_LINES)
        self._thread = threading.Thread(target=self._read, daemon=True, name="cliffvid-log")
        self._thread.start()

    def settle(self) -> None:
        """Wait until the lines are there that were written before an answer."""
        with suppress(queue.Empty):
            self._marks.get(timeout=SETTLE_S)

    def close(self) -> None:
        """Wait until the lines are there that were written before the end of the process."""
        self._thread.join(SETTLE_S)

    def _read(self) -> None:
        with self._pipe as pipe:
            while raw := pipe.readline(LINE_BYTES):
                line = raw.decode(errors="surrogateescape").rstrip("\r\n")
                if line == MARK:
                    self._marks.put(None)
                elif line:
                    self.lines.append(line)
                    if line.startswith(WARNING):
                        log.warning("%s", line.removeprefix(WARNING))


@dataclass(eq=False)
class Process:
    """A worker process and its tasks."""

    popen: subprocess.Popen[bytes]
    log: WorkerLog
    tasks: dict[Task, tuple[float, int]] = field(default_factory=dict)  # when each was submitted, and its place
    since: float = 0.0  # when it was idle or answered last

    def takes(self, task: Task, width: int) -> bool:
        """Return whether there is room for a task; a last attempt is alone in its process."""
        return len(self.tasks) < (1 if any(each.last for each in (task, *self.tasks)) else width)

    def send(self, message: dict[str, object]) -> None:
        with suppress(OSError):  # it has died; wait() reports that
            write(stdin_of(self.popen), message)


class LocalPool:
    """Pool of ``count`` worker processes with up to ``width`` tasks each.

    Each opens the networks once. Results are sent as JSON and Arrow over a pipe, so that a worker's messages cannot
    run code here. If a process ends, all its tasks have failed; the last attempt at a task is alone in its process.
    """

    def __init__(self, count: int, options: Options, work: Path, width: int = 1) -> None:
        self.count, self.width = count, width
        self._environment = os.environ | thread_environment(options.threads or usable_cores())
        self._hello = options.to_json() | {"work": str(work.absolute())}
        self._processes: list[Process] = []
        self._heard: queue.SimpleQueue[tuple[Process, Message | None, bytes]] = queue.SimpleQueue()
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
            process.log.lines.clear()
        now, taken = time.monotonic(), {place for _, place in process.tasks.values()}
        process.since = process.since if process.tasks else now
        process.tasks[task] = now, min(set(range(self.width)) - taken)
        process.send(to_json(task))

    def wait(self, timeout_s: float) -> list[Answer]:
        """Return the answers to the tasks that ended, crashed ones included.

        Raises BackendError if a process ends before any worker has started.
        """
        answers: list[Answer] = []
        with suppress(queue.Empty):
            process, message, rows = self._heard.get(timeout=timeout_s)
            while True:
                if process in self._processes:
                    answers += self._answers(process, message, rows)
                process, message, rows = self._heard.get_nowait()
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
            process.popen.kill()
            _end(process)

    def _start(self) -> Process:
        _mask("SIG_BLOCK")  # in the process too, until it ignores these signals
        try:
            popen = subprocess.Popen(
                [sys.executable, "-m", __name__],
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        finally:
            _mask("SIG_UNBLOCK")
        assert popen.stdout and popen.stderr
        process = Process(popen, WorkerLog(popen.stderr))
        threading.Thread(
            target=self._listen, args=(process, popen.stdout), daemon=True, name="cliffvid-answers"
        ).start()
        self._processes.append(process)
        process.send(self._hello)
        return process

    def _listen(self, process: Process, pipe: IO[bytes]) -> None:
        """Take in what a process answers, until it ends."""
        with pipe:
            while heard := read(pipe):
                self._heard.put((process, *heard))
        self._heard.put((process, None, b""))

    def _answers(self, process: Process, message: Message | None, rows: bytes) -> list[Answer]:
        """Return the answer that a process sent; none if it says that it has started."""
        if message is None:
            return self._buried(process)
        if "hello" in message:
            self._began = True
            return []
        task, reply = task_of(message["task"]), reply_of(message["reply"])
        process.log.settle()
        if isinstance(reply, Fault):
            reply = _with_log(reply, process)
        answer = Answer(task, reply, rows, self._name(process, process.tasks.pop(task)[1]))
        process.since = time.monotonic()
        return [answer]

    def _buried(self, process: Process, fault: Fault | None = None) -> list[Answer]:
        """Return the answers of a process that died: its tasks have failed. The next task gets a new process."""
        code = _end(process)
        self._processes.remove(process)
        how = f"by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"with exit code {code}"
        if not self._began:
            last = f" ({process.log.lines[-1].strip()})" if process.log.lines else ""
            raise BackendError(
                f"a worker's process ended {how} before it began{last}; does `cliffvid doctor` work here?"
            )
        crash = Fault("Crashed", f"the process that worked on it ended {how}", transient=True)
        return [Answer(task, _with_log(fault or crash, process)) for task in process.tasks]


def _mask(how: str) -> None:
    if hasattr(signal, "pthread_sigmask"):  # Windows has none
        signal.pthread_sigmask(getattr(signal, how), PARENTS)


def _end(process: Process) -> int:
    """Return the exit code of a process once it has ended, and all that it logged is there."""
    code = process.popen.wait()
    with suppress(OSError):  # what it did not read any more
        stdin_of(process.popen).close()
    process.log.close()
    return code


def stdin_of(popen: subprocess.Popen[bytes]) -> IO[bytes]:
    assert popen.stdin
    return popen.stdin


def write(pipe: IO[bytes], message: Message, rows: bytes = b"") -> None:
    """Send a message, as one line of JSON, and the rows that belong to it."""
    pipe.write(json.dumps(message | {"bytes": len(rows)}).encode() + b"\n" + rows)
    pipe.flush()


def read(pipe: IO[bytes]) -> tuple[Message, bytes] | None:
    """Return the next message and its rows; None if the other process has ended, or ends within them."""
    if not (line := pipe.readline()).endswith(b"\n"):
        return None
    message: Message = json.loads(line)
    rows = pipe.read(size := message.pop("bytes"))
    return (message, rows) if len(rows) == size else None


def _with_log(fault: Fault, process: Process) -> Fault:
    """Return the fault with the last lines that were read from its process, before those that it has."""
    return replace(fault, log=last_lines([*process.log.lines, *(fault.log or "").splitlines()]))


def main() -> None:
    """Run a worker process until its stdin ends; what is printed meanwhile goes to the log, which is stderr."""
    for number in PARENTS:
        signal.signal(number, signal.SIG_IGN)
    _mask("SIG_UNBLOCK")
    faulthandler.enable(all_threads=False)  # those at work on other inputs would push it out of the log
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.INFO)
    logging.addLevelName(logging.WARNING, WARNING.strip(": "))
    tell, answers = os.fdopen(0, "rb", closefd=False), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        if not (hello := read(tell)):
            raise EOFError
        from .worker import Worker

        worker = Worker(Options.from_json(hello[0]), Path(hello[0]["work"]))
        write(answers, {"hello": os.getpid()})
        tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
        threading.Thread(target=_receive, args=(tell, tasks), daemon=True, name="cliffvid-tasks").start()
        while True:
            for answer in worker.run(_arriving(tasks)):
                os.write(2, f"\n{MARK}\n".encode())
                write(answers, {"task": to_json(answer.task), "reply": to_json(answer.reply)}, answer.rows)
    except (EOFError, ConnectionError):
        os._exit(0)  # the parent is gone, so nothing needs the result


def _receive(pipe: IO[bytes], tasks: queue.SimpleQueue[Task]) -> None:
    """Take in tasks as they come, so that the parent never waits to send one; end the process when it is gone."""
    try:
        while message := read(pipe):
            tasks.put(task_of(message[0]))
    finally:
        os._exit(0)


def _arriving(tasks: queue.SimpleQueue[Task]) -> Iterator[Task | None]:
    """Wait for a task and yield it; from then on, yield None where none has come."""
    yield tasks.get()
    while True:
        yield None if tasks.empty() else tasks.get()


if __name__ == "__main__":
    main()
