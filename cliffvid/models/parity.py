"""How far a network's answers lie from a reference's: asked when a model is made, and again by `models verify`.

A model folder's ``samples.npz`` holds inputs and what the reference answered to them, its manifest the bound. For
regressors the reference answers the outputs themselves, and ``pose_6d`` (N,J,3,2), the vectors that the network made
its rotations of; for detectors ``rows`` (N,A,6) of all anchors: centre x and y, width, height in pixels of the canvas,
objectness, and the person's probability.
"""

import zipfile

import numpy as np

from ..errors import InputError, ModelError
from ..inputs import open_input
from ..npz import load_npz
from ..tables import Array
from .manifest import MODEL_FILES, Manifest
from .manifest_schema import SAMPLES as SAMPLES
from .session import Arrays as Arrays
from .session import Network, open_session

# From onnxruntime in the same precision, where a manifest tells no bound: other kernels, other roundings.
UNSAID_BOUND = {"fp32": 1e-3, "fp16": 0.05, "int8": 0.1}
POSE_6D = "pose_6d"
SHORTEST = 1e-12  # of vectors that are made unit ones, as in the network
SURE = 20  # how many of a detector's candidates, the best first, are compared with another's


def errors(task: str, answers: Arrays, reference: Arrays) -> tuple[dict[str, float], dict[str, float]]:
    """The largest error of each output, absolute and relative; NaN where an answer is none.

    Relative is to the reference's own size where that is over 1, since betas and cameras have no natural limit and
    float32 has relative precision; for boxes it is to the longer side. For rotations it is to how strongly they turn
    with the 6D vectors they are made of, where the reference has those (older folders do not): nearly parallel vectors
    make a rotation out of their rounding errors, which says nothing about the network.
    """
    return detect_errors(answers, reference["rows"]) if task == "detect" else regress_errors(answers, reference)


def regress_errors(answers: Arrays, reference: Arrays) -> tuple[dict[str, float], dict[str, float]]:
    absolute: dict[str, float] = {}
    relative: dict[str, float] = {}
    for name, wanted in reference.items():
        if name == POSE_6D:
            continue
        scale = np.abs(wanted)
        if name == "rotmat" and POSE_6D in reference:
            scale = turn_per_6d(reference[POSE_6D])[..., None, None]
        with np.errstate(invalid="ignore"):  # infinity less infinity
            error = np.abs(answers[name] - wanted)
            absolute[name] = float(np.max(error))
            relative[name] = float(np.max(error / np.maximum(1, scale)))
    return absolute, relative


def turn_per_6d(pose_6d: Array) -> Array:
    """Return how many radians rotations (...) turn at most where their vectors (...,3,2) change by a small unit.

    The first axis a/|a| turns by 1/|a|. The second is the part of b across it: that changes with b, and as the first
    axis turns under the part of b along it; it turns the more, the shorter it is.
    """
    a, b = pose_6d[..., 0], pose_6d[..., 1]
    length = np.linalg.norm(a, axis=-1).clip(SHORTEST)
    along = np.abs((a * b).sum(axis=-1)) / length
    across = (np.linalg.norm(np.cross(a, b), axis=-1) / length).clip(SHORTEST)
    turn: Array = 1 / length + (1 + along / length) / across
    return turn


def detect_errors(answers: Arrays, rows: Array) -> tuple[dict[str, float], dict[str, float]]:
    """Of each candidate to the row that lies nearest to it in all its numbers: their order may differ in ties."""
    worst = np.zeros(4)
    for box, objectness, prob, wanted in zip(
        answers["box_px"], answers["objectness"], answers["class_prob"], rows, strict=True
    ):
        center, side = (box[:, :2] + box[:, 2:]) / 2, box[:, 2:] - box[:, :2]
        off_px = np.abs(np.c_[center, side][:, None] - wanted[None, :, :4]).max(-1)
        off = np.stack(
            [
                off_px / side.max(-1, keepdims=True),
                # candidates whose likeliest class is another have objectness 0
                np.abs(objectness[:, None] - wanted[None, :, 4]) * (objectness > 0)[:, None],
                np.abs(prob[:, None] - wanted[None, :, 5]),
            ]
        )
        nearest = np.arange(len(box)), off.max(axis=0).argmin(axis=1)  # a NaN counts as largest, and as nearest of all
        worst = np.maximum(worst, [off_px[nearest].max(), *off[:, *nearest].max(axis=1)])
    px, *relative = map(float, worst)
    names = ("box_px", "objectness", "class_prob")
    return dict(zip(names, (px, *relative[1:]), strict=True)), dict(zip(names, relative, strict=True))


def check_samples(session: Network, batch: int | None = None) -> dict[str, float] | None:
    """The relative errors of a session's answers to its folder's samples; None if the folder has none.

    ``batch``: the samples are repeated to make one so large. Raises ModelError if an error is over the manifest's
    bound, or the samples cannot be read.
    """
    manifest = session.manifest
    if (samples := read_samples(manifest)) is None:
        return None
    inputs, reference = samples
    if batch:
        inputs, reference = repeated(inputs, batch), repeated(reference, batch)
    return hold(session, session.run(inputs), reference, said_bound(manifest, session), manifest.parity["reference"])


def read_samples(manifest: Manifest) -> tuple[Arrays, Arrays] | None:
    """The inputs kept in a model folder, and what the reference answered; None if there are none. Raises ModelError."""
    if SAMPLES not in manifest.files:
        return None
    path = manifest.path(SAMPLES)
    try:
        with open_input(path) as file:
            arrays = load_npz(file)
        inputs = {name: arrays[f"input.{name}"].astype(spec.dtype) for name, spec in manifest.inputs.items()}
        reference = {name.split(".")[1]: array for name, array in arrays.items() if name.startswith("reference.")}
    except (OSError, InputError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: no readable samples ({error}); export or install the model again") from error
    return inputs, reference


def said_bound(manifest: Manifest, session: Network) -> float:
    """How far a session's answers may be from the reference's. Raises ModelError if the manifest does not say.

    Where the export was accepted although it is farther off, that is added: no runtime can be nearer.
    """
    file = MODEL_FILES[session.precision]
    try:
        accepted = manifest.parity.get("accepted", {}).get(file, {})
        return float(manifest.parity["bound"][file]) + max(accepted.values(), default=0.0)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{manifest.folder}: no bound for {file} in its manifest; export the model again") from error


def hold(session: Network, answers: Arrays, reference: Arrays, bound: float, by: str) -> dict[str, float]:
    """The relative errors of a session's answers. Raises ModelError if one is over the bound."""
    manifest = session.manifest
    relative = errors(manifest.task, answers, reference)[1]
    for name, error in relative.items():
        if not error <= bound:  # so that NaN is caught too
            raise ModelError(
                f"{manifest.folder}: {name} by {session.backend} on {session.device} in {session.precision} is "
                f"{error:.2g} from the reference ({by}), over the bound of {bound:.2g}: its results would be wrong"
            )
    return relative


def prove(session: Network, batch: int) -> None:
    """Raise ModelError unless a session answers as the reference, one batch as large as ``batch`` among them.

    The reference is the folder's samples. It is what onnxruntime answers on the CPU where the manifest holds the file
    to no samples, as those of int8, and for a canvas that is not square, which samples are not.
    """
    manifest = session.manifest
    if samples := read_samples(manifest):
        inputs = samples[0]
    else:
        rng: np.random.Generator = np.random.default_rng(0)
        inputs = {}
        for name, row in manifest.row_shapes().items():
            numbers = rng.integers(0, 256, (batch, *row)) if len(row) == 3 else rng.normal(size=(batch, *row))
            inputs[name] = numbers.astype(manifest.inputs[name].dtype)
    if samples and MODEL_FILES[session.precision] in manifest.parity["bound"]:
        check_samples(session)
        check_samples(session, batch)
    else:
        prove_by_onnxruntime(session, repeated(inputs, batch))
    if any("H" in tensor.shape for tensor in manifest.inputs.values()):
        rule = manifest.rules["letterbox"]
        height_px = max(rule.least_px or 0, rule.height_px * 9 // 16 // rule.step_px * rule.step_px)
        prove_by_onnxruntime(session, {name: array[:1, :height_px] for name, array in inputs.items()})


def repeated(arrays: Arrays, rows: int) -> Arrays:
    """As many rows, by taking those that there are again and again."""
    return {name: array[np.arange(rows) % len(array)] for name, array in arrays.items()}


def prove_by_onnxruntime(session: Network, inputs: Arrays) -> None:
    """Raise ModelError unless a session answers as onnxruntime does on the CPU."""
    manifest = session.manifest
    with open_session(manifest, "onnxruntime", "cpu", 0, session.precision) as exact:
        reference = exact.run(inputs)
    answers = session.run(inputs)
    if manifest.task == "detect":
        # the last candidates of one may be none of the other's, where many are as unlikely
        answers = {name: array[:, :SURE] for name, array in answers.items()}
        box, rest = reference["box_px"], (reference["objectness"], reference["class_prob"])
        center, side = (box[..., :2] + box[..., 2:]) / 2, box[..., 2:] - box[..., :2]
        reference = {"rows": np.concatenate([center, side, *(array[..., None] for array in rest)], axis=-1)}
    said = manifest.parity.get("bound", {}).get(MODEL_FILES[session.precision])
    bound = float(said or UNSAID_BOUND[session.precision])
    hold(session, answers, reference, bound, "onnxruntime on the CPU")
