"""Pool of Ray actors, on a given cluster or on a local one that ends with the job.

All machines of the cluster must see the inputs under the same names and have the same models, where they are. Only the
job's own machine needs the data set: results travel as messages. The job does all retries: Ray only restarts actors
whose process or machine was lost.
"""

import json
import logging
import math
import os
import platform
import socket
import tempfile
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias, TypedDict

from .. import optional
from ..errors import BackendError, CliffvidError, ModelError, UsageError
from ..machine import on_gpu, split_device, usable_cores
from ..options import Options
from .messages import (
    LOG_LINES,
    Answer,
    Fault,
    Join,
    Processed,
    Reply,
    Task,
    last_lines,
    limit_s,
    reply_of,
    task_of,
    to_json,
)
from .plan import recipe
from .store.dataset import writing
from .store.records import ModelRecord

FromRay: TypeAlias = Any  # untyped Ray objects: actor handles and object references
START_S = 300.0  # a cluster may have to start a machine first


class Hello(TypedDict):
    """Settings of an actor."""

    options: dict[str, object]
    models: list[ModelRecord]
    cwd: str


@dataclass
class RayWorker:
    """A Ray actor and its current task."""

    actor: FromRay
    task: Task | None = None
    since: float = field(default_factory=time.monotonic)
    late: bool = False  # killed because its task took too long
    asked: FromRay | None = None  # pending call of an actor that is starting; it gets no task until it answers


class RayPool:
    """Pool of ``count`` actors, each with one task at a time; 0: one per GPU of the cluster, or as its cores allow.

    More actors than GPUs share these evenly. Actors for which there is no room wait until there is.
    """

    def __init__(self, count: int, address: str | None, options: Options, work: Path) -> None:
        if split_device(options.device)[1]:
            raise UsageError(f"--device {options.device}: Ray gives each worker a GPU of its own; use --device cuda")
        self._ray = ray = _ray()
        self._own = not ray.is_initialized()
        if self._own:
            _check(address)
            here: dict[str, object] = {} if address else {"num_cpus": usable_cores(), "include_dashboard": False}
            try:
                ray.init(address=address or "local", log_to_driver=False, configure_logging=False, **here)
            except (ConnectionError, RuntimeError, ValueError, OSError) as error:
                hint = "is RAY_AUTH_TOKEN its token?"
                raise BackendError(f"--address {address}: no Ray cluster answers there ({error}); {hint}") from error
        self._work, cores = work, options.threads or 1
        gpus = self._room("GPU", 1) if on_gpu(options.device, options.backend) else 0
        self.count = count or gpus or max(self._room("CPU", cores), 1)
        hello: Hello = {
            "options": replace(options, threads=cores).to_json(),
            "models": recipe(options).models,
            "cwd": os.getcwd(),
        }
        how = {"num_cpus": cores, "num_gpus": _share(self.count, gpus), "max_restarts": -1, "max_task_retries": 0}
        actor = ray.remote(**how)(_Actor)
        self._seats = [RayWorker(actor.remote(hello)) for _ in range(self.count)]
        self._running: dict[FromRay, tuple[RayWorker, Task]] = {}  # object reference -> worker and task
        for seat in self._seats:
            seat.asked = seat.actor.hello.remote()
        try:
            first, _ = ray.wait([seat.asked for seat in self._seats], num_returns=1, timeout=START_S)
            ray.get(first, timeout=0)
        except ray.exceptions.RayError as error:
            self.close()
            raise BackendError(f"no worker starts on this Ray cluster ({error})") from error
        if not first:
            self.close()
            raise BackendError(f"no worker has started on this Ray cluster in {START_S:.0f} s; is there room on it?")

    def _room(self, kind: str, each: int) -> int:
        """Return how many actors fit on the machines of the cluster, if each takes so many of a resource."""
        alive = [node for node in self._ray.nodes() if node["Alive"]]
        return sum(int(node["Resources"].get(kind, 0)) // each for node in alive)

    def takes(self, task: Task) -> bool:
        return any(seat.task is None and seat.asked is None for seat in self._seats)

    def at_work(self) -> list[tuple[str, Task, float]]:
        now = time.monotonic()
        return [(self._name(seat), seat.task, now - seat.since) for seat in self._seats if seat.task]

    def _name(self, seat: RayWorker) -> str:
        return str(self._seats.index(seat))

    def submit(self, task: Task) -> None:
        seat = next(seat for seat in self._seats if seat.task is None and seat.asked is None)
        seat.task, seat.since, seat.late = task, time.monotonic(), False
        names = (*task.files, *task.thumbs) if isinstance(task, Join) else ()
        files = {path.name: path.read_bytes() for path in (self._work / name for name in names)}
        self._running[seat.actor.do.remote(json.dumps(to_json(task)), files)] = seat, task

    def wait(self, timeout_s: float) -> list[Answer]:
        self._ask()
        if not self._running:
            time.sleep(timeout_s)
            return []
        ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=timeout_s)
        ended: list[Answer] = []
        for promise in ready:
            seat, task = self._running.pop(promise)
            seat.task = None
            try:
                reply, rows, files = self._ray.get(promise)
                self._keep(files)
                ended.append(Answer(task, reply_of(json.loads(reply)), rows, self._name(seat)))
            except self._ray.exceptions.RayError as error:
                ended.append(Answer(task, _lost(seat, task, error)))
                seat.asked, seat.since = seat.actor.hello.remote(), time.monotonic()
        for seat, task in self._running.values():
            if time.monotonic() - seat.since > limit_s([task]) and not seat.late:
                seat.late = True
                self._ray.kill(seat.actor, no_restart=False)
        return ended

    def _keep(self, files: dict[str, bytes]) -> None:
        """Write what a worker has made into the data set's folder for work. Raises OutputError."""
        with writing(self._work.parent):
            for name, data in files.items():
                path = self._work / Path(name).name
                with path.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())

    def _ask(self) -> None:
        """Check whether actors have started; one that Ray is restarting would fail any task at once."""
        for seat in self._seats:
            if seat.asked is None or not self._ray.wait([seat.asked], timeout=0)[0]:
                continue
            try:
                self._ray.get(seat.asked)
                seat.asked = None
            except self._ray.exceptions.RayError:
                if time.monotonic() - seat.since > 1:
                    seat.asked, seat.since = seat.actor.hello.remote(), time.monotonic()

    def close(self) -> None:
        seats, self._seats = self._seats, []
        for seat in seats:
            self._ray.kill(seat.actor)
        if self._own and seats:
            self._ray.shutdown()


def _ray() -> ModuleType:
    return optional.load("ray", 'pip install "cliffvid[ray]"', f"{optional.REINSTALL}; or leave --runner ray out")


def _check(address: str | None) -> None:
    """Raise BackendError if nothing listens at host:port; Ray itself would try for minutes."""
    host, _, port = (address or "").rpartition(":")
    if not host or not port.isdecimal() or "://" in host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise BackendError(f"--address {address}: no Ray cluster answers there ({error})") from error


def _lost(seat: RayWorker, task: Task, error: Exception) -> Fault:
    if seat.late:
        return Fault("TimedOut", f"took longer than {limit_s([task]):.0f} s; its process was ended", transient=True)
    first, *_ = lines = str(error).splitlines()
    return Fault("Crashed", f"the worker at it was lost ({first})", transient=True, log=last_lines(lines))


def _share(count: int, gpus: int) -> float:
    """Return the part of a GPU for each of ``count`` actors, rounded down to what Ray can count."""
    return math.floor(10_000 / math.ceil(count / gpus)) / 10_000 if gpus else 0.0


class LoggedLines(logging.Handler):
    """Handler that keeps the last lines of what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: deque[str] = deque(maxlen=LOG_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.extend(self.format(record).splitlines())


class _Actor:
    """Ray actor that wraps a Worker. The first task that needs the networks opens them.

    Each task has a folder for work of its own: what it reads from or writes to it comes and goes with the call.
    """

    def __init__(self, hello: Hello) -> None:
        from .worker import Worker

        with suppress(OSError):  # inputs named by whole paths or addresses need no working directory
            os.chdir(hello["cwd"])
        options = Options.from_json(hello["options"])
        if options.models_dir and not options.models_dir.is_dir():  # this machine has its models elsewhere
            options = replace(options, models_dir=None)
        self._options, self._models, self._checked = options, hello["models"], False
        self._worker = Worker(options, Path(tempfile.gettempdir()))
        self._log = LoggedLines()
        logging.getLogger().addHandler(self._log)

    def hello(self) -> int:
        return os.getpid()

    def do(self, plain: str, files: dict[str, bytes]) -> tuple[str, bytes, dict[str, bytes]]:
        """Return the reply to a task, its rows, and the files that it names; ``files``: those of the task."""
        from .task_runs import fault_of

        self._log.lines.clear()
        with tempfile.TemporaryDirectory(prefix="cliffvid-") as folder:
            work = self._worker.work = Path(folder)
            for name, data in files.items():
                path = work / Path(name).name
                path.write_bytes(data)
            try:
                self._check_models()
                (answer,) = self._worker.run(iter([task_of(json.loads(plain))]))
                reply, rows = answer.reply, answer.rows
                made = {path.name: path.read_bytes() for path in (work / name for name in _files_of(reply))}
            except CliffvidError as error:
                reply, rows, made = fault_of(error), b"", {}
        if isinstance(reply, Fault):
            reply = replace(reply, log=last_lines([*self._log.lines, *(reply.log or "").splitlines()]))
        return json.dumps(to_json(reply)), rows, made

    def _check_models(self) -> None:
        """Raise ModelError unless this machine has the job's models; other ones would give other rows."""
        if self._checked:
            return
        for model, here in zip(self._models, recipe(self._options).models, strict=True):
            if model != here:
                raise ModelError(
                    f"{platform.node()}: its model {here['name']} is not the job's {model['name']}, or not the same; "
                    "copy the job's models to the same place there, or name their folder in CLIFFVID_ENGINES"
                )
        self._checked = True


def _files_of(reply: Reply) -> list[str]:
    """Return the names of the files that a reply brings with it."""
    return [name for name in (reply.result["file"], reply.thumbs) if name] if isinstance(reply, Processed) else []
