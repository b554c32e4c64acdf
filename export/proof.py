"""Proof that the files of a model folder answer as PyTorch does: every export of a checkpoint ends with it."""

from importlib.metadata import version
from pathlib import Path

import numpy as np

from cliffvid.backends.ort import load
from cliffvid.errors import ModelError
from cliffvid.parity import Arrays, errors

from .half import HALF_ARITHMETIC

BATCHES = (1, 7)  # neither is the 2 that graphs are traced with


def prove(
    source: Path,
    task: str,
    files: dict[str, bytes],
    bounds: dict[str, float],
    samples: list[Arrays],
    references: list[Arrays],
    rounded: tuple[Arrays, Arrays],
) -> dict:
    """What the manifest says of parity: how far onnxruntime is from PyTorch on each batch, see cliffvid.parity.

    ``rounded``: what float16 arithmetic answers in PyTorch, and the reference for it. Raises ModelError if an answer is
    beyond its bound or no number; ``source`` is the file to name then.
    """
    found = {file: list(zip(run_onnx(data, samples), references, strict=True)) for file, data in files.items()}
    found[HALF_ARITHMETIC] = [rounded]
    parity = {
        "reference": f"PyTorch {version('torch')} in float32; files by onnxruntime {version('onnxruntime')}; CPU",
        "samples": {what: sum(len(next(iter(a.values()))) for a, _ in pairs) for what, pairs in found.items()},
        "bound": bounds,  # of max_relative
        "max_abs": {},
        "max_relative": {},
    }
    for what, pairs in found.items():
        by_batch = [errors(task, answers, reference) for answers, reference in pairs]
        for kind, each in zip(("max_abs", "max_relative"), zip(*by_batch, strict=True), strict=True):
            parity[kind][what] = {name: float(np.max([one[name] for one in each])) for name in each[0]}
    check(source, parity)
    return parity


def run_onnx(model: bytes, samples: list[Arrays]) -> list[Arrays]:
    """What onnxruntime answers on the CPU to each sample."""
    onnxruntime = load()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return [dict(zip(names, session.run(names, sample), strict=True)) for sample in samples]


def check(source: Path, parity: dict) -> None:
    """Raise ModelError if answers are beyond their bound, or no numbers."""
    for what, differences in parity["max_relative"].items():
        for name, difference in differences.items():
            if not difference <= parity["bound"][what]:  # so that NaN is caught too
                raise ModelError(
                    f"{source}: in {name} the export ({what}) differs from PyTorch by {difference:.2g}, at most "
                    f"{parity['bound'][what]:.2g} was expected; nothing was written. Networks that were trained give "
                    "far less: check that the file is the published one, and report it if it is"
                )
