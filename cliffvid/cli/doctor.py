"""What this machine can do, in plain words: cores and GPU, what runs and draws, models, files of others."""

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import BackendError, CliffvidError
from ..machine import cores, memory, nvidia_gpus
from ..models.backends.ort import two_builds
from ..models.downloads import FILES
from ..models.manifest import BUNDLED, RULES, read_manifest
from ..models.parity import check_samples
from ..models.registry import scan_models
from ..models.session import DEFAULT, KNOWN, open_session
from ..models.smpl_files import FAMILIES, how_to_get
from ..optional import load
from ..video.container import cuda, decoding_fault
from ..view.renderers import open_renderer

EXPORT_NEEDS = ("torch", "onnx", "onnxscript")


@dataclass(frozen=True)
class Finding:
    """One thing looked at; ``ok`` is None where nothing was expected of it."""

    topic: str
    name: str
    ok: bool | None
    words: str


def examine(engines: Path | None = None) -> Iterator[Finding]:
    """Everything worth knowing before a run, as it is found. Takes seconds, since networks are really run."""
    yield machine()
    yield gpu()
    yield from wheels()
    for backend, known in KNOWN.items():
        for device in known.devices:
            yield try_backend(backend, device)
    yield decoder()
    yield renderer()
    yield exporting()
    yield from models(engines)
    yield from official(engines)


def machine() -> Finding:
    """What a run may use here, and what bounds it."""
    core, room = cores(), memory()
    words = f"{core.amount} usable cores ({core.source}) of {platform.machine()}"
    if room:
        words += f", {room.amount / 1e9:.1f} GB of memory ({room.source})"
    return Finding("machine", platform.system(), True, f"{words}, Python {platform.python_version()}")


def gpu() -> Finding:
    """The NVIDIA GPUs and their driver."""
    return Finding("GPU", "NVIDIA", *nvidia_gpus())


def wheels() -> Iterator[Finding]:
    """Whether both builds of onnxruntime are installed: they overwrite each other's files, and pip does not notice."""
    if words := two_builds():
        yield Finding("backend", "onnxruntime", False, words)


def try_backend(backend: str, device: str) -> Finding:
    """The bundled regressor really run there, and held to its reference."""
    name = f"{backend} on {device}"
    try:
        with open_session(read_manifest(BUNDLED / "cliff-open"), backend, device) as session:
            off = max((check_samples(session) or {}).values())
    except CliffvidError as error:
        needed = backend == DEFAULT and device == "cpu"
        return Finding("backend", name, False if needed else None, f"does not work: {error}")
    return Finding("backend", name, True, f"works; the bundled regressor is {off:.1g} from its reference")


def decoder() -> Finding:
    """Whether `--decode-device cuda` can be had, by really decoding there."""
    fault = decoding_fault(cuda())
    words = f"does not work: {fault}; the CPU decodes" if fault else "decodes H.264; asked for by --decode-device cuda"
    return Finding("decode", "FFmpeg on cuda", None if fault else True, words)


def renderer() -> Finding:
    """Whether bodies can be drawn, by really opening the renderer."""
    try:
        found = open_renderer("auto")
    except CliffvidError as error:
        return Finding("overlay", "renderer", None, f"does not work: {error}")
    return Finding("overlay", found.name, True, f"draws bodies, on {found.device}")


def exporting() -> Finding:
    """Whether `cliffvid export` has what it needs, by really loading it."""
    try:
        for package in EXPORT_NEEDS:
            load(package, 'pip install "cliffvid[export]"')
    except BackendError as error:
        return Finding("export", "cliffvid export", None, f"does not work: {error}")
    return Finding("export", "cliffvid export", True, "can make model folders")


def models(engines: Path | None) -> Iterator[Finding]:
    """The default model of each task, and folders that cannot be read."""
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
    """The files of others: which are in use, and for those that are not where they come from and what binds them."""
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
