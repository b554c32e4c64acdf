"""Render with OpenGL, on Linux through EGL, on a GPU or in software: the fast renderer."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import cv2
import numpy as np

from ...errors import BackendError
from ...tables import Array, Float32, Int32, Int64
from . import HOW_TO_GET_EGL, NEAREST_M, Patch, Scene, groups, has_egl, load_package

# Supersampling: render at twice the size and average. Four large people on two cores take 18 ms; 4 samples a pixel, 42.
# Software OpenGL spends its time on the many small triangles rather than on pixels.
FINER = 2
DETAIL_PX = 5  # level of detail: largest omitted detail in pixels; edges move by less than 0.1 pixels
STEP_PX = 128  # target sides are multiples of it, so that a moving person mostly reuses the same target
SPARE_MPX = 32  # pixels of targets kept for the next frames, in millions: 8 bytes per pixel

# Lighting per vertex: a body has about as many vertices as it covers pixels, and each is shaded once.
# A soft key light from the upper left, sky light from above, and faint rim lighting at grazing angles.
VERTEX = """#version 330
in vec3 position;
in vec3 normal;
uniform mat4 camera;
uniform vec3 color;
out vec3 lit;
const vec3 key = normalize(vec3(-0.45, -0.75, -0.60));
void main() {
    vec3 n = normalize(normal);
    float facing = max(dot(n, -normalize(position)), 0.0);
    float lamp = clamp((dot(n, key) + 0.30) / 1.30, 0.0, 1.0);
    float sky = 0.5 - 0.5 * n.y;
    float rim = pow(1.0 - facing, 3.0);
    lit = color * (0.38 + 0.24 * sky + 0.60 * lamp) + vec3(0.10) * rim * sky;
    gl_Position = camera * vec4(position, 1.0);
}
"""
FRAGMENT = """#version 330
in vec3 lit;
out vec4 pixel;
void main() { pixel = vec4(lit, 1.0); }
"""


class GlObject(Protocol):
    """The parts of moderngl's objects that are used, here and below, because moderngl has no types."""

    def release(self) -> None: ...


class GlBuffer(GlObject, Protocol):
    def orphan(self) -> None: ...
    def write(self, data: Array) -> None: ...


class VertexArray(GlObject, Protocol):
    def render(self) -> None: ...


class Uniform(Protocol):
    value: tuple[float, ...]

    def write(self, data: bytes) -> None: ...


class Program(Protocol):
    def __getitem__(self, name: str) -> Uniform: ...


class GlFramebuffer(GlObject, Protocol):
    """A framebuffer."""

    size: tuple[int, int]
    width: int
    height: int
    viewport: tuple[int, int, int, int]
    color_attachments: tuple[GlObject, ...]
    depth_attachment: GlObject

    def use(self) -> None: ...
    def clear(self, red: float, green: float, blue: float, alpha: float) -> None: ...
    def read_into(self, buffer: Array, viewport: tuple[int, int, int, int], components: int) -> None: ...


Input: TypeAlias = tuple[GlBuffer, str, str]  # vertex attribute: buffer, format, name in the program


class Context(Protocol):
    DEPTH_TEST: int
    CULL_FACE: int
    info: dict[str, str]
    cull_face: str

    def enable_only(self, flags: int) -> None: ...
    def program(self, vertex_shader: str, fragment_shader: str) -> Program: ...
    def renderbuffer(self, size: tuple[int, int], components: int) -> GlObject: ...
    def depth_renderbuffer(self, size: tuple[int, int]) -> GlObject: ...
    def framebuffer(self, color_attachments: Sequence[GlObject], depth_attachment: GlObject) -> GlFramebuffer: ...
    def buffer(self, data: Array | None = None, *, reserve: int = 0) -> GlBuffer: ...
    def vertex_array(self, program: Program, content: Sequence[Input], index_buffer: GlBuffer) -> VertexArray: ...


def open() -> "GlRenderer":
    moderngl = load_package("gl")
    try:
        context = moderngl.create_context(standalone=True, **({"backend": "egl"} if has_egl() else {}))
    except Exception as error:  # glcontext raises a bare Exception
        raise BackendError(f"{HOW_TO_GET_EGL} ({error})") from error
    return GlRenderer(context)


class GlRenderer:
    def __init__(self, context: Context) -> None:
        self._context = context
        self.device = context.info["GL_RENDERER"]
        self._program = context.program(VERTEX, FRAGMENT)
        self._spare: list[GlFramebuffer] = []  # free targets, the most recently used last
        self._read = np.empty(0, np.uint8)
        self._levels: tuple[tuple[float, Int32], ...] | None = None
        self._arrays: list[VertexArray] = []
        self._indices: list[GlBuffer] = []
        self._buffers: list[GlBuffer] = []

    def render(self, scene: Scene) -> list[Patch]:
        if self._levels is not scene.levels:
            self._load(scene)
        self._context.enable_only(self._context.DEPTH_TEST | self._context.CULL_FACE)
        self._context.cull_face = "front"  # storing image row 0 first inverts the winding order
        # One target per group: software OpenGL clears the whole target, and a small one stays in the cache.
        started = [(box, self._start(scene, box, people)) for box, people in groups(scene.boxes_px())]
        return [self._finish(box, target) for box, target in started]

    def _start(self, scene: Scene, box: Int64, people: Int64) -> GlFramebuffer:
        """Start rendering a part of the frame and return its target."""
        left, top, right, bottom = box.tolist()
        width, height = right - left, bottom - top
        target = self._take((_up(width), _up(height)))
        target.use()
        target.viewport = (0, 0, *target.size)
        target.clear(0, 0, 0, 0)
        target.viewport = (0, 0, FINER * width, FINER * height)
        self._program["camera"].write(projection(scene, left, top, width, height).T.tobytes())
        for person in people.tolist():
            self._draw(scene, person)
        return target

    def _finish(self, box: Int64, target: GlFramebuffer) -> Patch:
        """Wait for the rendering, read it back, average it and return the patch."""
        left, top, right, bottom = box.tolist()
        shape = FINER * (bottom - top), FINER * (right - left), 4
        size = int(np.prod(shape))
        if self._read.size < size:
            self._read = np.empty(size, np.uint8)
        fine = self._read[:size].reshape(shape)
        target.read_into(fine, viewport=(0, 0, shape[1], shape[0]), components=4)
        self._give_back(target)
        mean = cv2.resize(fine, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
        return Patch(left, top, np.asarray(mean, np.uint8))

    def _take(self, size: tuple[int, int]) -> GlFramebuffer:
        """Return a free target of that size."""
        for target in self._spare:
            if target.size == size:
                self._spare.remove(target)
                return target
        context = self._context
        return context.framebuffer([context.renderbuffer(size, 4)], context.depth_renderbuffer(size))

    def _give_back(self, target: GlFramebuffer) -> None:
        self._spare.append(target)
        while sum(spare.width * spare.height for spare in self._spare) > SPARE_MPX * 1e6:
            old = self._spare.pop(0)
            for item in (*old.color_attachments, old.depth_attachment, old):
                item.release()

    def _load(self, scene: Scene) -> None:
        context = self._context
        if self._levels:
            for item in (*self._arrays, *self._indices, *self._buffers):
                item.release()
        self._indices = [context.buffer(np.ascontiguousarray(faces, np.uint32)) for _, faces in scene.levels]
        self._buffers = [context.buffer(reserve=scene.vertices.shape[1] * 12) for _ in range(2)]
        inputs = [(self._buffers[0], "3f", "position"), (self._buffers[1], "3f", "normal")]
        self._arrays = [context.vertex_array(self._program, inputs, index) for index in self._indices]
        self._levels = scene.levels

    def _draw(self, scene: Scene, person: int) -> None:
        for buffer, values in zip(self._buffers, (scene.vertices[person], scene.normals[person]), strict=True):
            buffer.orphan()
            buffer.write(np.ascontiguousarray(values, np.float32))
        self._program["color"].value = tuple(float(c) for c in scene.colors[person])
        self._arrays[level(scene, person)].render()


def _up(side: int) -> int:
    """Return a target side for one of a frame part: times FINER, rounded up to a multiple of STEP_PX."""
    return -(-FINER * side // STEP_PX) * STEP_PX


def level(scene: Scene, person: int) -> int:
    """Return the person's level of detail: the coarsest whose omitted detail is at most DETAIL_PX in the image."""
    nearest_m = max(float(scene.vertices[person, :, 2].min()), NEAREST_M)
    sizes_px = [cell_m * scene.focal_px / nearest_m for cell_m, _ in scene.levels]
    return max(i for i, size_px in enumerate(sizes_px) if size_px <= DETAIL_PX)


def projection(scene: Scene, left: int, top: int, width: int, height: int) -> Float32:
    """Return the projection matrix (4,4) of the frame part at (left, top); image row 0 becomes the target's row 0."""
    near, far = scene.depths_m()
    matrix = np.zeros((4, 4), np.float32)
    for axis, (start, size) in enumerate(((left, width), (top, height))):
        matrix[axis, axis] = 2 * scene.focal_px / size
        matrix[axis, 2] = 2 * (scene.center_px[axis] - start) / size - 1
    matrix[2, 2:] = (far + near) / (far - near), -2 * far * near / (far - near)
    matrix[3, 2] = 1
    return matrix
