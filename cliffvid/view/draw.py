"""Draw boxes, track ids and skeletons, for which no renderer is needed."""

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from ..geometry import Array, project
from ..tables import Tracks
from ..tracks.colors import track_color

Pixels: TypeAlias = NDArray[np.uint8]  # an image (H,W,3), RGB
FONT = cv2.FONT_HERSHEY_SIMPLEX


def pen_px(image: Pixels) -> float:
    """Return the line width in pixels, scaled so that marks are visible on large photos too."""
    longer: int = max(image.shape[:2])
    return max(1.0, longer / 1280)


def draw_boxes(image: Pixels, people: Tracks) -> None:
    """Outline each person's box in ``image`` (H,W,3) uint8, in place."""
    width = round(pen_px(image))
    for track_id, box in zip(people.track_id, people.bbox_xyxy, strict=True):
        x0, y0, x1, y1 = (round(float(v)) for v in box)
        cv2.rectangle(image, (x0, y0), (x1, y1), track_color(int(track_id)), width, cv2.LINE_AA)


def draw_ids(image: Pixels, people: Tracks, scores: bool = False) -> None:
    """Write each person's track id, and optionally the score, above the box; a dark outline keeps it legible.

    A label that would overlap another moves down until it is free.
    """
    pen = pen_px(image)
    taken: list[tuple[int, int, int]] = []  # left, bottom and width of the labels so far
    for track_id, score, box in zip(people.track_id, people.det_score, people.bbox_xyxy, strict=True):
        text = f"{track_id} {score:.2f}" if scores else str(track_id)
        (width, height), _ = cv2.getTextSize(text, FONT, 0.45 * pen, round(3 * pen))
        width, height = width + round(4 * pen), height + round(4 * pen)  # for the dark outline and a gap
        x, y = round(float(box[0])), max(round(float(box[1]) - 4 * pen), round(10 * pen))
        for left, bottom, wide in sorted(taken, key=lambda label: label[1]):
            if left < x + width and x < left + wide and abs(bottom - y) < height:
                y = bottom + height
        taken.append((x, y, width))
        for color, thickness in (((20, 20, 20), 3 * pen), (track_color(int(track_id)), pen)):
            cv2.putText(image, text, (x, y), FONT, 0.45 * pen, color, round(thickness), cv2.LINE_AA)


def draw_skeletons(
    image: Pixels, people: Tracks, joints: Array, parents: tuple[int, ...], center_px: tuple[float, float]
) -> None:
    """Draw bones and joints (P,J,3), in metres in the camera frame, farthest person first."""
    points = project(joints, people.focal_px, center_px)
    for i in np.argsort(-people.transl[:, 2]):
        if not np.isfinite(points[i]).all() or np.abs(points[i]).max() > 1e5:
            continue  # a camera flagged as bad gives no usable projection
        width = max(1, round(float(people.bbox_xyxy[i, 3] - people.bbox_xyxy[i, 1]) / 100))
        fine = np.rint(points[i] * 16 - 8).astype(int)  # 4 fractional bits, from pixel edges to pixel centres
        color = track_color(int(people.track_id[i]))
        for joint, parent in enumerate(parents):
            if parent >= 0:
                cv2.line(image, fine[parent].tolist(), fine[joint].tolist(), color, width, cv2.LINE_AA, 4)
        for point in fine:
            cv2.circle(image, point.tolist(), 16 * width, (255, 255, 255), -1, cv2.LINE_AA, 4)
