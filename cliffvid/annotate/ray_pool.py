"""Pool of Ray actors, on a given cluster or on a local one that ends with the job.

All machines of the cluster must see inputs, networks and data set under the same paths. The job does all retries:
Ray only restarts actors whose process or machine was lost.
"""

import json
import os
import socket
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias, TypedDict

from .. import optional
from ..errors import BackendError, UsageError
from ..machine import on_gpu, split_device, usable_cores
from ..options import Options
from .messages import Answer, Fault, Task, limit_s, reply_of, task_of, to_json

FromRay: TypeAlias = Any  # untyped Ray objects: actor handles and object references
START_S = 300.0  # a cluster may have to start a machine first


class Hello(TypedDict):
    """Settings of an actor."""

    options: dict[str, object]
    work: str
    cwd: str


@dataclass
class RayWorker:
    """A Ray actor and its current task."""

    actor: FromRay
    task: Task | None = None
    since: float = field(default_factory=time.monotonic)
    late: bool = False  # killed because its task took too long
    asked: FromRay | None = None  # pending health check of a lost actor; it gets no task until it answers


class RayPool:
    """Pool of ``count`` actors, each with one task at a time; 0: one per GPU of the cluster, or as its cores allow."""

    def __init__(self, count: int, address: str | None, options: Options, work: Path) -> None:
        if split_device(options.device)[1]:
            raise UsageError(f"--device {options.device}: Ray gives each worker a GPU of its own; use --device cuda")
        self._ray = ray = _ray()
        self._own = not ray.is_initialized()
        if self._own:
            _check(address)
            here: dict[str, object] = {} if address else {"num_cpus": usable_cores(), "include_dashboard": False}
            try:
                ray.init(address=address, log_to_driver=False, configure_logging=False, **here)
            except (ConnectionError, RuntimeError, ValueError, OSError) as error:
                hint = "is RAY_AUTH_TOKEN its token?"
                raise BackendError(f"--address {address}: no Ray cluster answers there ({error}); {hint}") from error
        cores = options.threads or 1
        have = ray.cluster_resources()
        fitting = (
            int(have.get("GPU", 0)) if on_gpu(options.device, options.backend) else int(have.get("CPU", 1)) // cores
        )
        self.count = count or max(fitting, 1)
        hello: Hello = {
            "options": replace(options, threads=cores).to_json(),
            "work": str(work.absolute()),
            "cwd": os.getcwd(),
        }
        share = {"num_cpus": cores, "num_gpus": 1 if on_gpu(options.device, options.backend) else 0}
        actor = ray.remote(max_restarts=-1, max_task_retries=0, **share)(_Actor)
        self._seats = [RayWorker(actor.remote(hello)) for _ in range(self.count)]
        self._running: dict[FromRay, tuple[RayWorker, Task]] = {}  # object reference -> worker and task
        try:
            ray.get(self._seats[0].actor.hello.remote(), timeout=START_S)
        except ray.exceptions.RayError as error:
            self.close()
            raise BackendError(f"no worker starts on this Ray cluster ({error})") from error

    def takes(self, task: Task) -> bool:
        return any(seat.task is None and seat.asked is None for seat in self._seats)

    def at_work(self) -> list[tuple[str, Task, float]]:
        now = time.monotonic()
        return [(str(i), seat.task, now - seat.since) for i, seat in enumerate(self._seats) if seat.task]

    def submit(self, task: Task) -> None:
        seat = next(seat for seat in self._seats if seat.task is None and seat.asked is None)
        seat.task, seat.since, seat.late = task, time.monotonic(), False
        self._running[seat.actor.do.remote(json.dumps(to_json(task)))] = seat, task

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
                reply, rows = self._ray.get(promise)
                ended.append(Answer(task, reply_of(json.loads(reply)), rows))
            except self._ray.exceptions.RayError as error:
                ended.append(Answer(task, _lost(seat, task, error)))
                seat.asked, seat.since = seat.actor.hello.remote(), time.monotonic()
        for seat, task in self._running.values():
            if time.monotonic() - seat.since > limit_s([task]) and not seat.late:
                seat.late = True
                self._ray.kill(seat.actor, no_restart=False)
        return ended

    def _ask(self) -> None:
        """Check whether lost actors are back; an actor that Ray is restarting would fail any task at once."""
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
    return Fault("Crashed", f"the worker at it was lost ({str(error).splitlines()[0]})", transient=True)


class _Actor:
    """Ray actor that wraps a Worker. The first task that needs the networks opens them."""

    def __init__(self, hello: Hello) -> None:
        from .worker import Worker

        os.chdir(hello["cwd"])  # input paths are relative to the command's working directory
        self._worker = Worker(Options.from_json(hello["options"]), Path(hello["work"]))

    def hello(self) -> int:
        return os.getpid()

    def do(self, task: str) -> tuple[str, bytes]:
        (answer,) = self._worker.run(iter([task_of(json.loads(task))]))
        return json.dumps(to_json(answer.reply)), answer.rows
