"""The fast renderer: OpenGL through EGL, on a GPU or in software."""

import cv2
import numpy as np

from ..errors import BackendError
from . import HOW_TO_GET_EGL, NEAREST_M, Patch, Scene, groups

# Drawn at twice the size and averaged: for four large people on two cores 18 ms where 4 samples a pixel took 42, as
# software OpenGL spends its time on the many small triangles rather than on pixels.
FINER = 2
DETAIL_PX = 4  # of a person, only what is smaller is left out; it moves edges by far less
PAGE_PX = 8192  # of height; OpenGL 3.3 promises targets of 16,384 in practice

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
        self._target = None
        self._levels, self._arrays = None, []

    def render(self, scene: Scene) -> list[Patch]:
        if self._levels is not scene.levels:
            self._load(scene)
        self._context.enable_only(self._context.DEPTH_TEST | self._context.CULL_FACE)
        self._context.cull_face = "front"  # image row 0 first turns the faces round
        return [patch for page in pages(list(groups(scene.boxes_px()))) for patch in self._page(scene, page)]

    def _page(self, scene: Scene, page: list) -> list[Patch]:
        """Draw groups of people below each other, so that software OpenGL clears, draws and is read once for all."""
        sizes = [(int(box[2] - box[0]), int(box[3] - box[1])) for box, _ in page]
        width, height = max(w for w, _ in sizes), sum(h for _, h in sizes)
        target = self._sized((FINER * width, FINER * height))
        target.use()
        target.viewport = (0, 0, *target.size)
        target.clear(0, 0, 0, 0)
        places, down = [], 0
        for (box, people), (w, h) in zip(page, sizes, strict=True):
            target.viewport = (0, FINER * down, FINER * w, FINER * h)
            self._program["camera"].write(projection(scene, *(int(side) for side in box[:2]), w, h).T.tobytes())
            for person in people:
                self._draw(scene, person)
            places.append((int(box[0]), int(box[1]), slice(down, down + h), slice(w)))
            down += h
        fine = np.frombuffer(target.read(viewport=(0, 0, FINER * width, FINER * height), components=4), np.uint8)
        fine = fine.reshape(FINER * height, FINER * width, 4)
        rgba = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
        return [Patch(left, top, rgba[rows, columns]) for left, top, rows, columns in places]

    def _sized(self, size: tuple[int, int]):
        """The one target there is, grown to at least that size."""
        if self._target is None or self._target.width < size[0] or self._target.height < size[1]:
            if self._target:
                size = max(size[0], self._target.width), max(size[1], self._target.height)
                for item in (*self._target.color_attachments, self._target.depth_attachment, self._target):
                    item.release()
            context = self._context
            self._target = context.framebuffer([context.renderbuffer(size, 4)], context.depth_renderbuffer(size))
        return self._target

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


def level(scene: Scene, person: int) -> int:
    """Which of the scene's levels shows that person in full: the coarsest whose cells are small in the picture."""
    nearest_m = max(float(scene.vertices[person, :, 2].min()), NEAREST_M)
    sizes_px = [cell_m * scene.focal_px / nearest_m for cell_m, _ in scene.levels]
    return max(i for i, size_px in enumerate(sizes_px) if size_px <= DETAIL_PX)


def pages(parts: list) -> list[list]:
    """The parts in their order, on as few pages as their heights allow."""
    made, height = [], PAGE_PX
    for box, people in parts:
        size = FINER * int(box[3] - box[1])
        if height + size > PAGE_PX:
            made.append([])
            height = 0
        made[-1].append((box, people))
        height += size
    return made


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
