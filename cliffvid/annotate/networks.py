"""Inference server: a separate process that holds the networks and batches the requests of several workers.

A worker has a socket to each network. Arrays are sent raw: a batch of 1.3 MB takes 0.3 ms, against 0.15 ms with
shared memory and tens of milliseconds for inference.
"""

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Self, TypedDict

import numpy as np

from ..errors import BackendError, BackendMemoryError, CliffvidError, ModelError, UsageError
from ..models.manifest import Manifest
from ..models.registry import find_model
from ..models.session import no_rows
from ..options import Options
from ..pipeline.batching import Shared
from ..pipeline.networks import Models, open_models
from ..tables import Array

BATCHES = ("frame_batch", "person_batch")  # of detector and regressor; all sockets are in this order


class NetworksLost(CliffvidError):
    """The process that holds the networks ended; the next task starts a new one."""


class Head(TypedDict, total=False):
    """Header of a message: a request or an answer, without its arrays."""

    do: str
    backend: str
    device: str
    precision: str
    rows: int  # recommended batch size
    chosen: Sequence[str]  # of both networks: the choice of --precision auto, and its reason
    error: str
    message: str


class Line:
    """One end of a socket that carries messages of a dict and named arrays."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def fileno(self) -> int:
        return self._end.fileno()

    def close(self) -> None:
        self._end.close()

    def send(self, head: Head, arrays: Mapping[str, Array]) -> None:
        """Send a message. Raises OSError if the other end is closed."""
        shapes = {name: [array.dtype.str, array.shape] for name, array in arrays.items()}
        text = json.dumps({**head, "arrays": shapes}).encode()
        self._end.sendall(len(text).to_bytes(4) + text)
        for array in arrays.values():
            self._end.sendall(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)

    def receive(self) -> tuple[Head, dict[str, Array]]:
        """Return the next message. Raises EOFError or OSError if the other end is closed."""
        head = json.loads(self._bytes(int.from_bytes(self._bytes(4))))
        shapes = head.pop("arrays")
        return head, {name: self._array(np.dtype(kind), shape) for name, (kind, shape) in shapes.items()}

    def _array(self, dtype: np.dtype[np.generic], shape: list[int]) -> Array:
        return np.frombuffer(self._bytes(dtype.itemsize * int(np.prod(shape))), dtype).reshape(shape)

    def _bytes(self, size: int) -> bytearray:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            count = self._end.recv_into(view, len(view), socket.MSG_WAITALL)
            if not count:
                raise EOFError
            view = view[count:]
        return data


class DistantSession:
    """A network in another process; see backends.Session. Its socket stays open after it is closed."""

    pictures, rows_max, turn_wait_s = None, None, 0.0

    def __init__(self, line: Line, manifest: Manifest) -> None:
        self._line, self.manifest = line, manifest
        self.warnings: list[str] = []
        self.facts, _ = self._ask({"do": "open"}, {})
        self.backend, self.device = self.facts["backend"], self.facts["device"]
        self.precision = self.facts["precision"]

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Return the network's outputs. Raises NetworksLost if its process ends meanwhile."""
        if len(next(iter(inputs.values()))) == 0:
            return no_rows(self.manifest)
        return self._ask({"do": "run"}, inputs)[1]

    def _ask(self, head: Head, arrays: dict[str, Array]) -> tuple[Head, dict[str, Array]]:
        try:
            self._line.send(head, arrays)
            answer, arrays = self._line.receive()
        except (EOFError, OSError) as error:
            raise NetworksLost("the process that holds the networks ended while it worked on this") from error
        if "error" in answer:
            kinds = {kind.__name__: kind for kind in (ModelError, BackendError, BackendMemoryError, UsageError)}
            raise kinds.get(answer["error"], RuntimeError)(answer["message"])
        return answer, arrays

    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


def distant_models(lines: Sequence[Line], options: Options) -> tuple[Models, Options]:
    """Return the networks at the other ends, and the options with batch sizes recommended for them.

    Raises UsageError, ModelError or BackendError as opening a network does, and NetworksLost.
    """
    names = (("detect", options.detector), ("regress", options.regressor))
    detector, regressor = (
        DistantSession(line, find_model(*name, options.models_dir)) for line, name in zip(lines, names, strict=True)
    )
    options = replace(options, frame_batch=detector.facts["rows"], person_batch=regressor.facts["rows"])
    return Models(detector, regressor, tuple(detector.facts["chosen"])), options


@dataclass
class Networks:
    """Handle of the process that holds the networks, for its parent process."""

    popen: subprocess.Popen[bytes]
    control: socket.socket

    @classmethod
    def begin(cls, options: Options) -> Self:
        here, there = socket.socketpair()
        command = [sys.executable, "-m", __name__, str(there.fileno()), json.dumps(options.to_json())]
        with there:
            popen = subprocess.Popen(command, pass_fds=[there.fileno()], stdin=subprocess.DEVNULL, stdout=2)
        return cls(popen, here)

    def ended(self) -> bool:
        return self.popen.poll() is not None

    def lines(self) -> list[socket.socket]:
        """Return a worker's ends of new sockets to the networks; if the process has ended, they are dead."""
        pairs = [socket.socketpair() for _ in BATCHES]
        with suppress(OSError):
            socket.send_fds(self.control, [b"+"], [there.fileno() for _, there in pairs])
        for _, there in pairs:
            there.close()
        return [here for here, _ in pairs]

    def end(self) -> None:
        self.control.close()
        self.popen.kill()
        self.popen.wait()


class Server:
    """Inference server for all workers; the first request opens the networks."""

    def __init__(self, options: Options, control: socket.socket) -> None:
        self._options, self._control = options, control
        self._lines = selectors.DefaultSelector()
        self._lines.register(control, selectors.EVENT_READ)
        self._models: Models | None = None
        self._shared: list[Shared] = []

    def serve(self) -> None:
        """Serve requests until the parent process closes its socket."""
        while True:
            for key, _ in self._lines.select():
                if key.fileobj is not self._control:
                    self._listen(*key.data)
                elif not self._add_lines():
                    return

    def _add_lines(self) -> bool:
        word, ends, *_ = socket.recv_fds(self._control, 1, len(BATCHES))
        for place, end in enumerate(ends):
            line = Line(socket.socket(fileno=end))
            self._lines.register(line, selectors.EVENT_READ, (line, place))
        return bool(word)

    def _listen(self, line: Line, place: int) -> None:
        try:
            head, arrays = line.receive()
        except (EOFError, OSError):  # its worker has ended
            self._lines.unregister(line)
            line.close()
            return
        if head["do"] == "run":
            self._shared[place].ask(arrays, partial(_answer, line, {}))
            return
        try:
            facts = self._open(place)
        except Exception as error:
            _answer(line, {}, error)
        else:
            _answer(line, facts, {})

    def _open(self, place: int) -> Head:
        """Open the networks if necessary, and return the facts about one that a worker needs."""
        from ..models.batch_size import with_batch_sizes

        if self._models is None:
            models = open_models(self._options)
            self._options = with_batch_sizes(self._options, models.detector, models.regressor)
            self._models, self._shared = models, [Shared(models.detector), Shared(models.regressor)]
        session = (self._models.detector, self._models.regressor)[place]
        return {
            "rows": getattr(self._options, BATCHES[place]),
            "chosen": self._models.chosen,
            "backend": session.backend,
            "device": session.device,
            "precision": session.precision,
        }


def _answer(line: Line, head: Head, arrays: dict[str, Array] | Exception) -> None:
    if isinstance(arrays, Exception):
        kind = type(arrays).__name__
        words = str(arrays) if isinstance(arrays, CliffvidError) else f"{kind}: {arrays}"
        head, arrays = {"error": kind, "message": words}, {}
    with suppress(OSError):  # the worker has ended
        line.send(head, arrays)


def main(handle: int, options: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent decides
    Server(Options.from_json(json.loads(options)), socket.socket(fileno=handle)).serve()
    os._exit(0)  # without waiting for threads


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
