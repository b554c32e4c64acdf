"""Train the open head on synthetic people, in about ten minutes on one core; the result is deterministic.

    python -m cliffvid.export.open.training SOURCES head.npz    # SOURCES: the folder of the downloaded packages

It needs a checkout: the initial weights, open/start/head.npz, are not in the wheel. They were trained with errors far
smaller than BlazePose's real ones. The network is that of head.py, in torch. Another machine or torch version gives
other bits but an equally good head: `make accuracy` is within 2 mm, as it varies during training.
`cliffvid export open` reads open/head.npz: put the result there, and keep it if `make accuracy` and the tests improve.
The only data from real people are the numbers in sightings.py and landmarks.py; most of these were measured in the
scenes of `make accuracy`.
"""

import copy
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cliffvid.tables import Array, Float32

from ..folder.model_folder import npz_bytes
from .body import build_body
from .head import FARTHER, NEARER, NEAREST_M, ROUNDS, STATE, STATIC, USED, read_head
from .landmarks import Landmarks, place_landmarks
from .sightings import SimulatedPeople, Skeleton, hip_middle, ray_rotation, simulate, turned
from .sources import OPEN, fetch_source

Tensor = torch.Tensor
START = OPEN / "start" / "head.npz"
SEED = 1
STEPS, BATCH = 1200, 256
DRAWN = 16  # batches sampled at once; sampled singly they take five times as long
RATE, WARM_UP = 3e-4, 50
WEIGHT_DECAY = 1e-4
STEEPEST = 1.0  # maximum gradient norm
IMAGE = 50.0  # weight of the distance in the image
AVERAGED = 0.998  # decay of the moving average of weights that is kept
WIDTH = 448


@dataclass(frozen=True, eq=False)
class HeadAnswer:
    """Output of one iteration for N people."""

    rotations: Tensor  # (N,24,3,3)
    betas: Tensor  # (N,10)
    joints: Tensor  # (N,24,3) metres, relative to the middle of the hip landmarks
    points: Tensor  # (N,33,3) landmarks, as joints
    image: Tensor  # (N,33,2) x / z and y / z of the landmarks


class TorchHead(nn.Module):
    """The network of `head.Head` in torch, without the choice among its iterations."""

    mean_rot6d: Tensor

    def __init__(self, skeleton: Skeleton, numbers: dict[str, Float32]) -> None:
        super().__init__()
        self.skeleton = skeleton
        self.input = nn.Linear(STATIC + STATE + USED * 5, WIDTH)
        for block in ("block0", "block1"):
            setattr(self, f"{block}_norm", nn.LayerNorm(WIDTH))
            setattr(self, f"{block}_first", nn.Linear(WIDTH, WIDTH))
            setattr(self, f"{block}_second", nn.Linear(WIDTH, WIDTH))
        self.last_norm = nn.LayerNorm(WIDTH)
        self.output = nn.Linear(WIDTH, STATE)
        self.register_buffer("mean_rot6d", torch.zeros(144))
        self.load_state_dict({name: torch.from_numpy(numbers[name.replace(".", "_")]) for name in self.state_dict()})

    def numbers(self) -> dict[str, Array]:
        """Return the weights in the format of the head's file, see `head.read_head`."""
        return packed({name.replace(".", "_"): tensor.numpy() for name, tensor in self.state_dict().items()})

    def forward(self, people: SimulatedPeople) -> list[HeadAnswer]:
        """Return the output of each iteration."""
        seen = turned(ray_rotation(people.box[:, :2]), people.world)
        centre, side = people.box[:, None, :2], people.box[:, None, 2:]
        image = centre + people.position * side
        static = [seen.flatten(1) * 2, people.position.flatten(1) * 2, people.visible, people.box]
        state = torch.cat([self.mean_rot6d, torch.zeros(STATE - 144)]).expand(len(seen), -1)
        answer, answers = self.evaluate(state, image, people.visible), []
        for _ in range(ROUNDS):
            missed = ((image - answer.image) / side).clamp(-1, 1)
            apart = seen - answer.points
            hidden = self.input(torch.cat([*static, state, apart.flatten(1) * 4, missed.flatten(1) * 8], 1))
            for block in ("block0", "block1"):
                norm, first, second = (getattr(self, f"{block}_{part}") for part in ("norm", "first", "second"))
                hidden = hidden + second(nn.functional.gelu(first(norm(hidden))))
            state = state + self.output(self.last_norm(hidden))
            answer = self.evaluate(state, image, people.visible)
            answers.append(answer)
        return answers

    def evaluate(self, state: Tensor, image: Tensor, visible: Tensor) -> HeadAnswer:
        """Return the body of a state (N,154) at its position in the image."""
        rotations, betas = orthonormal(state[:, :144].reshape(-1, 24, 3, 2)), state[:, 144:]
        joints, points = self.skeleton.pose(rotations, betas)
        hips = hip_middle(points)
        joints, points = joints - hips, points - hips
        placed = points + translation(points, image, visible)[:, None]
        return HeadAnswer(rotations, betas, joints, points, placed[..., :2] / placed[..., 2:].clamp_min(NEAREST_M))


def packed(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return weights as the head's file has them: matrices as float16."""
    return {name: array.astype(np.float16 if array.ndim == 2 else np.float32) for name, array in arrays.items()}


def orthonormal(columns: Tensor) -> Tensor:
    """Return rotations (...,3,3) of two columns each (...,3,2), as `head.Head.rotations`."""
    first, second = columns.unbind(-1)
    first = first / (first.norm(dim=-1, keepdim=True) + 1e-8)
    second = second - (first * second).sum(-1, keepdim=True) * first
    second = second / (second.norm(dim=-1, keepdim=True) + 1e-8)
    return torch.stack([first, second, torch.cross(first, second, dim=-1)], -1)


def translation(points: Tensor, image: Tensor, visible: Tensor) -> Tensor:
    """Return the position (N,3) of the hips, as `head.Head.translation`."""
    weight = (visible * visible + 1e-3)[..., None]
    weight = weight / weight.sum(1, keepdim=True)
    mean = (weight * image).sum(1, keepdim=True)
    offset, miss = image - mean, image * points[..., 2:] - points[..., :2]
    spread = (weight * offset * offset).sum((1, 2)).clamp_min(1e-9)
    flat = points[..., :2] - (weight * points[..., :2]).sum(1, keepdim=True)
    usual = ((weight * flat * flat).sum((1, 2)).clamp_min(1e-6) / spread).sqrt()
    away = -(weight * offset * miss).sum((1, 2)) / spread
    away = torch.maximum(torch.minimum(away, FARTHER * usual), NEARER * usual)[:, None]
    return torch.cat([(weight * miss).sum(1) + mean[:, 0] * away, away], 1)


def loss(people: SimulatedPeople, answers: list[HeadAnswer]) -> Tensor:
    """Return the loss of all iterations; the last one has the largest weight."""
    total = torch.zeros(())
    for round_, answer in enumerate(answers, start=1):
        wrong = 15 * (answer.joints - people.joints).abs().mean() + 15 * (answer.points - people.points).abs().mean()
        wrong = wrong + 1.5 * ((answer.rotations - people.rotations) ** 2).mean()
        wrong = wrong + 0.02 * ((answer.betas - people.betas) ** 2).mean()
        missed = ((answer.image - people.image) / people.box[:, None, 2:]).clamp(-0.5, 0.5)
        total = total + (wrong + IMAGE * missed.abs().mean()) * (1.0 if round_ == len(answers) else 0.4)
    return total


def some(people: SimulatedPeople, which: slice) -> SimulatedPeople:
    """Return a slice of the people."""
    return SimulatedPeople(**{name: column[which] for name, column in vars(people).items()})


def train(body: Landmarks, start: dict[str, Float32], steps: int = STEPS, seed: int = SEED) -> Iterator[TorchHead]:
    """Train, and yield the averaged head after each step; it is the same object each time."""
    torch.manual_seed(seed)
    skeleton = Skeleton(body)
    head = TorchHead(skeleton, start)
    kept = copy.deepcopy(head)
    optimizer = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / WARM_UP) * (0.5 + 0.5 * math.cos(math.pi * step / steps) + 0.01)
        if step % DRAWN == 0:
            drawn = simulate(skeleton, DRAWN * BATCH)
        people = some(drawn, slice(step % DRAWN * BATCH, (step % DRAWN + 1) * BATCH))
        optimizer.zero_grad()
        loss(people, head(people)).backward()  # type: ignore[no-untyped-call]  # torch has no types of it
        nn.utils.clip_grad_norm_(head.parameters(), STEEPEST)
        optimizer.step()
        share = min(AVERAGED, (step + 1) / (step + 51))
        with torch.no_grad():
            for average, new in zip(kept.parameters(), head.parameters(), strict=True):
                average.mul_(share).add_(new, alpha=1 - share)
        yield kept


def main(sources: Path, out: Path, say: Callable[[str], None] = print) -> None:
    """Train for all steps and write the head's file; report progress regularly."""
    torch.set_num_threads(1)  # with several threads, sums may round differently from run to run
    torch.use_deterministic_algorithms(True)
    body = place_landmarks(build_body(fetch_source("makehuman", sources), OPEN / "body_samples.csv"))
    for done, head in enumerate(train(body, read_head(START)), start=1):
        if done % 250 == 0 or done == STEPS:
            out.write_bytes(npz_bytes(head.numbers()))
            say(f"{done} of {STEPS} steps")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
