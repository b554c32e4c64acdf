"""Open a network as a Session, the same for every inference runtime."""

import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Protocol, Self, TypeAlias

import numpy as np

from ..errors import BackendError, BackendMemoryError, ModelError, is_short_of_memory
from ..machine import plain_device, split_device, usable_cores
from ..tables import Array
from .backends.ort_images import Pictures
from .manifest import Manifest, Tensor

Arrays: TypeAlias = dict[str, Array]  # by the manifest's names, of its dtypes
Facts: TypeAlias = tuple[str, Sequence[object]]  # a tensor's dtype and shape; a free axis is not an integer


@dataclass(frozen=True)
class Backend:
    """A runtime: its module in backends/, imported on use, its devices, default first, and its precisions.

    The first precision is the one whose outputs match the model's reference.
    """

    module: str
    devices: tuple[str, ...]
    precisions: tuple[str, ...]


KNOWN = {
    "onnxruntime": Backend("ort", ("cpu", "cuda"), ("fp32", "tf32", "fp16", "int8")),
    "openvino": Backend("ov", ("cpu",), ("fp32", "bf16", "int8")),
    "tensorrt": Backend("trt", ("cuda",), ("fp32", "fp16", "int8")),
}
DEFAULT = "onnxruntime"


class Network(Protocol):
    """A network on a backend. ``run`` takes and returns arrays by the manifest's names, batch axis first.

    Inputs may be bytes where the network takes floats, so that bytes are transferred. Padding, pinned memory, streams
    and CUDA graphs are internal to the backend.
    """

    manifest: Manifest
    backend: str
    device: str
    precision: str  # of the backbone, see manifest.MODEL_FILES; the rest is fp32, on a GPU TF32 unless this is fp32

    def run(self, inputs: Arrays) -> Arrays: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...


class Session(Network, Protocol):
    """A network ready to run, however little memory there is."""

    warnings: list[str]  # for the user, about the runs so far
    turn_wait_s: float  # seconds spent waiting for another session's use of the CPU

    @property
    def pictures(self) -> Pictures | None:
        """Return what makes the inputs on the device, see cliffvid.pipeline.upload; None if the backend cannot."""

    @property
    def rows_max(self) -> int | None:
        """Return the most rows it runs at once; None until a batch exceeds the memory."""

    def pad_to(self, rows: int) -> None:
        """Expect batches of so many rows; a backend that is slow at other sizes pads smaller ones."""


def open_session(
    manifest: Manifest, backend: str = "auto", device: str = "auto", threads: int = 0, precision: str = "fp32"
) -> Session:
    """Return a session for a model folder.

    Raises ModelError for a folder that is damaged or has no network of that precision. Raises BackendError if the
    requested runtime, device or precision is not available.
    """
    name = DEFAULT if backend == "auto" else backend
    known = KNOWN[name]
    if split_device(device)[0] not in ("auto", *known.devices):
        raise BackendError(
            f"--device {device}: {name} has {' and '.join(known.devices)} here; choose another --backend"
        )
    if precision not in known.precisions:
        raise BackendError(
            f"--precision {precision}: {name} has {', '.join(known.precisions)}; choose another --backend"
        )
    device = known.devices[0] if device == "auto" else plain_device(device)
    if precision == "tf32" and device == "cpu":
        raise BackendError("--precision tf32: arithmetic of NVIDIA GPUs; choose another, or --device cuda")
    module = import_module(f".backends.{known.module}", __package__)
    threads = threads or usable_cores()
    return OomRetry(module.open_session(manifest, device, threads, precision), threads)


def not_loaded(
    path: Path | str, runtime: str, error: Exception, memory_is_short: bool = False
) -> ModelError | BackendMemoryError:
    """Return the error to raise where a runtime cannot load a network."""
    words = " ".join(str(error).split())
    if memory_is_short or is_short_of_memory(error):
        return BackendMemoryError(f"{path}: memory does not suffice to load it; end what else runs here ({words})")
    return ModelError(f"{path}: {runtime} cannot load it ({words}); export the model again")


def as_taken(manifest: Manifest, inputs: Arrays) -> Arrays:
    """Return contiguous inputs in the network's dtypes. Raises TypeError for a lossy conversion."""
    return {
        name: array.astype(manifest.inputs[name].dtype, order="C", casting="safe", copy=False)
        for name, array in inputs.items()
    }


# Two networks that use all cores at once slow each other down: YOLOv3 and CLIFF-HR48 took 7 % longer.
ALL_CORES = threading.RLock()


class OomRetry:
    """A session that halves a batch when memory runs out, and splits larger ones into such parts from then on.

    Sessions of a process that each use all CPU cores take turns. Raises BackendMemoryError if memory does not suffice
    for one row.
    """

    def __init__(self, session: Network, threads: int) -> None:
        self._turn = ALL_CORES if session.device == "cpu" and threads >= usable_cores() else nullcontext()
        self._session, self._padded = session, 0
        self.rows_max: int | None = None
        self.warnings: list[str] = []
        self.turn_wait_s = 0.0
        self.turn_waits: list[tuple[float, float]] | None = None  # if a list: collects start and end of each wait
        self.manifest, self.backend = session.manifest, session.backend
        self.device, self.precision = session.device, session.precision

    def pad_to(self, rows: int) -> None:
        if self.device != "cpu" and (pad := getattr(self._session, "pad_to", None)):
            self._padded = min(rows, self.rows_max or rows)
            pad(self._padded)

    def run(self, inputs: Arrays) -> Arrays:
        rows = len(next(iter(inputs.values())))
        answers: list[Arrays] = []
        start = 0
        while start < rows or not answers:
            stop = min(start + (self._padded or self.rows_max or rows), rows)
            try:
                part = {name: array[start:stop] for name, array in inputs.items()}
                asked = perf_counter()
                with self._turn:
                    began = perf_counter()
                    self.turn_wait_s += began - asked
                    if self.turn_waits is not None:
                        self.turn_waits.append((asked, began))
                    answers.append(self._session.run(part))
            except Exception as error:  # each runtime has its own class, and a MemoryError may have no message
                if not is_short_of_memory(error):
                    raise
                self._halve(max(stop - start, self._padded), error)
            else:
                start = stop
        if len(answers) == 1:
            return answers[0]
        return {name: np.concatenate([answer[name] for answer in answers]) for name in self.manifest.outputs}

    @property
    def pictures(self) -> Pictures | None:
        pictures: Pictures | None = getattr(self._session, "pictures", None)
        return pictures

    def _halve(self, rows: int, error: Exception) -> None:
        where = f"{self.manifest.name} on {self.device}"
        if rows <= 1:
            raise BackendMemoryError(
                f"{where}: memory does not suffice for a single one; end what else runs there ({error})"
            ) from error
        self.rows_max = rows // 2
        if self._padded:
            self.pad_to(self.rows_max)
        self.warnings = [f"{where}: memory does not suffice for {rows} at once: went on with {self.rows_max}"]

    def close(self) -> None:
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def no_rows(manifest: Manifest) -> Arrays:
    """Return the outputs for an empty batch, which kernels need not accept."""
    return {name: np.zeros((0, *t.row({})), t.dtype) for name, t in manifest.outputs.items()}


def check_tensors(manifest: Manifest, side: str, promised: dict[str, Tensor], found: Mapping[str, Facts]) -> None:
    """Raise ModelError unless the network has exactly the tensors its manifest promises."""
    for name in promised.keys() | found.keys():
        want, have = promised.get(name), found.get(name)
        fits = (
            want is not None
            and have is not None
            and want.dtype == have[0]
            and len(want.shape) == len(have[1])
            and all(
                w == h or not (isinstance(w, int) or isinstance(h, int))
                for w, h in zip(want.shape, have[1], strict=True)
            )
        )
        if not fits:
            promise = f"{want.dtype} {want.shape}" if want else "nothing of that name"
            reality = f"{have[0]} {tuple(have[1])}" if have else "nothing of that name"
            raise ModelError(
                f"{manifest.folder}: {side} {name!r}: the manifest promises {promise}, the network has {reality}; "
                "export the model again"
            )


def check_answers(session: Session) -> None:
    """Raise ModelError unless the outputs for blank inputs are finite and have the promised shapes.

    If the input's sides are free, the smallest one is tried as well as the full canvas.
    """
    manifest, rule = session.manifest, session.manifest.rules.get("letterbox")
    _check_answers(session, manifest.row_shapes())
    if rule and rule.least_px:
        least = replace(rule, width_px=rule.least_px, height_px=rule.least_px)
        _check_answers(session, replace(manifest, rules={"letterbox": least}).row_shapes())


def _check_answers(session: Session, rows: dict[str, tuple[int, ...]]) -> None:
    manifest = session.manifest
    inputs = {name: np.zeros((2, *row), manifest.inputs[name].dtype) for name, row in rows.items()}
    try:
        answers = session.run(inputs)
    except BackendError:
        raise
    except Exception as error:  # each runtime has its own class
        shapes = ", ".join(f"{name!r} of {row}" for name, row in rows.items())
        raise ModelError(f"{manifest.folder}: cannot take {shapes} ({error}); export the model again") from error
    for name, tensor in manifest.outputs.items():
        answer = answers[name]
        if answer.shape != (2, *tensor.shape[1:]) or answer.dtype != tensor.dtype or not np.isfinite(answer).all():
            raise ModelError(
                f"{manifest.folder}: output {name!r} is {answer.dtype} {answer.shape} or not finite, the manifest "
                f"promises {tensor.dtype} {tensor.shape}; export the model again"
            )


class Runnable(Protocol):
    """The interface of a session that stages use."""

    manifest: Manifest

    def run(self, inputs: Arrays) -> Arrays: ...


def together(session: Runnable, inputs: list[Arrays]) -> list[Arrays]:
    """Return a session's output for each of several inputs; inputs of equal shape are run in a single call."""
    answers: list[Arrays] = [{}] * len(inputs)
    shapes: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for i, given in enumerate(inputs):
        shapes.setdefault(tuple(array.shape[1:] for array in given.values()), []).append(i)
    for members in shapes.values():
        if len(members) == 1:
            answers[members[0]] = session.run(inputs[members[0]])
            continue
        joined = {name: np.concatenate([inputs[i][name] for i in members]) for name in inputs[members[0]]}
        answer, start = session.run(joined), 0
        for i in members:
            end = start + len(next(iter(inputs[i].values())))
            answers[i] = {name: array[start:end] for name, array in answer.items()}
            start = end
    return answers
