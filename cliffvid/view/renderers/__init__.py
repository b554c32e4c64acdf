"""Render scenes of bodies; each renderer is a separate module, imported on use."""

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Protocol, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from ... import optional
from ...errors import UsageError
from ...geometry import Array
from ...tables import Int32, Int64
from ..draw import Pixels

T = TypeVar("T")
RENDERERS = {"gl": ("gl", "moderngl", "overlay"), "pyrender": ("reference", "pyrender", "pyrender")}
NEAREST_M = 0.05  # near plane: closer geometry is clipped
WITHOUT = "or draw skeletons (--view skeleton, --skeleton-only), which needs nothing"
HOW_TO_GET_EGL = (
    "no picture can be rendered here, because EGL is missing or has no driver: on Debian and Ubuntu "
    "apt-get install libegl1 libgl1 libgl1-mesa-dri (software, no GPU needed); --view skeleton, or --skeleton-only of "
    "a report, needs nothing"
)


def has_egl() -> bool:
    """Return whether OpenGL comes through EGL; Windows and macOS have a way of their own."""
    return sys.platform not in ("win32", "darwin")


class Owner:
    """A thread that lives as long as the process and owns a resource bound to one thread: a graphics context."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cliffvid-owner")

    def call(self, work: Callable[..., T], *args: object) -> T:
        """Run ``work`` in the owner's thread and return or raise its result; concurrent calls are queued."""
        return self._thread.submit(work, *args).result()


@dataclass(frozen=True, eq=False)
class Scene:
    """People of one body model and one camera: x right, y down, z forward, metres."""

    size_wh: tuple[int, int]
    focal_px: float
    center_px: tuple[float, float]  # the principal point
    levels: tuple[tuple[float, Int32], ...]  # (size in metres of the omitted detail, faces (F,3) int32); 0 first
    vertices: Array  # (P,V,3) float32
    normals: Array  # (P,V,3) float32
    colors: Array  # (P,3) float32, sRGB 0 to 1

    def depths_m(self) -> tuple[float, float]:
        """Return near and far plane depths that enclose all people, with the near plane at NEAREST_M or beyond."""
        z = self.vertices[..., 2]
        return max(NEAREST_M, float(z.min()) * 0.9), max(2 * NEAREST_M, float(z.max()) * 1.1)

    def boxes_px(self) -> Int64:
        """Return each person's pixel box x0, y0, x1, y1 (P,4) int64, clipped to the frame; empty if not visible."""
        limit, center = np.array(self.size_wh), np.array(self.center_px)
        boxes = np.zeros((len(self.vertices), 4), np.int64)
        for box, points in zip(boxes, self.vertices, strict=True):
            x, y, z = np.ascontiguousarray(points.T)  # five times faster than along the first axis
            near, far = z.min(), z.max()
            if far <= NEAREST_M:
                continue
            if near <= NEAREST_M:  # extends behind the camera: the projection is unbounded
                box[2:] = limit
                continue
            u, v = x / z, y / z
            low, high = np.array([u.min(), v.min()]), np.array([u.max(), v.max()])
            box[:2] = np.clip(np.floor(low * self.focal_px + center) - 1, 0, limit)
            box[2:] = np.clip(np.ceil(high * self.focal_px + center) + 1, 0, limit)
        return boxes


@dataclass(frozen=True, eq=False)
class Patch:
    """A rendered part of a frame; colours are premultiplied by the alpha channel (coverage)."""

    left_px: int
    top_px: int
    rgba: NDArray[np.uint8]  # (h,w,4) uint8


class Drawing(Protocol):
    """The object that a renderer's module creates; use it only in the thread that created it."""

    device: str

    def render(self, scene: Scene) -> list[Patch]:
        """Return the parts of the frame that show people; they do not overlap."""


class Renderer:
    """Renders scenes for any thread; one per kind and process, with its graphics context bound to one thread."""

    def __init__(self, name: str, module: str) -> None:
        self.name = name
        self._owner = Owner()
        self._drawing: Drawing = self._owner.call(import_module(f".{module}", __name__).open)
        self.device = self._drawing.device

    def render(self, scene: Scene) -> list[Patch]:
        return self._owner.call(self._drawing.render, scene) if len(scene.vertices) else []


@cache
def open_renderer(name: str) -> Renderer:
    """Return the process's renderer of that name; ``auto`` is the first of RENDERERS that is installed.

    Raises UsageError for an unknown name, BackendError with install instructions if it cannot run.
    """
    if name == "auto":
        installed = [n for n, (_, package, _) in RENDERERS.items() if find_spec(package)]
        return open_renderer(installed[0] if installed else "gl")
    if name not in RENDERERS:
        raise UsageError(f"--renderer {name}: choose one of auto, {', '.join(RENDERERS)}")
    return Renderer(name, RENDERERS[name][0])


def load_package(name: str, repair: str = f"{optional.REINSTALL}, {WITHOUT}") -> ModuleType:
    """Import and return a renderer's package; ``repair`` and errors as in ``optional.load``."""
    import platformdirs

    # Mesa caches compiled shaders: keep them in cliffvid's cache folder, not in Mesa's default one
    os.environ.setdefault("MESA_SHADER_CACHE_DIR", platformdirs.user_cache_dir("cliffvid"))
    _, package, extra = RENDERERS[name]
    return optional.load(package, f'pip install "cliffvid[{extra}]", {WITHOUT}', repair)


def compose(image: Pixels, patches: list[Patch], alpha: float) -> None:
    """Blend the patches over ``image`` (H,W,3) uint8, in place; with ``alpha`` 1 they are opaque."""
    for patch in patches:
        height, width = patch.rgba.shape[:2]
        under = image[patch.top_px : patch.top_px + height, patch.left_px : patch.left_px + width]
        keep = cv2.convertScaleAbs(patch.rgba[..., 3], alpha=-alpha, beta=0)  # |-alpha * coverage|
        keep = cv2.cvtColor(cv2.bitwise_not(keep), cv2.COLOR_GRAY2RGB)
        dimmed = cv2.multiply(np.ascontiguousarray(under), keep, scale=1 / 255)
        under[:] = cv2.addWeighted(cv2.cvtColor(patch.rgba, cv2.COLOR_RGBA2RGB), alpha, dimmed, 1, 0)


def groups(boxes: Int64) -> Iterator[tuple[Int64, Int64]]:
    """Yield (box, people) for each group of overlapping boxes, directly or through others; empty boxes are skipped.

    Only these boxes are rendered and read back: at 1080p the whole frame takes longer than one person.
    """
    left = [(box, [i]) for i, box in enumerate(boxes) if (box[2:] > box[:2]).all()]
    while left:
        box, people = left.pop()
        while True:
            touching = [other for other in left if (box[:2] < other[0][2:]).all() and (other[0][:2] < box[2:]).all()]
            if not touching:
                break
            left = [other for other in left if not any(other is t for t in touching)]
            every = np.stack([box] + [other for other, _ in touching])
            box = np.concatenate([every[:, :2].min(axis=0), every[:, 2:].max(axis=0)])
            people = people + [i for _, more in touching for i in more]
        yield box, np.array(people)
