"""Measure the precisions of a network on the GPU at hand, once: errors on the model's samples, and speed."""

import logging
from collections.abc import Mapping
from typing import TypedDict, TypeGuard

from ..errors import BackendError, BackendMemoryError, ModelError
from ..machine import nvidia_gpus, plain_device
from ..options import Options
from .batch_size import example_row, speeds
from .manifest import MODEL_FILES, Manifest
from .parity import DEFAULT_BOUND, hold, read_samples
from .remembered import recall, remember
from .session import DEFAULT, Arrays, open_session

log = logging.getLogger(__name__)
CANDIDATES = "fp32", "tf32", "fp16"
REMEMBERED = "precisions.json"
ROWS = {"detect": (4, 16), "regress": (16, 64)}  # of the batches that are timed


class OnGpu(TypedDict):
    """What a precision does on a GPU."""

    items_per_s: float
    error: float  # the largest relative one of the samples' outputs
    fault: str  # why it cannot be used; empty if it can


def measured_on_gpu(manifest: Manifest, options: Options, runtime: str) -> dict[str, OnGpu]:
    """Return what onnxruntime of that version does in each precision; of a model without samples nothing.

    Raises BackendError if no precision, not even float32, gives the reference's outputs on this GPU.
    """
    if (samples := read_samples(manifest)) is None:
        return {}
    candidates = [name for name in CANDIDATES if MODEL_FILES[name] in manifest.files]
    networks = " ".join(manifest.files[file] for file in sorted({MODEL_FILES[name] for name in candidates}))
    key = f"{runtime} {networks}; {nvidia_gpus()[1]}; {plain_device(options.device)}"
    known = recall(REMEMBERED)
    if _is_whole(entries := known.get(key), candidates):
        return entries
    log.info("%s: measuring precisions on %s, once", manifest.name, options.device)
    found = {name: _measured(manifest, name, options, samples) for name in candidates}
    if all(entry["fault"] for entry in found.values()):
        faults = "; ".join(f"{name}: {entry['fault']}" for name, entry in found.items())
        raise BackendError(
            f"{manifest.name}: no precision gives the right outputs on {options.device} ({faults}); choose --device "
            "cpu, or give a --precision to run it all the same"
        )
    remember(REMEMBERED, {**known, key: found})
    return found


def bound_on_gpu(manifest: Manifest, precision: str) -> float:
    """Return the largest error allowed; TF32's numbers are as short as float16's, so it has the same bound."""
    as_precise = "fp32" if precision == "fp32" else "fp16"
    bounds: Mapping[str, float] = manifest.parity.get("bound", {})
    return float(bounds.get(MODEL_FILES[as_precise], DEFAULT_BOUND[as_precise]))


def _measured(manifest: Manifest, precision: str, options: Options, samples: tuple[Arrays, Arrays]) -> OnGpu:
    inputs, reference = samples
    try:
        with open_session(manifest, DEFAULT, options.device, options.threads, precision) as session:
            bound, by = bound_on_gpu(manifest, precision), manifest.parity["reference"]
            relative = hold(session, session.run(inputs), reference, bound, by)
            speed = speeds(session, example_row(session, options), ROWS[manifest.task])
    except BackendMemoryError:  # another time there may be more
        raise
    except (ModelError, BackendError) as error:
        return OnGpu(items_per_s=0.0, error=0.0, fault=str(error))
    return OnGpu(items_per_s=max(speed.values()), error=max(relative.values()), fault="")


def _is_whole(entries: object, candidates: list[str]) -> TypeGuard[dict[str, OnGpu]]:
    """Return whether these are figures of all candidates, from a file that anything may have written."""
    if not isinstance(entries, dict) or list(entries) != candidates:
        return False
    numbers = ("items_per_s", "error")
    return all(
        isinstance(entry, dict)
        and isinstance(entry.get("fault"), str)
        and all(isinstance(entry.get(name), float) for name in numbers)
        for entry in entries.values()
    )
