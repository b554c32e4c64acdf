"""Commands that make, list and check models, and the doctor."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import describe
from ..options import GENDERS, Options
from .console import result, result_json, say
from .flags import Json, ModelsDir, flag, offering

if TYPE_CHECKING:
    from ..models.manifest import Manifest

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
        if MODEL_FILES[precision] in manifest.files and precision != "tf32":  # which has the network of fp32
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


@models_app.command("new")
def new(
    network: Annotated[Path, typer.Argument(metavar="NETWORK", help="The network: one .onnx file.")],
    like: Annotated[str, typer.Option(help="Name of the model whose inputs, outputs and rules it has.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of model folders.")] = Path("engines"),
    name: Annotated[str | None, typer.Option(help="Name of the model.", show_default="the file's")] = None,
    licence: Annotated[str, typer.Option(help="Licence of the network.", show_default="unknown")] = "",
    models_dir: ModelsDir = None,
) -> None:
    """Make a model folder of a network of yours, by the rules of another model, and verify it."""
    from ..export.folder.own import new_model

    manifest = new_model(network, like, out, name, licence, models_dir)
    say(f"{manifest.folder}: written and verified; check by hand that these are your network's:")
    for rule, values in manifest.rules.items():
        fields = dataclasses.asdict(values).items()
        say(f"  {rule}: {', '.join(f'{field} {value}' for field, value in fields if value is not None)}")
    say(f"  images: RGB, 0..255; outputs: {', '.join(f'{k}: {v.unit}' for k, v in manifest.outputs.items())}")
    kind = "detector" if manifest.task == "detect" else "regressor"
    say(f"then look: cliffvid process VIDEO --{kind} {manifest.name} --overlay out.mp4")


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
    tell_quality(judge(manifest, judged, video, options, say), options, as_json)


def tell_quality(manifest: "Manifest", options: Options, as_json: bool = False) -> None:
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
