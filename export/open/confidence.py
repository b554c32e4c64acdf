"""Build the confidence outputs of the open head as ONNX nodes.

``joint_confidence`` is the probability that a joint is at most NEAR_M from the truth, with the middles of the hips laid
onto each other; ``confidence`` that the mean of the joints' distances is. A small network tells both from the pose, the
shape and how visible the landmarks are. confidence_training.py trains it on synthetic people; its weights are in
open/head.npz. How far the body misses its landmarks is no input: real errors are more consistent than simulated ones.
"""

import numpy as np

from ..folder.graph import Graph

NEAR_M = 0.1
JOINTS = 24
# The logits' calibration to real people, by tests/bench/accuracy/confidence.py.
SCALE = 0.89
OFFSET = {"joint_confidence": -1.53, "confidence": -2.99}


def lay_confidence(
    graph: Graph, numbers: dict[str, np.ndarray], rotmat: str, betas: str, visible: str
) -> tuple[str, str]:
    """Return ``joint_confidence`` (N,24) and ``confidence`` (N,), of ``rotmat`` (N,216), ``betas`` (N,10) and
    ``visible`` (N,33)."""
    op = graph.op
    offset = np.repeat([*OFFSET.values()], [JOINTS, 1])
    first = graph.weight(numbers["confidence_first_weight"].T, "confidence_first_weight")
    second = graph.weight(numbers["confidence_second_weight"].T * SCALE, "confidence_second_weight", half=False)
    hidden = op("MatMul", op("Concat", rotmat, betas, visible, axis=1), first)
    hidden = op("Relu", op("Add", hidden, numbers["confidence_first_bias"]))
    logit = op("Add", op("MatMul", hidden, second), numbers["confidence_second_bias"] * SCALE + offset)
    joints, whole = op("Split", op("Sigmoid", logit), [JOINTS, 1], outputs=2, axis=1)
    return joints, op("Reshape", whole, [-1])
