"""Define every option: the only place where a default, a help text or a limit is written."""

# ruff: noqa: RUF009  (option() makes a field, as dataclasses.field does)
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Self, get_args

from .machine import is_device
from .option import check, check_up, check_values, described, option

Renderer = Literal["auto", "gl", "pyrender"]
VISUALS: tuple[str, ...] = get_args(Literal["bbox", "front", "side"])
GENDERS: tuple[str, ...] = get_args(Literal["neutral", "male", "female"])
PANELS = "Output", "Video", "Models", "Detection", "Camera", "Speed", "Safety"  # of the help, in this order
OUTPUT, VIDEO, MODELS, DETECTION, CAMERA, SPEED, SAFETY = PANELS
UP = "Up in side views, amass, bvh and gltf: auto, floor, camera, or x,y,z as the camera sees it. auto: floor if sure."
START, END, OVERWRITE = ("--start",), ("--end",), ("--overwrite", "-y")


@dataclass(frozen=True)
class Options:
    """All settings of a run, each described by its ``option``.

    The names of fields that tracks files record are part of the keys of data sets.

    Raises:
        UsageError: A value is invalid.
    """

    format: Literal["auto", "parquet", "npz", "cliff"] = option(
        "auto", "Format of the tracks. auto: by the ending of --out, else parquet.", panel=OUTPUT
    )
    models_dir: Path | None = option(
        None, "Folder of model folders, searched first.", "none", panel=MODELS, flags=("--models",)
    )
    detector: str = option("auto", "Name of the detector. auto: the best one found.", panel=MODELS)
    detector_shape: Literal["auto", "square", "frame"] = option(
        "auto", "Shape of the detector's input. auto: the detector's own.", panel=MODELS
    )
    regressor: str = option("auto", "Name of the regressor. auto: the best one found.", panel=MODELS)
    backend: Literal["auto", "onnxruntime", "openvino", "tensorrt"] = option(
        "auto", "Runtime of the networks.", panel=SPEED
    )
    device: str = option("auto", "Device of the networks: auto, cpu, cuda or cuda:N.", panel=SPEED)
    precision: Literal["fp32", "auto", "tf32", "fp16", "bf16", "int8"] = option(
        "fp32", "Arithmetic of the networks. auto: the fastest that was measured here to be accurate.", panel=SPEED
    )
    threads: int = option(
        0, "CPU threads of the video decoder and of each network. 0: all cores.", panel=SPEED, least=0
    )
    frame_batch: int | Literal["auto"] = option(
        "auto", "Frames per batch of the detector.", panel=SPEED, least=1, most=1024
    )
    person_batch: int | Literal["auto"] = option(
        "auto", "People per batch of the regressor.", panel=SPEED, least=1, most=1024
    )
    detect_every: int = option(
        1, "Detect in every Nth frame used; boxes in between are interpolated.", panel=SPEED, least=1, most=30
    )
    videos_at_once: int | Literal["auto"] = option("auto", "Inputs decoded at once.", panel=SPEED, least=1, most=1024)
    prefetch: int = option(2, "Batches that a stage may run ahead. 0: no threads.", panel=SPEED, least=0)
    start_s: float = option(
        0.0, "Skip frames before this time: seconds, or 1:02:03.5.", panel=VIDEO, flags=START, least=0
    )
    end_s: float = option(
        math.inf, "Stop at this time: seconds, or 1:02:03.5.", "the end", panel=VIDEO, flags=END, above=0
    )
    stride: int = option(1, "Use every Nth frame: 0, N, 2N ...", panel=VIDEO, least=1)
    stream: int | None = option(None, "Index of the video stream, as probe lists it.", "the best", panel=VIDEO, least=0)
    # auto: by the video's tags; if untagged, BT.709 from 720 lines on, as in players. official: untagged is BT.601, as
    # when ffmpeg writes the frames to PNG for the official CLIFF demo. The others override the tags.
    matrix: Literal["auto", "official", "bt601", "bt709", "bt2020"] = option(
        "auto", "Colour matrix from YUV to RGB. auto: by the video's tags.", panel=VIDEO
    )
    hdr: Literal["tonemap", "refuse"] = option("tonemap", "What to do with HDR video.", panel=VIDEO)
    deinterlace: bool = option(False, "Deinterlace the frames (bwdif).", panel=VIDEO)
    # planes: the decoder's planes are scaled, and then converted to RGB. Pixels differ by a level or two of 255.
    pixels: Literal["exact", "planes"] = option(
        "exact",
        "Pixels the networks see: RGB as in the official code, or the decoder's YUV planes (faster).",
        panel=SPEED,
    )
    image_fps: float = option(25.0, "Frame rate of a folder of images.", panel=VIDEO, above=0)
    max_frame_mpx: float = option(  # an 8K frame has 33
        64.0, "Refuse frames of more megapixels.", panel=SAFETY, above=0
    )
    allow_network: bool = option(False, "Allow http, https and rtsp addresses as inputs.", panel=SAFETY)
    decode_device: Literal["auto", "cpu", "cuda"] = option(  # auto: the CPU until decoding on a GPU has been measured
        "auto", "Device of the video decoder. auto: the CPU.", panel=SPEED
    )
    max_people: int = option(0, "Most people per frame, best scores first. 0: no limit.", panel=DETECTION, least=0)
    box_scale: float | None = option(
        None, "Size of a person's crop, in bounding boxes.", "the regressor's own", panel=CAMERA, above=0
    )
    focal_px: float | None = option(
        None, "Focal length in pixels.", "the frame's diagonal, as CLIFF assumes", panel=CAMERA, above=0
    )
    fov_deg: float | None = option(
        None, "Horizontal field of view in degrees, instead of --focal-px.", "none", panel=CAMERA, above=0, below=180
    )
    score: float | None = option(
        None, "Minimum detection score.", "the detector's own", panel=DETECTION, above=0, below=1
    )
    iou_max: float | None = option(
        None,
        "NMS threshold: drop a box that overlaps a higher-scoring one by this IoU or more.",
        "the detector's own",
        panel=DETECTION,
        above=0,
        below=1,
    )
    min_track_s: float = option(  # rows are held back until it is known
        0.0, "Flag the rows of tracks shorter than this many seconds; none is dropped.", panel=DETECTION, least=0
    )
    overwrite: bool = option(False, "Replace existing outputs.", panel=OUTPUT, flags=OVERWRITE)

    # Limits of what --precision auto may change: joint rotations, and the percentage of people missed or made up.
    gate_rotation_median_deg: float = 0.5
    gate_rotation_p99_deg: float = 2.0
    gate_persons_percent: float = 0.5

    # Tracking. Tuned on 80 s of a street scene and on generated walkers: 96 tracks became 56, with one jump.
    track_iou_min: float = 0.2  # least IoU of a strong detection and a track's predicted box, both enlarged
    track_iou_min_weak: float = 0.3  # the same for a weak detection
    track_score_strong: float = 0.5
    track_memory_s: float = 3.0  # a track ends when not seen for so long

    def __post_init__(self) -> None:
        check_values(self)
        check(
            is_device(self.device),
            f"--device {self.device}: choose auto, cpu, cuda or cuda:N, of which N counts the GPUs from 0",
        )
        check_span(self.start_s, self.end_s)
        check(self.focal_px is None or self.fov_deg is None, "--focal-px and --fov-deg: give one of them")

    def to_json(self) -> dict[str, object]:
        """Return the options as plain values, for another process or a later run; ``from_json`` reads them."""
        end_s = None if math.isinf(self.end_s) else self.end_s
        return asdict(self) | {"models_dir": self.models_dir and str(self.models_dir.absolute()), "end_s": end_s}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Self:
        """Return the options from plain values; unknown names are ignored."""
        plain = {"models_dir": plain.get("engines"), **plain}  # its name in older journals
        given = {field.name: plain[field.name] for field in fields(cls) if field.name in plain}
        given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
        end_s = math.inf if given["end_s"] is None else given["end_s"]
        return cls(**given | {"models_dir": Path(given["models_dir"]) if given["models_dir"] else None, "end_s": end_s})


def check_span(start_s: float, end_s: float) -> None:
    """Raise UsageError for an empty span of time."""
    check(start_s < end_s, f"--start {start_s:g} --end {end_s:g}: need 0 <= start < end, in seconds")


@dataclass(frozen=True)
class BulkOptions:
    """Settings of annotating a data set. Raises UsageError for an invalid value."""

    runner: Literal["local", "ray"] = option("local", "Where the workers run: here, or on a Ray cluster.", panel=SPEED)
    workers: int = option(0, "Worker processes. 0: one per core, or what a GPU needs.", panel=SPEED, least=0)
    networks: Literal["auto", "own", "shared"] = option(  # on a CPU own networks are as fast as shared ones, or faster
        "auto", "own: each worker's. shared: one process, --workers inputs at once. auto: shared on a GPU.", panel=SPEED
    )
    address: str | None = option(None, "Address of a Ray cluster, or auto.", "a new one on this machine", panel=SPEED)
    shard: str | None = option(
        None, "i/n: only part i, from 0, of n parts; then run annotate-merge.", "all", panel=SPEED
    )
    split_s: float = option(  # videos of twice that or more are split at key frames
        120.0,
        "Split long videos into segments of this many seconds. 0: never.",
        panel=SPEED,
        flags=("--split",),
        least=0,
    )
    checkpoint_s: float = option(
        30.0, "Write finished inputs every so many seconds.", panel=SAFETY, flags=("--checkpoint",), least=0
    )
    retry_failed: bool = option(False, "Retry inputs that failed in an earlier run.", panel=SAFETY)
    max_failures: int | None = option(
        None, "Stop when more inputs than this have failed.", "no limit", panel=SAFETY, least=0
    )

    def __post_init__(self) -> None:
        check_values(self)
        check(
            self.networks != "shared" or self.runner == "local",
            f"--networks shared: not with --runner {self.runner}, whose workers each have their own",
        )
        check(self.address is None or self.runner == "ray", f"--address {self.address}: needs --runner ray")
        self.part()

    def part(self) -> tuple[int, int]:
        """Return ``(i, n)``: this job does part i, from 0, of n."""
        if self.shard is None:
            return 0, 1
        i, _, n = self.shard.partition("/")
        good = i.isdecimal() and n.isdecimal() and 0 <= int(i) < int(n)
        check(good, f"--shard {self.shard}: must be i/n with 0 <= i < n, as 0/3, 1/3, 2/3")
        return int(i), int(n)


@dataclass(frozen=True)
class OverlayOptions:
    """Settings of drawing tracks on their video. Raises UsageError for an invalid value."""

    view: Literal["overlay", "side", "both", "skeleton"] = option(
        "overlay", "What to draw. side: seen from the right; skeleton: needs no renderer."
    )
    boxes: bool = option(False, "Draw the bounding boxes too.")
    ids: bool = option(False, "Write the track ids too.")
    renderer: Renderer = option("auto", "Renderer of the bodies. auto: the first one installed.")
    alpha: float = option(0.9, "Opacity of the bodies.", above=0, most=1)
    up: str = option("auto", UP)
    body: str | None = option(None, "Draw another body of the same family, such as smpl-male.", "the tracks' own")
    track: tuple[int, ...] = option((), "Draw only this track; repeat for several.", "all")
    start_s: float = option(0.0, "Start of the film: seconds, or 1:02:03.5.", flags=START, least=0)
    end_s: float = option(math.inf, "End of the film: seconds, or 1:02:03.5.", "the end", flags=END, above=0)
    overwrite: bool = option(False, "Replace an existing film.", flags=OVERWRITE)

    def __post_init__(self) -> None:
        check_values(self)
        check_up(self.up)
        check_span(self.start_s, self.end_s)


@dataclass(frozen=True)
class ConvertOptions:
    """Settings of converting tracks to another format. Raises UsageError for an invalid value."""

    to: Literal["npz", "parquet", "cliff", "amass", "bvh", "gltf", "csv"] = field(
        metadata=described("Format to write.")
    )
    track: tuple[int, ...] = option((), "Write only this track; repeat for several.", "all")
    fps: int = option(60, "Frame rate of amass and bvh, which is constant.", least=1, most=1000)
    max_gap_s: float = option(
        0.5, "Interpolate across gaps up to this many seconds; split the motion at longer ones.", least=0
    )
    up: str = option("auto", UP)
    layout: Literal["auto", "smplh", "smplx"] = option("auto", "Layout of amass. auto: by the tracks' body.")
    cm: bool = option(False, "Write BVH in centimetres instead of metres.")
    skeleton_only: bool = option(False, "Write glTF without the body's surface; a licence may forbid passing it on.")
    overwrite: bool = option(False, "Replace existing files.", flags=OVERWRITE)

    def __post_init__(self) -> None:
        check_values(self)
        check_up(self.up)


@dataclass(frozen=True)
class EvalOptions:
    """Settings of evaluating tracks against ground truth. Raises UsageError for an invalid value."""

    protocol: Literal["demo", "paper"] = option(
        "demo", "demo: what a user gets. paper: true boxes x 1.2 and the known focal length."
    )
    joint_regressor: Path | None = option(
        None, "Joints as weights of vertices: .npy of shape (J, V).", "SMPL's skeleton"
    )
    truth_body: str | None = option(None, "Body posed by the ground truth.", "SMPL of each person's gender")
    iou_min: float | None = option(
        None, "Minimum IoU of a match between a track and the truth.", "the protocol's", least=0, below=1
    )

    def __post_init__(self) -> None:
        check_values(self)


@dataclass(frozen=True)
class PseudoGTViewOptions:
    """Settings of a page of pseudo-ground-truth. Raises UsageError for an invalid value."""

    per: Literal["image", "subject"] = option("image", "Show all people of an image, or one subject at a time.")
    most: int = option(50, "Most images or subjects to show.", flags=("--max",), least=1)
    start: int = option(0, "Images or subjects to skip first.", least=0)
    body: str | None = option(None, "Draw another body, such as smpl-male.", "the file's, else smpl")
    skeleton_only: bool = option(False, "Draw S instead of the body; needs no body file and no renderer.")
    renderer: Renderer = option("auto", "Renderer of the bodies. auto: the first one installed.")

    def __post_init__(self) -> None:
        check_values(self)


@dataclass(frozen=True)
class SmoothOptions:
    """Settings of smoothing tracks. Raises UsageError for an invalid value."""

    method: Literal["savgol", "one-euro"] = option(
        "savgol", "Filter. savgol looks both ways in time, one-euro only back."
    )
    sigma_s: float = option(0.13, "savgol: width of the Gaussian in seconds. More is steadier, and duller.", above=0)
    cutoff_hz: float = option(2.0, "one-euro: cutoff frequency at rest. Less is steadier, and later.", above=0)
    speed_gain: float = option(1.0, "one-euro: how much the cutoff rises with speed (rad/s or m/s).", least=0)
    max_gap_s: float = option(0.5, "Fill gaps up to this many seconds.", least=0)  # longer ones split the motion
    overwrite: bool = option(False, "Replace an existing file.", flags=OVERWRITE)

    def __post_init__(self) -> None:
        check_values(self)
