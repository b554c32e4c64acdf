"""Run networks with TensorRT or TensorRT-RTX: a plan is used once its outputs match the model folder's samples.

Written from the vendor's documentation and never yet run on a GPU: the tests have the real builder, and a stand-in for
the GPU.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np

from ...cuda import Buffer, Gpu
from ...errors import BackendError, CliffvidError, OutputError, UsageError
from ...files import write_whole
from ...machine import plain_device, split_device
from ...pending import PendingInputs, pending_among
from ..manifest import MODEL_FILES, Manifest
from ..parity import prove
from ..session import Arrays, Facts, check_tensors, no_rows
from .ort import load, open_pictures
from .ort_images import Pictures
from .trt_plans import (
    MAX_BATCH,
    ErrorLog,
    Maker,
    Sides,
    Trt,
    TrtPlan,
    drop_plan,
    facts_of,
    find_plan,
    keep_facts,
    locked,
    make_log,
    make_plan,
    maker_for,
    plan_folder,
    shape_range,
)

LANES = 2  # while one computes, the next one's inputs are copied


def open_session(manifest: Manifest, device: str, threads: int, precision: str) -> "TrtSession":
    gpu = Gpu(split_device(device)[1])
    gpu.enter()
    maker = maker_for(gpu.capability, gpu.name)
    with locked(plan_folder(manifest)):
        if plan := find_plan(maker, manifest, precision):
            with suppress(StalePlan):  # such as one of another driver: built again
                return open_plan(maker, gpu, manifest, precision, plan)
        return open_plan(maker, gpu, manifest, precision, make_plan(maker, manifest, precision, MAX_BATCH))


def open_plan(maker: Maker, gpu: Gpu, manifest: Manifest, precision: str, plan: TrtPlan) -> "TrtSession":
    """Return a session of a plan proven on this GPU. Raises ModelError for wrong outputs, and deletes the plan."""
    session = TrtSession(maker, gpu, manifest, precision, plan)
    if gpu.name in plan.proven_on:
        return session
    try:
        prove(session, plan.max_batch)
        keep_facts(replace(plan, proven_on=(*plan.proven_on, gpu.name)))
    except CliffvidError:
        session.close()
        drop_plan(plan)
        raise
    return session


def build_plans(
    manifests: list[Manifest], precisions: list[str], max_batch: int = MAX_BATCH, capabilities: list[str] | None = None
) -> Iterator[Path]:
    """Yield the path of each plan for batches up to ``max_batch`` when it is built and proven on this GPU.

    With ``capabilities``, plans are for GPUs of those compute capabilities and are proven there at first use.
    Precisions that a model has no network for are left out. Raises UsageError, ModelError, BackendError or OutputError.
    """
    if not 1 <= max_batch <= 1024:
        raise UsageError(f"--max-batch {max_batch}: must lie in 1 to 1024")
    gpu = None if capabilities else Gpu()
    kinds = [(gpu.capability, gpu.name)] if gpu else [(capability, "") for capability in capabilities or ()]
    makers = [maker_for(*kind) for kind in kinds]
    for manifest in manifests:
        for precision in precisions:
            if MODEL_FILES[precision] not in manifest.files:
                continue
            with locked(plan_folder(manifest)):
                for maker in makers:
                    plan = make_plan(maker, manifest, precision, max_batch)
                    if gpu:
                        open_plan(maker, gpu, manifest, precision, plan).close()
                    yield plan.path


class StalePlan(BackendError):
    """TensorRT does not accept a plan that it built before."""


class TrtSession:
    """A Network on TensorRT, see session.py."""

    def __init__(self, maker: Maker, gpu: Gpu, manifest: Manifest, precision: str, plan: TrtPlan) -> None:
        self.manifest, self.backend, self.precision = manifest, maker.flavour, precision
        self.device = plain_device(f"cuda:{gpu.number}")
        self._plan, self._gpu, self._maker = plan, gpu, maker
        self._log = make_log(maker.trt)
        self._runtime = maker.trt.Runtime(self._log)
        self._engine = self._runtime.deserialize_cuda_engine(plan.path.read_bytes())
        if self._engine is None:
            raise StalePlan(f"{plan.path}: {maker.name} on {gpu.name} does not take it ({self._log.reason()})")
        self._check()
        self._config: Trt = None
        self._cache: Trt = None
        if maker.flavour == "tensorrt-rtx":
            self._use_cache()
        self._lanes: list[Lane] = []
        self._lane(0)

    def _check(self) -> None:
        """Raise ModelError unless the plan has the tensors that the manifest promises."""
        trt, engine = self._maker.trt, self._engine
        found: tuple[dict[str, Facts], dict[str, Facts]] = ({}, {})
        for name in map(engine.get_tensor_name, range(engine.num_io_tensors)):
            side = found[engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT]
            side[name] = facts_of(trt, engine.get_tensor_dtype(name), engine.get_tensor_shape(name))
        check_tensors(self.manifest, "input", self.manifest.inputs, found[0])
        check_tensors(self.manifest, "output", self.manifest.outputs, found[1])

    def _use_cache(self) -> None:
        """Load the kernels that TensorRT-RTX compiled for this GPU in earlier runs."""
        self._config = self._engine.create_runtime_config()
        self._cache = self._config.create_runtime_cache()
        with suppress(OSError):
            # False for a cache of another GPU or version: kernels are then compiled again
            self._cache.deserialize(self._cache_path().read_bytes())
        self._config.set_runtime_cache(self._cache)

    def _cache_path(self) -> Path:
        return self._plan.path.with_suffix(".cache")

    def _lane(self, number: int) -> "Lane":
        """Return a lane; the second one is made on first use, since it needs as much memory again."""
        if number == len(self._lanes):
            needed, free = self._engine.device_memory_size_v2, self._gpu.free_bytes()
            if needed > free:
                raise BackendError(
                    f"{self._plan.path}: the GPU's memory is full: {needed / 1e6:.0f} MB are needed for batches of up "
                    f"to {self._plan.max_batch}, {free / 1e6:.0f} MB are free; end what else runs on it, or make a "
                    "plan for smaller batches: cliffvid export plans --max-batch"
                )
            # the first argument, if any, is the configuration
            context = self._engine.create_execution_context(*[self._config] if self._config else [])
            if context is None:
                raise BackendError(f"{self._plan.path}: cannot be run on {self._gpu.name} ({self._log.reason()})")
            self._lanes.append(Lane(self._gpu, context, self._log, self.manifest, self._plan.max_batch, self._write))
        return self._lanes[number]

    @cached_property
    def pictures(self) -> Pictures | None:
        """Return what makes the inputs on the device: onnxruntime, if it is installed with CUDA."""
        with suppress(BackendError):
            return open_pictures(load(), self.device, threads=1)
        return None

    def _write(self, inputs: PendingInputs, dtype: str, place: int) -> None:
        if self.pictures is None:
            raise BackendError(f"{self.manifest.name}: no onnxruntime is here that makes pictures on the GPU")
        try:
            self.pictures.write(inputs, dtype, place)
            self.pictures.wait()  # TensorRT's stream does not
        except Exception as error:  # onnxruntime raises a dozen unrelated classes
            raise BackendError(f"{self.manifest.name}: onnxruntime failed on the GPU ({error})") from error

    def run(self, inputs: Arrays) -> Arrays:
        rows, most = len(next(iter(inputs.values()))), self._plan.max_batch
        if rows == 0:
            return no_rows(self.manifest)
        answers: list[Arrays] = []
        running: deque[Lane] = deque()
        self._gpu.enter()
        try:
            for number, start in enumerate(range(0, rows, most)):
                if len(running) == LANES:
                    answers.append(running.popleft().finish())
                lane = self._lane(number % LANES)
                running.append(lane)
                lane.start({name: array[start : start + most] for name, array in inputs.items()})
            while running:
                answers.append(running.popleft().finish())
        finally:
            for lane in running:  # after a failure: no copy may go on into buffers that are used again
                with suppress(BackendError):
                    lane.finish()
        if len(answers) == 1:
            return answers[0]
        return {name: np.concatenate([answer[name] for answer in answers]) for name in self.manifest.outputs}

    def close(self) -> None:
        if self._engine is None:
            return
        self._gpu.enter()
        for lane in self._lanes:
            lane.close()
        if self._cache is not None and self._lanes:
            with suppress(OutputError):  # the cache only saves time
                write_whole(self._cache_path(), bytes(self._cache.serialize()), overwrite=True)
        if pictures := self.__dict__.pop("pictures", None):
            pictures.close()
        self._lanes, self._cache, self._config, self._engine, self._runtime = [], None, None, None, None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Lane:
    """A stream with its execution context and buffers; call ``start`` and ``finish`` alternately.

    ``write`` writes pending inputs to an address on the GPU, see Pictures.
    """

    def __init__(
        self,
        gpu: Gpu,
        context: Trt,
        log: ErrorLog,
        manifest: Manifest,
        max_batch: int,
        write: Callable[[PendingInputs, str, int], None],
    ) -> None:
        self._gpu, self._context, self._log, self._manifest, self._most = gpu, context, log, manifest, max_batch
        self._write = write
        self._buffers: dict[str, Buffer] = {}
        self._rows = 0
        self._shapes: dict[str, Sides] = {}
        with ExitStack() as made:
            self._stream = gpu.stream()
            made.callback(gpu.end, self._stream)
            largest = {name: shape_range(manifest, name, max_batch)[2] for name in manifest.inputs}
            for name, shape in largest.items():
                self._require(context.set_input_shape(name, shape), f"shape {shape} of {name!r}")
            largest |= {name: tuple(context.get_tensor_shape(name)) for name in manifest.outputs}
            for name, tensor in (manifest.inputs | manifest.outputs).items():
                buffer = self._buffers[name] = gpu.buffer(size_of(tensor.dtype, largest[name]))
                made.callback(gpu.free, buffer)
                self._require(context.set_tensor_address(name, buffer.device), f"the address of {name!r}")
            self._made = made.pop_all()

    def _require(self, good: bool, what: str) -> None:
        if not good:
            raise BackendError(f"{self._manifest.folder}: TensorRT refuses {what} ({self._log.reason()})")

    def start(self, inputs: Arrays) -> None:
        """Start the work on the GPU, and return before it is done."""
        gpu, context, stream, manifest = self._gpu, self._context, self._stream, self._manifest
        self._rows = len(next(iter(inputs.values())))
        batch, pending = bucket(self._rows, self._most), pending_among(inputs)
        for name, tensor in manifest.inputs.items():
            array, buffer = inputs[name], self._buffers[name]
            shape = batch, *array.shape[1:]
            self._require(context.set_input_shape(name, shape), f"shape {shape} of {name!r}")
            # further rows of the batch keep old numbers: their outputs are dropped
            if name in pending:
                self._write(pending[name], tensor.dtype, buffer.device)
                continue
            np.copyto(buffer.view(tensor.dtype, shape)[: self._rows], array, casting="safe")
            gpu.send(buffer, size_of(tensor.dtype, shape), stream)
        self._require(context.execute_async_v3(int(stream)), f"a batch of {batch}")
        self._shapes = {name: tuple(context.get_tensor_shape(name)) for name in manifest.outputs}
        for name, shape in self._shapes.items():
            gpu.fetch(self._buffers[name], size_of(manifest.outputs[name].dtype, shape), stream)

    def finish(self) -> Arrays:
        """Wait for the outputs, and return them."""
        self._gpu.wait(self._stream)
        return {
            name: self._buffers[name].view(self._manifest.outputs[name].dtype, shape)[: self._rows].copy()
            for name, shape in self._shapes.items()
        }

    def close(self) -> None:
        self._context = None
        self._made.close()


def bucket(rows: int, most: int) -> int:
    """Return the power of two that holds the rows, at most ``most``: TensorRT prepares anew for each new batch size."""
    return min(most, 1 << (rows - 1).bit_length())


def size_of(dtype: str, shape: Sides) -> int:
    """Return the bytes of an array."""
    return int(np.prod(shape)) * np.dtype(dtype).itemsize
