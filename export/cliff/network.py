"""CLIFF: the regression head, the whole network, and loading its checkpoints.

Li et al., "CLIFF: Carrying Location Information in Full Frames into Human Pose and Shape Estimation", ECCV 2022.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cliffvid.errors import ModelError

from .backbones import HRNetW48Classification, HRNetW48Pose, ResNet50
from .checkpoints import read_state_dict, require, some

ITERATIONS = 3  # of the head, as trained
HIDDEN = 1024
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, of RGB from 0 to 1


@dataclass(frozen=True)
class Variant:
    """One published variant of CLIFF: its architecture, and its place in a checkpoint."""

    name: str
    title: str
    backbone: type[ResNet50 | HRNetW48Classification | HRNetW48Pose]
    width_px: int  # of the training crop
    height_px: int
    joints: int = 24
    betas: int = 10
    prefixes: tuple[str, str] = ("backbone.", "head.")  # key prefixes of backbone and head


VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("cliff-res50", "official CLIFF ResNet-50", ResNet50, 192, 256, prefixes=("encoder.", "")),
        Variant("cliff-hr48", "official CLIFF HRNet-W48", HRNetW48Classification, 192, 256, prefixes=("encoder.", "")),
        Variant("cliff-res50-mmhuman3d", "MMHuman3D's CLIFF ResNet-50", ResNet50, 192, 256),
        Variant("cliff-bedlam", "BEDLAM's CLIFF HRNet-W48 (SMPL)", HRNetW48Pose, 224, 224),
        Variant("cliff-bedlam-x", "BEDLAM's CLIFF HRNet-W48 (SMPL-X)", HRNetW48Pose, 224, 224, joints=22, betas=11),
    )
}
# In BEDLAM's checkpoints, but unused by its forward pass.
UNUSED = ("backbone.final_layer.", "head.downsample_module.")


class Cliff(nn.Module):
    """Normalised float32 image (N,3,H,W), bbox_info (N,3) -> rotmat (N,J,3,3), betas (N,B), camera (N,3).

    The camera is s, tx, ty relative to the crop; the first rotation is in the full frame's camera.
    State-dict keys are the official ones. Loading a state dict folds the head, see ``fold_head``.
    """

    init_pose: Tensor
    init_shape: Tensor
    init_cam: Tensor
    head_weight: Tensor  # (state, features + 3), of the folded head; None until a state dict is loaded
    head_bias: Tensor  # (state,)

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.variant = variant
        self.encoder = variant.backbone()
        self.sizes = (6 * variant.joints, variant.betas, 3)
        state = sum(self.sizes)
        self.fc1 = nn.Linear(variant.backbone.features + 3 + state, HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, HIDDEN)
        self.decpose, self.decshape, self.deccam = (nn.Linear(HIDDEN, size) for size in self.sizes)
        for name, size in zip(("init_pose", "init_shape", "init_cam"), self.sizes, strict=True):
            self.register_buffer(name, torch.zeros(1, size))
        self.register_buffer("head_weight", None, persistent=False)
        self.register_buffer("head_bias", None, persistent=False)
        self.register_load_state_dict_post_hook(Cliff._fold)  # type: ignore[no-untyped-call]  # torch has no types of it

    def _fold(self, _: object) -> None:
        weight, bias = fold_head(self)
        self.head_weight, self.head_bias = weight.float(), bias.float()

    def forward(self, image: Tensor, bbox_info: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.regress(self.encoder(image), bbox_info)

    def iterate(self, features: Tensor, bbox_info: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run the unfolded head: features (N,F) -> pose (N,6J), betas (N,B), camera (N,3)."""
        state = [start.expand(len(features), -1) for start in (self.init_pose, self.init_shape, self.init_cam)]
        for _ in range(ITERATIONS):
            hidden = self.fc2(self.fc1(torch.cat([features, bbox_info, *state], dim=1)))
            steps = (decode(hidden) for decode in (self.decpose, self.decshape, self.deccam))
            state = [value + step for value, step in zip(state, steps, strict=True)]
        pose, betas, camera = state
        return pose, betas, camera

    def regress(self, feature_map: Tensor, bbox_info: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run the folded head on a feature map (N,C,h,w), always in float32."""
        features = feature_map.float().mean(dim=(2, 3))
        state = F.linear(torch.cat([features, bbox_info], dim=1), self.head_weight, self.head_bias)
        pose, betas, camera = torch.split(state, list(self.sizes), dim=1)
        return rotation_6d_to_matrix(pose.reshape(-1, self.variant.joints, 3, 2)), betas, camera


class PixelsToBody(nn.Module):
    """Exported module: crop (N,H,W,3) RGB float32 0..255, bbox_info (N,3) -> rotmat, betas, camera of ``Cliff``."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: Cliff) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(MEAN))
        self.register_buffer("std", torch.tensor(STD))

    def forward(self, crop: Tensor, bbox_info: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        image = (crop / 255 - self.mean) / self.std
        answers: tuple[Tensor, Tensor, Tensor] = self.network(image.permute(0, 3, 1, 2), bbox_info)
        return answers


def fold_head(head: Cliff) -> tuple[Tensor, Tensor]:
    """Return weight (S,F+3) and bias (S,), float64: the head's three iterations as one affine map of its inputs.

    An iteration adds D(W2(W1 [x; y] + b1) + b2) + d to the state y (pose, shape, camera). This is affine:
    y' = P y + M x + v. After three iterations from y0, y = (I + P + P^2)(M x + v) + P^3 y0.
    """
    decoders = (head.decpose, head.decshape, head.deccam)
    with torch.no_grad():
        decode = torch.cat([layer.weight for layer in decoders]).double()
        offset = torch.cat([layer.bias for layer in decoders]).double()
        start = torch.cat([head.init_pose, head.init_shape, head.init_cam], dim=1)[0].double()
        inner = decode @ head.fc2.weight.double()
        step = inner @ head.fc1.weight.double()
        constant = inner @ head.fc1.bias.double() + decode @ head.fc2.bias.double() + offset
        of_input, of_state = step[:, : -len(start)], step[:, -len(start) :]
        identity = torch.eye(len(start), dtype=torch.float64)
        power, total = identity, torch.zeros_like(identity)
        for _ in range(ITERATIONS):
            total = total + power
            power = power @ (identity + of_state)
        return total @ of_input, total @ constant + power @ start


def rotation_6d_to_matrix(pose: Tensor) -> Tensor:
    """Return rotation matrices (...,3,3) from the two columns of ``pose`` (...,3,2) by Gram-Schmidt.

    Zhou et al., "On the Continuity of Rotation Representations in Neural Networks", CVPR 2019. As in the official
    code, columns shorter than 1e-12 are not scaled up: zeros give zeros, and parallel columns give no rotation.
    """
    first = unit(pose[..., 0])
    second = unit(pose[..., 1] - (first * pose[..., 1]).sum(dim=-1, keepdim=True) * first)
    return torch.stack([first, second, torch.linalg.cross(first, second, dim=-1)], dim=-1)


def unit(vector: Tensor) -> Tensor:
    """Return unit vectors (...,3). Unlike F.normalize, the graph gets no Expand by the batch size."""
    length: Tensor = torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
    return vector / length.clamp_min(1e-12)


def load_cliff(checkpoint: str | Path) -> Cliff:
    """Return the network of a checkpoint, ready for inference on the CPU, with its ``.variant``.

    Supports the checkpoints of the official CLIFF, MMHuman3D and BEDLAM. Raises InputError for a missing file,
    ModelError if it is none of these or its tensors are not exactly the expected ones.
    """
    checkpoint = Path(checkpoint)
    found = read_state_dict(checkpoint)
    variant = identify(checkpoint, found)
    with torch.device("meta"):  # avoids random initialisation
        network = Cliff(variant)
    expected = network.state_dict()
    weights = official_keys(variant, found)
    require(checkpoint, variant.title, expected, weights)
    for key, wanted in expected.items():
        value = weights.get(key, torch.zeros(wanted.shape))
        weights[key] = value.to(wanted.dtype).contiguous()
    network.load_state_dict(weights, assign=True)
    return network.eval().requires_grad_(False)


def identify(checkpoint: Path, weights: dict[str, Tensor]) -> Variant:
    """Return the one of VARIANTS that the weights match. Raises ModelError if there is none."""
    home = "encoder." if "encoder.conv1.weight" in weights else "backbone."
    kinds = {
        ("encoder.", "layer4.0.conv1.weight"): "cliff-res50",
        ("encoder.", "incre_modules.0.0.conv1.weight"): "cliff-hr48",
        ("backbone.", "layer4.0.conv1.weight"): "cliff-res50-mmhuman3d",
        ("backbone.", "downsample_stage_1.0.weight"): "cliff-bedlam",
    }
    name = next((kind for (place, key), kind in kinds.items() if place == home and place + key in weights), None)
    if name == "cliff-bedlam" and weights.get("head.decshape.bias", torch.empty(0)).shape == (11,):
        name = "cliff-bedlam-x"
    if name is None:
        known = "; ".join(variant.title for variant in VARIANTS.values())
        raise ModelError(
            f"{checkpoint}: holds {len(weights)} tensors ({some(list(weights))}), but not a network that cliffvid "
            f"knows; expected one of: {known}"
        )
    return VARIANTS[name]


def official_keys(variant: Variant, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the network's weights under the official keys.

    MMHuman3D and BEDLAM also store body models and losses: everything but backbone and head is dropped.
    """
    backbone, head = variant.prefixes
    renamed = {}
    for key, tensor in weights.items():
        if key.startswith(backbone):
            new = "encoder." + key.removeprefix(backbone)
        elif key.startswith(head):
            new = key.removeprefix(head)
        else:
            continue
        if not (head and key.startswith(UNUSED)):
            renamed[new] = tensor
    return renamed
