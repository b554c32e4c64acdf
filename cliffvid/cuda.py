"""What TensorRT and NVDEC need of CUDA, by cuda-python: the GPU's name, memory, copies, streams.

Failures: BackendError.
"""

import ctypes
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import optional
from .errors import BackendError

Stream: TypeAlias = Any  # of cuda-python, which has no types
INSTALL = "pip install cuda-bindings (cliffvid[gpu], [tensorrt] and [rtx] bring it)"


class Gpu:
    """One of the GPUs that CUDA shows (CUDA_VISIBLE_DEVICES chooses). Raises BackendError if it is not there."""

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

    def _checked(self, answer: tuple[Any, ...]) -> Any:
        """The result of a call, which is a tuple of a status and what there is beside it."""
        status, *result = answer
        if status != self._cuda.cudaError_t.cudaSuccess:
            words = self._cuda.cudaGetErrorString(status)[1]
            if status == self._cuda.cudaError_t.cudaErrorMemoryAllocation:
                raise BackendError("the GPU's memory is full; take smaller batches, or end what else runs on it")
            raise BackendError(f"CUDA error {int(status)}: {bytes(words).decode()}")
        return result[0] if result else None

    def enter(self) -> None:
        """Make its primary context, which CUDA's runtime and so onnxruntime work in, the calling thread's. The
        calls below mean the thread's own GPU, which is the first one until this was called there.
        """
        self._checked(self._cuda.cudaSetDevice(self.number))

    def wait_for_decoder(self) -> None:
        """Until frames that FFmpeg handed out are there: it copies them on CUDA's legacy default stream and does not
        wait, and onnxruntime's streams do not wait for that one.
        """
        self._checked(self._cuda.cudaStreamSynchronize(self._cuda.cudaStreamLegacy))

    def free_bytes(self) -> int:
        status, free, _ = self._cuda.cudaMemGetInfo()
        return int(self._checked((status, free)))

    def stream(self) -> Stream:
        """A stream that does not wait for others."""
        return self._checked(self._cuda.cudaStreamCreateWithFlags(self._cuda.cudaStreamNonBlocking))

    def wait(self, stream: Stream) -> None:
        """Until all that was given to the stream is done; what failed in it is raised here."""
        self._checked(self._cuda.cudaStreamSynchronize(stream))

    def end(self, stream: Stream) -> None:
        self._checked(self._cuda.cudaStreamDestroy(stream))

    def buffer(self, size: int) -> "Buffer":
        """Memory on the GPU, and as much on the host that the GPU can copy to and from by itself."""
        device = self._checked(self._cuda.cudaMalloc(size))
        try:
            host = self._checked(self._cuda.cudaMallocHost(size))
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
        """Copy the first bytes to the GPU, when the stream comes to it."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._checked(self._cuda.cudaMemcpyAsync(buffer.device, buffer.host, size, kind, stream))

    def fetch(self, buffer: "Buffer", size: int, stream: Stream) -> None:
        """Copy the first bytes back, when the stream comes to it."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._checked(self._cuda.cudaMemcpyAsync(buffer.host, buffer.device, size, kind, stream))


@dataclass(frozen=True)
class Buffer:
    """Addresses of memory on the GPU and on the host, and the latter as bytes."""

    device: int
    host: int
    memory: NDArray[np.uint8]

    def view(self, dtype: DTypeLike, shape: tuple[int, ...]) -> NDArray[Any]:
        """The host's first bytes as an array."""
        count = int(np.prod(shape))
        array: NDArray[Any] = self.memory[: count * np.dtype(dtype).itemsize].view(dtype).reshape(shape)
        return array
