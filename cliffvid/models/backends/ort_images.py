"""Make the inputs of networks with onnxruntime on the device that the networks run on; see cliffvid.pipeline.upload."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import TypeAlias, cast

import numpy as np

from ...pending import PendingInputs
from ...tables import Array, Float64, Int64, UInt8
from .ort_queue import Queue
from .ort_types import OrtBinding, OrtNetwork, OrtValue

PICTURE, FROM_PLANES, FROM_NV12 = (Path(__file__).with_name(f"{name}.onnx") for name in ("picture", "planes", "nv12"))
PINNED_BYTES = 64 << 20  # about as much of this machine's memory is pinned for frames
Place: TypeAlias = tuple[tuple[int, ...], int]  # shape and address of an array on the device


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
        self._network(PICTURE, self._queue)

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

    def upload(self, frames: UInt8) -> OrtValue:
        """Return frames (F,H,W,3) uint8 in the device's memory."""
        block, samples = self._block(frames.shape), frames.reshape(-1)
        with self._alone() as queue:
            for start in range(0, frames.size, PINNED_BYTES):
                queue.put(samples[start : start + PINNED_BYTES], block.data_ptr() + start)
                queue.wait(PINNED_BYTES)
        return block

    def upload_planes(self, y: UInt8, u: UInt8, v: UInt8, to_rgb: Float64) -> OrtValue:
        """Return the same of planes (F,H,W) and twice (F,H/2,W/2) uint8; ``to_rgb`` (F,3,4) converts them to RGB."""
        size_hw = y[0].shape

        def placed(*planes: UInt8) -> dict[str, Place]:
            return {n: ((1, *p.shape), self._aside.put(p)) for n, p in zip(("y", "u", "v"), planes, strict=True)}

        return self._rgb(FROM_PLANES, map(placed, y, u, v), size_hw, to_rgb)

    def take_surfaces(
        self, surfaces: Sequence[dict[str, tuple[int, int]]], size_wh: tuple[int, int], to_rgb: Float64
    ) -> OrtValue:
        """Return the same of NV12 frames of one stored size, which are not used any more when this returns.

        ``surfaces``: address and bytes per line of each frame's planes ``y`` and ``uv``.
        """
        if gpu := self._aside.gpu:
            gpu.enter()
            gpu.wait_for_decoder()
        width, height = size_wh
        lines = {"y": height, "uv": height // 2}
        frames: Iterator[dict[str, Place]] = (
            {name: ((lines[name], pitch), address) for name, (address, pitch) in planes.items()} for planes in surfaces
        )
        return self._rgb(FROM_NV12, frames, (height, width), to_rgb, width=np.array([width]))

    def _rgb(
        self,
        graph: Path,
        frames: Iterator[dict[str, Place]],
        size_hw: tuple[int, ...],
        to_rgb: Float64,
        **numbers: Int64,
    ) -> OrtValue:
        """Return RGB frames of planes, given as shape and address of each of the graph's inputs on the device.

        Frames are converted one by one: the floats in between take sixteen times as much memory.
        """
        shape = 1, *size_hw, 3
        made = self._block((len(to_rgb), *shape[1:]))
        target = made.data_ptr()
        with self._alone() as queue:  # which waits before the planes are released
            network = self._network(graph, queue)
            for matrix in to_rgb.astype(np.float32):
                binding = network.io_binding()
                for name, (plane, place) in next(frames).items():
                    binding.bind_input(name, *self._where, np.uint8, plane, place)
                self._bind(queue, binding, {"matrix": matrix[:, :3], "offset": matrix[:, 3], **numbers})
                binding.bind_output("rgb", *self._where, np.uint8, shape, target)
                queue.run(network, binding)
                target += int(np.prod(shape))
                queue.wait(PINNED_BYTES)
        return made

    def _bind(self, queue: Queue, binding: OrtBinding, arrays: Mapping[str, Array]) -> None:
        for name, array in arrays.items():
            binding.bind_input(name, *self._where, array.dtype.type, array.shape, queue.put(array))

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
        if any((group.rows.shape[1], group.columns.shape[1]) != shape[:2] for group in inputs.groups):
            raise ValueError("pictures of several sizes at once: they would be written over each other")
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        network = self._network(PICTURE, queue)
        for group in inputs.groups:
            binding = network.io_binding()
            binding.bind_ortvalue_input("frames", cast(OrtValue, group.frames))
            numbers = {n: getattr(group, n) for n in ("rows", "columns", "row_weights", "column_weights")}
            self._bind(queue, binding, numbers | {"fill": np.array([group.fill], np.float32)})
            name = "rounded" if kind == np.uint8 else "exact"
            binding.bind_output(name, *self._where, kind, (len(group.rows), *shape), place)
            queue.run(network, binding)
            place += len(group.rows) * size
