"""Run networks with onnxruntime, on the CPU or with its CUDA provider.

cuDNN plans each convolution for one shape and plans anew for another. So on a GPU, a shape has a session, and batches
are padded to one size, see ``OrtSession.pad_to``.
"""

import logging
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Self

from ... import optional
from ...errors import BackendError, is_short_of_memory
from ...pending import PendingInputs, pending_among
from ..manifest import Manifest
from ..session import Arrays, as_taken, check_tensors, no_rows, not_loaded
from .ort_images import Pictures
from .ort_queue import Queue
from .ort_run import DeviceRun, Sides
from .ort_types import OrtNetwork

log = logging.getLogger(__name__)
DTYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(float16)": "float16"}
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
SHAPES_KEPT = 8  # as many videos are decoded at a time on a GPU, see batch_size.py; each may have another canvas
BUILDS = ("onnxruntime", "onnxruntime-gpu")
REPAIR = "pip uninstall onnxruntime onnxruntime-gpu, then install one of cliffvid[cpu] and cliffvid[gpu]"


def open_session(manifest: Manifest, device: str, threads: int, precision: str) -> "OrtSession":
    return OrtSession(load(), manifest, device, threads, precision)


def load() -> ModuleType:
    """Return the onnxruntime module, and warn if two builds of it are installed.

    Raises BackendError if it is incomplete.
    """
    onnxruntime = optional.load("onnxruntime", 'pip install "cliffvid[cpu]" (or [gpu])')
    if not hasattr(onnxruntime, "InferenceSession"):  # one of two builds was uninstalled, with files of the other
        raise BackendError(f"onnxruntime is installed in part: {REPAIR}")
    warn_of_two_builds()
    return onnxruntime


@cache  # once for both networks of a run
def warn_of_two_builds() -> None:
    if words := two_builds():
        log.warning(words)


def two_builds() -> str | None:
    """Return a warning if both builds of onnxruntime are installed, else None.

    The later one has replaced files of the earlier one, whichever was wanted, and pip does not notice.
    """
    have = []
    for name in BUILDS:
        try:
            have.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return f"{' and '.join(have)} overwrite each other: {REPAIR}" if len(have) == 2 else None


def provider_of(queue: Queue, precision: str = "fp32") -> tuple[str, dict[str, str]]:
    """Return a queue's provider and its options.

    GPUs would use TensorFloat-32 for float32. Without it, cuDNN has no tensor cores for float16 either.
    """
    if queue.gpu is None:
        return CPU, {}
    return CUDA, {
        "device_id": str(queue.where[1]),
        "use_tf32": str(int(precision != "fp32")),
        "arena_extend_strategy": "kSameAsRequested",  # else each session's memory grows by doubling
        "user_compute_stream": str(int(queue.stream)),
    }


def did_not_load(reason: object) -> BackendError:
    return BackendError(
        f"onnxruntime could not load its {CUDA} ({' '.join(str(reason).split())}); it needs a GPU's driver, CUDA's "
        "libraries (cliffvid[gpu] brings them)"
    )


def open_network(
    onnxruntime: ModuleType,
    path: Path,
    queue: Queue,
    threads: int,
    precision: str = "fp32",
    sizes: Mapping[str, int] | None = None,
) -> OrtNetwork:
    """Return an InferenceSession that really has the queue's provider; ``sizes`` makes free axes constant.

    Raises BackendError if it has not, ModelError if the file is not a network it can load, BackendMemoryError if that
    is too large for this machine.
    """
    provider, options = provider_of(queue, precision)
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4  # errors are raised anyway
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    # Two networks alternate: threads that spin after each call cost 1.28x time and 1.3x CPU when measured.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    for axis, size in (sizes or {}).items():  # shapes are then computed here and not on the GPU, or between runs on it
        settings.add_free_dimension_override_by_name(axis, size)
    try:
        session: OrtNetwork = onnxruntime.InferenceSession(
            str(path), settings, providers=[(provider, options)], enable_fallback=0
        )
    except Exception as error:  # onnxruntime raises a dozen unrelated classes
        short = queue.is_short_of_memory()  # libraries only say that they were not initialized
        if provider != CPU and not short and not is_short_of_memory(error):
            raise did_not_load(error) from error
        raise not_loaded(path, "onnxruntime", error, short) from error
    # onnxruntime silently falls back to the CPU if a provider's libraries do not load. This is checked here, since
    # session.disable_cpu_ep_fallback would also forbid the CPU to compute shapes.
    if provider not in (loaded := session.get_providers()):
        raise did_not_load(f"it would run on {' and '.join(loaded)}")
    return session


def open_queue(onnxruntime: ModuleType, device: str) -> Queue:
    """Return a queue for a device that this onnxruntime has. Raises BackendError."""
    if device != "cpu":
        if CUDA not in onnxruntime.get_available_providers():
            raise BackendError('this onnxruntime is built without CUDA: pip install "cliffvid[gpu]" instead of [cpu]')
        with redirect_stdout(sys.stderr):  # it prints what is missing; stdout is for results
            onnxruntime.preload_dlls()  # libraries in Python packages, which are not found otherwise
    return Queue(onnxruntime, device)


def open_pictures(onnxruntime: ModuleType, device: str, threads: int, queue: Queue | None = None) -> Pictures:
    """Return what makes network inputs on a device, by default in a queue that is not shared. Raises BackendError."""
    return Pictures(
        onnxruntime,
        lambda path, queue: open_network(onnxruntime, path, queue, threads),
        lambda: open_queue(onnxruntime, device),
        device,
        queue,
    )


class OrtSession:
    """A Network on onnxruntime, see session.py."""

    backend = "onnxruntime"

    def __init__(self, onnxruntime: ModuleType, manifest: Manifest, device: str, threads: int, precision: str) -> None:
        self.manifest, self.precision, self.device = manifest, precision, device
        self._ort, self._threads, self._queue = onnxruntime, threads, open_queue(onnxruntime, device)
        self._path, self._outputs = manifest.network(precision), list(manifest.outputs)
        network = self._open({})
        for side, promised, found in (
            ("input", manifest.inputs, network.get_inputs()),
            ("output", manifest.outputs, network.get_outputs()),
        ):
            check_tensors(manifest, side, promised, {t.name: (DTYPES.get(t.type, t.type), t.shape) for t in found})
        self._network: OrtNetwork | None = network
        self._axes = {t.name: t.shape for t in network.get_inputs()}
        self._rows = 0  # of every batch on a GPU; 0: any
        self._runs: dict[tuple[Sides, ...], DeviceRun] = {}  # by the inputs' shapes, the one used last at the end

    def _open(self, sizes: Mapping[str, int]) -> OrtNetwork:
        return open_network(self._ort, self._path, self._queue, self._threads, self.precision, sizes)

    @cached_property
    def pictures(self) -> Pictures:
        """Return what makes the inputs on the device, from frames that are there."""
        return open_pictures(self._ort, self.device, self._threads, self._queue)

    def pad_to(self, rows: int) -> None:
        """Run batches of so many rows alone on a GPU; further rows of a smaller batch are made up and dropped."""
        if self.device != "cpu" and rows != self._rows:
            self._rows = rows
            self._release()

    def _release(self) -> None:
        while self._runs:
            self._runs.popitem()[1].close()
        self._network = None

    def run(self, inputs: Arrays) -> Arrays:
        rows = len(next(iter(inputs.values())))
        if rows == 0:
            return no_rows(self.manifest)
        pending = pending_among(inputs)
        arrays = as_taken(self.manifest, {n: array for n, array in inputs.items() if n not in pending})
        if self.device == "cpu" and not pending:
            assert self._network is not None
            return dict(zip(self._outputs, self._network.run(self._outputs, arrays), strict=True))
        try:
            self._queue.enter()
            shapes = {name: (max(rows, self._rows), *inputs[name].shape[1:]) for name in self.manifest.inputs}
            return self._run_for(shapes).run(rows, arrays, pending)
        except Exception as error:  # as above; out of memory is one of them
            raise BackendError(f"{self.manifest.name}: onnxruntime failed on the GPU ({error})") from error

    def _write(self, inputs: PendingInputs, dtype: str, place: int) -> None:
        self.pictures.write(inputs, dtype, place)

    def _run_for(self, shapes: dict[str, Sides]) -> DeviceRun:
        """Return the run for inputs of these shapes. With ``pad_to``, each shape has a session."""
        key = tuple(shapes.values())
        if (run := self._runs.pop(key, None)) is None:
            while len(self._runs) >= SHAPES_KEPT:
                self._runs.pop(next(iter(self._runs))).close()
            if self._rows:
                pairs = [pair for n, shape in shapes.items() for pair in zip(self._axes[n], shape, strict=True)]
                network = self._open({axis: size for axis, size in pairs if isinstance(axis, str)})
            else:
                network = self._network = self._network or self._open({})
            run = DeviceRun(self._queue, network, self.manifest, shapes, self._write)
        self._runs[key] = run
        return run

    def close(self) -> None:
        if pictures := self.__dict__.pop("pictures", None):
            pictures.close()
        self._release()
        self._queue.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
