"""Measure accuracy and speed of each precision on the user's own video, and store them in the model folder."""

import json
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from hashlib import file_digest, sha256
from pathlib import Path
from time import perf_counter
from typing import TypeAlias

from ..errors import BackendError, InputError, OutputError, UsageError
from ..files import write_folder, write_whole
from ..inputs import open_input, read_input
from ..machine import processor
from ..models.manifest import BUNDLED, MANIFEST_BYTES, MODEL_FILES, Manifest, read_manifest, sealed
from ..models.precision import runtime_version
from ..models.registry import added_models_dir, find_model
from ..models.session import DEFAULT, KNOWN, Session, open_session
from ..options import Options
from .quality import Batch, compare, take_samples

TIMED = 8  # batches per round; the combinations are interleaved over ROUNDS rounds
ROUNDS = 3
Say: TypeAlias = Callable[[str], None]
Figures: TypeAlias = dict[str, object]  # one measurement as stored in a manifest, see manifest_schema.py


def ask(name: str, video: Path, options: Options) -> tuple[Manifest, list[Batch], list[Batch]]:
    """Return a model and its inputs for a video, in two halves: one for calibration, one for evaluation.

    Raises UsageError, ModelError, BackendError, or InputError, also if too few frames have people.
    """
    manifest = find_model(None, name, options.models_dir)
    if not manifest.inputs:
        raise UsageError(f"{name}: a body, not a network; name a detector or a regressor")
    with ExitStack() as opened:
        finder = manifest if manifest.task == "detect" else find_model("detect", options.detector, options.models_dir)
        detector = opened.enter_context(open_session(finder, DEFAULT, options.device, options.threads))
        regressor = None
        if manifest.task == "regress":
            regressor = opened.enter_context(open_session(manifest, DEFAULT, options.device, options.threads))
        samples = take_samples(video, detector, regressor, options)
    asked = [batch for batch in (samples.crops if regressor else samples.frames) if len(next(iter(batch.values())))]
    if len(asked) < 2:
        raise InputError(f"{video}: too little to go by ({len(asked)} frames with people); choose another video")
    return manifest, asked[0::2], asked[1::2]


def judge(manifest: Manifest, samples: list[Batch], video: Path, options: Options, say: Say) -> Manifest:
    """Measure a model's precisions, store the results in its folder and return the updated manifest."""
    clip = about_clip(video)
    return keep(manifest, [entry | clip for entry in measure(manifest, samples, options, say)])


def measure(manifest: Manifest, samples: list[Batch], options: Options, say: Say = lambda line: None) -> list[Figures]:
    """Return accuracy and speed of each backend and precision that runs here, relative to onnxruntime in float32.

    Each entry holds the results of quality.compare, ``items_per_s`` (frames or people), and the configuration measured.
    """
    found = []
    with ExitStack() as opened:
        reference = opened.enter_context(open_session(manifest, DEFAULT, options.device, options.threads))
        others = _others(manifest, options, opened, say)
        sessions = [reference, *(session for _, session in others)]
        kept = _Kept(reference, samples)
        for backend, session in [(DEFAULT, reference), *others]:
            found.append(_about(backend, session) | compare(manifest, kept, session, samples))
        seconds: list[list[float]] = [[] for _ in sessions]
        timed = samples[:TIMED]
        for _ in range(ROUNDS):
            for session, took in zip(sessions, seconds, strict=True):
                start = perf_counter()
                for batch in timed:
                    session.run(batch)
                took.append(perf_counter() - start)
    items = sum(len(next(iter(batch.values()))) for batch in timed)
    return [about | {"items_per_s": round(items / min(took), 3)} for about, took in zip(found, seconds, strict=True)]


def _others(manifest: Manifest, options: Options, opened: ExitStack, say: Say) -> list[tuple[str, Session]]:
    sessions = []
    for backend, known in KNOWN.items():
        for precision in known.precisions:
            if (backend, precision) == (DEFAULT, "fp32") or MODEL_FILES[precision] not in manifest.files:
                continue
            try:
                session = open_session(manifest, backend, options.device, options.threads, precision)
            except BackendError as error:
                on_gpu = precision == "tf32" or known.devices[0] == "cuda"
                if not on_gpu or shutil.which("nvidia-smi"):
                    say(f"{precision} by {backend} is left out: {error}")
                continue
            sessions.append((backend, opened.enter_context(session)))
    return sessions


class _Kept:
    """Replays a session's outputs for the samples, in order and repeatedly."""

    def __init__(self, session: Session, samples: list[Batch]) -> None:
        self._answers = [session.run(batch) for batch in samples]
        self._asked = 0

    def run(self, inputs: Batch) -> Batch:
        self._asked += 1
        return self._answers[(self._asked - 1) % len(self._answers)]


def _about(backend: str, session: Session) -> Figures:
    return {
        "backend": backend,
        "version": runtime_version(backend),
        "device": session.device,
        "precision": session.precision,
        "network": session.manifest.files[MODEL_FILES[session.precision]],
        "machine": processor(),
    }


def about_clip(video: Path) -> Figures:
    """Return the name and SHA-256 of the video; only the name if it is not a file."""
    if not video.is_file():
        return {"clip": video.name}
    with open_input(video) as stream:
        digest = file_digest(stream, "sha256")  # type: ignore[arg-type]  # BinaryIO lacks the readinto that files have
        return {"clip": video.name, "clip_sha256": digest.hexdigest()}


def keep(manifest: Manifest, entries: list[Figures], files: dict[str, bytes] | None = None) -> Manifest:
    """Write measurements and new files to the model's folder and return the updated manifest.

    Earlier measurements of the same backend, precision, device and machine are replaced. Bundled models are not
    changed; a copy in the user's models folder overrides them. Raises OutputError.
    """
    kept = ("backend", "precision", "device", "machine")
    files = files or {}
    try:
        folder = _own_folder(manifest)
        for name, data in files.items():
            write_whole(folder / name, data, overwrite=True)
        content = json.loads(read_input(folder / "manifest.json", MANIFEST_BYTES))
        new = {tuple(entry[name] for name in kept): entry for entry in [*content.get("quality", []), *entries]}
        content["files"] |= {name: sha256(data).hexdigest() for name, data in files.items()}
        content["quality"] = list(new.values())
        text = json.dumps(sealed(content), indent=2, ensure_ascii=False) + "\n"
        write_whole(folder / "manifest.json", text.encode("utf-8"), overwrite=True)
    except (OSError, InputError, OutputError) as error:
        reason = error.__cause__ or error
        raise OutputError(f"{manifest.folder}: cannot be written ({reason}); make it writable, or copy it") from error
    return read_manifest(folder)


def _own_folder(manifest: Manifest) -> Path:
    """Return a writable model folder: the model's own, or a copy of a bundled one; an outdated copy is replaced."""
    if manifest.folder.parent.resolve() != BUNDLED.resolve():
        return manifest.folder
    folder = added_models_dir() / manifest.name
    if folder.exists() and not read_manifest(folder).outdated:
        raise OutputError(f"{folder} is a model of your own")
    files = {path.name: path.read_bytes() for path in manifest.folder.iterdir() if path.is_file()}
    content = json.loads(files["manifest.json"]) | {"copy_of": sha256(files["manifest.json"]).hexdigest()}
    write_folder(folder, files | {"manifest.json": json.dumps(sealed(content)).encode()})
    return folder
