"""Run networks with onnxruntime, on the CPU or with its CUDA provider."""

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
from ...errors import BackendError
from ...machine import split_device
from ...pending import pending_among
from ...tables import Array
from ..manifest import Manifest
from ..session import Arrays, as_taken, check_tensors, no_rows, not_loaded
from .ort_images import OrtNetwork, OrtValue, Pictures

log = logging.getLogger(__name__)
DTYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(float16)": "float16"}
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
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


def provider_of(device: str) -> tuple[str, dict[str, str]]:
    """Return a device's provider and its options: TensorFloat-32 is off, since GPUs would use it for float32."""
    if device == "cpu":
        return CPU, {}
    return CUDA, {"use_tf32": "0", "device_id": str(split_device(device)[1])}


def did_not_load(reason: object) -> BackendError:
    return BackendError(
        f"onnxruntime could not load its {CUDA} ({' '.join(str(reason).split())}); it needs a GPU's driver, CUDA's "
        "libraries (cliffvid[gpu] brings them)"
    )


def open_network(onnxruntime: ModuleType, path: Path, device: str, threads: int) -> OrtNetwork:
    """Return an InferenceSession that really has the device's provider.

    Raises BackendError if it has not, ModelError if the file is not a network it can load, BackendMemoryError if that
    is too large for this machine.
    """
    provider, options = provider_of(device)
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4  # errors are raised anyway
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    # Two networks alternate: threads that spin after each call cost 1.28x time and 1.3x CPU when measured.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if provider not in onnxruntime.get_available_providers():
        raise BackendError('this onnxruntime is built without CUDA: pip install "cliffvid[gpu]" instead of [cpu]')
    if provider != CPU:
        with redirect_stdout(sys.stderr):  # it prints what is missing; stdout is for results
            onnxruntime.preload_dlls()  # libraries in Python packages, which are not found otherwise
    try:
        session: OrtNetwork = onnxruntime.InferenceSession(
            str(path), settings, providers=[(provider, options)], enable_fallback=0
        )
    except Exception as error:  # onnxruntime raises a dozen unrelated classes
        if provider != CPU:
            raise did_not_load(error) from error
        raise not_loaded(path, "onnxruntime", error) from error
    # onnxruntime silently falls back to the CPU if a provider's libraries do not load. This is checked here, since
    # session.disable_cpu_ep_fallback would also forbid the CPU to compute shapes.
    if provider not in (loaded := session.get_providers()):
        raise did_not_load(f"it would run on {' and '.join(loaded)}")
    return session


def open_pictures(onnxruntime: ModuleType, device: str, threads: int) -> Pictures:
    """Return what makes network inputs on a device. Raises BackendError."""
    return Pictures(onnxruntime, lambda path: open_network(onnxruntime, path, device, threads), device)


class OrtSession:
    """A Network on onnxruntime, see session.py."""

    backend = "onnxruntime"

    def __init__(self, onnxruntime: ModuleType, manifest: Manifest, device: str, threads: int, precision: str) -> None:
        self.manifest, self.precision, self.device = manifest, precision, device
        self._ort, self._threads = onnxruntime, threads
        self._session = open_network(onnxruntime, manifest.network(precision), device, threads)
        for side, promised, found in (
            ("input", manifest.inputs, self._session.get_inputs()),
            ("output", manifest.outputs, self._session.get_outputs()),
        ):
            check_tensors(manifest, side, promised, {t.name: (DTYPES.get(t.type, t.type), t.shape) for t in found})
        self._outputs = list(manifest.outputs)
        self._bound = DeviceRun(onnxruntime, self._session, self._outputs, self.device)

    @cached_property
    def pictures(self) -> Pictures:
        """Return what makes the inputs on the device, from frames that are there."""
        return open_pictures(self._ort, self.device, self._threads)

    def run(self, inputs: Arrays) -> Arrays:
        if len(next(iter(inputs.values()))) == 0:
            return no_rows(self.manifest)
        pending = pending_among(inputs)
        arrays = as_taken(self.manifest, {n: array for n, array in inputs.items() if n not in pending})
        if self.device == "cpu" and not pending:
            answers = self._session.run(self._outputs, arrays)
        else:
            try:
                dtypes = {name: tensor.dtype for name, tensor in self.manifest.inputs.items()}
                answers = self._bound.run(arrays, {n: self.pictures.make(p, dtypes[n]) for n, p in pending.items()})
            except Exception as error:  # as above; out of memory is one of them
                raise BackendError(f"{self.manifest.name}: onnxruntime failed on the GPU ({error})") from error
        return dict(zip(self._outputs, answers, strict=True))

    def close(self) -> None:
        for held in ("_bound", "_session", "pictures"):
            self.__dict__.pop(held, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class DeviceRun:
    """Runs a session with inputs and outputs on a device; its input memory is reused from batch to batch.

    Inputs already ``there``, on the device, are used as they are.
    """

    def __init__(self, onnxruntime: ModuleType, session: OrtNetwork, outputs: list[str], device: str) -> None:
        self._ort, self._session, self._outputs, self._where = onnxruntime, session, outputs, split_device(device)
        self._binding = session.io_binding()
        self._buffers: dict[str, OrtValue] = {}

    def run(self, inputs: Mapping[str, Array], there: Mapping[str, OrtValue]) -> list[Array]:
        for name, value in there.items():
            self._buffers.pop(name, None)
            self._binding.bind_ortvalue_input(name, value)
        for name, array in inputs.items():
            buffer = self._buffers.get(name)
            if buffer is None or buffer.shape() != list(array.shape):
                buffer = self._ort.OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype, *self._where)
                self._buffers[name] = buffer
                self._binding.bind_ortvalue_input(name, buffer)
            buffer.update_inplace(array)
        for name in self._outputs:
            self._binding.bind_output(name, *self._where)
        self._session.run_with_iobinding(self._binding)
        return self._binding.copy_outputs_to_cpu()
