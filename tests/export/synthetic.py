"""Checkpoints of CLIFF without training: weights drawn from key names, in the layouts that published files have.

The same keys give the same network whoever builds it, so tests/golden/cliff_networks.npz can hold what the official
CLIFF networks answered to these weights (see tests/golden/README.md), and keys_res50.txt and keys_hr48.txt their keys.
"""

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cliffvid.export.cliff.backbones import Bottleneck, conv_norm
from cliffvid.export.cliff.network import VARIANTS, Cliff

GOLDEN = Path(__file__).parents[1] / "golden"
torch.set_num_threads(1)  # its threads wait for each other: on a busy machine two are ten times slower than one

LAYOUTS = ("official", "data-parallel", "bare", "mmhuman3d", "bedlam", "bedlam-x")


def make_cliff_checkpoint(path: Path, backbone: str = "res50", layout: str = "official") -> Path:
    """Write a checkpoint of 108 MB (``res50``) or 317 MB (``hr48``) as the publisher of ``layout`` would; returns path.

    "official", "data-parallel" and "bare" hold the official networks, "mmhuman3d" the res50, "bedlam" and "bedlam-x"
    their own kind of hr48.
    """
    if layout == "mmhuman3d":
        assert backbone == "res50", "MMHuman3D has no other"
    if layout.startswith("bedlam"):
        assert backbone == "hr48", "BEDLAM has no other"
        weights = drawn_weights(state_rows(cliff_on_meta(f"cliff-{layout}")), initial_state("hr48", layout))
    else:
        weights = drawn_weights(read_keys(backbone), initial_state(backbone))
    torch.save(arrange(weights, layout), path)
    return path


class TinyBackbone(nn.Module):
    """Stands for a large one in tests of what is around it; has the keys by which ResNet-50 and BEDLAM's are known."""

    features = 16

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 7, 8, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.layer4 = nn.Sequential(Bottleneck(8, 4, 2))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layer4(torch.relu(self.bn1(self.conv1(image))))


class TinyPoseBackbone(TinyBackbone):
    """As BEDLAM's."""

    def __init__(self) -> None:
        super().__init__()
        self.layer4 = nn.Identity()
        self.downsample_stage_1 = conv_norm(8, 16, 3, 2, relu=True)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.downsample_stage_1(super().forward(image))


def make_tiny_checkpoint(monkeypatch, path: Path, name: str = "cliff-res50", change=lambda weights: None) -> Path:
    """Put a tiny backbone in the place of a variant's own, write a checkpoint for it; returns path.

    ``change`` may alter the weights, which have the official keys, in place.
    """
    tiny = TinyPoseBackbone if "bedlam" in name else TinyBackbone
    monkeypatch.setitem(VARIANTS, name, replace(VARIANTS[name], backbone=tiny))
    layout = name.removeprefix("cliff-") if "bedlam" in name else "mmhuman3d" if "mmhuman3d" in name else "official"
    weights = drawn_weights(state_rows(cliff_on_meta(name)), initial_state("hr48", layout))
    change(weights)
    torch.save(arrange(weights, layout), path)
    return path


def arrange(weights: dict[str, torch.Tensor], layout: str) -> dict:
    """The content of a checkpoint file, from weights under the official keys."""
    if layout == "bare":
        return weights
    if layout == "official":
        return {"model": weights}
    if layout == "data-parallel":
        return {"model": {f"module.{key}": value for key, value in weights.items()}, "epoch": 3}
    homed = {
        f"backbone.{key.removeprefix('encoder.')}" if key.startswith("encoder.") else f"head.{key}": value
        for key, value in weights.items()
    }
    if layout == "mmhuman3d":
        extra = {"body_model_train.betas": torch.zeros(1, 10), "body_model_test.faces": torch.zeros(3, 3).long()}
        return {"meta": {"epoch": 3, "config": "text"}, "state_dict": homed | extra, "optimizer": {"param_groups": []}}
    homed |= {"backbone.final_layer.weight": torch.zeros(24, 48, 1, 1), "backbone.final_layer.bias": torch.zeros(24)}
    unused = nn.Sequential(*(nn.Sequential(nn.Conv2d(7, 7, 3), nn.BatchNorm2d(7)) for _ in range(3)))
    homed |= {f"head.downsample_module.{key}": value for key, value in unused.state_dict().items()}
    homed = {f"model.{key}": value for key, value in homed.items()}
    homed |= {"model.smpl.betas": torch.zeros(1, 10), "smplx.betas": torch.zeros(1, 10), "J_regressor": torch.ones(2)}
    return {"state_dict": homed, "epoch": 3, "global_step": np.float64(7), "hyper_parameters": {"lr": 1e-4}}


def cliff_on_meta(name: str) -> Cliff:
    """A network without memory, for its keys."""
    with torch.device("meta"):
        return Cliff(VARIANTS[name])


def state_rows(network: nn.Module) -> list[tuple]:
    return [(key, tuple(value.shape), str(value.dtype)[6:]) for key, value in network.state_dict().items()]


def read_keys(backbone: str) -> list[tuple]:
    """[(key, shape, dtype)] of the official network, from tests/golden."""
    rows = []
    for line in (GOLDEN / f"keys_{backbone}.txt").read_text().splitlines():
        key, shape, dtype = line.split("\t")
        rows.append((key, tuple(int(n) for n in shape.strip("()").split(",") if n.strip()), dtype))
    return rows


def initial_state(backbone: str, layout: str = "official") -> dict[str, np.ndarray]:
    """init_pose, init_shape and init_cam; BEDLAM's SMPL-X head has two joints less and one beta more."""
    with np.load(GOLDEN / "cliff_networks.npz") as golden:
        state = {f"init_{part}": golden[f"{backbone}_init_{part}"] for part in ("pose", "shape", "cam")}
    if layout == "bedlam-x":
        state["init_pose"] = state["init_pose"][:, : 22 * 6]
        state["init_shape"] = np.pad(state["init_shape"], ((0, 0), (0, 1)))
    return state


def drawn_weights(rows: list[tuple], init: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """A tensor for each row, drawn from PCG64 seeded with its key's crc32, but for those in ``init``."""
    norms = {key.rsplit(".", 1)[0] for key, _, _ in rows if key.endswith("running_var")}
    values = {key: init[key] if key in init else _draw(key, shape, norms) for key, shape, _ in rows}
    return {key: torch.from_numpy(np.asarray(value)) for key, value in values.items()}


def _draw(key: str, shape: tuple, norms: set[str]) -> np.ndarray:
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    module, leaf = key.rsplit(".", 1)
    if leaf == "num_batches_tracked":
        return np.array(1234, dtype=np.int64)
    if module in norms:
        if leaf == "weight":
            return rng.uniform(0.3, 0.7, shape).astype(np.float32)
        if leaf == "running_var":
            return rng.uniform(0.5, 1.5, shape).astype(np.float32)
        return (rng.standard_normal(shape) * 0.1).astype(np.float32)
    if leaf == "bias":
        return (rng.standard_normal(shape) * 0.02).astype(np.float32)
    if len(shape) == 4:
        return (rng.standard_normal(shape) * np.sqrt(2.0 / np.prod(shape[1:]))).astype(np.float32)
    gain = 0.1 if module.split(".")[-1].startswith("dec") else 1.0
    return (rng.standard_normal(shape) * gain / np.sqrt(shape[1])).astype(np.float32)
