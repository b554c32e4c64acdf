"""Options: the only place where a default is written."""

import math
import os
import platform
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Self

from .errors import UsageError

FORMATS = ("auto", "parquet", "npz", "cliff")  # auto: parquet or npz by the output's name, else parquet
BACKENDS = ("auto", "onnxruntime", "onnxruntime-tensorrt", "openvino", "tensorrt", "torch")
PRECISIONS = ("fp32", "auto", "fp16", "bf16", "int8")  # auto: the fastest that was measured here to be good enough
# auto: by the video's tags; untagged, BT.709 from 720 lines on as players do. official: untagged is always BT.601, as
# when ffmpeg writes the frames to PNG for the official CLIFF demo. The rest overrule the tags.
MATRICES = ("auto", "official", "bt601", "bt709", "bt2020")
HDR = ("tonemap", "refuse")
DECODE_DEVICES = ("auto", "cpu", "cuda")  # auto is the CPU until decoding on a GPU has been measured
DETECTOR_SHAPES = ("auto", "square", "frame")  # auto: what the detector's manifest says
# exact: RGB is scaled, as the official code does it. planes: the decoder's own planes are, and what comes of them is
# made RGB: faster, but pixels differ by a level or two of 255.
PIXELS = ("exact", "planes")
VIEWS = ("overlay", "side", "both", "skeleton")
CONVERT_TO = ("npz", "parquet", "cliff", "amass", "bvh", "gltf", "csv")
AMASS_LAYOUTS = ("auto", "smplh", "smplx")  # auto: smplx for tracks of SMPL-X, else smplh
SMOOTH_METHODS = ("savgol", "one-euro")
VISUALS = ("bbox", "front", "side")
PROTOCOLS = ("demo", "paper")
PER = ("image", "subject")


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The name of the CPU: rounding and speed differ from one to another."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def check(good: bool, message: str) -> None:
    if not good:
        raise UsageError(message)


@dataclass(frozen=True)
class Options:
    """All tunables of a run. Raises UsageError for a value that cannot be meant."""

    format: str = "auto"
    engines: Path | None = None
    detector: str = "auto"
    detector_shape: str = "auto"
    regressor: str = "auto"
    backend: str = "auto"
    device: str = "auto"
    precision: str = "fp32"  # of the networks' arithmetic: in fp32 they answer what their reference does
    threads: int = 0  # of the video decoder, and per network on the CPU; 0: all usable cores
    frame_batch: int | str = "auto"  # see batches.py
    person_batch: int | str = "auto"
    videos_at_once: int = 2  # decoded at a time into shared batches
    prefetch: int = 2  # batches each stage may run ahead; 0 runs everything in one thread
    start_s: float = 0.0
    end_s: float = math.inf
    stride: int = 1  # frames whose frame_idx is a multiple of it
    stream: int | None = None  # index in the container, as `cliffvid probe` tells it; None: the best video stream
    matrix: str = "auto"
    hdr: str = "tonemap"
    deinterlace: bool = False
    pixels: str = "exact"  # what networks see is made of
    image_fps: float = 25.0  # the clock of a folder of images, which has none of its own
    max_frame_mpx: float = 64.0  # a frame of 8K has 33
    allow_network: bool = False
    decode_device: str = "auto"
    max_people: int = 0  # per frame, best scores first; 0: no limit
    box_scale: float | None = None  # how much larger than the box a crop is; None: what the regressor's manifest says
    focal_px: float | None = None  # None, with fov_deg None too: the frame's diagonal, as CLIFF assumes
    fov_deg: float | None = None  # horizontal field of view, instead of focal_px
    score: float | None = None  # least detection score; None: what the detector's manifest says
    iou_max: float | None = None  # a box that overlaps a better one so much is its double; None: the manifest's
    min_track_s: float = 0.0  # rows of tracks that last less are flagged; to know it, rows are held back
    overwrite: bool = False

    # How much --precision auto may change: joints' rotations, and of a hundred people how many are missed or made up.
    gate_rotation_median_deg: float = 0.5
    gate_rotation_p99_deg: float = 2.0
    gate_persons_percent: float = 0.5

    # Tracking. Chosen on 80 s of street scene and on generated walkers: 96 tracks became 56, with one jump.
    track_iou_min: float = 0.2  # least overlap of a strong detection with a track's predicted box, both widened
    track_iou_min_weak: float = 0.3  # the same for a weak detection
    track_score_strong: float = 0.5
    track_memory_s: float = 3.0  # a track not seen for so long ends

    def __post_init__(self) -> None:
        check(self.format in FORMATS, f"--format {self.format}: choose one of {', '.join(FORMATS)}")
        chosen = {
            "backend": BACKENDS,
            "precision": PRECISIONS,
            "matrix": MATRICES,
            "hdr": HDR,
            "decode_device": DECODE_DEVICES,
            "detector_shape": DETECTOR_SHAPES,
            "pixels": PIXELS,
        }
        for name, known in chosen.items():
            value = getattr(self, name)
            check(value in known, f"--{name.replace('_', '-')} {value}: choose one of {', '.join(known)}")
        check(self.stride >= 1, f"--stride {self.stride}: must be 1 or more")
        check(self.stream is None or self.stream >= 0, f"--stream {self.stream}: must not be negative")
        for name, words in (("frame_batch", ("auto",)), ("person_batch", ("auto",)), ("videos_at_once", ())):
            value = getattr(self, name)
            good = value in words or (isinstance(value, int) and 1 <= value <= 1024)
            check(good, f"--{name.replace('_', '-')} {value}: must be {' or '.join(('1 to 1024', *words))}")
        for name in ("threads", "prefetch", "max_people"):
            value = getattr(self, name)
            check(value >= 0, f"--{name.replace('_', '-')} {value}: must not be negative")
        check(
            0 <= self.start_s < self.end_s,  # also refuses NaN
            f"--start {self.start_s:g} --end {self.end_s:g}: need 0 <= start < end, in seconds",
        )
        for name in ("box_scale", "focal_px", "image_fps", "max_frame_mpx"):
            value = getattr(self, name)
            check(value is None or 0 < value < math.inf, f"--{name.replace('_', '-')} {value}: must be positive")
        check(0 <= self.min_track_s < math.inf, f"--min-track-s {self.min_track_s:g}: must be seconds, 0 or more")
        check(self.fov_deg is None or 0 < self.fov_deg < 180, f"--fov-deg {self.fov_deg}: must lie between 0 and 180")
        check(self.focal_px is None or self.fov_deg is None, "--focal-px and --fov-deg: give one of them")
        for name in ("score", "iou_max"):
            value = getattr(self, name)
            check(value is None or 0 < value < 1, f"--{name.replace('_', '-')} {value}: must lie between 0 and 1")

    def to_json(self) -> dict:
        """The options as plain values, for another process or a later run; ``from_json`` takes them back."""
        end_s = None if math.isinf(self.end_s) else self.end_s
        return asdict(self) | {"engines": str(self.engines.absolute()) if self.engines else None, "end_s": end_s}

    def with_threads(self, threads: int) -> Self:
        return replace(self, threads=threads)

    @classmethod
    def from_json(cls, plain: dict) -> Self:
        """The options that were made plain; what else is there is passed over."""
        given = {field.name: plain[field.name] for field in fields(cls) if field.name in plain}
        given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
        end_s = math.inf if given["end_s"] is None else given["end_s"]
        return cls(**given | {"engines": Path(given["engines"]) if given["engines"] else None, "end_s": end_s})


def on_gpu(options: Options) -> bool:
    """Whether the networks are to run on a GPU."""
    return options.device == "cuda" or "tensorrt" in options.backend


ENGINES = ("local", "ray")
NETWORKS = ("auto", "own", "shared")  # auto: shared on a GPU; on a CPU workers with their own are as fast or faster


@dataclass(frozen=True)
class BulkOptions:
    """How a data set is annotated. Raises UsageError for a value that cannot be meant."""

    engine: str = "local"
    workers: int = 0  # processes; 0: the engine's own number
    networks: str = "auto"  # each local worker's own, or one process that answers all of them in batches
    address: str | None = None  # of a Ray cluster; None: one of its own on this machine
    shard: str | None = None  # i/n: the part i of n, each by a job of its own
    split_s: float = 120.0  # videos of twice that are cut at key frames into segments about so long; 0: none is
    checkpoint_s: float = 30.0  # finished inputs wait so long to share a file: what a kill costs
    retry_failed: bool = False  # try again what an earlier run gave up
    fail_fast: bool = False
    max_failures: int | None = None  # stop when more inputs than that have failed

    def __post_init__(self) -> None:
        check(self.engine in ENGINES, f"--engine {self.engine}: choose one of {', '.join(ENGINES)}")
        check(self.networks in NETWORKS, f"--networks {self.networks}: choose one of {', '.join(NETWORKS)}")
        check(
            self.networks != "shared" or self.engine == "local",
            f"--networks shared: not with --engine {self.engine}, whose workers each have their own",
        )
        check(self.workers >= 0, f"--workers {self.workers}: must not be negative")
        check(self.address is None or self.engine == "ray", f"--address {self.address}: needs --engine ray")
        for name in ("split_s", "checkpoint_s"):
            value = getattr(self, name)
            check(0 <= value < math.inf, f"--{name.replace('_', '-')} {value}: must be 0 or positive")
        check(self.max_failures is None or self.max_failures >= 0, "--max-failures: must not be negative")
        self.part()

    def part(self) -> tuple[int, int]:
        """``(i, n)``: this job does the part i, from 0, of n."""
        if self.shard is None:
            return 0, 1
        i, _, n = self.shard.partition("/")
        good = i.isdecimal() and n.isdecimal() and 0 <= int(i) < int(n)
        check(good, f"--shard {self.shard}: must be i/n with 0 <= i < n, as 0/3, 1/3, 2/3")
        return int(i), int(n)


@dataclass(frozen=True)
class OverlayOptions:
    """How tracks are drawn on their video. Raises UsageError for a value that cannot be meant."""

    view: str = "overlay"
    boxes: bool = False
    ids: bool = False
    renderer: str = "auto"
    alpha: float = 0.9  # how much of the picture a body hides
    body: str | None = None  # another body of the tracks' family, as smpl-male; None: the one the tracks name
    track: tuple[int, ...] = ()  # identities to draw; none named: all
    start_s: float = 0.0
    end_s: float = math.inf
    overwrite: bool = False

    def __post_init__(self) -> None:
        check(self.view in VIEWS, f"--view {self.view}: choose one of {', '.join(VIEWS)}")
        check(0 < self.alpha <= 1, f"--alpha {self.alpha:g}: must lie above 0 and not over 1")
        check(
            0 <= self.start_s < self.end_s,
            f"--start {self.start_s:g} --end {self.end_s:g}: need 0 <= start < end, in seconds",
        )


@dataclass(frozen=True)
class ConvertOptions:
    """How tracks become files of another kind. Raises UsageError for a value that cannot be meant."""

    to: str
    track: tuple[int, ...] = ()  # identities to write; none named: all
    fps: int = 60  # the even clock of AMASS and BVH; whole, as its readers make it so
    max_gap_s: float = 0.5  # motion is interpolated across gaps up to this long, and cut at longer ones
    layout: str = "auto"  # of AMASS
    cm: bool = False  # BVH in centimetres rather than metres
    skeleton_only: bool = False  # glTF without the body's surface
    overwrite: bool = False

    def __post_init__(self) -> None:
        check(self.to in CONVERT_TO, f"--to {self.to}: choose one of {', '.join(CONVERT_TO)}")
        check(self.layout in AMASS_LAYOUTS, f"--layout {self.layout}: choose one of {', '.join(AMASS_LAYOUTS)}")
        check(1 <= self.fps <= 1000, f"--fps {self.fps}: must lie in 1 to 1000")
        check(0 <= self.max_gap_s < math.inf, f"--max-gap-s {self.max_gap_s:g}: must be seconds, 0 or more")


@dataclass(frozen=True)
class EvalOptions:
    """How tracks are measured against ground truth. Raises UsageError for a value that cannot be meant."""

    protocol: str = "demo"
    joint_regressor: Path | None = None  # joints as weights of vertices; None: the body's skeleton
    truth_body: str | None = None  # None: SMPL of each person's gender
    iou_min: float | None = None  # None: the protocol's

    def __post_init__(self) -> None:
        check(self.protocol in PROTOCOLS, f"--protocol {self.protocol}: choose one of {', '.join(PROTOCOLS)}")
        check(self.iou_min is None or 0 <= self.iou_min < 1, f"--iou-min {self.iou_min}: must lie in 0 to 1")


@dataclass(frozen=True)
class PseudoGTViewOptions:
    """What a page of pseudo-ground-truth shows. Raises UsageError for a value that cannot be meant."""

    per: str = "image"
    most: int = 50
    start: int = 0  # how many images or subjects to pass over
    body: str | None = None  # None: the one the file names, else smpl
    skeleton_only: bool = False  # S instead of the body
    renderer: str = "auto"

    def __post_init__(self) -> None:
        check(self.per in PER, f"--per {self.per}: choose one of {', '.join(PER)}")
        check(self.most >= 1 and self.start >= 0, f"--max {self.most} --start {self.start}: need at least 1, from 0 on")


@dataclass(frozen=True)
class SmoothOptions:
    """How tracks are smoothed. Raises UsageError for a value that cannot be meant."""

    method: str = "savgol"
    sigma_s: float = 0.13  # savgol: of the Gaussian that weighs neighbours in time
    cutoff_hz: float = 2.0  # one-euro: of what stands still; the higher, the less it lags and smooths
    speed_gain: float = 1.0  # one-euro: how much the cutoff rises for each rad/s or m/s
    max_gap_s: float = 0.5  # gaps up to this long are filled, and longer ones part what is smoothed
    overwrite: bool = False

    def __post_init__(self) -> None:
        check(self.method in SMOOTH_METHODS, f"--method {self.method}: choose one of {', '.join(SMOOTH_METHODS)}")
        for name in ("sigma_s", "cutoff_hz"):
            value = getattr(self, name)
            check(0 < value < math.inf, f"--{name.replace('_', '-')} {value:g}: must be positive")
        for name in ("speed_gain", "max_gap_s"):
            value = getattr(self, name)
            check(0 <= value < math.inf, f"--{name.replace('_', '-')} {value:g}: must not be negative")
