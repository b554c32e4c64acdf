"""How far from the open body's own places BlazePose sees its landmarks: the numbers of export/open/landmarks.py.

    PYTHONPATH=tests python -m bench.accuracy.offsets bench/out/accuracy    # where `make accuracy` kept what was seen

Open bodies of every pose, and of one size for each person, are laid onto the triangulated landmarks of a scene's
people, and with them one offset for each landmark, the same for all, in the frame of its joint. Takes two minutes.
"""

import math
import sys
from pathlib import Path

import numpy as np
import torch

from cliffvid.export.open.landmarks import OFF_MM, RIGHT_OF, place_landmarks
from cliffvid.export.open.poses import about
from cliffvid.export.open.sightings import Skeleton, hip_middle
from cliffvid.export.open.training import orthonormal
from cliffvid.models.manifest import BUNDLED

from .run import kept_scenes
from .truth import LANDMARKS, People

Tensor = torch.Tensor
STEPS = 500
RATES = {"columns": 0.02, "place": 0.01, "size": 0.01, "off": 0.003}
ROUND_M = 0.02  # errors below it count by their square, larger ones by their length
OFF_M = 0.02  # sigma of an offset, were nothing seen
CALM = {0.5: (3, 6, 9, 10, 11, 12, 13, 14, 22, 23), 0.15: (7, 8, 15, 20, 21)}  # joints that hardly turn, by how hardly
LEFTS = np.array(list(OFF_MM))
RIGHTS = np.array([RIGHT_OF[left] for left in OFF_MM])
FLIP = torch.tensor([-1.0, 1.0, 1.0])


def skeleton() -> Skeleton:
    """Return the open body with the landmarks where they were before any offset."""
    with np.load(BUNDLED / "open-body" / "body.npz", allow_pickle=False) as file:
        placed = Skeleton(place_landmarks({name: file[name] for name in file.files if name != "posedirs"}))
    placed.rest_points -= mirrored(torch.tensor(list(OFF_MM.values())) / 1000)
    return placed


def mirrored(left: Tensor) -> Tensor:
    """Return offsets (33,3) of both sides from those of the left one and the middle."""
    both = torch.zeros(33, 3)
    both[RIGHTS] = left * FLIP
    both[LEFTS] = torch.where(torch.from_numpy(LEFTS == RIGHTS)[:, None], left * torch.tensor([0.0, 1.0, 1.0]), left)
    return both


def standing(points: Tensor) -> Tensor:
    """Return rotations (N,24,3,3) to begin with: turned as the trunk of ``points`` (N,33,3), arms let down."""
    leftward = points[:, 11] - points[:, 12] + points[:, 23] - points[:, 24]
    upward = points[:, 11] + points[:, 12] - points[:, 23] - points[:, 24]
    rotations = torch.eye(3).repeat(len(points), 24, 1, 1)
    rotations[:, 0] = orthonormal(torch.stack([leftward, upward], -1))
    rotations[:, 16], rotations[:, 17] = about(2, torch.tensor(-1.2)), about(2, torch.tensor(1.2))
    return rotations


def fit(body: Skeleton, people: People) -> tuple[Tensor, float]:
    """Return the offsets (33,3), and how far shoulders to ankles stay away in the mean; metres."""
    whole = np.isfinite(people.points_m[:, LANDMARKS, 0]).all(axis=1)
    seen = torch.from_numpy(people.points_m[whole]).float()
    known = torch.isfinite(seen[..., 0]).float()
    seen = torch.nan_to_num(seen - hip_middle(seen))
    who = torch.from_numpy(np.unique(people.person[whole], return_inverse=True)[1])
    weight = torch.ones(33)
    weight[:11], weight[LANDMARKS] = 0.5, 2.0
    weight = weight * known
    free = {
        "columns": standing(seen)[..., :2].clone(),
        "place": torch.zeros(len(seen), 1, 3),
        "size": torch.zeros(int(who.max()) + 1),
        "off": torch.zeros(len(LEFTS), 3),
    }
    optimizer = torch.optim.Adam(
        [{"params": [free[name].requires_grad_()], "lr": rate} for name, rate in RATES.items()]
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 0.52 + 0.5 * math.cos(math.pi * k / STEPS))
    for _ in range(STEPS):
        rotations, off = orthonormal(free["columns"]), mirrored(free["off"])
        _, points = body.pose(rotations, torch.zeros(len(seen), 10), off)
        points = free["size"].exp()[who][:, None, None] * (points - hip_middle(points)) + free["place"]
        away = (points - seen).norm(dim=-1)
        cost = (
            100 * (weight * (away**2 + ROUND_M**2).sqrt()).sum() / weight.sum()
            + 0.15 * ((off / OFF_M) ** 2).sum(1).mean()
        )
        for share, joints in CALM.items():
            cost = cost + share * ((rotations[:, joints] - torch.eye(3)) ** 2).sum((2, 3)).mean()
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        schedule.step()
    return mirrored(free["off"]).detach(), float(away.detach()[:, LANDMARKS].mean())


def main(folder: Path) -> None:
    """Print each scene's offsets beside those in use."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    found = {}
    for scene, people in kept_scenes(folder):
        found[scene.name], away = fit(skeleton(), people)
        print(f"{scene.name}: landmarks stay {1000 * away:.1f} mm away")
    for left, used in OFF_MM.items():
        print(
            left, *(f"{name} {(1000 * off[left]).round().int().tolist()}" for name, off in found.items()), "used", used
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
