"""One Session in front of every inference runtime."""

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
Facts: TypeAlias = tuple[str, Sequence[object]]  # a tensor's dtype and shape, with no integer on a free axis


@dataclass(frozen=True)
class Backend:
    """A runtime: the module of this package that is imported on use, and what it runs on, the default first.

    Of its precisions the first is the one that answers as the model's reference does.
    """

    module: str
    devices: tuple[str, ...]
    precisions: tuple[str, ...]


KNOWN = {
    "onnxruntime": Backend("ort", ("cpu", "cuda"), ("fp32", "fp16", "int8")),
    "openvino": Backend("ov", ("cpu",), ("fp32", "bf16", "int8")),
    "tensorrt": Backend("trt", ("cuda",), ("fp32", "fp16", "int8")),
}
DEFAULT = "onnxruntime"


class Network(Protocol):
    """A network as a backend runs it. ``run`` takes and returns arrays by the manifest's names, batch axis first.

    It takes bytes where the network takes floats, so that they travel as bytes. Padding, pinned memory, streams and
    graphs are the backend's secret.
    """

    manifest: Manifest
    backend: str
    device: str
    precision: str  # of the backbone's arithmetic, see manifest.MODEL_FILES; what follows it is always fp32

    def run(self, inputs: Arrays) -> Arrays: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...


class Session(Network, Protocol):
    """A network ready to run, whatever there is of memory."""

    warnings: list[str]  # what a user should know of how it ran so far
    turn_wait_s: float  # seconds it waited for another to leave the CPU's cores

    @property
    def pictures(self) -> Pictures | None:
        """What makes its input where it runs, see cliffvid.pipeline.upload; None where the backend cannot."""

    @property
    def rows_max(self) -> int | None:
        """How many rows it runs at once, where memory did not suffice for more."""


def open_session(
    manifest: Manifest, backend: str = "auto", device: str = "auto", threads: int = 0, precision: str = "fp32"
) -> Session:
    """A session for a model folder.

    Raises ModelError for a folder that is damaged or has no network of that precision, BackendError if the runtime,
    device or precision asked for is not there.
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
    module = import_module(f".backends.{known.module}", __package__)
    threads = threads or usable_cores()
    return OomRetry(module.open_session(manifest, device, threads, precision), threads)


def not_loaded(path: Path | str, runtime: str, error: Exception) -> ModelError | BackendMemoryError:
    """What to raise where a runtime cannot load a network."""
    if is_short_of_memory(error):
        return BackendMemoryError(f"{path}: memory does not suffice to load it; end what else runs here ({error})")
    return ModelError(f"{path}: {runtime} cannot load it ({error}); export the model again")


def as_taken(manifest: Manifest, inputs: Arrays) -> Arrays:
    """Inputs in the network's dtypes, each in one piece; Pictures, which become that where it runs, as they are.

    Raises TypeError for an array that would lose something.
    """
    return {
        name: array
        if array.dtype.hasobject
        else array.astype(manifest.inputs[name].dtype, order="C", casting="safe", copy=False)
        for name, array in inputs.items()
    }


# Two networks that both take all cores at once hinder each other: YOLOv3 and CLIFF-HR48 took 7 % longer so.
ALL_CORES = threading.RLock()


class OomRetry:
    """A session that runs a batch in halves where memory does not suffice, and larger ones in such parts from then on.

    Those of a process that take all cores of the CPU take turns. Raises BackendMemoryError if memory does not even
    suffice for one row.
    """

    def __init__(self, session: Network, threads: int) -> None:
        self._turn = ALL_CORES if session.device == "cpu" and threads >= usable_cores() else nullcontext()
        self._session = session
        self.rows_max: int | None = None
        self.warnings: list[str] = []
        self.turn_wait_s = 0.0
        self.turn_waits: list[tuple[float, float]] | None = None  # a list here takes from when to when that was
        self.manifest, self.backend = session.manifest, session.backend
        self.device, self.precision = session.device, session.precision

    def run(self, inputs: Arrays) -> Arrays:
        rows = len(next(iter(inputs.values())))
        answers: list[Arrays] = []
        start = 0
        while start < rows or not answers:
            stop = min(start + (self.rows_max or rows), rows)
            try:
                part = {name: array[start:stop] for name, array in inputs.items()}
                asked = perf_counter()
                with self._turn:
                    began = perf_counter()
                    self.turn_wait_s += began - asked
                    if self.turn_waits is not None:
                        self.turn_waits.append((asked, began))
                    answers.append(self._session.run(part))
            except Exception as error:  # each runtime has its own, and a MemoryError need not say anything
                if not is_short_of_memory(error):
                    raise
                self._halve(stop - start, error)
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
        self.warnings = [f"{where}: memory does not suffice for {rows} at once: went on with {self.rows_max}"]

    def close(self) -> None:
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def no_rows(manifest: Manifest) -> Arrays:
    """The answer to an empty batch: no kernel promises to take one."""
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
    """Raise ModelError unless the network answers empty pictures with finite arrays of the promised shapes.

    Where its sides are free, the smallest picture is tried as well as the whole canvas.
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
    except Exception as error:  # each runtime has its own
        shapes = ", ".join(f"{name!r} of {row}" for name, row in rows.items())
        raise ModelError(f"{manifest.folder}: cannot take {shapes} ({error}); export the model again") from error
    for name, tensor in manifest.outputs.items():
        answer = answers[name]
        if answer.shape != (2, *tensor.shape[1:]) or answer.dtype != tensor.dtype or not np.isfinite(answer).all():
            raise ModelError(
                f"{manifest.folder}: output {name!r} is {answer.dtype} {answer.shape} or not finite, the manifest "
                f"promises {tensor.dtype} {tensor.shape}; export the model again"
            )
