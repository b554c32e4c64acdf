"""Sample poses and shapes of synthetic people, by hand-set rules, to train the open head.

Rotations are local ones of SMPL's joints on a body that faces z with y up. The root's rotation leads into a camera
frame with x right, y down, z forward. All random numbers come from torch's global generator.
"""

import math

import torch

Tensor = torch.Tensor
KINDS = (0.45, 0.33, 0.12, 0.10)  # shares of people who walk or stand, act, sit, and are in any pose
BETA_SIGMA = 1.0
ANY_ROOT = 0.06  # share of people with any orientation
OTHER_ARM = 0.25  # share of arms with a pose independent of the rest
MIRROR = torch.tensor([-1.0, 1.0, 1.0])


def normal(*shape: int) -> Tensor:
    """Return standard normal samples."""
    return torch.randn(*shape)


def uniform(*shape: int) -> Tensor:
    """Return uniform samples from 0 to 1."""
    return torch.rand(*shape)


def chance(share: float, *shape: int) -> Tensor:
    """Return booleans that are true with probability ``share``."""
    return uniform(*shape) < share


def turn(vector: Tensor) -> Tensor:
    """Return rotation matrices (...,3,3) of axis-angle vectors (...,3)."""
    angle: Tensor = vector.norm(dim=-1, keepdim=True).clamp_min(1e-8)
    x, y, z = (vector / angle).unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*x.shape, 3, 3)
    sine, cosine = angle[..., None].sin(), angle[..., None].cos()
    return torch.eye(3) + sine * cross + (1 - cosine) * (cross @ cross)


def about(axis: int, angle: Tensor) -> Tensor:
    """Return rotation matrices (...,3,3) about one axis, for angles in radians."""
    vector = torch.zeros(*angle.shape, 3)
    vector[..., axis] = angle
    return turn(vector)


def choose(kind: Tensor, *options: Tensor) -> Tensor:
    """Return for each person the option of their kind."""
    return torch.stack(options).gather(0, kind[None])[0]


def mirrored(rotations: Tensor) -> Tensor:
    """Return the same rotations mirrored to the other side of the body."""
    return MIRROR[:, None] * rotations * MIRROR


def sample_people(count: int) -> tuple[Tensor, Tensor]:
    """Return random rotations (count,24,3,3) and betas (count,10)."""
    kind = torch.multinomial(torch.tensor(KINDS), count, replacement=True)
    rotations = torch.eye(3).repeat(count, 24, 1, 1)
    swing, stride = 2 * math.pi * uniform(count), 0.7 * uniform(count)
    for side in (0, 1):
        flip = mirrored if side else lambda same: same
        for joint, rotation in leg(kind, swing, stride, 1 - 2 * side).items():
            rotations[:, joint + side] = flip(rotation)
        arms = torch.where(chance(OTHER_ARM, count), torch.ones_like(kind), kind)
        for joint, rotation in arm(arms).items():
            rotations[:, joint + side] = flip(rotation)
    bend = choose(
        kind,
        0.04 + 0.06 * normal(count),
        0.15 + 0.2 * normal(count),
        0.12 + 0.12 * normal(count),
        0.2 * normal(count),
    )
    for joint in (3, 6, 9):
        bent = about(0, bend + 0.05 * normal(count))
        rotations[:, joint] = bent @ about(1, 0.1 * normal(count)) @ about(2, 0.07 * normal(count))
    rotations[:, 12] = turn(0.13 * normal(count, 3))
    rotations[:, 15] = turn(torch.tensor([0.2, 0.25, 0.12]) * normal(count, 3))
    rotations[:, 0] = root(kind)
    return rotations, BETA_SIGMA * normal(count, 10)


def root(kind: Tensor) -> Tensor:
    """Return root orientations for cameras that look level or down."""
    count = len(kind)
    down = torch.where(chance(0.5, count), 0.1 + 0.2 * normal(count), 0.9 * uniform(count) - 0.1)
    forward = choose(kind, 0.08 * normal(count), 0.1 + 0.3 * normal(count), 0.15 * normal(count), 0.4 * normal(count))
    lean = turn(torch.stack([forward, torch.zeros(count), 0.1 * normal(count)], -1))
    facing = about(1, math.pi * (2 * uniform(count) - 1))
    upright = about(2, 0.08 * normal(count)) @ about(0, math.pi - down) @ facing @ lean
    any_way = turn(torch.nn.functional.normalize(normal(count, 3), dim=-1) * math.pi * uniform(count, 1))
    return torch.where(chance(ANY_ROOT, count)[:, None, None], any_way, upright)


def leg(kind: Tensor, swing: Tensor, stride: Tensor, sign: int) -> dict[int, Tensor]:
    """Return left hip, knee, ankle and foot; ``swing``: phase of a step, ``sign``: which leg leads."""
    count = len(kind)
    forward = choose(
        kind,
        sign * stride * swing.sin() + 0.05 + 0.1 * normal(count),
        2.4 * uniform(count) - 0.6,
        1.5 + 0.3 * normal(count),
        0.8 * normal(count),
    )
    spread = choose(
        kind,
        0.06 + 0.08 * normal(count),
        0.2 + 0.35 * normal(count),
        0.2 + 0.2 * normal(count),
        0.6 * normal(count),
    )
    outward = choose(
        kind, 0.1 + 0.15 * normal(count), 0.1 + 0.35 * normal(count), 0.1 + 0.3 * normal(count), 0.6 * normal(count)
    )
    lifted = (sign * 0.6 * stride * (swing + 0.8 * sign).cos()).clamp_min(0)
    bent = choose(
        kind,
        lifted + 0.12 * normal(count).abs(),
        (0.7 * normal(count) + 0.4).abs(),
        1.5 + 0.4 * normal(count),
        normal(count).abs(),
    )
    return {
        1: about(2, spread) @ about(0, -forward) @ about(1, outward),
        4: about(0, bent.clamp(0, 2.5)) @ about(1, 0.08 * normal(count)) @ about(2, 0.03 * normal(count)),
        7: about(0, 0.2 * normal(count) - 0.05) @ about(1, 0.1 * normal(count)) @ about(2, 0.08 * normal(count)),
        10: about(0, 0.1 * normal(count) - 0.03),
    }


def arm(kind: Tensor) -> dict[int, Tensor]:
    """Return left collar, shoulder, elbow, wrist and hand; the arm is stretched out sideways at rest."""
    count = len(kind)
    lowered = choose(
        kind, 1.25 + 0.2 * normal(count), 1.9 * uniform(count) - 0.4, 1.1 + 0.3 * normal(count), normal(count)
    )
    raised = choose(
        kind, 0.1 + 0.4 * normal(count), 3.2 * uniform(count) - 0.7, 0.5 + 0.4 * normal(count), normal(count)
    )
    inward = choose(kind, 0.2 * normal(count), 0.3 * normal(count), 0.3 * normal(count), 0.6 * normal(count))
    twist = choose(kind, 0.45 * normal(count), 0.6 * normal(count), 0.5 * normal(count), 0.8 * normal(count))
    bent = choose(
        kind,
        (0.35 * normal(count) + 0.25).abs(),
        (0.9 * normal(count) + 0.5).abs(),
        0.9 + 0.6 * normal(count),
        normal(count).abs(),
    )
    shrugged = 0.08 * normal(count) + 0.2 * (0.5 - lowered).clamp(0, 1)
    return {
        13: about(2, shrugged) @ about(1, 0.08 * normal(count)),
        16: about(0, -raised) @ about(2, -lowered) @ about(1, inward) @ about(0, twist),
        18: about(1, -bent.clamp(0, 2.6)) @ about(0, 0.35 * normal(count)),
        20: turn(0.2 * normal(count, 3)),
        22: turn(0.05 * normal(count, 3)),
    }
