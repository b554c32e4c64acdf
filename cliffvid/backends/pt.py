"""PyTorch, one operator of the network after the other: the slow reference, on the CPU and on GPUs.

The network is the model folder's ONNX file. A file of PyTorch's own would double the folder, and reading one may run
code of whoever made it.
"""

from collections import defaultdict
from typing import Self

import numpy as np

from .. import optional
from ..errors import BackendError, ModelError
from ..models import Manifest
from . import as_taken, check_tensors, no_rows


def open_session(manifest: Manifest, device: str, threads: int, precision: str) -> "TorchSession":
    torch, onnx = (optional.load(name, 'pip install "cliffvid[export]"') for name in ("torch", "onnx"))
    if device != "cpu" and not torch.cuda.is_available():
        raise BackendError("this torch has no GPU that it can use; install its CUDA build, check the driver")
    return TorchSession(onnx, torch, manifest, device, threads, precision)


class TorchSession:
    """A Session by PyTorch; see backends.Session."""

    backend = "torch"

    def __init__(self, onnx, torch, manifest: Manifest, device: str, threads: int, precision: str) -> None:
        self.manifest, self.device, self.precision = manifest, device, precision
        self._torch, self._threads = torch, threads
        if device != "cpu":
            # convolutions are rounded to 10 bits unless told
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        path = manifest.network(precision)
        try:
            graph = onnx.load_model_from_string(path.read_bytes()).graph
        except Exception as error:  # protobuf's own class, whichever protobuf it is
            raise ModelError(f"{path}: no ONNX network ({error}); export the model again") from error
        for side, promised, found in (
            ("input", manifest.inputs, graph.input),
            ("output", manifest.outputs, graph.output),
        ):
            check_tensors(manifest, side, promised, {tensor.name: facts_of(onnx, tensor) for tensor in found})
        # a copy, since torch cannot have arrays that are read-only
        arrays = {tensor.name: onnx.numpy_helper.to_array(tensor).copy() for tensor in graph.initializer}
        try:
            self._constants = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        except RuntimeError as error:  # torch's own AcceleratorError among them
            raise BackendError(f"--device {device}: torch cannot use it ({error})") from error
        self._steps = list(steps(onnx, path, graph))
        self._drop = last_uses(graph)

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        torch = self._torch
        if len(next(iter(inputs.values()))) == 0:
            return no_rows(self.manifest)
        torch.set_num_threads(self._threads)  # of the calling thread
        values, arrays = dict(self._constants), as_taken(self.manifest, inputs)
        try:
            with torch.inference_mode():
                for name, array in arrays.items():
                    values[name] = torch.tensor(array, device=self.device)
                for number, (function, taken, attributes, given) in enumerate(self._steps):
                    answer = function(*[values[name] if name else None for name in taken], **attributes)
                    values.update(zip(given, (answer,) if len(given) == 1 else answer, strict=True))
                    for name in self._drop[number]:
                        values.pop(name, None)
                return {name: values[name].cpu().numpy() for name in self.manifest.outputs}
        except (NotImplementedError, TypeError) as error:
            raise BackendError(
                f"{self.manifest.folder}: --backend torch cannot run it: {error}; use another"
            ) from error
        except torch.OutOfMemoryError as error:
            raise BackendError(f"the GPU's memory is full; take smaller batches ({error})") from error

    def close(self) -> None:
        self._constants, self._steps = {}, []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()


def facts_of(onnx, tensor) -> tuple[str, list]:
    """A tensor's dtype and shape as ``check_tensors`` takes them."""
    kind = tensor.type.tensor_type
    shape = [axis.dim_value if axis.HasField("dim_value") else None for axis in kind.shape.dim]
    return onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name, shape


def steps(onnx, path, graph):
    """(function, names of inputs, attributes, names of outputs) of every node. Raises BackendError for unknown ones."""
    from .pt_ops import OPS

    for node in graph.node:
        if node.op_type not in OPS:
            raise BackendError(
                f"{path}: --backend torch has no {node.op_type}, as node {node.name!r} asks; use another"
            )
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        attributes = {name: v.decode() if isinstance(v, bytes) else v for name, v in attributes.items()}
        yield OPS[node.op_type], list(node.input), attributes, list(node.output)


def last_uses(graph) -> dict[int, list[str]]:
    """Which values no node after this one takes, by the node's number; large networks would fill the memory."""
    kept = {tensor.name for tensor in graph.output} | {tensor.name for tensor in graph.initializer}
    last = {name: number for number, node in enumerate(graph.node) for name in [*node.output, *node.input]}
    drop = defaultdict(list)
    for name, number in last.items():
        if name and name not in kept:
            drop[number].append(name)
    return drop
