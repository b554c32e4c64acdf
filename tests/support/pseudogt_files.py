"""Files in the layout of CLIFF's pseudo-ground-truth whose people are known."""

from pathlib import Path

import numpy as np

from cliffvid.models.body import load_body
from scenes import people

SIZES = [(640, 480), (500, 333), (480, 640)]
# SMPL's joint of each keypoint that has one, written down once more: ankles, knees, hips; wrists, elbows, shoulders
JOINTS = {0: 8, 1: 5, 2: 2, 3: 1, 4: 4, 5: 7, 6: 21, 7: 19, 8: 17, 9: 16, 10: 18, 11: 20, 12: 12, 14: 0}


def gt_arrays(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """People who stand before cameras; two rows an image, the images' sizes in turn those of SIZES."""
    rng = np.random.default_rng(seed)
    places = np.stack([rng.uniform(-1, 1, rows), rng.uniform(-0.3, 0.3, rows), rng.uniform(4, 9, rows)], axis=1)
    turn, pose, betas, transl = people(places, seed)
    joints = load_body("open-body").joints(turn, pose, betas, transl)
    images = np.arange(rows) // 2
    sizes = np.array([SIZES[i % len(SIZES)] for i in images], float).reshape(rows, 2)
    focal = np.sqrt((sizes**2).sum(axis=1))
    part, solid = np.zeros((rows, 24, 3)), np.zeros((rows, 24, 4))
    for k, j in JOINTS.items():
        x, y, z = joints[:, j].T
        part[:, k] = np.stack([focal * x / z + sizes[:, 0] / 2, focal * y / z + sizes[:, 1] / 2, np.ones(rows)], 1)
        solid[:, k] = np.concatenate([joints[:, j] - joints[:, 0], np.ones((rows, 1))], axis=1)
    seen = part[:, list(JOINTS), :2]
    low, high = seen.min(axis=1), seen.max(axis=1)
    beyond = (part[..., :2] < 0).any(axis=2) | (part[..., :2] > sizes[:, None]).any(axis=2)
    part[beyond, 2] = 0
    return {
        "imgname": np.array([f"train/{i:06d}.jpg" for i in images], "<U20"),
        "center": (low + high) / 2,
        "scale": (high - low).max(axis=1) * 1.2 / 200,
        "part": part,
        "annot_id": rng.permutation(10**6)[:rows],
        "pose": np.concatenate([turn, pose], axis=1),
        "shape": betas,
        "has_smpl": np.ones(rows),
        "global_t": transl,
        "focal_l": focal,
        "S": solid,
    }


def save_images(folder: Path, rows: int) -> None:
    """The images that the rows name: grey, each with a bright left half."""
    from PIL import Image

    (folder / "train").mkdir(parents=True, exist_ok=True)
    for i in range((rows + 1) // 2):
        width, height = SIZES[i % len(SIZES)]
        pixels = np.full((height, width, 3), 90, np.uint8)
        pixels[:, : width // 2] = 160
        Image.fromarray(pixels).save(folder / "train" / f"{i:06d}.jpg")
