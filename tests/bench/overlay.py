"""Both renderers beside pyrender as scripts use it, and the film's writer.

Both are cliffvid's own renderers of the same bodies: pyrender draws all faces of each, gl those that the picture shows.
cliffvid's use of pyrender is lean: normals are given, the picture is composed in whole numbers. "Usual" is pyrender as
scripts use it: a trimesh of each body, whose normals are computed, and a picture composed in floating point.
"""

import tempfile
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np

from cliffvid.models.body import Body, load_body
from cliffvid.rotations import axis_angle, rotation_matrix
from cliffvid.tables import VideoInfo
from cliffvid.tracks.colors import track_color
from cliffvid.video.encode import Film
from cliffvid.view.renderers import RENDERERS, Renderer, Scene, compose, open_renderer

from .clips import SIZES
from .harness import Case, Result, take_turns

# Rows of people across the picture: how many, and how far away.
CROWDS = {1: [(1, 4.0)], 4: [(4, 5.0)], 10: [(5, 7.0), (5, 9.0)]}
TURN = 4  # frames, as a film gives them: a single one after another renderer's finds none of its memory in the cache
FILM = 32  # frames
ALPHA = 0.9
Draw = Callable[[Scene, np.ndarray], None]


def overlay(repeats: int) -> Result:
    """Rendering and composing by size and people; posing apart, and encoding apart.

    Raises BackendError where a renderer is missing.
    """
    body, ways = load_body("open-body"), _ways({name: open_renderer(name) for name in RENDERERS})
    settings = {"repeats": repeats, "body": body.name, "gl": open_renderer("gl").device}
    result = Result("overlay", "frame", settings)
    for size, people in product(("720p", "1080p"), CROWDS):
        _scene(result, f"{size}, {people} people", _crowd(body, SIZES[size], CROWDS[people]), ways)
    posed = {people: _people(rows) for people, rows in CROWDS.items()}
    cases = [Case(f"posing {n} people", lambda given=given: body.surface(*given), 1) for n, given in posed.items()]
    with tempfile.TemporaryDirectory() as folder:
        for size in ("720p", "1080p"):
            film, frames = Path(folder) / f"{size}.mp4", _moving(SIZES[size])
            cases.append(Case(f"encoding, {size}", lambda film=film, frames=frames: _encode(film, frames), FILM))
        take_turns(cases, repeats)
    result.rows += [case.facts() for case in cases]
    return result


def _scene(result: Result, name: str, scene: Scene, ways: dict[str, Draw]) -> None:
    """Adds what the ways take for a scene, and how far they agree in which pixels are a person's."""
    width, height = scene.size_wh
    frame = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)

    def drawn(draw: Draw) -> np.ndarray:
        image = frame.copy()  # as each frame of a film is new memory
        draw(scene, image)
        return image

    def turn(draw: Draw) -> None:
        for _ in range(TURN):
            drawn(draw)

    cases = [Case(f"{name}, {way}", lambda draw=draw: turn(draw), TURN) for way, draw in ways.items()]
    take_turns(cases, result.settings["repeats"])
    result.rows += [case.facts() for case in cases]
    masks = [(drawn(draw) != frame).any(axis=2) for draw in ways.values()]
    for way, case, mask in list(zip(ways, cases, masks, strict=True))[1:]:
        result.ratios[f"{name}: gl, times {way}"] = case.median_s / cases[0].median_s
        overlap = (mask & masks[0]).sum() / (mask | masks[0]).sum()
        result.quality[f"{name}: overlap of what gl and {way} cover"] = round(float(overlap), 4)


def _ways(renderers: dict[str, Renderer]) -> dict[str, Draw]:
    """The ways to draw a scene on an image (H,W,3), in place; gl is the first."""

    def ours(renderer: Renderer) -> Draw:
        return lambda scene, image: compose(image, renderer.render(scene), ALPHA)

    pyrender = renderers["pyrender"]  # a process bears but one of pyrender's own offscreen renderers: cliffvid's
    usual = lambda *given: pyrender._owner.call(_usual, pyrender._drawing._offscreen, *given)  # noqa: E731
    return {name: ours(renderer) for name, renderer in renderers.items()} | {"usual pyrender": usual}


def _usual(offscreen, scene: Scene, image: np.ndarray) -> None:
    import pyrender
    import trimesh

    stage = pyrender.Scene(bg_color=[0.0] * 4, ambient_light=[0.35] * 3)
    width, height = scene.size_wh
    stage.add(pyrender.IntrinsicsCamera(scene.focal_px, scene.focal_px, width / 2, height / 2, zfar=1000))
    for direction in np.eye(3)[:2]:
        pose = np.eye(4)
        pose[:3, 3] = direction
        stage.add(pyrender.DirectionalLight(intensity=2.6), pose=pose)
    for vertices, color in zip(scene.vertices, scene.colors, strict=True):
        mesh = trimesh.Trimesh(vertices * [1, -1, -1], scene.levels[0][1], process=False)
        material = pyrender.MetallicRoughnessMaterial(baseColorFactor=(*color.tolist(), 1.0), metallicFactor=0.0)
        stage.add(pyrender.Mesh.from_trimesh(mesh, material=material))
    offscreen.viewport_width, offscreen.viewport_height = width, height
    rgba = offscreen.render(stage, pyrender.RenderFlags.RGBA)[0]
    cover = rgba[..., 3:].astype(np.float32) / 255 * ALPHA
    image[:] = rgba[..., :3] * np.float32(ALPHA) + image * (1 - cover)


def _people(rows: list[tuple[int, float]]) -> tuple[np.ndarray, ...]:
    """Standing people with their arms down, each turned and posed a little differently: ``surface``'s arguments."""
    rng = np.random.default_rng(0)
    places = [((k - (n - 1) / 2) * 0.75 * z / n * 1.6, 0.2, z) for n, z in rows for k in range(n)]
    count = len(places)
    pose = rng.normal(0, 0.15, (count, 23, 3))
    pose[:, 15, 2] -= 1.0
    pose[:, 16, 2] += 1.0
    flip = rotation_matrix(np.array([np.pi, 0, 0]))
    turns = np.zeros((count, 3))
    turns[:, 1] = rng.uniform(-np.pi, np.pi, count)
    orient = axis_angle(flip @ rotation_matrix(turns))
    return orient, pose.reshape(count, 69), rng.normal(0, 1, (count, 10)), np.array(places)


def _crowd(body: Body, size_wh: tuple[int, int], rows: list[tuple[int, float]]) -> Scene:
    vertices, normals = body.surface(*_people(rows))
    colors = np.array([track_color(i) for i in range(len(vertices))], np.float32) / 255
    return Scene(
        size_wh, float(np.hypot(*size_wh)), (size_wh[0] / 2, size_wh[1] / 2), body.levels, vertices, normals, colors
    )


def _moving(size_wh: tuple[int, int]) -> list[np.ndarray]:
    """Frames of blocks that slide by."""
    width, height = size_wh
    noise = np.random.default_rng(0).integers(60, 200, (height // 8, width // 8 + FILM // 4, 3), np.uint8)
    noise = noise.repeat(8, axis=0).repeat(8, axis=1)
    return [np.ascontiguousarray(noise[:, 2 * k : 2 * k + width]) for k in range(FILM)]


def _encode(out: Path, frames: list[np.ndarray]) -> None:
    height, width, _ = frames[0].shape
    info = VideoInfo(Path("noise"), "images", "none", width, height, Fraction(25), Fraction(1, 25), None, None)
    with Film(out, info, overwrite=True) as film:
        for pts, image in enumerate(frames):
            film.write(image, pts)
        film.finish()
