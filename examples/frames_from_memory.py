"""Find people in frames that the program itself makes or receives: frames_from_memory.py video.mp4.

The frames come from OpenCV here; a camera, a simulator or a decoder of one's own gives them in the same way.
"""

import sys
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from cliffvid import FrameSource, stream


def frames(path: str) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames of a video in RGB."""
    video = cv2.VideoCapture(path)
    while True:
        good, image = video.read()
        if not good:
            return
        yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8)


for rows in stream(FrameSource(frames(sys.argv[1]), fps=25), device="cpu"):
    for track, place in zip(rows.track_id.tolist(), rows.transl.tolist(), strict=True):
        print(f"{rows.time_s[0]:7.2f} s  person {track}  at x {place[0]:.2f}, y {place[1]:.2f}, z {place[2]:.2f} m")
