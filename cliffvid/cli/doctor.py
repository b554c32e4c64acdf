"""Check the machine: cores, GPU, backends, decoder, renderer, models and official files."""

import ctypes
import platform
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import BackendError, CliffvidError
from ..machine import cores, memory, nvidia_gpus
from ..models.backends.ort import CUDA, two_builds
from ..models.backends.ort import load as load_onnxruntime
from ..models.downloads import FILES
from ..models.manifest import BUNDLED, RULES, read_manifest
from ..models.parity import check_samples
from ..models.registry import scan_models
from ..models.session import DEFAULT, KNOWN, open_session
from ..models.smpl_files import FAMILIES, how_to_get
from ..optional import load
from ..video.container import cuda, decoding_fault
from ..view.renderers import open_renderer

CUDNN = "libcudnn.so.9" if sys.platform != "win32" else "cudnn64_9.dll"
EXPORT_NEEDS = ("torch", "onnx", "onnxscript")


@dataclass(frozen=True)
class Finding:
    """Result of one check; ``ok`` is None if it is information only."""

    topic: str
    name: str
    ok: bool | None
    words: str


def examine(engines: Path | None = None) -> Iterator[Finding]:
    """Yield the findings as they come. It takes seconds, because networks are run."""
    yield machine()
    yield gpu()
    yield from wheels()
    for backend, known in KNOWN.items():
        for device in known.devices:
            yield try_backend(backend, device)
    yield from cudnn()
    yield decoder()
    yield renderer()
    yield exporting()
    yield from models(engines)
    yield from official(engines)


def machine() -> Finding:
    """Return the resources that a run may use here, and their limits."""
    core, room = cores(), memory()
    words = f"{core.amount} usable cores ({core.source}) of {platform.machine()}"
    if room:
        words += f", {room.amount / 1e9:.1f} GB of memory ({room.source})"
    return Finding("machine", platform.system(), True, f"{words}, Python {platform.python_version()}")


def gpu() -> Finding:
    """Return the NVIDIA GPUs and their driver."""
    return Finding("GPU", "NVIDIA", *nvidia_gpus())


def wheels() -> Iterator[Finding]:
    """Yield a problem if both builds of onnxruntime are installed: each overwrites the other's files, unseen by pip."""
    if words := two_builds():
        yield Finding("backend", "onnxruntime", False, words)


def try_backend(backend: str, device: str) -> Finding:
    """Run the bundled regressor on a backend and device, and compare it with its reference."""
    name = f"{backend} on {device}"
    try:
        with open_session(read_manifest(BUNDLED / "cliff-open"), backend, device) as session:
            off = max((check_samples(session) or {}).values())
    except CliffvidError as error:
        needed = backend == DEFAULT and device == "cpu"
        return Finding("backend", name, False if needed else None, f"does not work: {error}")
    return Finding("backend", name, True, f"works; the bundled regressor is {off:.1g} from its reference")


def cudnn() -> Iterator[Finding]:
    """Check cuDNN, which onnxruntime's CUDA provider loads with the first convolution."""
    with suppress(BackendError):
        if CUDA in (onnxruntime := load_onnxruntime()).get_available_providers():
            with redirect_stdout(sys.stderr):
                onnxruntime.preload_dlls()
            try:
                number = ctypes.CDLL(CUDNN).cudnnGetVersion()
            except (OSError, AttributeError) as error:
                cuda = onnxruntime.cuda_version.partition(".")[0]  # of its build; that of the driver may be newer
                words = f"does not load: {error}; networks fail on the GPU: pip install nvidia-cudnn-cu{cuda}"
                yield Finding("backend", "cuDNN", False, words)
            else:
                version = f"{number // 10000}.{number // 100 % 100}.{number % 100}"
                yield Finding("backend", "cuDNN", True, f"{version}, for onnxruntime on cuda")


def decoder() -> Finding:
    """Check `--decode-device cuda` with a real decode."""
    try:
        fault = decoding_fault(cuda())
    except BackendError as error:
        fault = str(error)
    words = f"does not work: {fault}; the CPU decodes" if fault else "decodes H.264; asked for by --decode-device cuda"
    return Finding("decode", "FFmpeg on cuda", None if fault else True, words)


def renderer() -> Finding:
    """Check that the renderer opens, so that bodies can be drawn."""
    try:
        found = open_renderer("auto")
    except CliffvidError as error:
        return Finding("overlay", "renderer", None, f"does not work: {error}")
    return Finding("overlay", found.name, True, f"draws bodies, on {found.device}")


def exporting() -> Finding:
    """Check that the packages for `cliffvid export` can be imported."""
    try:
        for package in EXPORT_NEEDS:
            load(package, 'pip install "cliffvid[export]"')
    except BackendError as error:
        return Finding("export", "cliffvid export", None, f"does not work: {error}")
    return Finding("export", "cliffvid export", True, "can make model folders")


def models(engines: Path | None) -> Iterator[Finding]:
    """Yield the default model of each task, and unreadable model folders."""
    found, unreadable = scan_models(engines)
    for task in RULES:
        names = [manifest for manifest in found if manifest.task == task]
        for number, manifest in enumerate(names):
            words = "; ".join(filter(None, (manifest.unmet, manifest.summary, str(manifest.folder))))
            yield Finding(
                task, manifest.name + (" (default)" if number == 0 else ""), None if manifest.unmet else True, words
            )
    for broken in unreadable:
        yield Finding(broken.task or "model", broken.folder.name, False, str(broken.error))


def official(engines: Path | None) -> Iterator[Finding]:
    """Yield the official files: those in use, and for others their source and licence terms."""
    made = {manifest.name: manifest for manifest in scan_models(engines)[0]}
    for file in FILES:
        if file.model in made:
            yield Finding("official", file.name, True, f"in use as {file.model}. Licence: {file.licence}")
            continue
        known = f"{file.size}, sha256 {file.sha256}" if file.sha256 else f"{file.size}, sha256 not known here"
        words = f"not here: get it from {file.source}; {known}. Licence: {file.licence}. Then: {file.command}"
        yield Finding("official", file.name, None, words)
    for body, family in FAMILIES.items():
        licence = f"Licence: {family.title}'s own, see {family.site}"
        if body in made:
            yield Finding("official", family.file, True, f"in use as {body}. {licence}")
        else:
            yield Finding("official", family.file, None, f"{how_to_get(body)}. {licence}")
