"""Verify that the ONNX files of a model folder agree with PyTorch; every export of a checkpoint ends with this."""

from collections.abc import Callable
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
import onnx

from cliffvid.errors import ModelError
from cliffvid.models.backends.ort import load
from cliffvid.models.manifest import MODEL_FILES, Manifest
from cliffvid.models.parity import Arrays, errors

from .graph import to_bytes
from .half import HALF_ARITHMETIC, halve

BATCHES = (1, 7)  # neither is the 2 that graphs are traced with
FP32, FP16 = MODEL_FILES["fp32"], MODEL_FILES["fp16"]


class ProvenParity(TypedDict):
    """Errors against the reference, by file and output; for the manifest."""

    reference: str
    samples: dict[str, int]
    bound: dict[str, float]
    max_abs: dict[str, dict[str, float]]
    max_relative: dict[str, dict[str, float]]
    accepted: NotRequired[dict[str, dict[str, float]]]
    left_out: NotRequired[dict[str, str]]


def prove(
    source: Path,
    task: str,
    model: onnx.ModelProto,
    bounds: dict[str, float],
    samples: list[Arrays],
    references: list[Arrays],
    rounded: Callable[[], tuple[Arrays, Arrays]],
    accept: bool = False,
) -> tuple[dict[str, bytes], ProvenParity]:
    """Return the networks of a folder, and its parity for the manifest, see cliffvid.models.parity.

    Parity is onnxruntime's error against the reference on the batches of samples. ``rounded``: PyTorch's float16
    outputs and their reference. Raises ModelError, which names ``source``, if the float32 network exceeds its bound and
    this is not accepted. The float16 network is left out if it exceeds its bound or a weight overflows.
    """
    files, unfit = {FP32: to_bytes(model)}, ""
    try:
        files[FP16] = to_bytes(halve(model, source))
    except ModelError as error:
        unfit = str(error)
    found = {file: list(zip(run_onnx(data, samples), references, strict=True)) for file, data in files.items()}
    if not unfit:
        found[HALF_ARITHMETIC] = [rounded()]
    dtype = next(iter(references[0].values())).dtype
    parity: ProvenParity = {
        "reference": f"PyTorch {version('torch')} in {dtype}; files by onnxruntime {version('onnxruntime')}; CPU",
        "samples": {what: sum(len(next(iter(a.values()))) for a, _ in pairs) for what, pairs in found.items()},
        "bound": {what: bounds[what] for what in found},  # of max_relative
        "max_abs": {},
        "max_relative": {},
    }
    for what, pairs in found.items():
        by_batch = [errors(task, answers, reference) for answers, reference in pairs]
        for figures, each in zip((parity["max_abs"], parity["max_relative"]), zip(*by_batch, strict=True), strict=True):
            figures[what] = {name: float(np.max([one[name] for one in each])) for name in each[0]}
    check(source, parity, accept)
    if unfit:
        leave_out_half(parity, unfit)
    return {file: data for file, data in files.items() if file in parity["bound"]}, parity


def run_onnx(model: bytes, samples: list[Arrays]) -> list[Arrays]:
    """Return onnxruntime's CPU outputs for each sample."""
    onnxruntime = load()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return [dict(zip(names, session.run(names, sample), strict=True)) for sample in samples]


def check(source: Path, parity: ProvenParity, accept: bool = False) -> None:
    """Check errors against their bounds. Raises ModelError if float32 exceeds its bound or is not finite.

    With ``accept``, finite errors are recorded as ``accepted``. Float16 beyond its bound is recorded as ``left_out``
    with the reason; its errors are removed, as the folder does not get it.
    """
    if wrong := beyond(parity, FP32):
        words = differs(FP32, wrong, parity["bound"][FP32])
        if not all(map(isfinite, wrong.values())):
            raise ModelError(f"{source}: {words}; nothing was written. The checkpoint may be damaged: get it again")
        if not accept:
            raise ModelError(
                f"{source}: {words}; nothing was written. Networks that were trained give far less: check that the "
                "file is the published one, and report it if it is. --accept-parity writes the model all the same"
            )
        parity["accepted"] = {FP32: wrong}
    for what in (FP16, HALF_ARITHMETIC):
        if what in parity["bound"] and (wrong := beyond(parity, what)):
            leave_out_half(parity, differs(what, wrong, parity["bound"][what]))
            break


def warn(manifest: Manifest, say: Callable[[str], None]) -> None:
    """Warn about unmet bounds and left-out files of a written folder."""
    for words in (
        manifest.unmet,
        *(f"without {file}: {why}" for file, why in manifest.left_out.items()),
    ):
        if words:
            say(f"warning: {manifest.folder}: {words}")


def leave_out_half(parity: ProvenParity, reason: str) -> None:
    """Record why a folder has no float16 network."""
    for what in (FP16, HALF_ARITHMETIC):
        parity["samples"].pop(what, None)
        parity["bound"].pop(what, None)
        parity["max_abs"].pop(what, None)
        parity["max_relative"].pop(what, None)
    parity["left_out"] = {FP16: reason}


def beyond(parity: ProvenParity, what: str) -> dict[str, float]:
    """Return the outputs whose error exceeds its bound or is not finite."""
    return {name: error for name, error in parity["max_relative"][what].items() if not error <= parity["bound"][what]}


def differs(what: str, errors_found: dict[str, float], bound: float) -> str:
    name, error = max(errors_found.items(), key=lambda pair: pair[1] if isfinite(pair[1]) else float("inf"))
    return f"in {name} the export ({what}) differs from PyTorch by {error:.2g}, at most {bound:.2g} was expected"
