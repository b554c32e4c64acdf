"""Wrap the CUDA calls that TensorRT and NVDEC need, through cuda-python: device, memory, copies and streams.

Failures raise BackendError.
"""

import ctypes
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import optional
from .errors import BackendError

Stream: TypeAlias = Any  # a cuda-python stream; the package has no types
INSTALL = "pip install cuda-bindings (cliffvid[gpu], [tensorrt] and [rtx] bring it)"


class Gpu:
    """One of the GPUs visible to CUDA (see CUDA_VISIBLE_DEVICES). Raises BackendError if it does not exist."""

    def __init__(self, number: int = 0) -> None:
        self.number = number
        runtime = self._cuda = optional.load("cuda.bindings.runtime", INSTALL)
        try:
            properties = self._checked(runtime.cudaGetDeviceProperties(number))
        except BackendError as error:
            raise BackendError(
                f"no GPU {number} that CUDA can use: {error}; check the driver with nvidia-smi (one that shows "
                'CUDA 12 needs "cuda-bindings<13")'
            ) from error
        self.name = bytes(properties.name).decode().rstrip("\0")
        self.capability = f"{properties.major}.{properties.minor}"

    def _checked(self, answer: tuple[Any, ...], memory: str = "the GPU's") -> Any:
        """Return the result of a call's (status, result) tuple. Raises BackendError unless the status is success.

        ``memory``: whose memory the call takes.
        """
        status, *result = answer
        if status != self._cuda.cudaError_t.cudaSuccess:
            words = self._cuda.cudaGetErrorString(status)[1]
            if status == self._cuda.cudaError_t.cudaErrorMemoryAllocation:
                raise BackendError(f"{memory} memory is full; take smaller batches, or end what else runs there")
            raise BackendError(f"CUDA error {int(status)}: {bytes(words).decode()}")
        return result[0] if result else None

    def enter(self) -> None:
        """Make the GPU's primary context current in this thread; CUDA's runtime, and so onnxruntime, use that context.

        The calls below act on the thread's current GPU, which is GPU 0 until this method is called in that thread.
        """
        self._checked(self._cuda.cudaSetDevice(self.number))

    def wait_for_decoder(self) -> None:
        """Wait until the frames that FFmpeg returned are complete.

        FFmpeg copies them asynchronously on CUDA's legacy default stream, and onnxruntime's streams do not wait for it.
        """
        self._checked(self._cuda.cudaStreamSynchronize(self._cuda.cudaStreamLegacy))

    def free_bytes(self) -> int:
        status, free, _ = self._cuda.cudaMemGetInfo()
        return int(self._checked((status, free)))

    def stream(self) -> Stream:
        """Return a new non-blocking stream."""
        return self._checked(self._cuda.cudaStreamCreateWithFlags(self._cuda.cudaStreamNonBlocking))

    def wait(self, stream: Stream) -> None:
        """Wait until all work on the stream is done. Raises BackendError if any of it failed."""
        self._checked(self._cuda.cudaStreamSynchronize(stream))

    def end(self, stream: Stream) -> None:
        self._checked(self._cuda.cudaStreamDestroy(stream))

    def buffer(self, size: int) -> "Buffer":
        """Return GPU memory of ``size`` bytes and as much page-locked (pinned) host memory."""
        device = self._checked(self._cuda.cudaMalloc(size))
        try:
            host = self._checked(self._cuda.cudaMallocHost(size), "this machine's page-locked")
        except BackendError:
            self._cuda.cudaFree(device)
            raise
        memory = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(int(host)))
        memory[:] = 0
        return Buffer(int(device), int(host), memory)

    def free(self, buffer: "Buffer") -> None:
        self._checked(self._cuda.cudaFree(buffer.device))
        self._checked(self._cuda.cudaFreeHost(buffer.host))

    def send(self, buffer: "Buffer", size: int, stream: Stream) -> None:
        """Queue a copy of the first ``size`` bytes to the GPU on the stream."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._checked(self._cuda.cudaMemcpyAsync(buffer.device, buffer.host, size, kind, stream))

    def copy_lines(self, source: int, pitch: int, to: int, width: int, lines: int, stream: Stream) -> None:
        """Queue a copy of the first ``width`` bytes of each line of ``pitch`` bytes, to another place on the GPU."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        self._checked(self._cuda.cudaMemcpy2DAsync(to, width, source, pitch, width, lines, kind, stream))

    def fetch(self, buffer: "Buffer", size: int, stream: Stream) -> None:
        """Queue a copy of the first ``size`` bytes back to the host on the stream."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._checked(self._cuda.cudaMemcpyAsync(buffer.host, buffer.device, size, kind, stream))


@dataclass(frozen=True)
class Buffer:
    """Addresses of a block on the GPU and of its copy on the host, and the host memory as bytes."""

    device: int
    host: int
    memory: NDArray[np.uint8]

    def view(self, dtype: DTypeLike, shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the first bytes of the host memory as an array of this dtype and shape."""
        count = int(np.prod(shape))
        array: NDArray[Any] = self.memory[: count * np.dtype(dtype).itemsize].view(dtype).reshape(shape)
        return array
