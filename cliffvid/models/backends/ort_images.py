"""Make the inputs of networks with onnxruntime on the device that the networks run on; see cliffvid.pipeline.upload."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import cast

import numpy as np

from ...pending import PendingGroup, PendingInputs
from ...tables import Array, UInt8
from .ort_queue import Queue
from .ort_types import OrtBinding, OrtNetwork, OrtValue

CANVAS = "float16", "uint8"
PICTURES = {  # by what they are computed in, and the pictures' dtype
    which: Path(__file__).with_name("picture_{}_{}.onnx".format(*which))
    for which in (CANVAS, ("float16", "float32"), ("float32", "float32"))
}
ON_HOST = {"sides", "shape", "margins", "fill"}  # onnxruntime reads them to know shapes, or to launch
PINNED_BYTES = 64 << 20  # about as much of this machine's memory is pinned for frames


class Pictures:
    """Holds frames on a device, and makes pictures of them in one block of its memory.

    What ``write`` makes is complete for what is queued after it; the other methods wait, and any thread may use them.
    """

    def __init__(
        self,
        onnxruntime: ModuleType,
        open_network: Callable[[Path, Queue], OrtNetwork],
        open_queue: Callable[[], Queue],
        device: str,
        queue: Queue | None = None,
    ) -> None:
        self._ort, self.device, self._made = onnxruntime, device, ExitStack()
        self._queue = queue or open_queue()
        if not queue:
            self._made.callback(self._queue.close)
        self._aside = open_queue()  # of all but ``write``
        self._made.callback(self._aside.close)
        self._turn, self._where = Lock(), self._queue.where
        self._network = cache(open_network)
        self._made.callback(self._network.cache_clear)
        self._network(PICTURES[CANVAS], self._queue)  # raises where the device cannot be used

    def wait(self) -> None:
        """Wait until what ``write`` was asked for is done."""
        self._queue.wait()

    def close(self) -> None:
        self._made.close()

    @contextmanager
    def _alone(self) -> Iterator[Queue]:
        """Wait for a turn of the other queue, and for its end."""
        with self._turn:
            self._aside.enter()
            try:
                yield self._aside
            finally:
                self._aside.wait()

    def _block(self, shape: tuple[int, ...], dtype: type[np.generic] = np.uint8) -> OrtValue:
        made: OrtValue = self._ort.OrtValue.ortvalue_from_shape_and_type(shape, dtype, *self._where)
        return made

    def upload(self, parts: Sequence[UInt8]) -> OrtValue:
        """Return the samples of all parts, one after the other, in the device's memory."""
        block = self._block((sum(part.nbytes for part in parts),))
        place = block.data_ptr()
        with self._alone() as queue:
            for part in parts:
                queue.put(part, place)
                place += part.nbytes
                queue.wait(PINNED_BYTES)
        return block

    def take_surfaces(self, surfaces: Sequence[dict[str, tuple[int, int]]], size_wh: tuple[int, int]) -> OrtValue:
        """Return NV12 frames of one stored size: all their luma, then all their chroma, without what pads their lines.

        The surfaces are not used any more when this returns.
        ``surfaces``: address and bytes per line of each frame's planes ``y`` and ``uv``.
        """
        if gpu := self._aside.gpu:
            gpu.enter()
            gpu.wait_for_decoder()
        width, height = size_wh
        lines = {"y": height, "uv": height // 2}
        made = self._block((len(surfaces) * sum(lines.values()) * width,))
        places = {"y": made.data_ptr(), "uv": made.data_ptr() + len(surfaces) * height * width}
        with self._alone() as queue:  # which waits before the surfaces are released
            for planes in surfaces:
                for name, (address, pitch) in planes.items():
                    queue.copy_lines(address, pitch, places[name], width, lines[name])
                    places[name] += lines[name] * width
        return made

    def _bind(self, queue: Queue, binding: OrtBinding, arrays: Mapping[str, Array]) -> None:
        for name in arrays.keys() & ON_HOST:
            binding.bind_cpu_input(name, arrays[name])
        there = [(name, array) for name, array in arrays.items() if name not in ON_HOST]
        for (name, array), place in zip(there, queue.put_together([array for _, array in there]), strict=True):
            binding.bind_input(name, *self._where, array.dtype.type, array.shape, place)

    def make(self, inputs: PendingInputs, dtype: str) -> OrtValue:
        """Return the inputs as an array (P,h,w,3) on the device. Values are rounded for uint8 only."""
        made = self._block(inputs.shape, np.dtype(dtype).type)
        with self._alone() as queue:
            self._write(queue, inputs, dtype, made.data_ptr())
        return made

    def write(self, inputs: PendingInputs, dtype: str, place: int) -> None:
        """Write such inputs to the device's memory at an address."""
        self._queue.enter()
        self._write(self._queue, inputs, dtype, place)

    def _write(self, queue: Queue, inputs: PendingInputs, dtype: str, place: int) -> None:
        shape, kind = inputs.shape[1:], np.dtype(dtype).type
        if any(group.size_hw != shape[:2] for group in inputs.groups):
            raise ValueError("pictures of several sizes at once: they would be written over each other")
        for group in inputs.groups:
            computed = "float32" if group.precise and kind == np.float32 else "float16"
            network = self._network(PICTURES[computed, dtype], queue)
            binding = network.io_binding()
            frames = cast(OrtValue, group.frames)
            tiles = math.prod(frames.shape()) // group.tile, group.tile
            binding.bind_input("samples", *self._where, np.uint8, tiles, frames.data_ptr())
            self._bind(queue, binding, numbers(group, computed))
            binding.bind_output("picture", *self._where, kind, (len(group), *shape), place)
            queue.run(network, binding)
            place += len(group) * math.prod(shape) * np.dtype(kind).itemsize


def numbers(group: PendingGroup, computed: str) -> dict[str, Array]:
    """Return what a picture's graph takes beside the frames, see export/folder/image_graphs.py."""
    planes, lines = len(group.black), group.lines.shape[1]
    height, width = group.inner_hw
    top, left, bottom, right = group.margins
    return {
        "starts": group.starts[:, None, None],
        "lines": group.lines,
        "steps": np.arange(group.tiles, dtype=np.int32),
        "scale": np.ones(planes, np.float32),
        "black": np.array(group.black, np.uint8),
        "line_weights": group.line_weights[:, :, None],
        "places": group.places,
        "tables": (np.arange(len(group), dtype=np.int32) * (planes * group.tiles * group.tile))[:, None, None],
        "column_weights": group.column_weights[:, :, None, None],
        "matrix": group.matrix[..., None],
        # the last axis is that of lines: it changes places with the columns' and the colours', or the colours' alone
        "sides": np.array([-1, 3 if group.exchanged else 3 * width, lines]),
        "shape": np.array([-1, height, width, 3]),
        "margins": np.array([0, top, left, 0, 0, bottom, right, 0]),
        "fill": np.array(group.fill, computed),
    }
