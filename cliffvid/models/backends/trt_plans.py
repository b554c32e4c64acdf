"""TensorRT plans: made from a model folder's network for one kind of GPU, and kept beside it.

Takes NVIDIA's `tensorrt` (10 or 11) or `tensorrt_rtx`, which have the same classes. Networks are strongly typed in all
of them: a precision is a file of the model folder, never a flag of the builder. TensorRT-RTX builds without a GPU.
"""

import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeAlias

from ... import optional
from ...errors import BackendError, ModelError, NotInstalledError, OutputError, UsageError
from ...files import write_whole
from ...locks import open_lock
from ..manifest import BUNDLED, MODEL_FILES, Manifest
from ..session import Facts, check_tensors

log = logging.getLogger(__name__)
Trt: TypeAlias = Any  # an object of TensorRT's own, which has no types
Sides: TypeAlias = tuple[int, ...]
MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}  # where both are there the first is taken
MAX_BATCH = 32  # of the plans that are built at first use; larger batches run in pieces


@dataclass(frozen=True)
class Maker:
    """One TensorRT, and the kind of GPU it builds for: `sm89`, with the GPU's name where a plan fits that alone."""

    flavour: str
    trt: ModuleType
    arch: str

    @property
    def name(self) -> str:
        return f"{self.flavour} {self.trt.__version__}"

    def file(self, precision: str, max_batch: int | str) -> str:
        """The name of a plan; it tells all that decides whether the plan fits, but for the network it is made of."""
        return f"{self.flavour}-{self.trt.__version__}-{self.arch}-{precision}-b{max_batch}.plan"


@dataclass(frozen=True)
class Plan:
    """A plan on disk; what stands here is kept in a .json beside it."""

    path: Path
    model_sha256: str
    plan_sha256: str
    max_batch: int
    proven_on: tuple[str, ...] = ()  # names of the GPUs on which it answered as its model folder's samples say


def load_tensorrt() -> tuple[str, ModuleType]:
    """The flavour of TensorRT that is there, and its module. Raises BackendError if none is, or none that loads."""
    install = 'pip install "cliffvid[tensorrt]" for data-centre GPUs, "cliffvid[rtx]" for GeForce and RTX'
    missing, broken = [], []
    for flavour, module in MODULES.items():
        try:
            return flavour, optional.load(module, install)
        except NotInstalledError as error:
            missing.append(error)
        except BackendError as error:
            broken.append(error)
    raise (broken or missing)[0]


def maker_for(capability: str, gpu: str = "") -> Maker:
    """The TensorRT that is there, to build for a compute capability such as 8.9; ``gpu``: the name of one that is here.

    Raises UsageError for what is no capability, BackendError if there is no TensorRT, or the one that is does not build
    for that.
    """
    if not re.fullmatch(r"\d+\.\d", capability):
        raise UsageError(f"--compute-capability {capability}: expected a number such as 8.9; nvidia-smi tells a GPU's")
    flavour, trt = load_tensorrt()
    arch = "sm" + capability.replace(".", "")
    if flavour == "tensorrt-rtx":
        known = [name for name in trt.ComputeCapability.__members__ if name.startswith("SM")]
        if arch.upper() not in known:
            have = ", ".join(f"{name[2:-1]}.{name[-1]}" for name in known)
            raise BackendError(
                f"{gpu or 'a GPU'} of compute capability {capability}: {flavour} {trt.__version__} builds for {have} "
                'alone; pip install "cliffvid[tensorrt]" for others'
            )
        return Maker(flavour, trt, arch)
    if not gpu:
        raise BackendError(f"{flavour} builds for the GPU it runs on alone; leave --compute-capability out there")
    # tuned by measuring: NVIDIA advises against plans from another model of GPU
    return Maker(flavour, trt, "-".join([arch, *gpu.lower().replace("/", " ").split()]))


class ErrorLog(Protocol):
    """A logger of TensorRT's that keeps errors."""

    def reason(self) -> str:
        """The first error since it was last asked: the later ones are only what followed from it."""


def make_log(trt: ModuleType) -> ErrorLog:
    """A logger that keeps errors, for ``reason()``: most calls of TensorRT answer only None or False when they fail."""

    class Log(trt.ILogger):  # type: ignore[misc, name-defined]  # of a module that is known when it runs
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Trt, message: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR:
                self.errors.append(message.strip())

        def reason(self) -> str:
            told = self.errors[0] if self.errors else "no reason given"
            self.errors.clear()
            return told

    return Log()


def shape_range(manifest: Manifest, name: str, max_batch: int) -> tuple[Sides, Sides, Sides]:
    """The smallest, the usual and the largest shape of an input; sides that are free end at the whole canvas."""
    row, rule = manifest.row_shapes()[name], manifest.rules.get("letterbox")
    least = manifest.inputs[name].row(dict.fromkeys("HW", rule.least_px or rule.step_px) if rule else {})
    return (1, *least), (max_batch, *row), (max_batch, *row)


def build(maker: Maker, manifest: Manifest, precision: str, max_batch: int) -> bytes:
    """The plan of a network for batches of 1 to ``max_batch``.

    Raises ModelError if the network cannot be read or is not what its manifest promises, BackendError if TensorRT
    cannot build it.
    """
    trt, log, model = maker.trt, make_log(maker.trt), manifest.network(precision)
    builder = trt.Builder(log)
    # TensorRT 10 must be told that the graph's own types hold; 11 and RTX know nothing else
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model.read_bytes()):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        told = "; ".join(f"node {e.node_name()!r} ({e.node_operator()}): {e.desc()}" for e in errors) or log.reason()
        raise ModelError(f"{model}: {maker.name} cannot read it ({told}); use another --backend")
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    for side, promised, found in (("input", manifest.inputs, inputs), ("output", manifest.outputs, outputs)):
        check_tensors(manifest, side, promised, {t.name: facts_of(trt, t.dtype, t.shape) for t in found})
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # on unless told: 10 bits of float32's 23, and none of it is fp32's
    if maker.flavour == "tensorrt-rtx":
        config.num_compute_capabilities = 1
        config.set_compute_capability(trt.ComputeCapability.__members__[maker.arch.upper()], 0)
    profile = builder.create_optimization_profile()
    for name in manifest.inputs:
        profile.set_shape(name, *shape_range(manifest, name, max_batch))
    if config.add_optimization_profile(profile) < 0:
        raise BackendError(f"{model}: {maker.name} refuses batches of 1 to {max_batch} ({log.reason()})")
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BackendError(
            f"{model}: {maker.name} cannot build it for {maker.arch} ({log.reason()}); use another --backend"
        )
    return bytes(plan)


def facts_of(trt: ModuleType, dtype: Trt, shape: Iterable[int]) -> Facts:
    """A tensor's dtype and shape as ``check_tensors`` takes them: free axes are -1 in TensorRT."""
    return trt.nptype(dtype).__name__, [None if axis < 0 else axis for axis in shape]


def plan_folder(manifest: Manifest) -> Path:
    """Where plans of a model are kept: beside it, or in the user's cache if that is not ours to write to."""
    if manifest.folder.parent != BUNDLED and os.access(manifest.folder, os.W_OK):
        return manifest.folder
    import platformdirs

    return Path(platformdirs.user_cache_dir("cliffvid")) / "plans" / manifest.name


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes other processes wait that want to build in the same folder: one builds, all use it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open_lock(folder / ".plans.lock")
    except OSError as error:
        raise OutputError(f"{folder}: cannot keep TensorRT plans there ({error})") from error
    with open(lock, "rb"):
        try:
            import fcntl
        except ImportError:  # Windows: both build, and the later one stays
            pass
        else:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def find_plan(maker: Maker, manifest: Manifest, precision: str) -> Plan | None:
    """The plan kept for this TensorRT, GPU and network; of several, for other largest batches, the one made last."""
    found = []
    for path in plan_folder(manifest).glob(maker.file(precision, "*")):
        plan = read_plan(path)
        if plan and plan.model_sha256 == manifest.files[MODEL_FILES[precision]]:
            found.append(plan)
    return max(found, key=lambda plan: plan.path.stat().st_mtime_ns, default=None)


def read_plan(path: Path) -> Plan | None:
    """What is kept of a plan; None if it was damaged or is not whole, so that it is built again."""
    try:
        facts = json.loads(facts_path(path).read_text(encoding="utf-8"))
        plan = Plan(path, **(facts | {"proven_on": tuple(facts["proven_on"])}))
        return plan if plan.plan_sha256 == sha256(path.read_bytes()) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def make_plan(maker: Maker, manifest: Manifest, precision: str, max_batch: int) -> Plan:
    """Build and keep a plan, and log it; nothing has been run yet. Raises as ``build``."""
    path = plan_folder(manifest) / maker.file(precision, max_batch)
    minutes = "; this takes minutes" if maker.flavour == "tensorrt" else ""
    log.info("%s: building %s, once%s", manifest.name, path.name, minutes)
    started = time.monotonic()
    data = build(maker, manifest, precision, max_batch)
    plan = Plan(path, manifest.files[MODEL_FILES[precision]], sha256(data), max_batch)
    write_whole(path, data, overwrite=True)
    keep_facts(plan)
    log.info("%s: %.0f MB, in %.0f s", path, len(data) / 1e6, time.monotonic() - started)
    return plan


def keep_facts(plan: Plan) -> None:
    facts = asdict(plan)
    del facts["path"]
    write_whole(facts_path(plan.path), json.dumps(facts, indent=2).encode(), overwrite=True)


def drop_plan(plan: Plan) -> None:
    """Remove a plan that must not be used."""
    plan.path.unlink(missing_ok=True)
    facts_path(plan.path).unlink(missing_ok=True)


def facts_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
