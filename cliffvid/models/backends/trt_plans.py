"""Build TensorRT plans from a model folder's networks for one kind of GPU, and keep them on disk.

Uses NVIDIA's `tensorrt` (10 or 11) or `tensorrt_rtx`, which have the same classes. Networks are strongly typed in all
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
Trt: TypeAlias = Any  # a TensorRT object; the package has no types
Sides: TypeAlias = tuple[int, ...]
MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}  # if both are installed the first is used
MAX_BATCH = 32  # of plans built at first use; larger batches run in parts


@dataclass(frozen=True)
class Maker:
    """A TensorRT, and the kind of GPU it builds for: `sm89`, with the GPU's name where a plan fits that alone."""

    flavour: str
    trt: ModuleType
    arch: str

    @property
    def name(self) -> str:
        return f"{self.flavour} {self.trt.__version__}"

    def file(self, precision: str, max_batch: int | str) -> str:
        """Return a plan's file name: everything that decides whether the plan fits, except its network."""
        return f"{self.flavour}-{self.trt.__version__}-{self.arch}-{precision}-b{max_batch}.plan"


@dataclass(frozen=True)
class TrtPlan:
    """A plan on disk; its other fields are kept in a .json file beside it."""

    path: Path
    model_sha256: str
    plan_sha256: str
    max_batch: int
    proven_on: tuple[str, ...] = ()  # names of the GPUs on which its outputs matched the samples


def load_tensorrt() -> tuple[str, ModuleType]:
    """Return the installed TensorRT's flavour and module. Raises BackendError if none is installed, or none loads."""
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
    """Return the installed TensorRT for a compute capability such as 8.9; ``gpu`` names the GPU of this machine.

    Raises UsageError for an invalid capability, BackendError if there is no TensorRT or it does not build for that one.
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
    # tuned by measurement: NVIDIA advises against plans from another GPU model
    return Maker(flavour, trt, "-".join([arch, *gpu.lower().replace("/", " ").split()]))


class ErrorLog(Protocol):
    """A TensorRT logger that keeps errors."""

    def reason(self) -> str:
        """Return the first error since the last call: the later ones only follow from it."""


def make_log(trt: ModuleType) -> ErrorLog:
    """Return a logger that keeps errors for ``reason()``: most TensorRT calls only return None or False on failure."""

    class TrtLog(trt.ILogger):  # type: ignore[misc, name-defined]  # of a module known at run time
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Trt, message: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR:
                self.errors.append(message.strip())

        def reason(self) -> str:
            reason = self.errors[0] if self.errors else "no reason given"
            self.errors.clear()
            return reason

    return TrtLog()


def shape_range(manifest: Manifest, name: str, max_batch: int) -> tuple[Sides, Sides, Sides]:
    """Return the smallest, usual and largest shape of an input; free sides end at the full canvas."""
    row, rule = manifest.row_shapes()[name], manifest.rules.get("letterbox")
    least = manifest.inputs[name].row(dict.fromkeys("HW", rule.least_px or rule.step_px) if rule else {})
    return (1, *least), (max_batch, *row), (max_batch, *row)


def build(maker: Maker, manifest: Manifest, precision: str, max_batch: int) -> bytes:
    """Return the plan of a network for batches of 1 to ``max_batch``.

    Raises ModelError if the network cannot be read or differs from its manifest, BackendError if TensorRT cannot build
    it.
    """
    trt, log, model = maker.trt, make_log(maker.trt), manifest.network(precision)
    builder = trt.Builder(log)
    # TensorRT 10 needs a flag to keep the graph's own types; 11 and RTX always do
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model.read_bytes()):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        reason = "; ".join(f"node {e.node_name()!r} ({e.node_operator()}): {e.desc()}" for e in errors) or log.reason()
        raise ModelError(f"{model}: {maker.name} cannot read it ({reason}); use another --backend")
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    for side, promised, found in (("input", manifest.inputs, inputs), ("output", manifest.outputs, outputs)):
        check_tensors(manifest, side, promised, {t.name: facts_of(trt, t.dtype, t.shape) for t in found})
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # on by default: it keeps 10 of float32's 23 bits, which is not fp32
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
    """Return a tensor's dtype and shape as ``check_tensors`` takes them: free axes are -1 in TensorRT."""
    return trt.nptype(dtype).__name__, [None if axis < 0 else axis for axis in shape]


def plan_folder(manifest: Manifest) -> Path:
    """Return the folder of a model's plans: beside it, or the user's cache if it is bundled or not writable."""
    if manifest.folder.parent != BUNDLED and os.access(manifest.folder, os.W_OK):
        return manifest.folder
    import platformdirs

    return Path(platformdirs.user_cache_dir("cliffvid")) / "plans" / manifest.name


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make other processes that build in the same folder wait: one builds, all use the plan."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open_lock(folder / ".plans.lock")
    except OSError as error:
        raise OutputError(f"{folder}: cannot keep TensorRT plans there ({error})") from error
    with open(lock, "rb"):
        try:
            import fcntl
        except ImportError:  # Windows: both build, and the later plan stays
            pass
        else:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def find_plan(maker: Maker, manifest: Manifest, precision: str) -> TrtPlan | None:
    """Return the plan kept for this TensorRT, GPU and network: of several largest batches, the one built last."""
    found = []
    for path in plan_folder(manifest).glob(maker.file(precision, "*")):
        plan = read_plan(path)
        if plan and plan.model_sha256 == manifest.files[MODEL_FILES[precision]]:
            found.append(plan)
    return max(found, key=lambda plan: plan.path.stat().st_mtime_ns, default=None)


def read_plan(path: Path) -> TrtPlan | None:
    """Return the plan of a file; None if it is damaged or incomplete, so that it is built again."""
    try:
        facts = json.loads(facts_path(path).read_text(encoding="utf-8"))
        plan = TrtPlan(path, **(facts | {"proven_on": tuple(facts["proven_on"])}))
        return plan if plan.plan_sha256 == sha256(path.read_bytes()) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def make_plan(maker: Maker, manifest: Manifest, precision: str, max_batch: int) -> TrtPlan:
    """Build, keep and log a plan, without running it. Raises as ``build`` does."""
    path = plan_folder(manifest) / maker.file(precision, max_batch)
    minutes = "; this takes minutes" if maker.flavour == "tensorrt" else ""
    log.info("%s: building %s, once%s", manifest.name, path.name, minutes)
    started = time.monotonic()
    data = build(maker, manifest, precision, max_batch)
    plan = TrtPlan(path, manifest.files[MODEL_FILES[precision]], sha256(data), max_batch)
    write_whole(path, data, overwrite=True)
    keep_facts(plan)
    log.info("%s: %.0f MB, in %.0f s", path, len(data) / 1e6, time.monotonic() - started)
    return plan


def keep_facts(plan: TrtPlan) -> None:
    facts = asdict(plan)
    del facts["path"]
    write_whole(facts_path(plan.path), json.dumps(facts, indent=2).encode(), overwrite=True)


def drop_plan(plan: TrtPlan) -> None:
    """Delete a plan that must not be used."""
    plan.path.unlink(missing_ok=True)
    facts_path(plan.path).unlink(missing_ok=True)


def facts_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
