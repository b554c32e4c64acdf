"""Pictures made by onnxruntime on the device that the networks run on; see cliffvid.pictures."""

from itertools import groupby
from pathlib import Path

import numpy as np

GRAPH = Path(__file__).parent / "picture.onnx"


class Pictures:
    """Holds frames on a device, and makes pictures of them in one piece of its memory."""

    def __init__(self, onnxruntime, session, device: str) -> None:
        self._ort, self._session, self._device = onnxruntime, session, device

    def upload(self, frames: np.ndarray):
        """Frames (F,H,W,3) uint8 as the device has them."""
        return self._ort.OrtValue.ortvalue_from_numpy(frames, self._device, 0)

    def make(self, pictures: np.ndarray, dtype: str):
        """Pictures (P,), all of one size, as an array (P,h,w,3) on the device. Values are rounded for uint8 alone."""
        shape = pictures[0].shape
        if any(picture.shape != shape for picture in pictures):
            raise ValueError("pictures of several sizes at once: they would be written over each other")
        made = self._ort.OrtValue.ortvalue_from_shape_and_type((len(pictures), *shape), dtype, self._device, 0)
        place, size = made.data_ptr(), int(np.prod(shape)) * np.dtype(dtype).itemsize
        for _, alike in groupby(pictures, _kind):
            alike = list(alike)
            binding = self._session.io_binding()
            binding.bind_ortvalue_input("frames", alike[0].image.frames)
            for name, array in _numbers(alike).items():
                binding.bind_cpu_input(name, array)
            binding.bind_output(
                "rounded" if dtype == "uint8" else "exact", self._device, 0, dtype, (len(alike), *shape), place
            )
            self._session.run_with_iobinding(binding)
            place += len(alike) * size
        return made


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
