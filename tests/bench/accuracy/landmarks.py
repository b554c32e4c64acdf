"""The 33 landmarks of a person by BlazePose heavy, which no model of cliffvid contains, run by Google's own LiteRT."""

import cv2
import numpy as np

from cliffvid.export.open.sources import read_member

Array = np.ndarray
COUNT = 33
SIDE_PX = 256
AROUND = 1.25  # the crop's side in extents of the landmarks, as MediaPipe crops
LEAST_PRESENCE = 0.5


class Landmarker:
    """The network, open."""

    def __init__(self) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._net = Interpreter(model_content=read_member("blazepose-heavy"), num_threads=1)
        self._net.allocate_tensors()
        self._input = self._net.get_input_details()[0]["index"]
        outputs = {each["name"].split(":")[0]: each["index"] for each in self._net.get_output_details()}
        self._points, self._presence = outputs["Identity"], outputs["Identity_1"]

    def find(self, image: Array, around: Array, passes: int = 1) -> Array | None:
        """Return the landmarks (33,2), in pixels of an RGB image, of the person around some points (N,2).

        A second pass crops by the landmarks of the first. None where there is nobody.
        """
        for _ in range(passes):
            low, high = np.nanmin(around, axis=0), np.nanmax(around, axis=0)
            (x, y), side = (low + high) / 2, AROUND * (high - low).max()
            scale = SIDE_PX / max(side, 1.0)
            placed = np.array([[scale, 0, SIDE_PX / 2 - scale * x], [0, scale, SIDE_PX / 2 - scale * y]])
            crop = cv2.warpAffine(image, placed, (SIDE_PX, SIDE_PX)).astype(np.float32) / 255
            self._net.set_tensor(self._input, crop[None])
            self._net.invoke()
            if self._net.get_tensor(self._presence).item() < LEAST_PRESENCE:
                return None
            points = self._net.get_tensor(self._points).reshape(-1, 5)[:COUNT, :2].astype(np.float64)
            around = (points - placed[:, 2]) / scale
        return around
