"""Two scenes of four calibrated, synchronised cameras, from the package pose2sim (BSD-3-Clause)."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np

from cliffvid.export.open.sources import default_folder, fetch

Array = np.ndarray
SOURCES = json.loads((Path(__file__).parent / "sources.json").read_text(encoding="utf-8"))
FOLDERS = {"single": "Demo_SinglePerson", "several": "Demo_MultiPerson"}
CALIBRATION = "calibration/Calib.qca.txt"
PARTS_OF_PIXEL = 64  # Qualisys counts in 64ths of a pixel
TURNED = np.diag([1.0, -1.0, -1.0])  # Qualisys looks along -z with y up


@dataclass(frozen=True, eq=False)
class Camera:
    """A calibrated camera: x right, y down, z forward; metres and pixels."""

    name: str
    matrix: Array  # (3,3)
    distortion: Array  # (5,) OpenCV's k1, k2, p1, p2, k3
    turn: Array  # (3,3) world to camera
    move: Array  # (3,)

    @property
    def focal_px(self) -> float:
        return float((self.matrix[0, 0] + self.matrix[1, 1]) / 2)

    @property
    def centre(self) -> Array:
        """Where it stands in the world (3,)."""
        return -self.turn.T @ self.move

    def seen(self, world: Array) -> Array:
        """Return world points (...,3) in the camera's frame."""
        return world @ self.turn.T + self.move

    def project(self, world: Array) -> Array:
        """Return the pixels (...,2) of world points (...,3); NaN where a point is NaN or behind the camera."""
        at = self.seen(world).reshape(-1, 3)
        good = np.isfinite(at).all(axis=1) & (np.nan_to_num(at[:, 2], nan=-1.0) > 0.1)
        pixels = np.full((len(at), 2), np.nan)
        if good.any():
            pixels[good] = cv2.projectPoints(at[good], np.zeros(3), np.zeros(3), self.matrix, self.distortion)[0][:, 0]
        return pixels.reshape(*world.shape[:-1], 2)

    def rays(self, pixels: Array) -> Array:
        """Return pixels (...,2) as x/z and y/z (...,2), without the lens's distortion."""
        flat = np.ascontiguousarray(pixels.reshape(-1, 1, 2), np.float64)
        return cv2.undistortPoints(flat, self.matrix, self.distortion).reshape(pixels.shape)


@dataclass(frozen=True, eq=False)
class Scene:
    """What several cameras filmed at the same time; films[i] is of cameras[i]."""

    name: str
    cameras: tuple[Camera, ...]
    films: tuple[Path, ...]


def load_scenes(folder: Path | None = None) -> list[Scene]:
    """Return the scenes, downloaded and unpacked into the folder of sources unless they are there."""
    archive = fetch(SOURCES["pose2sim"], folder)
    root = (folder or default_folder()) / archive.stem
    with zipfile.ZipFile(archive) as package:  # its hash has been checked
        for name in package.namelist():
            parts = name.split("/")
            wanted = (
                len(parts) > 2 and parts[1] in FOLDERS.values() and ("videos" in parts or name.endswith(CALIBRATION))
            )
            if wanted and not (root / name).is_file():
                package.extract(name, root)
    return [_scene(name, root / "Pose2Sim" / part) for name, part in FOLDERS.items()]


def _scene(name: str, folder: Path) -> Scene:
    cameras = read_cameras((folder / CALIBRATION).read_text(encoding="utf-8"))
    return Scene(name, tuple(cameras), tuple(folder / "videos" / f"{camera.name}.mp4" for camera in cameras))


def read_cameras(text: str) -> list[Camera]:
    """Return the cameras of a Qualisys calibration."""
    return [_camera(element) for element in ElementTree.fromstring(text).iter("camera")]


def _camera(element: ElementTree.Element) -> Camera:
    place, lens = (element.find(part).attrib for part in ("transform", "intrinsic"))
    turn = TURNED @ np.array([[float(place[f"r{a}{b}"]) for b in (1, 2, 3)] for a in (1, 2, 3)])
    centre_m = np.array([float(place[axis]) for axis in "xyz"]) / 1000
    fx, fy, cx, cy = (
        float(lens[key]) / PARTS_OF_PIXEL for key in ("focalLengthU", "focalLengthV", "centerPointU", "centerPointV")
    )
    bends = [f"{kind}Distortion{k}" for kind, k in (("radial", 1), ("radial", 2), ("tangental", 1), ("tangental", 2))]
    return Camera(
        element.attrib["serial"],
        np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]),
        np.array([float(lens[key]) for key in (*bends, "radialDistortion3")]),
        turn,
        -(turn @ centre_m),
    )
