"""Train the open head's confidence on synthetic people, in two minutes on one core; the result is deterministic.

    python -m cliffvid.export.open.confidence_training SOURCES head.npz    # SOURCES: the folder of the packages

It adds the weights that confidence.py names to a trained head's file; those of the head stay as they are. Then put the
file in place, export, and calibrate by tests/bench/accuracy/confidence.py. Another machine or torch version gives other
bits, and equally good weights.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..folder.model_folder import npz_bytes
from .body import build_body
from .confidence import JOINTS, NEAR_M
from .head import USED, read_head
from .landmarks import Landmarks, place_landmarks
from .sightings import SimulatedPeople, Skeleton, simulate
from .sources import OPEN, fetch_source
from .training import HeadAnswer, TorchHead, packed

Tensor = torch.Tensor
SEED = 2
DRAWS, DRAWN = 24, 4096  # times that people are sampled, and how many at once
EPOCHS, BATCH = 12, 1024
RATE, WEIGHT_DECAY = 3e-3, 1e-4
INPUTS, HIDDEN = JOINTS * 9 + 10 + USED, 32
DROPPED = 0.3  # share of hidden units left out in training: seeds differ less
LEAST_SPREAD = 0.02  # of an input that is scaled to the others
HIP_JOINTS = slice(1, 3)


class TorchConfidence(nn.Module):
    """The network of `confidence.lay_confidence` in torch, not yet calibrated."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(INPUTS, HIDDEN), nn.Linear(HIDDEN, JOINTS + 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (N,25): of the joints, and of their mean."""
        logits: Tensor = self.second(nn.functional.dropout(self.first(inputs).relu(), DROPPED, self.training))
        return logits

    def of_scaled(self, mean: Tensor, spread: Tensor) -> None:
        """Make a network of scaled inputs one of the inputs themselves."""
        self.first.weight.div_(spread)
        self.first.bias.sub_(self.first.weight @ mean)

    def numbers(self) -> dict[str, np.ndarray]:
        """Return the weights in the format of the head's file, see `head.read_head`."""
        arrays = {f"confidence_{name.replace('.', '_')}": tensor.numpy() for name, tensor in self.state_dict().items()}
        return packed(arrays)


def inputs_of(people: SimulatedPeople, answer: HeadAnswer) -> Tensor:
    """Return what the network takes (N,259)."""
    return torch.cat([answer.rotations.flatten(1), answer.betas, people.visible], 1)


def near(people: SimulatedPeople, answer: HeadAnswer) -> Tensor:
    """Return (N,25) as 0 and 1: whether each joint, and the mean of all, is at most NEAR_M from the truth."""
    found, true = (joints - joints[:, HIP_JOINTS].mean(1, keepdim=True) for joints in (answer.joints, people.joints))
    off = (found - true).norm(dim=2)
    return (torch.cat([off, off.mean(1, keepdim=True)], 1) <= NEAR_M).float()


def train(body: Landmarks, head: dict[str, np.ndarray], draws: int = DRAWS, seed: int = SEED) -> TorchConfidence:
    """Return the network trained for the last iteration of a head with the given weights."""
    torch.manual_seed(seed)
    skeleton = Skeleton(body)
    frozen = TorchHead(skeleton, head)
    rows = []
    with torch.no_grad():
        for _ in range(draws):
            people = simulate(skeleton, DRAWN)
            answer = frozen(people)[-1]
            rows.append((inputs_of(people, answer), near(people, answer)))
    inputs, wanted = map(torch.cat, zip(*rows, strict=True))
    mean, spread = inputs.mean(0), inputs.std(0).clamp_min(LEAST_SPREAD)
    network = TorchConfidence()
    a_round = len(inputs) // BATCH
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * a_round)
    for _ in range(EPOCHS):
        for some in torch.randperm(len(inputs))[: a_round * BATCH].view(a_round, BATCH):
            optimizer.zero_grad()
            logits = network((inputs[some] - mean) / spread)
            loss = nn.functional.binary_cross_entropy_with_logits(logits, wanted[some])
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no types of it
            optimizer.step()
            schedule.step()
    network.eval().requires_grad_(False).of_scaled(mean, spread)
    return network


def main(sources: Path, path: Path, say: Callable[[str], None] = print) -> None:
    """Train for the head in a file, and add the weights to that file."""
    torch.set_num_threads(1)  # with several threads, sums may round differently from run to run
    torch.use_deterministic_algorithms(True)
    body = place_landmarks(build_body(fetch_source("makehuman", sources), OPEN / "body_samples.csv"))
    head = {name: array for name, array in read_head(path).items() if not name.startswith("confidence_")}
    path.write_bytes(npz_bytes(packed(head) | train(body, head).numbers()))
    say(f"{path}: has a confidence network")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
