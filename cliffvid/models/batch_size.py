"""Choose the batch sizes of the networks where the options say ``auto``.

On a CPU batches gain little: with the open models on two cores, 4 frames and 8 people are within a few percent of the
best of 1 to 32. On a GPU the best size depends on the GPU, runtime and network, so it is measured once and kept in the
user's cache folder.
"""

import logging
import math
import time
from dataclasses import replace
from statistics import median

import numpy as np

from ..geometry import shrunk
from ..machine import nvidia_gpus, on_gpu
from ..options import Options
from .manifest import MODEL_FILES, canvas_shape
from .remembered import recall, remember
from .session import Arrays, Session

log = logging.getLogger(__name__)
REMEMBERED = "batches.json"
ON_CPU = {"detect": 4, "regress": 8}
# Of each video decoded at once, up to three batches of frames are on a GPU: 64 frames of 1080p are 200 MB.
TRIED = {"detect": (1, 2, 4, 8, 16, 32, 64), "regress": (4, 8, 16, 32, 64, 128, 256)}
VIDEOS_ON_CPU = 2
VIDEOS_ON_GPU = 8  # keep NVDEC's engines busy; a core for each gives about 300 frames/s of 1080p
ENOUGH = 0.95  # of the best speed
ROUNDS = 3
TUNE_S = 20.0  # no larger size is tried after this; the first run of a size may compile kernels


def with_batch_sizes(options: Options, detector: Session | None, regressor: Session) -> Options:
    """Return the options with each ``auto`` batch size replaced by a number, which the sessions then expect."""
    frames = options.frame_batch
    if frames == "auto":
        frames = batch_for(detector, options) if detector else ON_CPU["detect"]
    people = batch_for(regressor, options) if options.person_batch == "auto" else options.person_batch
    if detector:
        detector.pad_to(math.ceil(frames / options.detect_every))
    regressor.pad_to(people)
    return replace(options, frame_batch=frames, person_batch=people)


def videos_at_once(options: Options) -> int:
    """Return how many inputs are decoded at once."""
    if options.videos_at_once == "auto":
        return VIDEOS_ON_GPU if on_gpu(options.device, options.backend) else VIDEOS_ON_CPU
    return options.videos_at_once


def batch_for(session: Session, options: Options) -> int:
    """Return the smallest batch size that is nearly as fast as the fastest one that fits in memory."""
    task = session.manifest.task
    if session.device == "cpu":
        return ON_CPU[task]
    row = example_row(session, options)
    key = _key(session, row)
    known = recall(REMEMBERED)
    if isinstance(size := known.get(key), int) and size in TRIED[task]:
        return size
    log.info("%s: finding the fastest batch size on %s, once", session.manifest.name, session.device)
    known[key] = size = least_good(speeds(session, row, TRIED[task]))
    remember(REMEMBERED, known)
    return size


def example_row(session: Session, options: Options) -> Arrays:
    """Return one blank row of each input; a detector that takes the frame's shape gets that of a 16:9 frame."""
    manifest = session.manifest
    if manifest.task == "detect" and canvas_shape(manifest, options) == "frame":
        manifest = replace(manifest, rules={"letterbox": shrunk(manifest.rules["letterbox"], (16, 9))})
    return {name: np.zeros((1, *row), manifest.inputs[name].dtype) for name, row in manifest.row_shapes().items()}


def speeds(session: Session, row: Arrays, sizes: tuple[int, ...]) -> dict[int, float]:
    """Return rows per second for each size, until memory or time runs out. Raises BackendMemoryError if no row fits."""
    found: dict[int, float] = {}
    start = time.perf_counter()
    for size in sizes:
        if found and time.perf_counter() - start > TUNE_S:
            break
        inputs = {name: np.repeat(array, size, axis=0) for name, array in row.items()}
        session.pad_to(size)
        seconds = []
        for _ in range(1 + ROUNDS):
            begun = time.perf_counter()
            session.run(inputs)
            seconds.append(time.perf_counter() - begun)
        if session.rows_max and session.rows_max < size:  # too large for the memory: it was run in parts
            session.warnings.clear()  # the user did not ask for this size
            break
        found[size] = size / median(seconds[1:])
    return found or {session.rows_max or 1: 0.0}


def least_good(speed: dict[int, float]) -> int:
    return min(size for size, rows_per_s in speed.items() if rows_per_s >= ENOUGH * max(speed.values()))


def _key(session: Session, row: Arrays) -> str:
    shapes = " ".join("x".join(map(str, array.shape[1:])) for array in row.values())
    network = session.manifest.files[MODEL_FILES[session.precision]]
    return f"padded {session.backend} {session.precision} {network} {shapes}; {nvidia_gpus()[1]}; {session.device}"
