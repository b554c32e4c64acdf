"""What needs no renderer: colours, boxes, identities, skeletons."""

import colorsys

import cv2
import numpy as np

from .geometry import project
from .types import Tracks

FONT = cv2.FONT_HERSHEY_SIMPLEX


def track_color(track_id: int) -> tuple[int, int, int]:
    """A steady, muted RGB colour; neighbouring ids lie far apart on the colour circle."""
    lightness = (0.60, 0.76)[track_id % 2]
    return tuple(round(255 * c) for c in colorsys.hls_to_rgb(track_id * 0.61803399 % 1, lightness, 0.5))


def draw_boxes(image: np.ndarray, people: Tracks) -> None:
    """Outline each person's box in ``image`` (H,W,3) uint8, in place."""
    for track_id, box in zip(people.track_id, people.bbox_xyxy, strict=True):
        x0, y0, x1, y1 = (round(float(v)) for v in box)
        cv2.rectangle(image, (x0, y0), (x1, y1), track_color(int(track_id)), 1, cv2.LINE_AA)


def draw_ids(image: np.ndarray, people: Tracks) -> None:
    """Write each person's identity above the box, dark around bright so that it reads on any picture."""
    for track_id, box in zip(people.track_id, people.bbox_xyxy, strict=True):
        at = (round(float(box[0])), max(round(float(box[1])) - 4, 10))
        for color, width in (((20, 20, 20), 3), (track_color(int(track_id)), 1)):
            cv2.putText(image, str(track_id), at, FONT, 0.45, color, width, cv2.LINE_AA)


def draw_skeletons(image: np.ndarray, people: Tracks, joints: np.ndarray, parents: tuple[int, ...]) -> None:
    """Draw bones and joints (P,J,3) in metres of the camera's frame, those farther away first."""
    points = project(joints, people.focal_px, image.shape[1::-1])
    for i in np.argsort(-people.transl[:, 2]):
        if not np.isfinite(points[i]).all() or np.abs(points[i]).max() > 1e5:
            continue  # a camera flagged as bad projects to nowhere
        width = max(1, round(float(people.bbox_xyxy[i, 3] - people.bbox_xyxy[i, 1]) / 100))
        fine = np.rint(points[i] * 16 - 8).astype(int)  # 4 fractional bits, from pixel edges to pixel centres
        color = track_color(int(people.track_id[i]))
        for joint, parent in enumerate(parents):
            if parent >= 0:
                cv2.line(image, fine[parent].tolist(), fine[joint].tolist(), color, width, cv2.LINE_AA, 4)
        for point in fine:
            cv2.circle(image, point.tolist(), 16 * width, (255, 255, 255), -1, cv2.LINE_AA, 4)
