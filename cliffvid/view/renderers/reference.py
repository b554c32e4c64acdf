"""Render with pyrender, as the official CLIFF demo does: the reference renderer. Slow."""

import os
import warnings
from types import ModuleType
from typing import Protocol

import numpy as np

from ...errors import BackendError
from ...tables import Float64
from . import HOW_TO_GET_EGL, Patch, Scene, has_egl, load_package

FLIP = np.array([1, -1, -1], np.float32)  # to OpenGL's camera: y up, z backward
# Light intensities must be floats: with integers pyrender silently falls back to flat shading.
AMBIENT, KEY, SKY = 0.35, 2.6, 0.9


def open() -> "PyrenderRenderer":
    if has_egl():
        os.environ["PYOPENGL_PLATFORM"] = "egl"  # read when PyOpenGL is imported
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # unmaintained: its dependencies warn about it
            return PyrenderRenderer(load_package("pyrender", HOW_TO_GET_EGL))
    except (AttributeError, RuntimeError, ValueError) as error:
        raise BackendError(f"{HOW_TO_GET_EGL} ({error})") from error


class PyrenderRenderer:
    """Renders with pyrender. Use one per process: of two, deleting one takes the display from the other."""

    def __init__(self, pyrender: ModuleType) -> None:
        _repair(pyrender)
        self._pyrender = pyrender
        self._offscreen = pyrender.OffscreenRenderer(64, 64)
        self.device = "EGL"

    def render(self, scene: Scene) -> list[Patch]:
        pyrender, (width, height) = self._pyrender, scene.size_wh
        near, far = scene.depths_m()
        stage = pyrender.Scene(bg_color=[0.0] * 4, ambient_light=[AMBIENT] * 3)
        stage.add(pyrender.IntrinsicsCamera(*[scene.focal_px] * 2, *scene.center_px, near, far))
        for strength, towards in ((KEY, (-0.45, 0.75, 0.60)), (SKY, (0.0, 1.0, 0.1))):
            stage.add(pyrender.DirectionalLight(intensity=strength), pose=_light_pose(towards))
        for vertices, normals, color in zip(scene.vertices, scene.normals, scene.colors, strict=True):
            material = pyrender.MetallicRoughnessMaterial(
                baseColorFactor=(*(color**2.2).tolist(), 1.0), metallicFactor=0.0, roughnessFactor=0.9
            )
            skin = pyrender.Primitive(vertices * FLIP, normals * FLIP, indices=scene.levels[0][1], material=material)
            stage.add(pyrender.Mesh([skin]))
        self._offscreen.viewport_width, self._offscreen.viewport_height = width, height
        return [Patch(0, 0, np.ascontiguousarray(self._offscreen.render(stage, pyrender.RenderFlags.RGBA)[0]))]


def _light_pose(towards: tuple[float, float, float]) -> Float64:
    """Return the pose (4,4) of a light that shines from the direction ``towards``: lights shine along their -z."""
    z = np.array(towards) / np.linalg.norm(towards)
    x = np.cross([0.0, 0.3, 1.0], z)
    x /= np.linalg.norm(x)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
    return pose


class Skin(Protocol):
    """A Primitive of pyrender."""

    bounds: Float64


class Mesh(Protocol):
    """A Mesh of pyrender."""

    primitives: list[Skin]


def _repair(pyrender: ModuleType) -> None:
    """Replace Mesh.bounds with code that runs on numpy 2; nothing else in pyrender uses a removed name."""

    def bounds(mesh: Mesh) -> Float64:
        corners = np.array([skin.bounds for skin in mesh.primitives])
        return np.array([corners[:, 0].min(axis=0), corners[:, 1].max(axis=0)])

    pyrender.Mesh.bounds = property(bounds)
