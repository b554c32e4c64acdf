"""A stand-in for onnxruntime with a GPU: what lies "there" can be had back by two calls alone, and all copies count.

The real onnxruntime computes, on the CPU; fresh memory holds garbage, as a GPU's does, and what a session was given is
done only when an output of it is waited for.

It stays for tests of values, and of what goes wrong: the real onnxruntime-gpu runs on tests/support/nullcuda, which has
no kernels and counts what is asked of the GPU.
"""

import ctypes
import threading
from weakref import WeakSet

import numpy as np
import onnxruntime as real

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


class FakeOrt:
    """What cliffvid uses of the module."""

    SessionOptions, RunOptions = real.SessionOptions, real.RunOptions
    cuda_version = "12.8"

    def __init__(self, gpu) -> None:
        self.place, self.gpu = ("cuda", gpu.number), gpu
        self.fetched = []  # bytes of each copy that is not the GPU's
        self.opened = []  # provider options of each session
        gpu.others.append(self.holds)
        self.held = WeakSet()  # values on the device
        self.holding = threading.Lock()  # stages of several threads add to it and go through it
        self.most_rows = None  # that a session's output may have: for more, memory does not suffice
        self.OrtValue = FakeValues(self)

    def holds(self, place: int, size: int) -> bool:
        """Whether that is memory of a value."""
        with self.holding:
            held = list(self.held)
        mine = [(value.data_ptr(), value.value.tensor_size_in_bytes()) for value in held]
        return any(start <= place and place + size <= start + most for start, most in mine)

    def inside(self, dtype, shape: tuple, place: int) -> bool:
        """Whether an array there lies in memory of the device."""
        return self.gpu.inside(place, int(np.prod(shape)) * np.dtype(dtype).itemsize, pinned=False)

    def get_available_providers(self) -> list[str]:
        return [CUDA, CPU]

    def preload_dlls(self) -> None: ...

    def InferenceSession(self, path, settings, providers, enable_fallback):
        if providers == [(CPU, {})]:
            return real.InferenceSession(path, settings, providers=providers)
        ((name, options),) = providers
        assert (name, options["device_id"]) == (CUDA, str(self.place[1]))
        self.opened.append(options)
        return FakeSession(self, real.InferenceSession(path, settings, providers=[CPU]), options)


class Value:
    """An OrtValue on the device."""

    def __init__(self, ort: FakeOrt, value) -> None:
        self._ort, self.value = ort, value
        self.shape, self.data_ptr = value.shape, value.data_ptr
        with ort.holding:
            ort.held.add(self)

    def numpy(self) -> np.ndarray:
        self._ort.fetched.append(self.value.tensor_size_in_bytes())
        return self.value.numpy()


class FakeValues:
    """The class OrtValue."""

    def __init__(self, ort: FakeOrt) -> None:
        self._ort = ort

    def ortvalue_from_numpy(self, array, device, number):
        assert (device, number) == self._ort.place
        self._ort.gpu.sent.append(array.nbytes)
        return Value(self._ort, real.OrtValue.ortvalue_from_numpy(array.copy(), "cpu", 0))

    def ortvalue_from_shape_and_type(self, shape, dtype, device, number):
        assert (device, number) == self._ort.place
        value = real.OrtValue.ortvalue_from_shape_and_type(shape, dtype, "cpu", 0)
        ctypes.memset(value.data_ptr(), 0xFF, int(np.prod(shape)) * np.dtype(dtype).itemsize)
        return Value(self._ort, value)


class FakeSession:
    """An InferenceSession that takes and gives values on the device alone."""

    def __init__(self, ort: FakeOrt, session, options: dict[str, str]) -> None:
        self._ort, self.session, self._stream = ort, session, int(options["user_compute_stream"])
        self.get_inputs, self.get_outputs = session.get_inputs, session.get_outputs

    def get_providers(self) -> list[str]:
        return [CUDA, CPU]

    def io_binding(self):
        return FakeBinding(self._ort, self, self.session.io_binding())

    def run_with_iobinding(self, binding, options=None) -> None:
        if self._ort.most_rows and binding.rows > self._ort.most_rows:
            raise RuntimeError("BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer")
        self._ort.gpu.give(self._stream, lambda: self.session.run_with_iobinding(binding.binding))
        if options is None:
            self._ort.gpu.cuda.cudaStreamSynchronize(self._stream)


class FakeBinding:
    def __init__(self, ort: FakeOrt, session: FakeSession, binding) -> None:
        self._ort, self._session, self.binding, self.rows = ort, session, binding, 0
        self._kept: list[np.ndarray] = []

    def bind_ortvalue_output(self, name, value: Value) -> None:
        self.binding.bind_ortvalue_output(name, value.value)

    def bind_input(self, name, device, number, *memory) -> None:
        assert (device, number) == self._ort.place and self._ort.inside(*memory)
        self.binding.bind_input(name, "cpu", 0, *memory)

    def bind_cpu_input(self, name, array) -> None:
        self._kept.append(array)  # until the work is done
        self.binding.bind_cpu_input(name, array)

    def bind_output(self, name, device, number, *memory) -> None:
        assert (device, number) == self._ort.place and (not memory or self._ort.inside(*memory))
        self.rows = memory[1][0] if memory else 0
        self.binding.bind_output(name, "cpu", 0, *memory)
