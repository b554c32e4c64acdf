"""Run a network with onnxruntime on a device, always with the same shapes."""

from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

import numpy as np

from ...errors import BackendError
from ...pending import PendingInputs
from ...tables import Array
from ..manifest import Manifest
from .ort_queue import Queue
from .ort_types import OrtNetwork

Sides: TypeAlias = tuple[int, ...]
Arrays: TypeAlias = dict[str, Array]
Write: TypeAlias = Callable[[PendingInputs, str, int], None]


class DeviceRun:
    """Runs a network on a device with inputs and outputs of constant shapes, in memory that is allocated once.

    ``write`` writes pending inputs to an address on the device, see Pictures.
    """

    def __init__(
        self, queue: Queue, network: OrtNetwork, manifest: Manifest, shapes: dict[str, Sides], write: Write
    ) -> None:
        self._write, self._queue, self._network, self._binding = write, queue, network, network.io_binding()
        self._memory: dict[str, DeviceArray] = {}
        rows = next(iter(shapes.values()))[0]
        try:
            for name, tensor in manifest.inputs.items():
                array = self._memory[name] = DeviceArray(queue, tensor.dtype, shapes[name])
                self._binding.bind_input(name, *array.place())
            for name, tensor in manifest.outputs.items():
                array = self._memory[name] = DeviceArray(queue, tensor.dtype, (rows, *tensor.row({})))
                self._binding.bind_output(name, *array.place())
        except Exception:
            self.close()
            raise
        self._outputs = list(manifest.outputs)

    def run(self, rows: int, arrays: Arrays, pending: dict[str, PendingInputs]) -> Arrays:
        """Return the outputs of the first ``rows`` rows; further ones keep old numbers."""
        try:
            for name, array in arrays.items():
                self._memory[name].send(array)
            for name, inputs in pending.items():
                self._write(inputs, self._memory[name].dtype, self._memory[name].buffer.device)
            self._queue.run(self._network, self._binding)
            for name in self._outputs:
                self._memory[name].fetch(rows)
        except Exception:
            with suppress(BackendError):  # nothing may go on in memory that is used again
                self._queue.wait()
            raise
        self._queue.wait()
        return {name: self._memory[name].rows(rows).copy() for name in self._outputs}

    def close(self) -> None:
        with suppress(BackendError):  # after an error that lasts nothing can be freed
            for array in self._memory.values():
                self._queue.free(array.buffer)
        self._memory = {}


class DeviceArray:
    """An input or output of constant shape on the device, with a pinned copy here."""

    def __init__(self, queue: Queue, dtype: str, shape: Sides) -> None:
        self._queue, self.dtype, self.shape = queue, dtype, shape
        self.buffer = queue.buffer(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        self._array: Array = self.buffer.view(dtype, shape)

    def place(self) -> tuple[str, int, type[np.generic], Sides, int]:
        """Return device, its number, dtype, shape and address, as onnxruntime takes them."""
        return *self._queue.where, np.dtype(self.dtype).type, self.shape, self.buffer.device

    def rows(self, rows: int) -> Array:
        return self._array[:rows]

    def send(self, array: Array) -> None:
        self._array[: len(array)] = array
        self._queue.send(self.buffer, array.nbytes)

    def fetch(self, rows: int) -> None:
        self._queue.fetch(self.buffer, self.rows(rows).nbytes)
