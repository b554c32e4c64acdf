"""The gate of exports: it lets sound networks pass, whatever their weights, and none that is another network."""

import os
from copy import deepcopy

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from cliffvid.export.cliff import export as official
from cliffvid.export.cliff import network as cliff
from cliffvid.export.cliff.backbones import fold_norms
from cliffvid.export.cliff.network import PixelsToBody, load_cliff
from cliffvid.export.folder import proof
from cliffvid.models.parity import errors, turn_per_6d

pytestmark = pytest.mark.timeout(600)
BACKBONES = os.environ.get("CLIFFVID_BACKBONES", "res50").split()  # make fuzz tries hr48 too
HEAD = "network.head_weight", "network.head_bias"


@pytest.fixture(scope="module")
def judged(made):
    """Function of a backbone: its network, the exported graph, and what it is judged by; made once."""
    done = {}

    def make(backbone):
        if backbone not in done:
            checkpoint, folder = made(backbone)
            network = load_cliff(checkpoint)
            done[backbone] = network, onnx.load(folder / "model.onnx"), official.judged_by(network)
        return done[backbone]

    return make


def of_bound(model, samples, references, bounds):
    """How far a graph's answers are from the reference, by the bound: 1 and below pass."""
    answers = proof.run_onnx(model.SerializeToString(), samples[-1:])[0]
    return max(errors("regress", answers, references[-1])[1].values()) / bounds["model.onnx"]


def with_weights(model, weights):
    """The graph with other weights in it."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for initializer in changed.graph.initializer:
        if initializer.name in weights:
            values = np.ascontiguousarray(weights[initializer.name], np.float32)
            initializer.CopyFrom(numpy_helper.from_array(values, initializer.name))
    return changed


def swapped_layer(given, network):
    kernels = [name for name, array in given.items() if name.startswith("network.encoder") and array.ndim == 4]
    one = next(name for name in kernels if sum(given[other].shape == given[name].shape for other in kernels) > 1)
    two = next(name for name in kernels if name != one and given[name].shape == given[one].shape)
    return {one: given[two], two: given[one]}


def mistaken_norms(given, network):
    """Folded with TensorFlow's epsilon instead of PyTorch's."""
    network = deepcopy(network)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = 1e-3
    return {name: value.numpy() for name, value in PixelsToBody(fold_norms(network)).state_dict().items()}


def lost_iteration(given, network):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cliff, "ITERATIONS", 2)
        return dict(zip(HEAD, (value.numpy() for value in cliff.fold_head(network)), strict=True))


def scaled_bbox_info(given, network):
    weight = given[HEAD[0]].copy()
    weight[:, -3:] *= 1.2 / 1.1
    return {HEAD[0]: weight}


def camera_before_betas(given, network):
    pose, betas = network.sizes[:2]
    order = np.r_[:pose, pose + betas : pose + betas + 3, pose : pose + betas]
    return {name: given[name][order] for name in HEAD}


FAULTS = {
    "a swapped layer": swapped_layer,
    "a wrong mean": lambda given, _: {"mean": np.full(3, 0.5)},
    "a wrong std": lambda given, _: {"std": given["std"][::-1]},
    "an iteration lost": lost_iteration,
    "a wrong epsilon": mistaken_norms,
    "a wrong scale of bbox_info": scaled_bbox_info,
    "camera and shape exchanged": camera_before_betas,
}


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("fault", FAULTS)
def test_another_network_is_refused(judged, backbone, fault):
    network, model, by = judged(backbone)
    given = {initializer.name: numpy_helper.to_array(initializer) for initializer in model.graph.initializer}
    weights = FAULTS[fault](given, network)
    assert not weights.keys() - given.keys() or len(weights) > 7  # all folded weights, or those that are named
    assert of_bound(with_weights(model, weights), *by) > 3


@pytest.mark.parametrize("backbone", BACKBONES)
def test_transposed_rotations_are_refused(judged, backbone):
    _, model, by = judged(backbone)
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    last = next(node for node in changed.graph.node if "rotmat" in node.output)
    last.output[0] = "upright"
    changed.graph.node.append(helper.make_node("Transpose", ["upright"], ["rotmat"], perm=[0, 1, 3, 2]))
    assert of_bound(model, *by) <= 0.2 and of_bound(changed, *by) > 1000


def with_random_head(network, seed, spread, start):
    """The same backbone under another head, whose rotations differ more or less from one person to another."""
    generator = torch.Generator().manual_seed(seed)
    for layer in (network.fc1, network.fc2):
        layer.weight.normal_(0, layer.in_features**-0.5, generator=generator)
    for layer in (network.decpose, network.decshape, network.deccam):
        layer.weight.normal_(0, spread / 32, generator=generator)
    network.init_pose.copy_(start)
    if seed % 2:  # any pair of vectors, parallel ones among them, and not those of a mean person
        network.init_pose.normal_(0, 1, generator=generator)
    network.load_state_dict(network.state_dict())  # folds the head
    return network


class Known(nn.Module):
    """A backbone that answers what it once answered in each type; its picture is that answer's place."""

    def __init__(self, features: dict[torch.dtype, torch.Tensor]) -> None:
        super().__init__()
        self.features = features

    def __deepcopy__(self, _) -> "Known":
        return Known(self.features)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        known = self.features[image.dtype]
        place = int((image[:, 0, 0, 0] * cliff.STD[0] + cliff.MEAN[0]).mul(255).round())
        return known[place : place + 1, :, None, None]


def head_alone(model):
    """The exported graph behind its backbone: instead of the crop it takes the features."""
    pooled = next(node for node in model.graph.node if node.op_type == "ReduceMean").output[0]
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    whole.graph.output.append(helper.make_tensor_value_info(pooled, onnx.TensorProto.FLOAT, None))
    needed, nodes = {"rotmat", "betas", "camera"}, []
    for node in reversed(model.graph.node):
        if needed & set(node.output) and pooled not in node.output:
            nodes.insert(0, node)
            needed |= set(node.input)
    features = helper.make_tensor_value_info(pooled, onnx.TensorProto.FLOAT, ["N", None])
    head = onnx.ModelProto()
    head.CopyFrom(model)
    del head.graph.node[:], head.graph.input[:], head.graph.initializer[:]
    head.graph.node.extend(nodes)
    head.graph.input.extend([features, model.graph.input[1]])
    head.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in needed)
    return whole, head, pooled


def errors_by_bound(network, model, samples, spreads, seeds):
    """Of random heads on one backbone, how far each is from the reference by its own bound."""
    whole, head, pooled = head_alone(model)
    seen = proof.run_onnx(whole.SerializeToString(), samples[-1:])[0][pooled]
    images = torch.from_numpy(samples[-1]["crop"]).double().div(255).sub(torch.tensor(cliff.MEAN).double())
    images = images.div(torch.tensor(cliff.STD).double()).permute(0, 3, 1, 2)
    double, start = deepcopy(network.encoder).double(), network.init_pose.clone()
    with torch.inference_mode():
        single = network.encoder(images[:1].float()).mean(dim=(2, 3))
        exact = torch.cat([double(image).mean(dim=(2, 3)) for image in images.split(1)])
    encoder, network.encoder = network.encoder, Known({torch.float32: single, torch.float64: exact})
    places = np.arange(len(seen), dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 1, 3), np.float32)
    found = []
    try:
        with pytest.MonkeyPatch.context() as patched:
            asked = {"crop": places, "bbox_info": samples[-1]["bbox_info"]}
            patched.setattr(official, "sample_inputs", lambda variant, batch: asked)
            for spread in spreads:
                for seed in seeds:
                    _, references, bounds = official.judged_by(with_random_head(network, seed, spread, start))
                    weights = dict(zip(HEAD, (network.head_weight.numpy(), network.head_bias.numpy()), strict=True))
                    inputs = {pooled: seen, "bbox_info": asked["bbox_info"]}
                    found.append(of_bound(with_weights(head, weights), [inputs], references, bounds))
    finally:
        network.encoder = encoder
    return np.array(found)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_sound_networks_pass_whatever_their_heads(judged, backbone):
    _, model, (samples, _, _) = judged(backbone)
    network = deepcopy(judged(backbone)[0])
    found = errors_by_bound(network, model, samples, (0.3, 1, 3), range(4))
    assert found.max() < 0.2, "a fifth of the bound is what other kernels may be apart"


def test_rotations_turn_with_their_vectors_as_told():
    """Against finite differences: no small change of unit length turns one further, and some nearly as far."""
    rng = np.random.default_rng(0)
    pose = rng.normal(size=(200, 3, 2))
    pose[::4, :, 1] = pose[::4, :, 0] * 1.5 + rng.normal(0, 0.03, (50, 3))  # nearly parallel
    step = 1e-7
    changes = rng.normal(size=(2000, 1, 3, 2))
    changes *= step / np.linalg.norm(changes, axis=(-2, -1), keepdims=True)
    rotation = cliff.rotation_6d_to_matrix(torch.from_numpy(pose)).numpy()
    turned = cliff.rotation_6d_to_matrix(torch.from_numpy(pose + changes)).numpy()
    angle = np.linalg.norm(turned - rotation, axis=(-2, -1)) / np.sqrt(2) / step
    ratio = angle.max(axis=0) / turn_per_6d(pose)
    assert ratio.min() > 0.25 and ratio.max() <= 1.001
    assert turn_per_6d(np.zeros((3, 2))) > 1e10
