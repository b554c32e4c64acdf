"""Make the inputs of networks with onnxruntime on the device that the networks run on; see cliffvid.pipeline.upload."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Protocol, TypeAlias, cast

import numpy as np

from ...cuda import Gpu
from ...machine import split_device
from ...pending import PendingInputs
from ...tables import Array, Float64, Int64, UInt8

PICTURE, FROM_PLANES, FROM_NV12 = (Path(__file__).with_name(f"{name}.onnx") for name in ("picture", "planes", "nv12"))
Place: TypeAlias = tuple[tuple[int, ...], int]  # shape and address of an array on the device


class OrtValue(Protocol):
    """An onnxruntime array on a device; the package has no types."""

    def shape(self) -> list[int]: ...
    def data_ptr(self) -> int: ...
    def update_inplace(self, np_arr: Array) -> None: ...
    def numpy(self) -> Array: ...


class OrtTensor(Protocol):
    """Description of an input or output of an InferenceSession."""

    name: str
    type: str
    shape: list[int | str | None]


class OrtBinding(Protocol):
    """Memory that an InferenceSession takes its inputs from and writes its outputs to."""

    def bind_input(
        self,
        name: str,
        device_type: str,
        device_id: int,
        element_type: type[np.generic],
        shape: tuple[int, ...],
        buffer_ptr: int,
    ) -> None: ...
    def bind_cpu_input(self, name: str, arr_on_cpu: Array) -> None: ...
    def bind_ortvalue_input(self, name: str, ortvalue: OrtValue) -> None: ...
    def bind_output(
        self,
        name: str,
        device_type: str,
        device_id: int,
        element_type: type[np.generic] | None = None,
        shape: tuple[int, ...] | None = None,
        buffer_ptr: int | None = None,
    ) -> None: ...
    def synchronize_outputs(self) -> None: ...
    def copy_outputs_to_cpu(self) -> list[Array]: ...


class OrtNetwork(Protocol):
    """An InferenceSession of onnxruntime."""

    def get_providers(self) -> list[str]: ...
    def get_inputs(self) -> list[OrtTensor]: ...
    def get_outputs(self) -> list[OrtTensor]: ...
    def run(self, output_names: list[str], input_feed: dict[str, Array]) -> list[Array]: ...
    def io_binding(self) -> OrtBinding: ...
    def run_with_iobinding(self, iobinding: OrtBinding) -> None: ...


class Pictures:
    """Holds frames on a device, and makes pictures of them in one block of its memory."""

    def __init__(self, onnxruntime: ModuleType, open_network: Callable[[Path], OrtNetwork], device: str) -> None:
        self._ort, self._open, self.device, self._where = onnxruntime, open_network, device, split_device(device)
        self._picture = open_network(PICTURE)

    @cached_property
    def _from_planes(self) -> OrtNetwork:
        return self._open(FROM_PLANES)

    @cached_property
    def _from_nv12(self) -> OrtNetwork:
        return self._open(FROM_NV12)

    @cached_property
    def _gpu(self) -> Gpu:
        return Gpu(self._where[1])

    def upload(self, frames: UInt8) -> OrtValue:
        """Return frames (F,H,W,3) uint8 in the device's memory."""
        there: OrtValue = self._ort.OrtValue.ortvalue_from_numpy(frames, *self._where)
        return there

    def upload_planes(self, y: UInt8, u: UInt8, v: UInt8, to_rgb: Float64) -> OrtValue:
        """Return the same of planes (F,H,W) and twice (F,H/2,W/2) uint8; ``to_rgb`` (F,3,4) converts them to RGB."""
        planes = {"y": y, "u": u, "v": v}
        there = {name: self.upload(plane) for name, plane in planes.items()}
        frames: list[dict[str, Place]] = [
            {n: ((1, *p.shape[1:]), there[n].data_ptr() + row * p[0].size) for n, p in planes.items()}
            for row in range(len(y))
        ]
        return self._rgb(self._from_planes, frames, y.shape[1:], to_rgb)

    def take_surfaces(
        self, surfaces: Sequence[dict[str, tuple[int, int]]], size_wh: tuple[int, int], to_rgb: Float64
    ) -> OrtValue:
        """Return the same of NV12 frames of one stored size, which are not used any more when this returns.

        ``surfaces``: address and bytes per line of each frame's planes ``y`` and ``uv``.
        """
        if self._where[0] == "cuda":
            self._gpu.enter()
            self._gpu.wait_for_decoder()
        width, height = size_wh
        lines = {"y": height, "uv": height // 2}
        frames: list[dict[str, Place]] = [
            {name: ((lines[name], pitch), address) for name, (address, pitch) in planes.items()} for planes in surfaces
        ]
        return self._rgb(self._from_nv12, frames, (height, width), to_rgb, width=np.array([width]))

    def _rgb(
        self,
        network: OrtNetwork,
        frames: list[dict[str, Place]],
        size_hw: tuple[int, int],
        to_rgb: Float64,
        **numbers: Int64,
    ) -> OrtValue:
        """Return RGB frames of planes, given as shape and address of each of the network's inputs on the device.

        Frames are converted one by one: the floats in between take sixteen times as much memory.
        """
        shape = 1, *size_hw, 3
        made: OrtValue = self._ort.OrtValue.ortvalue_from_shape_and_type(
            (len(frames), *shape[1:]), np.uint8, *self._where
        )
        target = made.data_ptr()
        for planes, matrix in zip(frames, to_rgb.astype(np.float32), strict=True):
            binding = network.io_binding()
            for name, (plane, place) in planes.items():
                binding.bind_input(name, *self._where, np.uint8, plane, place)
            every = {"matrix": matrix[:, :3], "offset": matrix[:, 3], **numbers}
            for name, array in every.items():
                binding.bind_cpu_input(name, np.ascontiguousarray(array))
            binding.bind_output("rgb", *self._where, np.uint8, shape, target)
            network.run_with_iobinding(binding)
            target += int(np.prod(shape))
        binding.synchronize_outputs()  # before the planes are released
        return made

    def make(self, inputs: PendingInputs, dtype: str) -> OrtValue:
        """Return the inputs as an array (P,h,w,3) on the device. Values are rounded for uint8 only."""
        made: OrtValue = self._ort.OrtValue.ortvalue_from_shape_and_type(
            inputs.shape, np.dtype(dtype).type, *self._where
        )
        self.write(inputs, dtype, made.data_ptr())
        return made

    def write(self, inputs: PendingInputs, dtype: str, place: int) -> None:
        """Write such inputs to the device's memory at an address. They are complete, for any stream, on return."""
        shape, kind = inputs.shape[1:], np.dtype(dtype).type
        if any((group.rows.shape[1], group.columns.shape[1]) != shape[:2] for group in inputs.groups):
            raise ValueError("pictures of several sizes at once: they would be written over each other")
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        for group in inputs.groups:
            binding = self._picture.io_binding()
            binding.bind_ortvalue_input("frames", cast(OrtValue, group.frames))
            for name in ("rows", "columns", "row_weights", "column_weights"):
                binding.bind_cpu_input(name, np.ascontiguousarray(getattr(group, name)))
            binding.bind_cpu_input("fill", np.array([group.fill], np.float32))
            name = "rounded" if kind == np.uint8 else "exact"
            binding.bind_output(name, *self._where, kind, (len(group.rows), *shape), place)
            self._picture.run_with_iobinding(binding)
            place += len(group.rows) * size
        binding.synchronize_outputs()
