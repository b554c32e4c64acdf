"""Queue onnxruntime's work on a GPU's stream, so that nothing waits but for the answers of a batch."""

import ctypes
from collections.abc import Sequence
from contextlib import suppress
from itertools import accumulate
from types import ModuleType

import numpy as np

from ...cuda import Buffer, Gpu
from ...errors import BackendError
from ...machine import split_device
from ...tables import Array
from .ort_types import OrtBinding, OrtNetwork

ALIGNMENT = 256  # of CUDA's own allocations
LEAST_BYTES = 1 << 20  # of memory for ``put``
SHORT_BYTES = 128 << 20  # with less of it free on a GPU, a library that fails to start is short of memory
KEPT_BYTES = 192 << 20  # as much of it is kept for later; frames of many sizes would add up


class Queue:
    """Copies and runs of networks on one device, in order. One thread at a time may use it.

    On the CPU each is done at once, and its buffers have no second memory.
    """

    def __init__(self, onnxruntime: ModuleType, device: str) -> None:
        self.where = split_device(device)
        self.gpu = Gpu(self.where[1]) if self.where[0] == "cuda" else None
        if self.gpu:
            self.gpu.enter()
            self.stream = self.gpu.stream()
        self._options = onnxruntime.RunOptions()  # by default, each run waits for its end
        self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        self._buffers: list[Buffer] = []  # those of ``put``, filled one after the other
        self._full, self._used = 0, 0  # how many are full, and the bytes used of the next one
        self._given = 0  # bytes since the last ``wait``
        self._arrays: list[Array] = []  # the same on the CPU

    def enter(self) -> None:
        """Let the calling thread use the queue."""
        if self.gpu:
            self.gpu.enter()

    def is_short_of_memory(self) -> bool:
        """Return whether the GPU has hardly any free memory."""
        if self.gpu is None:
            return False
        with suppress(BackendError):  # after an error that lasts, CUDA answers nothing
            return self.gpu.free_bytes() < SHORT_BYTES
        return False

    def buffer(self, size: int) -> Buffer:
        """Return memory on the device, zeros, and pinned memory of this machine."""
        if self.gpu is None:
            memory = np.zeros(size, np.uint8)
            return Buffer(memory.ctypes.data, memory.ctypes.data, memory)
        buffer = self.gpu.buffer(size)
        self.gpu.send(buffer, size, self.stream)
        return buffer

    def free(self, buffer: Buffer) -> None:
        if self.gpu:
            self.gpu.free(buffer)

    def send(self, buffer: Buffer, size: int) -> None:
        """Copy the first bytes of a buffer to the device."""
        if self.gpu:
            self.gpu.send(buffer, size, self.stream)

    def fetch(self, buffer: Buffer, size: int) -> None:
        """Copy the first bytes of a buffer back; they are there after ``wait``."""
        if self.gpu:
            self.gpu.fetch(buffer, size, self.stream)

    def put(self, array: Array, address: int = 0) -> int:
        """Copy an array to an address on the device, by default to one that is valid until ``wait``; return it."""
        self._given += array.nbytes
        if self.gpu is None:
            array = np.ascontiguousarray(array)
            self._arrays.append(array)
            if address:
                ctypes.memmove(address, array.ctypes.data, array.nbytes)
            return address or int(array.ctypes.data)
        buffer = self._room(array.nbytes)
        buffer.view(array.dtype, array.shape)[...] = array
        buffer = buffer if not address else Buffer(address, buffer.host, buffer.memory)
        self.gpu.send(buffer, array.nbytes, self.stream)
        return buffer.device

    def copy_lines(self, source: int, pitch: int, to: int, width: int, lines: int) -> None:
        """Copy the first ``width`` bytes of each line of ``pitch`` bytes from one address on the device to another."""
        if self.gpu:
            self.gpu.copy_lines(source, pitch, to, width, lines, self.stream)
            return
        for line in range(lines):
            ctypes.memmove(to + line * width, source + line * pitch, width)

    def put_together(self, arrays: Sequence[Array]) -> list[int]:
        """Put arrays by one copy; return the address of each."""
        if self.gpu is None:
            return [self.put(array) for array in arrays]
        *starts, size = accumulate((-(-array.nbytes // ALIGNMENT) * ALIGNMENT for array in arrays), initial=0)
        buffer = self._room(size)
        for array, start in zip(arrays, starts, strict=True):
            place = buffer.memory[start : start + array.nbytes]
            place.view(array.dtype).reshape(array.shape)[...] = array
        self._given += size
        self.gpu.send(buffer, size, self.stream)
        return [buffer.device + start for start in starts]

    def _room(self, size: int) -> Buffer:
        """Return a part of the buffers of ``put``."""
        while self._full < len(self._buffers) and self._used + size > len(self._buffers[self._full].memory):
            self._full, self._used = self._full + 1, 0
        if self._full == len(self._buffers):
            assert self.gpu is not None
            self._buffers.append(self.gpu.buffer(max(size, LEAST_BYTES)))
        whole, start = self._buffers[self._full], self._used
        self._used += -(-size // ALIGNMENT) * ALIGNMENT
        return Buffer(whole.device + start, whole.host + start, whole.memory[start:])

    def run(self, network: OrtNetwork, binding: OrtBinding) -> None:
        """Run a network that was opened for this queue."""
        network.run_with_iobinding(binding, self._options)

    def wait(self, above: int = 0) -> None:
        """Wait until all of it is done, if ``put`` was given so many bytes. Raises BackendError if any of it failed."""
        if self._given < above:
            return
        self._full = self._used = self._given = 0
        self._arrays.clear()
        if self.gpu:
            self.gpu.wait(self.stream)
            while sum(len(buffer.memory) for buffer in self._buffers) > KEPT_BYTES:
                self.gpu.free(self._buffers.pop(0))

    def close(self) -> None:
        """Release the stream and the memory of ``put``; close the networks before."""
        if self.gpu:
            with suppress(BackendError):  # what failed was raised before
                self.gpu.enter()
                self.gpu.wait(self.stream)
            with suppress(BackendError):
                for buffer in self._buffers:
                    self.gpu.free(buffer)
                self.gpu.end(self.stream)
        self._buffers, self.gpu = [], None
