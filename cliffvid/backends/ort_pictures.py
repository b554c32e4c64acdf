"""Pictures made by onnxruntime on the device that the networks run on; see cliffvid.pictures."""

from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np

PICTURE, FROM_PLANES = (Path(__file__).with_name(name) for name in ("picture.onnx", "planes.onnx"))


class Pictures:
    """Holds frames on a device, and makes pictures of them in one piece of its memory."""

    def __init__(self, onnxruntime, open_network, device: str) -> None:
        self._ort, self._open, self._device = onnxruntime, open_network, device
        self._picture = open_network(PICTURE)

    @cached_property
    def _from_planes(self):
        return self._open(FROM_PLANES)

    def upload(self, frames: np.ndarray):
        """Frames (F,H,W,3) uint8 as the device has them."""
        return self._ort.OrtValue.ortvalue_from_numpy(frames, self._device, 0)

    def upload_planes(self, y: np.ndarray, u: np.ndarray, v: np.ndarray, to_rgb: np.ndarray):
        """The same of planes (F,H,W) and twice (F,H/2,W/2) uint8, and of matrices (F,3,4) that make them RGB.

        Frame by frame: in between there are floats, sixteen times as much memory.
        """
        planes = {"y": y, "u": u, "v": v}
        there = {name: self.upload(plane) for name, plane in planes.items()}
        shape = *y.shape[1:], 3
        made = self._ort.OrtValue.ortvalue_from_shape_and_type((len(y), *shape), np.uint8, self._device, 0)
        for row, matrix in enumerate(to_rgb.astype(np.float32)):
            binding = self._from_planes.io_binding()
            for name, plane in planes.items():
                place = there[name].data_ptr() + row * plane[0].size
                binding.bind_input(name, self._device, 0, np.uint8, (1, *plane.shape[1:]), place)
            binding.bind_cpu_input("matrix", np.ascontiguousarray(matrix[:, :3]))
            binding.bind_cpu_input("offset", np.ascontiguousarray(matrix[:, 3]))
            place = made.data_ptr() + row * int(np.prod(shape))
            binding.bind_output("rgb", self._device, 0, np.uint8, (1, *shape), place)
            self._from_planes.run_with_iobinding(binding)
        binding.synchronize_outputs()  # before the planes are let go
        return made

    def make(self, pictures: np.ndarray, dtype: str):
        """Pictures (P,), all of one size, as an array (P,h,w,3) on the device. Values are rounded for uint8 alone."""
        shape, kind = (len(pictures), *pictures[0].shape), np.dtype(dtype).type
        made = self._ort.OrtValue.ortvalue_from_shape_and_type(shape, kind, self._device, 0)
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
            binding.bind_output(name, self._device, 0, kind, (len(alike), *shape), place)
            self._picture.run_with_iobinding(binding)
            place += len(alike) * size
        binding.synchronize_outputs()


def _kind(picture) -> tuple:
    """What pictures must have in common to be made at once."""
    return id(picture.image.frames), picture.rows.line.shape, picture.columns.line.shape, picture.fill


def _numbers(alike: list) -> dict[str, np.ndarray]:
    """The graph's inputs but for the frames."""
    height, width, _ = alike[0].image.shape
    tops = np.array([picture.image.row * height for picture in alike])[:, None, None]
    return {
        "rows": (np.stack([picture.rows.line for picture in alike]) + tops) * width,
        "columns": np.stack([picture.columns.line for picture in alike]),
        "row_weights": np.stack([picture.rows.weight for picture in alike]),
        "column_weights": np.stack([picture.columns.weight for picture in alike]),
        "fill": np.array([alike[0].fill], np.float32),
    }
