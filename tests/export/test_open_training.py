"""The training of the open head: its people are true to the body, and its network is the one that is exported."""

from itertools import islice

import numpy as np
import pytest
import torch

import reference_head
from cliffvid.export.folder.graph import Graph, to_bytes
from cliffvid.export.open import confidence_training
from cliffvid.export.open import training as open_training
from cliffvid.export.open.head import CENTRE_SCALE, SIZE_OFFSET, SIZE_SCALE, Head, read_head
from cliffvid.export.open.landmarks import place_landmarks
from cliffvid.export.open.sightings import Skeleton, simulate
from cliffvid.export.open.sources import OPEN
from cliffvid.export.open.training import START, TorchHead, train
from cliffvid.models.manifest import BUNDLED

COUNT = 400


@pytest.fixture(scope="module")
def body():
    with np.load(BUNDLED / "open-body" / "body.npz", allow_pickle=False) as file:
        return place_landmarks({name: file[name] for name in file.files if name != "posedirs"})


@pytest.fixture(scope="module")
def people(body):
    torch.manual_seed(4)
    return simulate(Skeleton(body), COUNT)


def test_people_are_bodies_before_a_camera(body, people):
    """By the slow truth: the posed landmarks, and where they lie in the image from where least squares puts them."""
    for row in range(8):
        state = np.concatenate([people.rotations[row, :, :, :2].flatten(), people.betas[row]]).astype(float)
        image = people.image[row].numpy().astype(float)
        _, points, _, place = reference_head.evaluate(state, image, np.ones(33), body)
        np.testing.assert_allclose(people.points[row], points, atol=1e-5)
        placed = np.array(points) + place
        np.testing.assert_allclose(placed[:, :2] / placed[:, 2:], image, atol=2e-3)


# Standard deviations in metres across and in depth of what BlazePose answered to renders of the open body in such poses
MEASURED = {11: (0.05, 0.127), 13: (0.06, 0.157), 15: (0.075, 0.232), 25: (0.055, 0.140), 27: (0.066, 0.264)}


def test_errors_are_like_blazeposes_own(people):
    to_camera = np.array([reference_head.ray_rotation(*centre) for centre in people.box[:, :2].double().tolist()])
    wrong = np.einsum("nij,nkj->nki", to_camera, people.world.numpy()) - people.points.numpy()
    for left, (across, deep) in MEASURED.items():
        for landmark in (left, left + 1):
            found = wrong[:, landmark].std(axis=0)
            assert 0.65 < found[:2].mean() / across < 1.6 and 0.65 < found[2] / deep < 1.5, landmark
    off = people.position - (people.image - people.box[:, None, :2]) / people.box[:, None, 2:]
    assert 0.015 < off[:, 11:29].std() < 0.04  # of a crop's side


def test_the_exported_network_is_the_trained_one(open_session, body, people):
    """Where the exported one kept the last round."""
    numbers = read_head(OPEN / "head.npz")
    with torch.no_grad():
        wanted = TorchHead(Skeleton(body), numbers)(people)[-1]
    graph = Graph("head")
    shapes = {"landmarks_px": ("N", 39, 5), "world": ("N", 117), "bbox_info": ("N", 3)}
    inputs = [graph.input(name, "float32", shape) for name, shape in shapes.items()]
    rotmat, betas, *_ = Head(graph, numbers, body).lay(*inputs)
    graph.output(rotmat, "rotmat", "float32", ("N", 24, 3, 3))
    graph.output(betas, "betas", "float32", ("N", 10))
    landmarks, world = np.zeros((COUNT, 39, 5), np.float32), np.zeros((COUNT, 39, 3), np.float32)
    landmarks[:, :33, :2] = (people.position + 0.5) * 256
    landmarks[:, :33, 3] = torch.logit(people.visible)
    world[:, :33] = people.world
    box = people.box.numpy()
    info = np.column_stack([box[:, :2] * CENTRE_SCALE, (box[:, 2:] - SIZE_OFFSET) / SIZE_SCALE]).astype(np.float32)
    session = open_session(to_bytes(graph.model()))
    answer = session.run(None, dict(zip(inputs, (landmarks, world.reshape(COUNT, 117), info), strict=True)))
    off = np.abs(answer[0] - wanted.rotations.numpy()).max(axis=(1, 2, 3))
    assert (off < 1e-3).mean() > 0.9
    np.testing.assert_allclose(answer[1][off < 1e-3], wanted.betas.numpy()[off < 1e-3], atol=1e-3)


def test_the_confidence_learns_what_is_near_and_is_the_same_each_time(body, people, monkeypatch):
    """Of people whom it has not seen it tells more than their share: the mean squared error is smaller."""
    monkeypatch.setattr(confidence_training, "DRAWN", 1024)
    monkeypatch.setattr(confidence_training, "BATCH", 64)
    head = read_head(OPEN / "head.npz")
    torch.set_num_threads(1)
    first, second = (confidence_training.train(body, head, draws=1) for _ in range(2))
    for name, array in first.numbers().items():
        assert array.tobytes() == second.numbers()[name].tobytes()
    with torch.no_grad():
        answer = TorchHead(Skeleton(body), head)(people)[-1]
    near = confidence_training.near(people, answer)
    off = ((first(confidence_training.inputs_of(people, answer)).sigmoid() - near) ** 2).mean(0)
    share = near.mean(0)
    assert (off < share * (1 - share) + 0.03).all() and off.mean() < 0.97 * (share * (1 - share)).mean()


def test_training_is_the_same_each_time(body, monkeypatch):
    """To the bit; and it moves the head."""
    monkeypatch.setattr(open_training, "BATCH", 8)
    start = read_head(START)
    torch.set_num_threads(1)
    first, second = (list(islice(train(body, start, steps=2), 2))[-1].numbers() for _ in range(2))
    assert first.keys() == start.keys()
    for name, array in first.items():
        assert array.tobytes() == second[name].tobytes()
    assert np.abs(first["output_weight"] - start["output_weight"]).max() > 1e-5
