"""Pictures made by onnxruntime on the device that the networks run on; see cliffvid.pipeline.upload."""

from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np

from ...cuda import Gpu
from ...machine import split_device

PICTURE, FROM_PLANES, FROM_NV12 = (Path(__file__).with_name(f"{name}.onnx") for name in ("picture", "planes", "nv12"))


class Pictures:
    """Holds frames on a device, and makes pictures of them in one piece of its memory."""

    def __init__(self, onnxruntime, open_network, device: str) -> None:
        self._ort, self._open, self._where = onnxruntime, open_network, split_device(device)
        self._picture = open_network(PICTURE)

    @cached_property
    def _from_planes(self):
        return self._open(FROM_PLANES)

    @cached_property
    def _from_nv12(self):
        return self._open(FROM_NV12)

    @cached_property
    def _gpu(self) -> Gpu:
        return Gpu(self._where[1])

    def upload(self, frames: np.ndarray):
        """Frames (F,H,W,3) uint8 as the device has them."""
        return self._ort.OrtValue.ortvalue_from_numpy(frames, *self._where)

    def upload_planes(self, y: np.ndarray, u: np.ndarray, v: np.ndarray, to_rgb: np.ndarray):
        """The same of planes (F,H,W) and twice (F,H/2,W/2) uint8, and of matrices (F,3,4) that make them RGB."""
        planes = {"y": y, "u": u, "v": v}
        there = {name: self.upload(plane) for name, plane in planes.items()}
        frames = [
            {n: ((1, *p.shape[1:]), there[n].data_ptr() + row * p[0].size) for n, p in planes.items()}
            for row in range(len(y))
        ]
        return self._rgb(self._from_planes, frames, y.shape[1:], to_rgb)

    def take_surfaces(self, surfaces: list, to_rgb: np.ndarray):
        """The same of Surfaces (F,) of one size as stored, which nobody needs any more when this returns."""
        if self._where[0] == "cuda":
            self._gpu.enter()
            self._gpu.wait_for_decoder()
        height, width = surfaces[0].frame.height, surfaces[0].frame.width
        lines = {"y": height, "uv": height // 2}
        frames = [
            {name: ((lines[name], pitch), address) for name, (address, pitch) in surface.planes().items()}
            for surface in surfaces
        ]
        return self._rgb(self._from_nv12, frames, (height, width), to_rgb, width=np.array([width]))

    def _rgb(self, network, frames: list[dict], size_hw: tuple[int, int], to_rgb: np.ndarray, **numbers):
        """Frames of planes: for each the shapes and addresses of what the network takes from the device.

        Frame by frame: in between there are floats, sixteen times as much memory.
        """
        shape = 1, *size_hw, 3
        made = self._ort.OrtValue.ortvalue_from_shape_and_type((len(frames), *shape[1:]), np.uint8, *self._where)
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
        binding.synchronize_outputs()  # before the planes are let go
        return made

    def make(self, pictures: np.ndarray, dtype: str):
        """Pictures (P,), all of one size, as an array (P,h,w,3) on the device. Values are rounded for uint8 alone."""
        shape, kind = (len(pictures), *pictures[0].shape), np.dtype(dtype).type
        made = self._ort.OrtValue.ortvalue_from_shape_and_type(shape, kind, *self._where)
        self.write(pictures, dtype, made.data_ptr())
        return made

    def write(self, pictures: np.ndarray, dtype: str, place: int) -> None:
        """The same into the device's memory from an address on. All is there when this returns, for any stream."""
        shape, kind = pictures[0].shape, np.dtype(dtype).type
        if any(picture.shape != shape for picture in pictures):
            raise ValueError("pictures of several sizes at once: they would be written over each other")
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        for _, alike in groupby(pictures, _kind):
            alike = list(alike)
            binding = self._picture.io_binding()
            binding.bind_ortvalue_input("frames", alike[0].image.frames)
            for name, array in _numbers(alike).items():
                binding.bind_cpu_input(name, array)
            name = "rounded" if kind == np.uint8 else "exact"
            binding.bind_output(name, *self._where, kind, (len(alike), *shape), place)
            self._picture.run_with_iobinding(binding)
            place += len(alike) * size
        binding.synchronize_outputs()


def _kind(picture) -> tuple:
    """What pictures must have in common to be made at once."""
    image = picture.image
    return id(image.frames), image.orientation, picture.rows.line.shape, picture.columns.line.shape, picture.fill


def _numbers(alike: list) -> dict[str, np.ndarray]:
    """The graph's inputs but for the frames."""
    (height, width, _), (exchanged, left_right, up_down) = alike[0].image.shape, alike[0].image.orientation
    rows, columns = (np.stack([getattr(p, side).line for p in alike]) for side in ("rows", "columns"))
    rows = height - 1 - rows if up_down else rows
    columns = width - 1 - columns if left_right else columns
    # how many stored pixels lie between two that are neighbours as displayed
    down, right = (1, height) if exchanged else (width, 1)
    first = np.array([picture.image.row * height * width for picture in alike])[:, None, None]
    return {
        "rows": rows * down + first,
        "columns": columns * right,
        "row_weights": np.stack([picture.rows.weight for picture in alike]),
        "column_weights": np.stack([picture.columns.weight for picture in alike]),
        "fill": np.array([alike[0].fill], np.float32),
    }
