"""People who walk about, hide each other and pass behind pillars, as a detector and a regressor would tell of them."""

import numpy as np

from cliffvid.tables import Bodies

FOCAL_PX, SIZE_WH = 1200.0, np.array([1280, 720])
TALL_M, WIDE_M = 1.75, 0.55
CAMERA_M = 1.6  # over the ground


def crossings(
    seed: int, people: int = 6, seconds: float = 20.0, rate: float = 25.0, pillars: int = 1, leave: bool = False
):
    """Bodies (P rows) and who each row truly is (P,).

    Everybody walks to and fro at 0.7 to 1.5 m/s at a depth of their own or, if they ``leave``, out of the picture, and
    somebody else comes in. Nobody is detected who is covered by more than 70 %, scores fall with cover, boxes, depths,
    poses and shapes err, 3 % are missed.
    """
    rng = np.random.default_rng(seed)
    depth, speed = rng.uniform(5, 13, people), rng.uniform(0.7, 1.5, people) * rng.choice([-1, 1], people)
    phase, tempo = rng.uniform(0, 60, people), rng.uniform(0.8, 1.1, people)
    shape, habit = rng.normal(0, 1, (64, 10)), rng.normal(0, 0.15, (people, 69))
    pillar_x, pillar_z = rng.uniform(-3, 3, pillars), 4.0
    rows, who = [], []
    for frame in range(int(seconds * rate)):
        time_s = frame / rate
        reach = (0.6 if leave else 0.42) * depth * SIZE_WH[0] / FOCAL_PX
        walked = phase + speed * time_s
        lap = np.floor(walked / (2 * reach)).astype(int) if leave else np.zeros(people, int)
        along = walked % ((2 if leave else 4) * reach)
        x = np.where(along < 2 * reach, along - reach, 3 * reach - along)
        heading = np.where(along < 2 * reach, np.sign(speed), -np.sign(speed))
        z = depth + 0.5 * np.sin(0.3 * time_s + phase)
        boxes = np.stack([x - WIDE_M / 2, CAMERA_M - TALL_M + 0 * x, x + WIDE_M / 2, CAMERA_M + 0 * x], axis=1)
        boxes = boxes / z[:, None] * FOCAL_PX + np.tile(SIZE_WH / 2, 2)
        hidden = np.zeros(people)
        for i in range(people):
            covers = [boxes[j, [0, 2]] for j in range(people) if z[j] < z[i]]
            covers += [(c + np.array([-0.45, 0.45])) / pillar_z * FOCAL_PX + SIZE_WH[0] / 2 for c in pillar_x]
            columns = np.linspace(boxes[i, 0], boxes[i, 2], 41)
            hidden[i] = np.any([(columns >= a) & (columns <= b) for a, b in covers], axis=0).mean() if covers else 0
        for i in rng.permutation(people):
            outside = np.abs(x[i]) > 0.5 * z[i] * SIZE_WH[0] / FOCAL_PX
            if outside or hidden[i] > 0.7 or rng.random() < 0.03:
                continue
            side = boxes[i, 3] - boxes[i, 1]
            turn = np.array([np.pi, 0, 0]) + rng.normal(0, 0.1, 3)
            step = 0.5 * np.sin(2 * np.pi * tempo[i] * time_s + phase[i])
            pose = habit[i] + rng.normal(0, 0.1, 69)
            pose[[0, 3]] += [step, -step]
            score = np.clip(0.9 - 0.8 * hidden[i] + rng.normal(0, 0.05), 0.26, 0.99)
            where = np.array([x[i], 0.6, z[i]]) * (1 + rng.normal(0, 0.04))
            around = boxes[i] + rng.normal(0, 0.015 * side, 4)
            rows.append(
                (
                    frame,
                    time_s,
                    score,
                    around,
                    yawed(turn, heading[i]),
                    pose,
                    shape[(i + 7 * lap[i]) % 64] + rng.normal(0, 0.4, 10),
                    where,
                )
            )
            who.append(i + people * lap[i])
    return table(rows), np.array(who)


def yawed(turn: np.ndarray, heading: float) -> np.ndarray:
    """The camera-facing ``turn`` turned to walk right or left."""
    from scipy.spatial.transform import Rotation

    return (Rotation.from_rotvec(turn) * Rotation.from_rotvec([0, heading * np.pi / 2, 0])).as_rotvec()


def table(rows) -> Bodies:
    like = Bodies.empty(pose=69, shape=10)
    columns = {name: np.zeros((len(rows), *column.shape[1:]), column.dtype) for name, column in like.columns().items()}
    names = ("frame_idx", "time_s", "det_score", "bbox_xyxy", "global_orient", "body_pose", "betas", "transl")
    for name, values in zip(names, zip(*rows, strict=True), strict=True):
        columns[name] = np.array(values).astype(columns[name].dtype)
    columns["pts"], columns["focal_px"] = columns["frame_idx"].copy(), np.full(len(rows), FOCAL_PX, np.float32)
    return Bodies(**columns)
