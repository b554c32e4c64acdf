"""A stand-in for a GPU, so that TensorRT's execute path runs here.

The real TensorRT-RTX parses and builds; what needs a GPU is written to its API, with memory of the host and onnxruntime
for kernels. It stays since TensorRT-RTX loads no engine on tests/support/nullcuda: the CUDA runtime that is linked into
it accepts no driver that is not NVIDIA's (cudaError 103, "integrity checks failed").

It is as unkind as a GPU may be: what a stream was given is done only when the stream is waited for, fresh memory holds
garbage, an address outside of any allocation is an error, and so is a shape outside of the profile.
"""

import ctypes
import hashlib
import sys
import threading
from collections import defaultdict
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import numpy as np
import onnxruntime

import needs
from cliffvid.models.manifest import read_manifest
from cliffvid.models.session import open_session

real, cuda = needs.package("tensorrt_rtx"), needs.package("cuda.bindings.runtime")

RTX_ALONE = {"ComputeCapability", "CudaGraphStrategy", "IRuntimeCache"}
OK, INVALID = cuda.cudaError_t.cudaSuccess, cuda.cudaError_t.cudaErrorInvalidValue
FULL = cuda.cudaError_t.cudaErrorMemoryAllocation


class FakeGpu:
    """The device. ``cuda`` stands for cuda.bindings.runtime, ``tensorrt(flavour)`` for a TensorRT package."""

    def __init__(
        self, name: str = "NVIDIA L4", capability: str = "8.9", memory: int = 24 << 30, number: int = 0
    ) -> None:
        self.number, self.current = number, threading.local()  # which of the GPUs it is, and a thread's own
        self.name, self.capability, self.memory = name, capability, memory
        self.scale = self.scale_wide = 1.0  # of answers, and of those to canvases that are wide: else, a wrong kernel
        self.missing = False
        self.allocated: dict[int, ctypes.Array] = {}
        self.pinned: set[int] = set()  # what of it is the host's
        self.sent, self.fetched = [], []  # bytes of each copy
        self.streams: dict[int, list] = {}
        self.legacy: list = []  # the work of CUDA's legacy default stream
        self.entered: set[int] = set()  # threads in which the primary context is the current one
        self.lock = threading.Lock()
        self.others = []  # functions that know further memory, by its address and size
        self.built: dict[str, SimpleNamespace] = {}  # sha256 of a plan -> what it was built of
        self.batches: list[int] = []  # of every execution
        self.most_at_once = 0  # streams that had work at the same time
        self.cuda = FakeCuda(self)

    def inside(self, address: int, size: int, pinned: bool) -> bool:
        return any(
            start <= address and address + size <= start + len(memory) and (start in self.pinned) == pinned
            for start, memory in list(self.allocated.items())
        ) or (not pinned and any(inside(address, size) for inside in self.others))

    @contextmanager
    def made_current(self):
        """The calling thread's current GPU for a while."""
        before = getattr(self.current, "number", 0)
        self.current.number = self.number
        yield
        self.current.number = before

    def give(self, stream: int, work) -> None:
        self.streams[stream].append(work)
        self.most_at_once = max(self.most_at_once, sum(map(bool, self.streams.values())))

    def tensorrt(self, flavour: str = "tensorrt-rtx") -> ModuleType:
        return FakeTensorrt(self, flavour)


def put_in_place(monkeypatch, gpu: FakeGpu, flavour: str = "tensorrt-rtx") -> FakeGpu:
    """Make the stand-in what cliffvid finds."""
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", gpu.cuda)
    for name in ("tensorrt", "tensorrt-rtx"):
        module = gpu.tensorrt(name) if name == flavour else None
        monkeypatch.setitem(sys.modules, name.replace("-", "_"), module)
    return gpu


def open_on_gpu(folder, precision="fp32"):
    """A session of a model folder by TensorRT."""
    return open_session(read_manifest(folder), "tensorrt", precision=precision)


class FakeCuda:
    """cuda.bindings.runtime: every call answers a tuple of a status and what there is beside it."""

    cudaError_t, cudaMemcpyKind = cuda.cudaError_t, cuda.cudaMemcpyKind
    cudaGetErrorString = staticmethod(cuda.cudaGetErrorString)
    cudaStreamNonBlocking, cudaStreamLegacy = cuda.cudaStreamNonBlocking, cuda.cudaStreamLegacy

    def __init__(self, gpu: FakeGpu) -> None:
        self._gpu = gpu

    def cudaGetDeviceProperties(self, device: int):
        if self._gpu.missing:
            return cuda.cudaError_t.cudaErrorInsufficientDriver, None
        if device != self._gpu.number:
            return cuda.cudaError_t.cudaErrorInvalidDevice, None
        major, minor = map(int, self._gpu.capability.split("."))
        return OK, SimpleNamespace(name=self._gpu.name.encode(), major=major, minor=minor)

    def cudaMemGetInfo(self):
        return OK, self._gpu.memory - sum(map(len, self._gpu.allocated.values())), self._gpu.memory

    def _here(self) -> None:
        assert getattr(self._gpu.current, "number", 0) == self._gpu.number, "the thread's current GPU is another"

    def cudaMalloc(self, size: int):
        self._here()
        if size > self.cudaMemGetInfo()[1]:
            return FULL, None
        memory = (ctypes.c_uint8 * size)()
        ctypes.memset(memory, 0xFF, size)  # NaN
        self._gpu.allocated[ctypes.addressof(memory)] = memory
        return OK, ctypes.addressof(memory)

    def cudaMallocHost(self, size: int):
        status, address = self.cudaMalloc(size)
        if status == OK:
            self._gpu.pinned.add(address)
        return status, address

    def cudaFree(self, address: int):
        self._gpu.pinned.discard(address)
        return (OK if self._gpu.allocated.pop(address, None) is not None else INVALID,)

    cudaFreeHost = cudaFree

    def cudaStreamCreateWithFlags(self, flags: int):
        self._here()
        stream = max(self._gpu.streams, default=cuda.cudaStreamPerThread) + 1
        self._gpu.streams[stream] = []
        return OK, stream

    def cudaStreamDestroy(self, stream: int):
        return (OK if self._gpu.streams.pop(stream, None) is not None else INVALID,)

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind, stream: int):
        there = kind == cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        if not (self._gpu.inside(to, size, not there) and self._gpu.inside(source, size, there)):
            return (INVALID,)
        (self._gpu.sent if there else self._gpu.fetched).append(size)
        self._gpu.give(stream, lambda: ctypes.memmove(to, source, size))
        return (OK,)

    def cudaMemcpy2DAsync(self, to, to_pitch, source, pitch, width, lines, kind, stream):
        assert kind == cuda.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        there, here = (to, to_pitch * lines), (source, pitch * lines)
        if not (self._gpu.inside(*there, pinned=False) and self._gpu.inside(*here, pinned=False)):
            return (INVALID,)

        def copy() -> None:
            for line in range(lines):
                ctypes.memmove(to + line * to_pitch, source + line * pitch, width)

        self._gpu.give(stream, copy)
        return (OK,)

    def cudaStreamSynchronize(self, stream: int):
        work = self._gpu.legacy if stream == self.cudaStreamLegacy else self._gpu.streams[stream]
        with self._gpu.lock:
            while work:
                work.pop(0)()
        return (OK,)

    def cudaSetDevice(self, device: int):
        if self._gpu.missing:
            return (cuda.cudaError_t.cudaErrorInsufficientDriver,)
        self._gpu.current.number = device
        self._gpu.entered.add(threading.get_ident())
        return (OK,)


class Wrapped:
    """A real object of which some methods are replaced; its classes are not made to be inherited from."""

    def __init__(self, wrapped) -> None:
        self.__dict__["wrapped"] = wrapped

    def __getattr__(self, name: str):
        return getattr(self.wrapped, name)

    def __setattr__(self, name: str, value) -> None:
        setattr(self.wrapped, name, value)


class FakeTensorrt(ModuleType):
    """tensorrt_rtx but for what executes; as `tensorrt` without what only tensorrt_rtx has."""

    def __init__(self, gpu: FakeGpu, flavour: str) -> None:
        super().__init__(flavour)
        self.__version__ = real.__version__ if flavour == "tensorrt-rtx" else "10.13.3.9"
        self.flavour, parsed = flavour, {}

        class OnnxParser(Wrapped):
            def __init__(self, network, log) -> None:
                super().__init__(real.OnnxParser(network, log))
                self.__dict__["network"] = network

            def parse(self, model: bytes) -> bool:
                parsed[id(self.network)] = model
                return self.wrapped.parse(model)

        class Builder(Wrapped):
            def __init__(self, log) -> None:
                super().__init__(real.Builder(log))

            def create_optimization_profile(self):
                self.__dict__["profile"] = self.wrapped.create_optimization_profile()
                return self.profile

            def build_serialized_network(self, network, config):
                plan = self.wrapped.build_serialized_network(network, config)
                if plan is not None:
                    names = [network.get_input(index).name for index in range(network.num_inputs)]
                    ranges = {name: [tuple(shape) for shape in self.profile.get_shape(name)] for name in names}
                    made = SimpleNamespace(model=parsed[id(network)], ranges=ranges, capability=gpu.capability)
                    if config.num_compute_capabilities:
                        number = config.get_compute_capability(0).name[2:]
                        made.capability = f"{number[:-1]}.{number[-1]}"
                    gpu.built[hashlib.sha256(bytes(plan)).hexdigest()] = made
                return plan

        self.OnnxParser, self.Builder = OnnxParser, Builder
        self.Runtime = lambda log: FakeRuntime(gpu, log, flavour)

    def __getattr__(self, name: str):
        if name in RTX_ALONE and self.flavour != "tensorrt-rtx":
            raise AttributeError(f"module 'tensorrt' has no attribute {name!r}")
        return getattr(real, name)


class FakeRuntime:
    def __init__(self, gpu: FakeGpu, log, flavour: str) -> None:
        self._gpu, self._log, self._flavour = gpu, log, flavour

    def deserialize_cuda_engine(self, plan: bytes):
        made = self._gpu.built.get(hashlib.sha256(plan).hexdigest())
        if made is None or made.capability != self._gpu.capability:
            self._log.log(real.ILogger.Severity.ERROR, "IRuntime::deserializeCudaEngine: the plan is of another GPU")
            return None
        return (FakeRtxEngine if self._flavour == "tensorrt-rtx" else FakeEngine)(self._gpu, self._log, made)


class FakeEngine:
    """ICudaEngine."""

    device_memory_size_v2 = 64 << 20

    def __init__(self, gpu: FakeGpu, log, made: SimpleNamespace) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 3, 1
        self._network = onnxruntime.InferenceSession(made.model, options, providers=["CPUExecutionProvider"])
        self._gpu, self._log, self._ranges = gpu, log, made.ranges
        self._inputs = {tensor.name: tensor for tensor in self._network.get_inputs()}
        self._outputs = {tensor.name: tensor for tensor in self._network.get_outputs()}
        self._all = self._inputs | self._outputs
        self.num_io_tensors = len(self._all)

    def get_tensor_name(self, index: int) -> str:
        return list(self._all)[index]

    def get_tensor_mode(self, name: str):
        return real.TensorIOMode.INPUT if name in self._inputs else real.TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str):
        return real.Dims([axis if isinstance(axis, int) else -1 for axis in self._all[name].shape])

    def get_tensor_dtype(self, name: str):
        return {"tensor(uint8)": real.DataType.UINT8, "tensor(float)": real.DataType.FLOAT}[self._all[name].type]

    def create_execution_context(self):
        return FakeContext(self)


class FakeRtxEngine(FakeEngine):
    def create_runtime_config(self):
        return FakeRuntimeConfig()

    def create_execution_context(self, runtime_config=None):
        return FakeContext(self, runtime_config)


class FakeRuntimeConfig:
    cache = None

    def create_runtime_cache(self):
        return FakeRuntimeCache()

    def set_runtime_cache(self, cache=None) -> bool:
        self.cache = cache
        return True


class FakeRuntimeCache:
    def __init__(self) -> None:
        self.content = defaultdict(int)

    def deserialize(self, blob: bytes) -> bool:
        self.content.update(dict.fromkeys(blob.split(), 1))
        return True

    def serialize(self) -> bytes:
        return b" ".join(sorted(self.content))


class FakeContext:
    """IExecutionContext."""

    def __init__(self, engine: FakeEngine, config: FakeRuntimeConfig | None = None) -> None:
        self._engine, self._config = engine, config
        self._shapes: dict[str, tuple] = {}
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple) -> bool:
        least, _, most = self._engine._ranges[name]
        if not all(low <= axis <= high for low, axis, high in zip(least, shape, most, strict=True)):
            self._engine._log.log(real.ILogger.Severity.ERROR, f"setInputShape: {name} {shape} is not in the profile")
            return False
        self._shapes[name] = shape
        return True

    def get_tensor_shape(self, name: str):
        if name in self._shapes:
            return real.Dims(self._shapes[name])
        batch = next(iter(self._shapes.values()))[0]
        return real.Dims([batch, *self._engine._outputs[name].shape[1:]])

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        engine, gpu = self._engine, self._engine._gpu
        gpu.cuda._here()
        if len({shape[0] for shape in self._shapes.values()}) != 1 or set(self._addresses) != set(engine._all):
            engine._log.log(real.ILogger.Severity.ERROR, "enqueueV3: shapes that differ, or a missing address")
            return False
        shapes = {name: tuple(self.get_tensor_shape(name)) for name in engine._all}
        gpu.batches.append(shapes[next(iter(shapes))][0])
        if self._config:
            self._config.cache.content[b"batch-%d" % gpu.batches[-1]] += 1

        def work() -> None:
            inputs = {name: self._array(name, shapes[name]).copy() for name in engine._inputs}
            wide = any(array.ndim == 4 and array.shape[2] > array.shape[1] for array in inputs.values())
            scale = np.float32(gpu.scale_wide if wide else gpu.scale)
            for name, answer in zip(engine._outputs, engine._network.run(None, inputs), strict=True):
                self._array(name, shapes[name])[...] = answer * scale

        gpu.give(stream_handle, work)
        return True

    def _array(self, name: str, shape: tuple) -> np.ndarray:
        dtype = np.dtype(real.nptype(self._engine.get_tensor_dtype(name)))
        size = int(np.prod(shape)) * dtype.itemsize
        assert self._engine._gpu.inside(self._addresses[name], size, pinned=False), f"{name}: beyond its memory"
        return np.frombuffer((ctypes.c_uint8 * size).from_address(self._addresses[name]), dtype).reshape(shape)
