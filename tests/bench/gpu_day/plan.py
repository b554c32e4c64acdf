"""What the command line says of a day on a GPU: the steps, places, the device, how much is tried."""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from cliffvid.machine import is_device, split_device

Pixels: TypeAlias = Literal["exact", "planes"]
Decoder: TypeAlias = Literal["cpu", "cuda"]
Precision: TypeAlias = Literal["fp32", "fp16"]


class Step(NamedTuple):
    """Where a step is, how many seconds it begins something new in, and the columns of its table."""

    function: str
    seconds: float
    columns: tuple[str, ...]
    what: str


NETWORKS = "net", "by", "batch", "per_s", "first_s"
RUNS = "by", "pixels", "decode", "videos", "frame_batch", "frames_s", "cores", "gpu_percent", "decoder_percent"
TABLE = "size", "videos", "people", "each_s", "frames_s"
STAGES = "decode_ms", "upload_ms", "detect_ms", "crop_ms", "regress_ms"  # a frame, without waits
STEPS = {
    "env": Step("machine:env", 20, ("what", "first"), "driver, clocks, libraries, packages"),
    "roof": Step("machine:roof", 30, ("what", "value", "unit"), "what the card does at best: products, copies"),
    "torch": Step("torch_nets:eagerly", 90, NETWORKS, "both networks in torch, by precision and batch"),
    "compile": Step("torch_nets:compiled", 100, NETWORKS, "the same by torch.compile: the baseline to beat"),
    "nets": Step("nets:nets", 150, ("net", "file", "mb"), "model folders of both networks with random weights"),
    "sessions": Step("sessions:sessions", 270, NETWORKS, "both networks by onnxruntime, by way to run and batch"),
    "shapes": Step("sessions:shapes", 40, ("by", "batch", "calls_s"), "what a batch of another size costs"),
    "pictures": Step("pictures:pictures", 40, ("what", "ms_a_frame", "first_s"), "letterbox, crops, colours"),
    "same": Step(
        "same:same", 50, ("by", "rows", "pairs", "box_px", "pose_rad"), "the example clip beside the CPU's rows"
    ),
    "e2e": Step("runs:e2e", 480, TABLE + STAGES, "whole runs by size, videos at once and people a frame; each stage"),
    "ways": Step("runs:ways", 150, RUNS, "whole runs by the way of networks and frames"),
    "py": Step("gil:py", 60, ("function", "share", "frames_s"), "who holds Python's lock in a whole run"),
}


@dataclass(frozen=True)
class Plan:
    """The command line's words."""

    steps: tuple[str, ...]
    out: Path
    work: Path
    nets: Path
    skeletons: Path | None
    clip: Path | None
    device: str
    detector: str
    regressor: str
    ways: tuple[str, ...]
    large: bool
    quick: bool
    autotune: bool
    seconds: float | None

    @property
    def on_gpu(self) -> bool:
        return split_device(self.device)[0] == "cuda"


def read_plan(words: Sequence[str] | None = None) -> Plan:
    """The plan of a command line; ends the program where that cannot be meant."""
    width = max(map(len, STEPS))
    parser = argparse.ArgumentParser(
        prog="bench.gpu_day",
        description=__doc__,
        epilog="steps:\n" + "\n".join(f"  {name:{width}}  {step.what}" for name, step in STEPS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("steps", nargs="+", choices=[*STEPS, "all"], metavar="STEP", help="all: each of those below, in this order")
    add("--out", type=Path, default=Path("bench/out/gpu-day"), help="folder of the figures, STEP.json")
    add("--work", type=Path, default=Path(tempfile.gettempdir()) / "gpu-day", help="folder of films, weights, tracks")
    add("--nets", type=Path, help="folder of model folders (default: nets in --work)")
    add("--skeletons", type=Path, help="folder of graphs without weights to fill; without it step nets asks torch")
    add("--clip", type=Path, help="film of step same (default: the example clip)")
    add("--device", default="cuda", help="cuda, cuda:N; cpu: to try the steps themselves")
    add("--detector", default="random-yolov3", help="name of the detector in --nets")
    add("--regressor", default="random-cliff-hr48", help="name of the regressor in --nets")
    add("--ways", type=lambda text: tuple(text.split(",")), default=(), help="ways of step sessions, by commas")
    add("--large", action="store_true", help="e2e and ways with larger batches, ways with more videos")
    add("--quick", action="store_true", help="small and short: figures mean nothing")
    add("--autotune", action="store_true", help="let torch.compile try its kernels")
    add("--seconds", type=float, help="how long each step begins something new (default: its own)")
    given = vars(parser.parse_args(words))
    if not is_device(given["device"]) or given["device"] == "auto":
        parser.error(f"--device {given['device']}: choose cpu, cuda or cuda:N")
    steps = [name for word in given["steps"] for name in (STEPS if word == "all" else (word,))]
    return Plan(**given | {"steps": tuple(dict.fromkeys(steps)), "nets": given["nets"] or given["work"] / "nets"})
