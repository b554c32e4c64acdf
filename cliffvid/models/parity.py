"""Compare a network's outputs with a reference's, at export and again in `models verify`.

A model folder's ``samples.npz`` holds inputs and the reference's outputs; its manifest holds the bound. A regressor's
reference also has ``pose_6d`` (N,J,3,2): the vectors that the network converts to rotations. A detector's has ``rows``
(N,A,6) of all anchors: centre x and y, width and height in pixels of the canvas, objectness, and the probability of a
person.
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

# From onnxruntime in the same precision, where a manifest has no bound: kernels differ in rounding.
DEFAULT_BOUND = {"fp32": 1e-3, "fp16": 0.05, "int8": 0.1}
POSE_6D = "pose_6d"
SHORTEST = 1e-12  # least length by which vectors are divided, as in the network
SURE = 20  # a detector's best candidates, which are compared with onnxruntime's


def errors(task: str, answers: Arrays, reference: Arrays) -> tuple[dict[str, float], dict[str, float]]:
    """Return the largest absolute and the largest relative error of each output; NaN where an output is not a number.

    Errors are relative to the reference's magnitude where that is over 1: betas and cameras are unbounded, and float32
    has relative precision. Boxes are relative to their longer side. Rotations are relative to how strongly they turn
    with their 6D vectors, where the reference has those (older folders do not). Nearly parallel vectors turn their
    rounding errors into rotations, which says nothing about the network.
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
        with np.errstate(invalid="ignore"):  # infinity minus infinity
            error = np.abs(answers[name] - wanted)
            absolute[name] = float(np.max(error))
            relative[name] = float(np.max(error / np.maximum(1, scale)))
    return absolute, relative


def turn_per_6d(pose_6d: Array) -> Array:
    """Return the largest turn in radians of rotations (...) per small unit change of their vectors (...,3,2).

    The first axis a/|a| turns by 1/|a|. The second axis is the component of b perpendicular to the first. It turns with
    b, and with the first axis by b's component along that. The shorter it is, the more it turns.
    """
    a, b = pose_6d[..., 0], pose_6d[..., 1]
    length = np.linalg.norm(a, axis=-1).clip(SHORTEST)
    along = np.abs((a * b).sum(axis=-1)) / length
    across = (np.linalg.norm(np.cross(a, b), axis=-1) / length).clip(SHORTEST)
    turn: Array = 1 / length + (1 + along / length) / across
    return turn


def detect_errors(answers: Arrays, rows: Array) -> tuple[dict[str, float], dict[str, float]]:
    """Return the largest errors of candidates, each against the row nearest in all values: ties differ in order."""
    worst = np.zeros(4)
    for box, objectness, prob, wanted in zip(
        answers["box_px"], answers["objectness"], answers["class_prob"], rows, strict=True
    ):
        center, side = (box[:, :2] + box[:, 2:]) / 2, box[:, 2:] - box[:, :2]
        off_px = np.abs(np.c_[center, side][:, None] - wanted[None, :, :4]).max(-1)
        off = np.stack(
            [
                off_px / side.max(-1, keepdims=True).clip(SHORTEST),  # candidates that are none may be points
                # candidates whose most likely class is not a person have objectness 0
                np.abs(objectness[:, None] - wanted[None, :, 4]) * (objectness > 0)[:, None],
                np.abs(prob[:, None] - wanted[None, :, 5]),
            ]
        )
        nearest = np.arange(len(box)), off.max(axis=0).argmin(axis=1)  # NaN stays in max, and argmin takes it first
        worst = np.maximum(worst, [off_px[nearest].max(), *off[:, *nearest].max(axis=1)])
    px, *relative = map(float, worst)
    names = ("box_px", "objectness", "class_prob")
    return dict(zip(names, (px, *relative[1:]), strict=True)), dict(zip(names, relative, strict=True))


def detector_rows(answers: Arrays) -> Array:
    """Return a detector's candidates as the rows (N,A,6) of a reference."""
    box, rest = answers["box_px"], (answers["objectness"], answers["class_prob"])
    center, side = (box[..., :2] + box[..., 2:]) / 2, box[..., 2:] - box[..., :2]
    return np.concatenate([center, side, *(array[..., None] for array in rest)], axis=-1)


def check_samples(session: Network, batch: int | None = None) -> dict[str, float] | None:
    """Return the relative errors of a session on its folder's samples; None if the folder has none.

    ``batch`` repeats the samples to a batch of that size. Raises ModelError if an error exceeds the manifest's bound,
    or if the samples cannot be read.
    """
    manifest = session.manifest
    if (samples := read_samples(manifest)) is None:
        return None
    inputs, reference = samples
    if batch:
        inputs, reference = repeated(inputs, batch), repeated(reference, batch)
    return hold(session, session.run(inputs), reference, said_bound(manifest, session), manifest.parity["reference"])


def read_samples(manifest: Manifest) -> tuple[Arrays, Arrays] | None:
    """Return the inputs kept in a model folder and the reference's outputs; None if there are none.

    Raises ModelError.
    """
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
    """Return the largest error allowed between a session and the reference.

    If the user accepted larger errors at export, the largest is added: no runtime can be closer. Raises ModelError if
    the manifest has no bound.
    """
    file = MODEL_FILES[session.precision]
    try:
        accepted = manifest.parity.get("accepted", {}).get(file, {})
        return float(manifest.parity["bound"][file]) + max(accepted.values(), default=0.0)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{manifest.folder}: no bound for {file} in its manifest; export the model again") from error


def hold(session: Network, answers: Arrays, reference: Arrays, bound: float, by: str) -> dict[str, float]:
    """Return the relative errors of a session's outputs. Raises ModelError if one exceeds the bound."""
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
    """Raise ModelError unless a session's outputs match the reference, also in a batch of ``batch`` rows.

    The reference is the folder's samples. It is onnxruntime on the CPU where the manifest has no bound for the file,
    such as int8. So it is for canvases that are not square, since samples are square.
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
    """Return the arrays repeated to ``rows`` rows."""
    return {name: array[np.arange(rows) % len(array)] for name, array in arrays.items()}


def prove_by_onnxruntime(session: Network, inputs: Arrays) -> None:
    """Raise ModelError unless a session's outputs match those of onnxruntime on the CPU."""
    manifest = session.manifest
    with open_session(manifest, "onnxruntime", "cpu", 0, session.precision) as exact:
        reference = exact.run(inputs)
    answers = session.run(inputs)
    if manifest.task == "detect":
        # where many candidates are equally unlikely, the last ones may differ
        answers = {name: array[:, :SURE] for name, array in answers.items()}
        reference = {"rows": detector_rows(reference)}
    given = manifest.parity.get("bound", {}).get(MODEL_FILES[session.precision])
    bound = float(given or DEFAULT_BOUND[session.precision])
    hold(session, answers, reference, bound, "onnxruntime on the CPU")
