"""CLIFF's networks against what the official ones answered, and the head's algebra against its definition."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cliffvid.export.cliff.backbones import fold_norms
from cliffvid.export.cliff.network import VARIANTS, Cliff, fold_head, load_cliff, rotation_6d_to_matrix
from synthetic import GOLDEN, TinyBackbone, cliff_on_meta, make_cliff_checkpoint, read_keys, state_rows


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """The official networks, read from checkpoint files, by backbone."""
    folder = tmp_path_factory.mktemp("checkpoints")
    layouts = {"res50": "official", "hr48": "data-parallel"}
    return {name: load_cliff(make_cliff_checkpoint(folder / f"{name}.pt", name, layouts[name])) for name in layouts}


@pytest.mark.parametrize("backbone", ["res50", "hr48"])
def test_keys_are_the_official_ones(backbone):
    assert sorted(state_rows(cliff_on_meta(f"cliff-{backbone}"))) == sorted(read_keys(backbone))


@pytest.mark.parametrize("backbone", ["res50", "hr48"])
def test_networks_answer_as_the_official_ones(networks, backbone):
    network = networks[backbone]
    assert network.variant.name == f"cliff-{backbone}"
    assert not network.training
    with np.load(GOLDEN / "cliff_networks.npz") as golden:
        rng, n = np.random.default_rng(int(golden["seed"])), int(golden["n"])
        image = torch.from_numpy(rng.standard_normal((n, 3, 256, 192)).astype(np.float32))
        bbox_info = torch.from_numpy(rng.standard_normal((n, 3)).astype(np.float32))
        for found, name in zip(network(image, bbox_info), ("rotmat", "betas", "cam"), strict=True):
            np.testing.assert_allclose(found.numpy(), golden[f"{backbone}_{name}"], atol=1e-4, rtol=0)


def test_bedlam_has_the_published_number_of_tensors():
    # 1902 in the backbone and head; 2 of the unused final layer and 21 of the head's unused convolutions among them
    assert len(cliff_on_meta("cliff-bedlam").state_dict()) + 2 + 21 == 1902
    sizes = {name: cliff_on_meta(name).fc1.in_features for name in ("cliff-bedlam", "cliff-bedlam-x")}
    assert sizes == {"cliff-bedlam": 880, "cliff-bedlam-x": 869}


@pytest.mark.parametrize("name", ["cliff-res50", "cliff-bedlam-x"])
def test_folded_head_is_three_iterations(name):
    """In float64, with weights large enough that a fourth or a missing iteration would show."""
    torch.manual_seed(0)
    network = Cliff(replace(VARIANTS[name], backbone=TinyBackbone)).double()
    nn.init.normal_(network.init_pose)
    for layer in (network.decpose, network.decshape, network.deccam):
        nn.init.normal_(layer.weight, std=0.1)
    features, bbox_info = torch.randn(5, network.encoder.features).double(), torch.randn(5, 3).double()
    weight, bias = fold_head(network)
    with torch.inference_mode():
        pose, betas, camera = (
            getattr(network, f"init_{part}").expand(5, -1).double() for part in ("pose", "shape", "cam")
        )
        for _ in range(3):
            hidden = network.fc2(network.fc1(torch.cat([features, bbox_info, pose, betas, camera], 1)))
            pose, betas = pose + network.decpose(hidden), betas + network.decshape(hidden)
            camera = camera + network.deccam(hidden)
        looped = torch.cat([pose, betas, camera], 1)
    folded = torch.cat([features, bbox_info], 1) @ weight.T + bias
    torch.testing.assert_close(folded, looped, rtol=1e-11, atol=1e-11)


def test_rotations_are_the_official_ones():
    with np.load(GOLDEN / "cliff_preprocessing.npz") as golden:
        pose, rotmat = torch.from_numpy(golden["rot6d"]), torch.from_numpy(golden["rotmat"])
    torch.testing.assert_close(rotation_6d_to_matrix(pose.reshape(-1, 3, 2)), rotmat, atol=1e-6, rtol=0)
    # three rows: the official cross product takes the wrong axis there, ours must not
    torch.testing.assert_close(rotation_6d_to_matrix(pose[8:11].reshape(-1, 3, 2)), rotmat[8:11], atol=1e-6, rtol=0)


def test_other_homes_hold_the_same_network(networks, tmp_path):
    wanted = networks["res50"].state_dict()
    for layout in ("bare", "mmhuman3d"):
        network = load_cliff(make_cliff_checkpoint(tmp_path / f"{layout}.pth", "res50", layout))
        assert network.variant.name == ("cliff-res50" if layout == "bare" else "cliff-res50-mmhuman3d")
        assert all(torch.equal(value, wanted[key]) for key, value in network.state_dict().items())
        assert torch.equal(network.head_weight, networks["res50"].head_weight)


def test_bedlam_loads(tmp_path):
    network = load_cliff(make_cliff_checkpoint(tmp_path / "bedlam.ckpt", "hr48", "bedlam"))
    assert network.variant.name == "cliff-bedlam"
    with torch.inference_mode():
        image = torch.randn(2, 3, 224, 224)
        branches, features = network.encoder.trunk(image), network.encoder(image)
        rotmat, betas, camera = network.regress(features, torch.randn(2, 3))
    assert (rotmat.shape, betas.shape, camera.shape) == ((2, 24, 3, 3), (2, 10), (2, 3))
    torch.testing.assert_close(rotmat @ rotmat.mT, torch.eye(3).expand_as(rotmat), atol=1e-5, rtol=0)
    assert rotmat.std(dim=0).max() > 1e-4  # the crop matters
    assert features.shape == (2, 720, 7, 7)  # the branches, from the finest on
    torch.testing.assert_close(features[:, 48 : 48 + 96], network.encoder.downsample_stage_2(branches[1]))
    torch.testing.assert_close(features[:, 48 + 96 + 192 :], branches[3])


def test_folded_norms_change_nothing_but_the_number_of_layers(networks):
    network = networks["res50"]
    folded = fold_norms(network)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())
    with torch.inference_mode():
        inputs = torch.randn(1, 3, 256, 192), torch.randn(1, 3)
        for found, wanted in zip(folded(*inputs), network(*inputs), strict=True):
            torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
