"""The fast renderer: OpenGL through EGL, on a GPU or in software."""

from collections import OrderedDict

import cv2
import numpy as np

from ..errors import BackendError
from . import HOW_TO_GET_EGL, NEAREST_M, Patch, Scene, groups

# Drawn at twice the size and averaged: for four large people on two cores 18 ms where 4 samples a pixel took 42, as
# software OpenGL spends its time on the many small triangles rather than on pixels.
FINER = 2
DETAIL_PX = 4  # of a person, only what is smaller is left out: its edges lie within half a pixel all the same
GRAIN_PX = 64  # targets are made in steps of this, so that few are made
TARGETS_MAX = 8  # kept for use again

# Light is computed at vertices: a body has about as many of them as it covers pixels, and they are shaded once.
# A soft key light from the upper left, the sky from above, and a faint rim where the surface turns away.
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


def open() -> "GlRenderer":
    import moderngl

    try:
        context = moderngl.create_context(standalone=True, backend="egl")
    except Exception as error:  # glcontext raises a bare Exception
        raise BackendError(f"{HOW_TO_GET_EGL} ({error})") from error
    return GlRenderer(context)


class GlRenderer:
    def __init__(self, context) -> None:
        self._context = context
        self.device = context.info["GL_RENDERER"]
        self._program = context.program(VERTEX, FRAGMENT)
        self._targets: OrderedDict = OrderedDict()
        self._levels, self._arrays = None, []

    def render(self, scene: Scene) -> list[Patch]:
        if self._levels is not scene.levels:
            self._load(scene)
        self._context.enable_only(self._context.DEPTH_TEST | self._context.CULL_FACE)
        self._context.cull_face = "front"  # image row 0 first turns the faces round
        return [self._render(scene, box, people) for box, people in groups(scene.boxes_px())]

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

    def _render(self, scene: Scene, box: np.ndarray, people: np.ndarray) -> Patch:
        left, top, right, bottom = (int(v) for v in box)
        width, height = right - left, bottom - top
        fine = (width * FINER, height * FINER)
        target = self._target(fine)
        target.use()
        target.viewport = (0, 0, *fine)
        target.clear(0, 0, 0, 0)
        self._program["camera"].write(projection(scene, left, top, width, height).T.tobytes())
        for i in people:
            for buffer, values in zip(self._buffers, (scene.vertices[i], scene.normals[i]), strict=True):
                buffer.orphan()
                buffer.write(np.ascontiguousarray(values, np.float32))
            self._program["color"].value = tuple(float(c) for c in scene.colors[i])
            self._arrays[level(scene, i)].render()
        pixels = np.frombuffer(target.read(viewport=target.viewport, components=4), np.uint8)
        rgba = cv2.resize(pixels.reshape(fine[1], fine[0], 4), (width, height), interpolation=cv2.INTER_AREA)
        return Patch(left, top, rgba)

    def _target(self, size_wh: tuple[int, int]):
        """A framebuffer of at least that size."""
        size = tuple(-(-side // GRAIN_PX) * GRAIN_PX for side in size_wh)
        if size not in self._targets:
            if len(self._targets) == TARGETS_MAX:
                _, old = self._targets.popitem(last=False)
                for item in (*old.color_attachments, old.depth_attachment, old):
                    item.release()
            context = self._context
            self._targets[size] = context.framebuffer([context.renderbuffer(size, 4)], context.depth_renderbuffer(size))
        self._targets.move_to_end(size)
        return self._targets[size]


def level(scene: Scene, person: int) -> int:
    """Which of the scene's levels shows that person in full: the coarsest whose cells are small in the picture."""
    nearest_m = max(float(scene.vertices[person, :, 2].min()), NEAREST_M)
    sizes_px = [cell_m * scene.focal_px / nearest_m for cell_m, _ in scene.levels]
    return max(i for i, size_px in enumerate(sizes_px) if size_px <= DETAIL_PX)


def projection(scene: Scene, left: int, top: int, width: int, height: int) -> np.ndarray:
    """Clip matrix (4,4) of the part of the frame at (left, top); image row 0 becomes the target's row 0."""
    near, far = scene.depths_m()
    matrix = np.zeros((4, 4), np.float32)
    for axis, (start, size) in enumerate(((left, width), (top, height))):
        matrix[axis, axis] = 2 * scene.focal_px / size
        matrix[axis, 2] = (scene.size_wh[axis] - 2 * start) / size - 1
    matrix[2, 2:] = (far + near) / (far - near), -2 * far * near / (far - near)
    matrix[3, 2] = 1
    return matrix
