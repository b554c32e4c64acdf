"""Cameras moved to where the people whom all of them see say that they stand."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from .scenes import Camera
from .triangulate import agreed

Array = np.ndarray
ROUNDS = 60
LEAST_POINTS = 100  # that a camera is moved by


def adjusted(cameras: Sequence[Camera], pixels: Array) -> tuple[Camera, ...]:
    """Return the cameras turned and moved so that views (C,N,2) of the same points meet best; lenses stay.

    In turns the points are found from the cameras, and each camera from the points. The whole is then put where it was,
    turned and scaled by what brings the cameras' centres nearest to those given: pictures cannot tell that.
    """
    moved = list(cameras)
    for _ in range(ROUNDS):
        points, used = agreed(moved, pixels)
        moved = [
            _placed(camera, points[there], seen[there]) for camera, seen, there in zip(moved, pixels, used, strict=True)
        ]
    return _as_given(moved, cameras)


def _placed(camera: Camera, points: Array, seen: Array) -> Camera:
    """Return the camera where points (N,3) are seen at pixels (N,2) with the least error."""
    if len(points) < LEAST_POINTS:
        return camera
    turn, move = cv2.Rodrigues(camera.turn)[0], camera.move.reshape(3, 1).copy()
    turn, move = cv2.solvePnPRefineLM(points, seen, camera.matrix, camera.distortion, turn, move)
    return replace(camera, turn=cv2.Rodrigues(turn)[0], move=move[:, 0])


def _as_given(moved: Sequence[Camera], given: Sequence[Camera]) -> tuple[Camera, ...]:
    """Return moved cameras by the similarity that brings their centres nearest to the given ones (Umeyama 1991)."""
    here, there = (np.stack([camera.centre for camera in cameras]) for cameras in (moved, given))
    off, wanted = here - here.mean(axis=0), there - there.mean(axis=0)
    u, sizes, v = np.linalg.svd(wanted.T @ off)
    flip = np.array([1, 1, np.sign(np.linalg.det(u @ v))])
    turned = (u * flip) @ v
    centres = (sizes * flip).sum() / (off**2).sum() * off @ turned.T + there.mean(axis=0)
    turns = [camera.turn @ turned.T for camera in moved]
    return tuple(
        replace(camera, turn=turn, move=-turn @ centre)
        for camera, turn, centre in zip(moved, turns, centres, strict=True)
    )
