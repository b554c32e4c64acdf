"""Simulate BlazePose's landmarks of synthetic people, with the errors it makes on real ones.

Its landmarks are nearly right in the image, but not in depth. Bones are foreshortened along the depth axis, arms are
too far in front of the body, trunks lean, and ankles are too far away. The numbers below were measured on people filmed
by four calibrated cameras, and on renders of the open body.
"""

from dataclasses import dataclass

import torch

from .landmarks import PARENTS, Landmarks
from .poses import chance, normal, sample_people, uniform

Tensor = torch.Tensor
HIPS = (23, 24)


@dataclass(frozen=True)
class Bone:
    """Error model of a landmark relative to its parent; lengths in metres."""

    landmark: int  # of the left side; right: + 1
    parent: int | None  # None: the middle of the hips
    depth_kept: tuple[float, float]  # mean and sigma of the share of the bone's depth that is kept
    depth_sigma: float
    across_sigma: float
    deeper: float  # mean error in depth, away from the camera
    before: float = 0.0  # how much too far in front of the body the landmark is


BONES = (  # parents first
    Bone(11, None, (0.9, 0.15), 0.035, 0.02, 0.02),
    Bone(13, 11, (0.6, 0.25), 0.055, 0.028, -0.03, 0.07),
    Bone(15, 13, (0.7, 0.25), 0.06, 0.03, -0.01, 0.11),
    Bone(17, 15, (0.9, 0.2), 0.02, 0.012, -0.015, 0.11),
    Bone(19, 15, (0.9, 0.2), 0.02, 0.012, -0.02, 0.11),
    Bone(21, 15, (0.9, 0.2), 0.015, 0.01, -0.01, 0.11),
    Bone(25, 23, (0.8, 0.2), 0.04, 0.024, -0.02),
    Bone(27, 25, (0.8, 0.2), 0.035, 0.024, 0.07),
    Bone(29, 27, (0.8, 0.2), 0.03, 0.015, -0.01),
    Bone(31, 27, (0.8, 0.2), 0.05, 0.02, -0.035),
)
NOISE = 1.1  # factor of all sigmas of bones
FLIPPED = 0.03  # share of bones with the wrong sign of depth
LENGTH_SIGMA = 0.06  # relative, of a bone's length in the image plane
HIDDEN_ARM, HIDDEN_LEG = 0.2, 0.04  # share of occluded limbs
LEAN = (0.08, 0.1)  # excess forward lean of the trunk in radians: mean, sigma
SHEAR_SIGMA = 0.18  # of depth over x and y: people appear turned or tilted
DEPTH_SCALE = (0.95, 0.12)
SIZE_SIGMA = 0.07
FLATTENED, FLATTEST = 0.3, 0.1  # share of people whose width is reduced along depth; the minimum kept
STRAY = 0.2  # share of people with outlier landmarks
OTHERS_M = 0.008  # sigma of landmark positions on a body between people


class Skeleton:
    """Joints and landmarks of open bodies, in torch."""

    def __init__(self, body: Landmarks) -> None:
        self.joint = torch.from_numpy(body.joint)
        self.rest_joints, self.rest_points = (torch.from_numpy(x).float() for x in (body.joints_m, body.points_m))
        self.joint_directions, self.point_directions = (
            torch.from_numpy(x).float().reshape(-1, 10).T for x in (body.joint_directions_m, body.point_directions_m)
        )

    def pose(self, rotations: Tensor, betas: Tensor, others: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
        """Return joints (N,24,3) and landmarks (N,33,3); ``others`` (N,33,3) is added to landmarks at rest."""
        joints = self.rest_joints + (betas @ self.joint_directions).reshape(-1, 24, 3)
        points = self.rest_points + (betas @ self.point_directions).reshape(-1, 33, 3) + others
        bones = joints - joints[:, PARENTS]
        turns, places = rotations[:, :1], joints[:, :1]
        while (known := turns.shape[1]) < len(PARENTS):  # one generation at a time: parents come before children
            next_ = slice(known, int((known > PARENTS).sum()))
            turns_of, places_of = turns[:, PARENTS[next_]], places[:, PARENTS[next_]]
            places = torch.cat([places, places_of + (turns_of @ bones[:, next_, :, None])[..., 0]], 1)
            turns = torch.cat([turns, turns_of @ rotations[:, next_]], 1)
        turns = turns[:, self.joint]
        points = places[:, self.joint] + (turns @ (points - joints[:, self.joint])[..., None])[..., 0]
        return places, points


@dataclass(frozen=True, eq=False)
class SimulatedPeople:
    """N synthetic people: ground truth, and simulated detections."""

    rotations: Tensor  # (N,24,3,3)
    betas: Tensor  # (N,10)
    joints: Tensor  # (N,24,3) metres, relative to the middle of the hip landmarks
    points: Tensor  # (N,33,3) landmarks, as joints
    image: Tensor  # (N,33,2) x / z and y / z of the landmarks
    world: Tensor  # (N,33,3) detected: metres from the middle of the hips, depth along the ray to the crop's centre
    position: Tensor  # (N,33,2) detected: crop sides from the crop's centre
    visible: Tensor  # (N,33) detected: 0 to 1
    box: Tensor  # (N,3) the crop's centre as x / z and y / z, and its side over the focal length


def hip_middle(points: Tensor) -> Tensor:
    """Return the middle of the hips (N,1,3) of landmarks."""
    return points[:, HIPS[0] : HIPS[1] + 1].mean(1, keepdim=True)


def ray_rotation(centre: Tensor) -> Tensor:
    """Return the smallest rotations (N,3,3) from the z axis to the rays (x, y, 1) of ``centre`` (N,2)."""
    ray = torch.nn.functional.normalize(torch.cat([centre, torch.ones_like(centre[:, :1])], 1), dim=1)
    x, y, z = ray.unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, zero, x, zero, zero, y, -x, -y, zero], 1).reshape(-1, 3, 3)
    return torch.eye(3) + cross + cross @ cross / (1 + z)[:, None, None]


def turned(rotations: Tensor, points: Tensor) -> Tensor:
    """Return points (N,K,3) rotated by (N,3,3)."""
    return (rotations[:, None] @ points[..., None])[..., 0]


def onto(points: Tensor) -> Tensor:
    """Return x / z and y / z of points (...,3) in a camera, with a minimum depth of 0.3 m."""
    return points[..., :2] / points[..., 2:].clamp_min(0.3)


def simulate(skeleton: Skeleton, count: int) -> SimulatedPeople:
    """Sample people, a camera for each, and their simulated landmarks."""
    rotations, betas = sample_people(count)
    joints, points = skeleton.pose(rotations, betas)
    _, own = skeleton.pose(rotations, betas, OTHERS_M * normal(count, 33, 3))
    hips = hip_middle(points)
    away = 2 * 12.5 ** uniform(count)  # metres: 2 to 25
    place = torch.stack([(uniform(count) - 0.5) * 1.1 * away, (uniform(count) - 0.5) * 0.7 * away, away], 1)[:, None]
    image, own_image = onto(points - hips + place), onto(own - hips + place)
    low, high = image.amin(1), image.amax(1)
    side = (high - low).amax(1, keepdim=True) * 1.12 * 1.25 * (0.85 + 0.4 * uniform(count, 1))
    centre = (low + high) / 2 + 0.05 * side * normal(count, 2)
    true = turned(ray_rotation(centre).transpose(1, 2), own - hip_middle(own))
    world, moved, visible = misseen(true, (side[:, 0] * away).clamp_min(0.3))
    position = (own_image - centre[:, None]) / side[:, None] + moved
    seen = {"world": world - hip_middle(world), "position": position, "visible": visible}
    truth = {"rotations": rotations, "betas": betas, "joints": joints - hips, "points": points - hips}
    return SimulatedPeople(**truth, image=image, **seen, box=torch.cat([centre, side], 1))


def misseen(true: Tensor, crop_m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return noisy landmarks (N,33,3), their image errors (N,33,2) in crop sides, and visibility (N,33).

    ``crop_m`` (N,) is the crop's side in metres at the person. Lateral errors in space are image errors too.
    """
    count = len(true)
    level = NOISE * torch.exp(0.5 * normal(count, 1) - 0.12)
    hidden = torch.zeros(count, 33, dtype=torch.bool)
    wilder = torch.ones(count, 33)
    for limb, share in (((13, 15, 17, 19, 21), HIDDEN_ARM), ((25, 27, 29, 31), HIDDEN_LEG)):
        for side in (0, 1):
            guessed = chance(share, count, 1)
            columns = [landmark + side for landmark in limb]
            hidden[:, columns] = guessed
            wilder[:, columns] = 1.0 + (guessed & chance(0.5, count, 1)).float()
    wrong, off = along_bones(true, level, wilder, crop_m)
    wrong[..., 2] += flattened(true) + leaning(true)
    wrong[..., 2] += (SHEAR_SIGMA * NOISE * normal(count, 1, 2) * true[..., :2]).sum(-1)
    scale = 1 + SIZE_SIGMA * normal(count, 1, 1)
    depth_scale = scale * (DEPTH_SCALE[0] + DEPTH_SCALE[1] * normal(count, 1, 1))
    world = (true + wrong) * torch.cat([scale, scale, depth_scale], -1) + 0.006 * normal(count, 33, 3)
    off = off + 0.003 * level[..., None] * normal(count, 33, 2)
    visible = torch.where(hidden, 0.15 + 0.5 * uniform(count, 33), 0.6 + 0.4 * uniform(count, 33).sqrt())
    stray = strays(count)
    amount = level[..., None] * stray[..., None]
    world = world + 0.08 * amount * normal(count, 33, 3)
    off = off + 0.035 * amount * normal(count, 33, 2)
    return world, off, torch.where(stray, 0.4 * uniform(count, 33), visible)


def along_bones(true: Tensor, level: Tensor, wilder: Tensor, crop_m: Tensor) -> tuple[Tensor, Tensor]:
    """Return errors (N,33,3) in space and (N,33,2) in the image: accumulated from the hips, and those of the head."""
    count = len(true)
    wrong, off = torch.zeros(count, 33, 3), torch.zeros(count, 33, 2)
    shared = 0.5 + 0.5 * uniform(count, 1)  # share of the error in space that appears in the image
    wrong[:, 23] = 0.012 * level * normal(count, 3)
    wrong[:, 24] = -wrong[:, 23]
    off[:, 23:25] = level[..., None] * (0.006 * normal(count, 1, 2) + 0.004 * normal(count, 2, 2))
    for bone in BONES:
        for side in (0, 1):
            at, parent = bone.landmark + side, None if bone.parent is None else bone.parent + side
            along = true[:, at] - (0 if parent is None else true[:, parent])
            amount = level * wilder[:, at : at + 1]
            kept = (bone.depth_kept[0] + bone.depth_kept[1] * normal(count)).clamp(-0.2, 1.3)
            kept = torch.where(chance(0.0 if parent is None else FLIPPED, count), torch.tensor(-0.7), kept)
            across = bone.across_sigma * amount * normal(count, 2) + LENGTH_SIGMA * normal(count, 1) * along[:, :2]
            deep = (kept - 1) * along[:, 2] + bone.depth_sigma * amount[:, 0] * normal(count) + bone.deeper
            wrong[:, at] = torch.cat([across, deep[:, None]], 1) + (0 if parent is None else wrong[:, parent])
            seen_off = shared * across / crop_m[:, None] + 0.003 * amount * normal(count, 2)
            off[:, at] = seen_off + (0 if parent is None else off[:, parent])
    across, deep = 0.02 * level * normal(count, 2), 0.06 * level * normal(count, 1) + 0.035
    head = wrong[:, 11:13].mean(1) + torch.cat([across, deep], 1)
    wrong[:, :11] = head[:, None] + 0.01 * normal(count, 11, 3)
    head_off = off[:, 11:13].mean(1) + shared * across / crop_m[:, None]
    off[:, :11] = head_off[:, None] + 0.003 * normal(count, 11, 2)
    return wrong, off


def flattened(true: Tensor) -> Tensor:
    """Return depth errors (N,33) of people in side view whose left and right sides appear closer together."""
    count = len(true)
    leftward = torch.nn.functional.normalize(sideways(true), dim=1)
    lost = (1 - FLATTEST) * uniform(count, 1) * chance(FLATTENED, count, 1)
    return -lost * leftward[:, 2:] * (true * leftward[:, None]).sum(-1)


def sideways(true: Tensor) -> Tensor:
    """Return the direction (N,3) from the right side of the trunk to the left."""
    return true[:, 11] - true[:, 12] + true[:, 23] - true[:, 24]


def leaning(true: Tensor) -> Tensor:
    """Return depth errors (N,33) of arms too far in front of the body, and of leaning trunks."""
    count = len(true)
    leftward = sideways(true)
    upward = true[:, 11] + true[:, 12] - true[:, 23] - true[:, 24]
    front = torch.nn.functional.normalize(torch.cross(leftward, upward, dim=1), dim=1)
    up = torch.nn.functional.normalize(upward, dim=1)
    height = (true * up[:, None]).sum(-1).clamp_min(0)
    before = torch.zeros(33)
    for bone in BONES:
        before[[bone.landmark, bone.landmark + 1]] = bone.before
    lean = LEAN[0] + LEAN[1] * normal(count, 1)
    return front[:, 2:] * (before * (1 + 0.7 * normal(count, 1)) + height * lean)


def strays(count: int) -> Tensor:
    """Return a mask (N,33) of outlier landmarks: for some people the legs or an arm, and single others."""
    limbs = torch.zeros(4, 33, dtype=torch.bool)
    limbs[0, 25:] = True
    limbs[1, 13:23:2] = limbs[2, 14:23:2] = True
    limb = limbs[torch.randint(4, (count,))]
    return (limb | chance(0.08, count, 33)) & chance(STRAY, count, 1)
