"""Give a scenario the counts, and where nodes run; put cuda-python's names on the null CUDA.

Import it before a session is opened.
"""

import ctypes
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import onnxruntime

library = ctypes.CDLL("libnullcuda.so")
library.nullcuda_names.restype = library.cudaGetErrorString.restype = ctypes.c_char_p
NAMES = library.nullcuda_names().decode().split()
full = {name: ctypes.c_bool.in_dll(library, f"nullcuda_{name}_is_full") for name in ("gpu", "host")}
_values = (ctypes.c_longlong * len(NAMES)).in_dll(library, "nullcuda_counts")


def counts() -> dict[str, int]:
    """Return everything that was counted since the last ``reset``; the names are those of counts.h."""
    return dict(zip(NAMES, _values, strict=True))


def reset() -> None:
    """Begin all counts at zero, but for that of contexts: what there is stays."""
    for index, name in enumerate(NAMES):
        if name != "contexts":
            _values[index] = 0


class SessionOptions(onnxruntime.SessionOptions):
    """Options of sessions that remember where their nodes run."""

    def __init__(self) -> None:
        super().__init__()
        self.add_session_config_entry("session.record_ep_graph_assignment_info", "1")


class InferenceSession(onnxruntime.InferenceSession):
    """A session that counts its calls, and remembers where its nodes run."""

    def __init__(self, path: str, *more, **named) -> None:
        super().__init__(path, *more, **named)
        self.calls = 0
        sessions.append(self)
        folder, file = Path(path).parts[-2:]
        self.title = f"{folder}/{file}"
        parts = self.get_provider_graph_assignment_info()
        self.on_cpu = [node.op_type for part in parts if part.ep_name.startswith("CPU") for node in part.get_nodes()]

    def run(self, *given):
        self.calls += 1
        return super().run(*given)

    def run_with_iobinding(self, *given) -> None:
        self.calls += 1
        super().run_with_iobinding(*given)


sessions: list[InferenceSession] = []  # all that were opened, the closed ones too
onnxruntime.SessionOptions, onnxruntime.InferenceSession = SessionOptions, InferenceSession


def _cuda_python() -> ModuleType:
    """Return the names of cuda.bindings.runtime that cliffvid uses here; the real one brings a CUDA with it."""
    made = ModuleType("cuda.bindings.runtime")

    def status(function, kind=int):
        return lambda given: (function(kind(given)),)

    def properties(number: int):
        found = ctypes.create_string_buffer(4096)
        return library.cudaGetDeviceProperties(found, number), SimpleNamespace(name=found.value, major=9, minor=0)

    def free_and_total():
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        return library.cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total)), free.value, total.value

    def made_by(function, kind):
        def call(given):
            made = ctypes.c_void_p()
            return function(ctypes.byref(made), kind(given)), made.value

        return call

    def send(to: int, source: int, size: int, kind: int, stream: int):
        return (library.cudaMemcpyAsync(*map(ctypes.c_void_p, (to, source, size)), kind, ctypes.c_void_p(stream)),)

    address, size = ctypes.c_void_p, ctypes.c_size_t
    library.cudaMemcpy2DAsync.argtypes = [address, size, address, size, size, size, ctypes.c_int, address]
    made.__dict__.update(
        cudaMemcpyKind=SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2, cudaMemcpyDeviceToDevice=3),
        cudaStreamNonBlocking=1,
        cudaStreamCreateWithFlags=made_by(library.cudaStreamCreateWithFlags, ctypes.c_uint),
        cudaMalloc=made_by(library.cudaMalloc, ctypes.c_size_t),
        cudaMallocHost=made_by(library.cudaMallocHost, ctypes.c_size_t),
        cudaMemGetInfo=free_and_total,
        cudaMemcpyAsync=send,
        cudaMemcpy2DAsync=lambda *given: (library.cudaMemcpy2DAsync(*given),),
        cudaError_t=SimpleNamespace(cudaSuccess=0, cudaErrorMemoryAllocation=2),
        cudaStreamLegacy=1,
        cudaGetErrorString=lambda error: (0, library.cudaGetErrorString(error)),
        cudaGetDeviceProperties=properties,
        cudaSetDevice=status(library.cudaSetDevice),
        **{
            name: status(getattr(library, name), ctypes.c_void_p)
            for name in ("cudaStreamSynchronize", "cudaStreamDestroy", "cudaFree", "cudaFreeHost")
        },
    )
    return made


sys.modules["cuda.bindings.runtime"] = _cuda_python()
