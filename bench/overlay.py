"""Frames a second of both renderers and of the encoder: ``python bench/overlay.py out.json``.

Each number is a median: posing apart, rendering and composing together, encoding apart. The renderers take turns of
several frames, as a film gives them: a single frame after the other's finds none of its memory in the cache. How many
times as fast gl is as pyrender is the median over the rounds of what a round's two turns say, as machines have moods.
Both are cliffvid's own renderers of the same bodies: pyrender draws all faces of each, gl those that the picture shows.
cliffvid's use of pyrender is lean: normals are given, the picture is composed in whole numbers. "Usual" is pyrender as
scripts use it: a trimesh of each body, whose normals are computed, and a picture composed in floating point.
"""

import json
import platform
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import numpy as np

from cliffvid.body import load_body
from cliffvid.draw import track_color
from cliffvid.film import Film
from cliffvid.geometry import axis_angle, rotation_matrix
from cliffvid.renderers import RENDERERS, Scene, compose, open_renderer
from cliffvid.types import VideoInfo

SIZES = {"720p": (1280, 720), "1080p": (1920, 1080)}
# Rows of people across the picture: how many, and how far away.
CROWDS = {1: [(1, 4.0)], 4: [(4, 5.0)], 10: [(5, 7.0), (5, 9.0)]}
ROUNDS = 11
TURN = 4  # frames
ALPHA = 0.9
WAYS = (*RENDERERS, "usual")


def crowd(rows, seed=0):
    """Standing people with their arms down, each turned and posed a little differently: ``surface``'s arguments."""
    rng = np.random.default_rng(seed)
    places = [((k - (n - 1) / 2) * 0.75 * z / n * 1.6, 0.2, z) for n, z in rows for k in range(n)]
    count = len(places)
    pose = rng.normal(0, 0.15, (count, 23, 3))
    pose[:, 15, 2] -= 1.0
    pose[:, 16, 2] += 1.0
    flip = rotation_matrix(np.array([np.pi, 0, 0]))
    turns = np.zeros((count, 3))
    turns[:, 1] = rng.uniform(-np.pi, np.pi, count)
    return axis_angle(flip @ rotation_matrix(turns)), pose.reshape(count, 69), rng.normal(0, 1, (count, 10)), places


def seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def usual(scene, image) -> None:
    """Draw on ``image`` by pyrender as scripts do; by cliffvid's offscreen renderer, as a process bears but one."""
    import pyrender
    import trimesh

    drawing = open_renderer("pyrender")._drawing
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
    drawing._offscreen.viewport_width, drawing._offscreen.viewport_height = width, height
    rgba = drawing._offscreen.render(stage, pyrender.RenderFlags.RGBA)[0]
    cover = rgba[..., 3:].astype(np.float32) / 255 * ALPHA
    image[:] = rgba[..., :3] * np.float32(ALPHA) + image * (1 - cover)


def draw(name, scene, image) -> None:
    if name == "usual":
        open_renderer("pyrender")._owner.call(usual, scene, image)
    else:
        compose(image, open_renderer(name).render(scene), ALPHA)


def measure(size_wh, rows) -> dict:
    body = load_body("open-body")
    *given, places = crowd(rows)
    given.append(np.array(places))
    vertices, normals = body.surface(*given)
    colors = np.array([track_color(i) for i in range(len(places))], np.float32) / 255
    scene = Scene(size_wh, float(np.hypot(*size_wh)), body.levels, vertices, normals, colors)
    frame = np.random.default_rng(0).integers(0, 255, (size_wh[1], size_wh[0], 3), np.uint8)
    taken = {name: [] for name in (*WAYS, "pose")}  # of each round the median
    masks = {}
    for _ in range(ROUNDS + 1):
        for name in WAYS:
            turn = []
            for _ in range(TURN):
                image = frame.copy()
                turn.append(seconds(lambda: draw(name, scene, image)))  # noqa: B023
            taken[name].append(float(np.median(turn)))
            masks[name] = (image != frame).any(axis=2)
        taken["pose"].append(seconds(lambda: body.surface(*given)))
    taken = {name: np.array(values[1:]) for name, values in taken.items()}  # the first round loads and compiles
    median = {name: float(np.median(values)) for name, values in taken.items()}
    both, either = masks["gl"] & masks["pyrender"], masks["gl"] | masks["pyrender"]
    return {
        "gl_frames_per_s": 1 / median["gl"],
        "pyrender_frames_per_s": 1 / median["pyrender"],
        "gl_over_pyrender": float(np.median(taken["pyrender"] / taken["gl"])),
        "usual_pyrender_frames_per_s": 1 / median["usual"],
        "gl_over_usual_pyrender": float(np.median(taken["usual"] / taken["gl"])),
        "pose_ms": 1e3 * median["pose"],
        "mask_iou": float(both.sum() / either.sum()),
        "mask_iou_usual": float((masks["gl"] & masks["usual"]).sum() / (masks["gl"] | masks["usual"]).sum()),
    }


def encode(size_wh) -> float:
    """Frames a second of the film's writer on frames that move."""
    noise = np.random.default_rng(0).integers(60, 200, (size_wh[1] // 8, size_wh[0] // 8 + 16, 3), np.uint8)
    noise = noise.repeat(8, axis=0).repeat(8, axis=1)
    frames = [np.ascontiguousarray(noise[:, k : k + size_wh[0]]) for k in range(0, 64, 2)]
    clip = Path(__file__).parents[1] / "examples" / "pedestrians.mp4"
    info = VideoInfo(clip, "mp4", "h264", *size_wh, Fraction(25), Fraction(1, 25), None, None)
    with tempfile.TemporaryDirectory() as folder, Film(Path(folder) / "a.mp4", info) as film:

        def work():
            for pts, image in enumerate(frames):
                film.write(image, pts)
            film.finish()

        return len(frames) / seconds(work)


def main(out: Path) -> None:
    report = {
        "machine": f"{platform.machine()}, {len(__import__('os').sched_getaffinity(0))} cores",
        "python": platform.python_version(),
        "gl": open_renderer("gl").device,
        "body": "open-body",
        "scenes": {},
    }
    for size, size_wh in SIZES.items():
        for people, rows in CROWDS.items():
            report["scenes"][f"{size}, {people}"] = found = measure(size_wh, rows)
            print(size, people, {key: round(value, 2) for key, value in found.items()}, file=sys.stderr)
        report[f"encode_{size}_frames_per_s"] = encode(size_wh)
        print(size, "encode", report[f"encode_{size}_frames_per_s"], file=sys.stderr)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
