import json

import numpy as np
import pytest

import reference_head
from cliffvid.export.folder.graph import Graph, to_bytes
from cliffvid.export.open.head import ANSWERS, NEAREST_M, Head, read_head
from cliffvid.export.open.landmarks import place_landmarks
from cliffvid.export.open.sources import OPEN
from cliffvid.geometry import box_iou
from cliffvid.models.manifest import BUNDLED


@pytest.fixture(scope="module")
def body():
    with np.load(BUNDLED / "open-body" / "body.npz", allow_pickle=False) as file:
        return place_landmarks({name: file[name] for name in file.files if name != "posedirs"})


@pytest.fixture(scope="module")
def head(open_session, body):
    """The head alone: (seen (N,39,5), world (N,117), bbox_info (N,3)) -> what ANSWERS names."""
    graph = Graph("head")
    inputs = [
        graph.input("landmarks_px", "float32", ("N", 39, 5)),
        graph.input("world", "float32", ("N", 117)),
        graph.input("bbox_info", "float32", ("N", 3)),
    ]
    results = Head(graph, read_head(OPEN / "head.npz"), body).lay(*inputs)
    for value, (name, shape) in zip(results, ANSWERS.items(), strict=True):
        graph.output(value, name, "float32", ("N", *shape))
    session = open_session(to_bytes(graph.model()))
    return lambda *values: session.run(list(ANSWERS), dict(zip(inputs, values, strict=True)))


def people(body, count, seed=0, strays=0):
    """Landmarks as seen, of bodies with random joints, boxes and noise; some landmarks of each seen quite elsewhere."""
    rng = np.random.default_rng(seed)
    seen, world, info = np.zeros((count, 39, 5)), np.zeros((count, 39, 3)), np.zeros((count, 3))
    for row in range(count):
        mean = read_head(OPEN / "head.npz")["mean_rot6d"]
        state = np.concatenate([mean + rng.normal(0, 0.15, 144), rng.normal(0, 0.8, 10)])
        _, points, _, _ = reference_head.evaluate(state, [(u, u * u) for u in rng.random(33)], [1] * 33, body)
        points = np.array(points)
        side, (x, y) = rng.uniform(0.1, 0.9), rng.uniform(-0.5, 0.5, 2)
        placed = points + np.array([x, y, 1]) * 2.2 / side
        spot = (placed[:, :2] / placed[:, 2:] - [x, y]) / side
        seen[row, :33, :2] = (spot + 0.5 + rng.normal(0, 0.01, (33, 2))) * 256
        seen[row, rng.integers(0, 33, strays), :2] = rng.uniform(-300, 600, (strays, 2))
        seen[row, :, 2:] = rng.normal(0, 2, (39, 3))
        away = reference_head.ray_rotation(x, y).T
        world[row, :33] = points @ away.T + rng.normal(0, 0.02, (33, 3)) + rng.normal(0, 0.1, 3)
        info[row] = x * 2.8, y * 2.8, (side - 0.24) / 0.06
    return seen.astype(np.float32), world.reshape(count, 117).astype(np.float32), info.astype(np.float32)


@pytest.mark.parametrize("strays", [0, 3])
def test_agrees_with_the_slow_truth(head, body, strays):
    inputs = people(body, 24, strays=strays)
    numbers = read_head(OPEN / "head.npz")
    result = head(*inputs)
    bounds = json.loads((BUNDLED / "cliff-open" / "manifest.json").read_text())["parity"]["max_abs"]
    for row in range(24):
        seen, world, info = (value[row].astype(np.float64) for value in inputs)
        wanted = reference_head.regress(seen, world.reshape(39, 3), info, numbers, body)
        for name, found, truth in zip(ANSWERS, result, wanted, strict=True):
            np.testing.assert_allclose(found[row], truth, atol=bounds[name], rtol=0)


def projected(answer, info, body):
    """Where the posed bodies' landmarks lie in their crops, (N,33,2) pixels; all bodies are in front of the camera."""
    (rotmat, betas, camera), result = (value.astype(np.float64) for value in answer[:3]), []
    for row in range(len(info)):
        x, y, side = info[row, 0] / 2.8, info[row, 1] / 2.8, info[row, 2] * 0.06 + 0.24
        depth = 2 / (side * camera[row, 0])
        origin = np.array([camera[row, 1] + x * depth, camera[row, 2] + y * depth, depth])
        state = np.concatenate([rotmat[row, :, :, :2].ravel(), betas[row]])
        _, points, hip, _ = reference_head.evaluate(state, [(u, u * u) for u in np.arange(33)], [1] * 33, body)
        placed = np.array(points) + hip + origin
        assert (placed[:, 2] > 0).all()
        plane = placed[:, :2] / np.maximum(placed[:, 2:], NEAREST_M)
        result.append(((plane - [x, y]) / side + 0.5) * 256)
    return np.array(result)


def test_explains_what_it_was_shown(head, body):
    """The posed body's landmarks lie where they were seen: some way better than the noise would let any other body."""
    seen, world, info = people(body, 24)
    away = np.linalg.norm(projected(head(seen, world, info), info, body) - seen[:, :33, :2], axis=2)
    assert (np.median(away, axis=1) < 10).all()


def test_landmarks_that_contradict_each_other_make_no_giants(head, body):
    """Tilted by 50 degrees in space, not in the image. Without the choice of a round, or without the bounds of the
    depth, some of these bodies lie beside what was seen, or are far too large."""
    seen, world, info = people(body, 40, seed=1)
    cosine, sine = np.cos(np.radians(50)), np.sin(np.radians(50))
    tilt = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    world = (world.reshape(40, 39, 3) @ tilt.T).reshape(40, 117).astype(np.float32)
    ours, wanted = projected(head(seen, world, info), info, body), seen[:, :33, :2]
    assert np.diagonal(box_iou(*(np.hstack([at.min(axis=1), at.max(axis=1)]) for at in (ours, wanted)))).min() > 0.3
    larger = np.divide(*(np.linalg.norm(at - at.mean(axis=1, keepdims=True), axis=(1, 2)) for at in (ours, wanted)))
    assert larger.max() < 1.6 and larger.min() > 1 / 1.6


def test_it_tells_how_far_the_body_is_from_what_was_seen(head, body):
    """By the landmarks of the posed body: their box, and their distance from those seen over the spread of those."""
    seen, world, info = people(body, 24, strays=3)
    answer = dict(zip(ANSWERS, head(seen, world, info), strict=True))
    ours, wanted = projected(list(answer.values()), info, body), seen[:, :33, :2].astype(np.float64)
    x, y, side = info[:, 0] / 2.8, info[:, 1] / 2.8, info[:, 2] * 0.06 + 0.24
    at = (ours / 256 - 0.5) * side[:, None, None] + np.column_stack([x, y])[:, None]
    low, high = at.min(axis=1), at.max(axis=1)
    grown = 0.03 * (high - low).max(axis=1, keepdims=True)
    np.testing.assert_allclose(answer["posed_xyxy"], np.hstack([low - grown, high + grown]), atol=1e-4)
    weight = (1 / (1 + np.exp(-seen[:, :33, 3:4].astype(np.float64)))) ** 2 + 1e-3
    middle = (weight * wanted).sum(axis=1, keepdims=True) / weight.sum(axis=1, keepdims=True)
    off = ((weight * (ours - wanted) ** 2) / (weight * (wanted - middle) ** 2).sum(axis=(1, 2), keepdims=True)).sum(
        axis=(1, 2)
    )
    np.testing.assert_allclose(answer["posed_off"], np.sqrt(off), rtol=1e-3)
    assert answer["posed_off"].max() > 2 * answer["posed_off"].min()


def test_rotations_are_rotations(head, body):
    rotmat = head(*people(body, 8, seed=3))[0].astype(np.float64)
    products = rotmat @ rotmat.transpose(0, 1, 3, 2)
    np.testing.assert_allclose(products, np.broadcast_to(np.eye(3), products.shape), atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(rotmat), 1, atol=1e-5)


def test_landmarks_that_are_all_in_one_place_give_numbers(head):
    seen, world, info = np.zeros((2, 39, 5)), np.zeros((2, 117)), np.zeros((2, 3))
    result = head(*(value.astype(np.float32) for value in (seen, world, info)))
    assert all(np.isfinite(value).all() for value in result)
