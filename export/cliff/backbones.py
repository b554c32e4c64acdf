"""Backbones of CLIFF's checkpoints: ResNet-50 and two variants of HRNet-W48.

State-dict keys equal those of the published checkpoints; tests/golden/keys_*.txt lists them.
He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, with the stride on the 3x3 convolution;
Wang et al., "Deep High-Resolution Representation Learning for Visual Recognition", PAMI 2020.
"""

from copy import deepcopy
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

Module = TypeVar("Module", bound=nn.Module)
WIDTHS = (48, 96, 192, 384)  # HRNet-W48's channels by branch, at 1/4, 1/8, 1/16 and 1/32 of the image


def conv_norm(
    inputs: int, outputs: int, size: int, stride: int = 1, relu: bool = False, bias: bool = False
) -> nn.Sequential:
    """Return convolution, batch norm and optionally ReLU, with the keys 0.* and 1.*."""
    layers = [nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=bias), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([nn.ReLU()] if relu else []))


class Residual(nn.Module):
    """Base of both residual blocks: conv1, bn1, conv2, bn2, ..., each but the last followed by ReLU."""

    def __init__(self, inputs: int, convs: list[tuple[int, int, int]], stride: int = 1) -> None:
        """Create the layers. ``convs``: (outputs, kernel size, stride); a 1x1 shortcut is made if shapes differ."""
        super().__init__()
        width = inputs
        for number, (outputs, size, step) in enumerate(convs, 1):
            self.add_module(f"conv{number}", nn.Conv2d(width, outputs, size, step, size // 2, bias=False))
            self.add_module(f"bn{number}", nn.BatchNorm2d(outputs))
            width = outputs
        self.count = len(convs)
        self.downsample = conv_norm(inputs, width, 1, stride) if stride > 1 or inputs != width else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for number in range(1, self.count + 1):
            y = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(y))
            if number < self.count:
                y = F.relu(y)
        return F.relu(y + self.downsample(x))


class Bottleneck(Residual):
    """1x1, 3x3 and 1x1 convolutions, with 4 * ``planes`` output channels."""

    def __init__(self, inputs: int, planes: int, stride: int = 1) -> None:
        super().__init__(inputs, [(planes, 1, 1), (planes, 3, stride), (4 * planes, 1, 1)], stride)


class BasicBlock(Residual):
    """Two 3x3 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, [(channels, 3, 1), (channels, 3, 1)])


class ResNet50(nn.Module):
    """Image (N,3,H,W) -> feature map (N,2048,H/32,W/32)."""

    features = 2048

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = self._layer(64, 64, blocks=3, stride=1)
        self.layer2 = self._layer(256, 128, blocks=4)
        self.layer3 = self._layer(512, 256, blocks=6)
        self.layer4 = self._layer(1024, 512, blocks=3)

    @staticmethod
    def _layer(inputs: int, planes: int, blocks: int, stride: int = 2) -> nn.Sequential:
        return nn.Sequential(
            Bottleneck(inputs, planes, stride), *(Bottleneck(4 * planes, planes) for _ in range(blocks - 1))
        )

    def forward(self, image: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(image))), 3, 2, 1)
        features: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return features


class Exchange(nn.Module):
    """One HRNet module: four blocks on each branch, then every branch receives the sum of all, resized to it."""

    def __init__(self, branches: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(WIDTHS[i]) for _ in range(4))) for i in range(branches)
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(self._resize(source, target) for source in range(branches)) for target in range(branches)
        )

    @staticmethod
    def _resize(source: int, target: int) -> nn.Module:
        """Return a layer from one branch's channels and resolution to another's.

        When downsampling, only the last step changes the channels.
        """
        if source == target:
            return nn.Identity()
        if source > target:
            return nn.Sequential(
                *conv_norm(WIDTHS[source], WIDTHS[target], 1), nn.Upsample(scale_factor=2 ** (source - target))
            )
        steps = [conv_norm(WIDTHS[source], WIDTHS[source], 3, 2, relu=True) for _ in range(target - source - 1)]
        return nn.Sequential(*steps, conv_norm(WIDTHS[source], WIDTHS[target], 3, 2))

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        branches = [blocks(x) for blocks, x in zip(self.branches, branches, strict=True)]
        fused = []
        for layers in self.fuse_layers:
            first, *others = layers.children()
            total = first(branches[0])
            for layer, x in zip(others, branches[1:], strict=True):  # in the order of training
                total = total + layer(x)
            fused.append(F.relu(total))
        return fused


class HRNetW48(nn.Module):
    """Trunk of both variants: image (N,3,H,W) -> four maps, 48 channels at 1/4 to 384 at 1/32."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = nn.Conv2d(64, 64, 3, 2, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(Bottleneck(64, 64), *(Bottleneck(256, 64) for _ in range(3)))
        # A stage's new branch, of the lowest resolution, is derived from the lowest one before; the others are kept.
        self.transition1 = nn.ModuleList(
            [conv_norm(256, 48, 3, relu=True), nn.Sequential(conv_norm(256, 96, 3, 2, relu=True))]
        )
        self.transition2 = self._transition(2)
        self.transition3 = self._transition(3)
        self.stage2 = nn.Sequential(Exchange(2))
        self.stage3 = nn.Sequential(*(Exchange(3) for _ in range(4)))
        self.stage4 = nn.Sequential(*(Exchange(4) for _ in range(3)))

    @staticmethod
    def _transition(new: int) -> nn.ModuleList:
        made = nn.Sequential(conv_norm(WIDTHS[new - 1], WIDTHS[new], 3, 2, relu=True))
        return nn.ModuleList([*(nn.Identity() for _ in range(new)), made])

    def trunk(self, image: Tensor) -> list[Tensor]:
        x = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(image))))))
        branches = [self.layer1(x)]
        for transition, stage in (
            (self.transition1, self.stage2),
            (self.transition2, self.stage3),
            (self.transition3, self.stage4),
        ):
            last = len(branches) - 1
            branches = stage([layer(branches[min(i, last)]) for i, layer in enumerate(transition)])
        return branches


class HRNetW48Classification(HRNetW48):
    """Image (N,3,H,W) -> feature map (N,2048,H/32,W/32): the ImageNet variant, used by the official CLIFF."""

    features = 2048

    def __init__(self) -> None:
        super().__init__()
        planes = (32, 64, 128, 256)
        self.incre_modules = nn.ModuleList(
            nn.Sequential(Bottleneck(width, p)) for width, p in zip(WIDTHS, planes, strict=True)
        )
        self.downsamp_modules = nn.ModuleList(conv_norm(4 * p, 8 * p, 3, 2, relu=True, bias=True) for p in planes[:3])
        self.final_layer = conv_norm(1024, 2048, 1, relu=True, bias=True)

    def forward(self, image: Tensor) -> Tensor:
        first, *others = self.trunk(image)
        y = self.incre_modules[0](first)
        for down, widen, x in zip(self.downsamp_modules, list(self.incre_modules)[1:], others, strict=True):
            y = widen(x) + down(y)
        features: Tensor = self.final_layer(y)
        return features


class HRNetW48Pose(HRNetW48):
    """Image (N,3,H,W) -> feature map (N,720,H/32,W/32): the keypoint variant, used by BEDLAM's CLIFF."""

    features = 720

    def __init__(self) -> None:
        super().__init__()
        self.downsample_stage_1 = self._downsample(48, steps=3)
        self.downsample_stage_2 = self._downsample(96, steps=2)
        self.downsample_stage_3 = self._downsample(192, steps=1)

    @staticmethod
    def _downsample(width: int, steps: int) -> nn.Sequential:
        return nn.Sequential(*(layer for _ in range(steps) for layer in conv_norm(width, width, 3, 2, relu=True)))

    def forward(self, image: Tensor) -> Tensor:
        x1, x2, x3, x4 = self.trunk(image)
        down = [self.downsample_stage_1(x1), self.downsample_stage_2(x2), self.downsample_stage_3(x3)]
        return torch.cat([*down, x4], dim=1)


def fold_norms(network: Module) -> Module:
    """Return a copy with every batch norm after a convolution folded into the convolution.

    The exporter would fold them too, to the same number of nodes, but needs twice as long for HRNet.
    """
    network = deepcopy(network)
    for parent in list(network.modules()):
        for (conv_name, conv), (norm_name, norm) in pairwise(list(parent.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, norm_name, nn.Identity())
    return network
