"""Define the options of a run; those of other commands are in their rooms' ``options.py``."""

# ruff: noqa: RUF009  (option() makes a field, as dataclasses.field does)
import json
import math
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Self, TypedDict, get_args

from .errors import UnreadableError, UsageError
from .inputs import read_input
from .machine import is_device
from .metadata import SIDE, violation
from .names import printable
from .option import check, check_values, flag_name, option

GENDERS: tuple[str, ...] = get_args(Literal["neutral", "male", "female"])
PANELS = "Output", "Video", "Models", "Detection", "Camera", "Speed", "Safety"  # of the help, in this order
OUTPUT, VIDEO, MODELS, DETECTION, CAMERA, SPEED, SAFETY = PANELS
UP = "Up in side views and people's motion: auto, floor, camera, or x,y,z as the camera sees it. auto: floor if sure."
START, END, OVERWRITE = ("--start",), ("--end",), ("--overwrite", "-y")
CAMERA_KINDS = {
    "focal_px?": float,
    "fov_deg?": float,
    "cx_px?": float,
    "cy_px?": float,
    "width_px?": SIDE,
    "height_px?": SIDE,
}
CAMERA_KEYS = tuple(name.rstrip("?") for name in CAMERA_KINDS)
CAMERA_BYTES = 1 << 20
FOCAL_PX, FOV_LEAST_DEG = (1.0, 1e9), 0.001  # beyond them the numbers of rows, float32, overflow
A_CAMERA = 'give {"focal_px": 1400} or {"fov_deg": 60}, and cx_px, cy_px, width_px, height_px if known'
OF_THE_DETECTOR = "detector", "detector_shape", "score", "iou_max", "max_people", "detect_every"  # not with boxes


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
    allow_network: bool = option(False, "Allow addresses: http, https, rtsp, s3, gs.", panel=SAFETY)
    decode_device: Literal["auto", "cpu", "cuda"] = option(  # auto: the CPU until decoding on a GPU has been measured
        "auto", "Device of the video decoder. auto: the CPU.", panel=SPEED
    )
    max_people: int = option(0, "Most people per frame, best scores first. 0: no limit.", panel=DETECTION, least=0)
    box_scale: float | None = option(
        None, "Size of a person's crop, in bounding boxes.", "the regressor's own", panel=CAMERA, above=0
    )
    focal_px: float | None = option(
        None,
        "Focal length in pixels.",
        "the frame's diagonal, as CLIFF assumes",
        panel=CAMERA,
        least=FOCAL_PX[0],
        most=FOCAL_PX[1],
    )
    fov_deg: float | None = option(
        None,
        "Horizontal field of view in degrees, instead of --focal-px.",
        "none",
        panel=CAMERA,
        least=FOV_LEAST_DEG,
        below=180,
    )
    cx_px: float | None = option(
        None, "Principal point from the left edge, pixels; needs a focal length.", "the middle", panel=CAMERA
    )
    cy_px: float | None = option(
        None, "Principal point from the top edge, pixels; needs a focal length.", "the middle", panel=CAMERA
    )
    camera_wh_px: tuple[int, int] | None = None  # size of the frames that the camera is of; others are refused
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
    boxes: Path | None = option(None, "Take people's boxes from this file: no detector runs.", "none", panel=DETECTION)
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
        known = self.focal_px is not None or self.fov_deg is not None
        point = self.cx_px is not None or self.cy_px is not None
        check(known or not point, "--cx-px and --cy-px: need the focal length too, --focal-px or --fov-deg")
        if self.boxes is not None:
            changed = [each for each in fields(self) if each.name in OF_THE_DETECTOR]
            changed = [each for each in changed if getattr(self, each.name) != each.default]
            check(not changed, f"--boxes and {', '.join(map(flag_name, changed))}: no detector runs; give one of them")
        check(self.focal_px is None or self.fov_deg is None, "--focal-px and --fov-deg: give one of them")

    def with_camera(self, path: Path) -> Self:
        """Return the options with the camera in a JSON file.

        Args:
            path: Its keys: ``focal_px`` or ``fov_deg``; if known ``cx_px``, ``cy_px``, ``width_px``, ``height_px``.

        Raises:
            InputError: The file cannot be read.
            UsageError: Its camera is impossible, or the options have one.
        """
        given = [name for name in CAMERA_KEYS if getattr(self, name, None) is not None]
        check(not given, f"--camera and --{''.join(given[:1]).replace('_', '-')}: give one of them")
        try:
            camera = json.loads(read_input(path, CAMERA_BYTES))
        except (ValueError, RecursionError) as error:
            raise UnreadableError(f"{path}: not readable as JSON ({error}); {A_CAMERA}") from error
        if wrong := violation(camera, CAMERA_KINDS):
            raise UnreadableError(f"{path}: no camera: {printable(wrong)}; {A_CAMERA}")
        if unknown := sorted(set(camera) - set(CAMERA_KEYS)):
            raise UnreadableError(f"{path}: unknown key {printable(repr(unknown[0]))}; {A_CAMERA}")
        size = camera.pop("width_px", None), camera.pop("height_px", None)
        try:
            check("focal_px" in camera or "fov_deg" in camera, "a camera needs focal_px or fov_deg")
            check((size[0] is None) == (size[1] is None), "give width_px and height_px, or neither")
            return replace(self, **camera, camera_wh_px=None if size[0] is None else size)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error

    def to_json(self) -> dict[str, object]:
        """Return the options as plain values, for another process or a later run; ``from_json`` reads them."""
        end_s = None if math.isinf(self.end_s) else self.end_s
        boxes = None if self.boxes is None else str(self.boxes)
        folder = self.models_dir and str(self.models_dir.absolute())
        return asdict(self) | {"models_dir": folder, "boxes": boxes, "end_s": end_s}

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


# Written by `make docs-reference`, from the above, for checkers of types.
class RunKeywords(TypedDict, total=False):
    """Fields of Options, as keywords."""

    format: Literal["auto", "parquet", "npz", "cliff"]
    models_dir: Path | None
    detector: str
    detector_shape: Literal["auto", "square", "frame"]
    regressor: str
    backend: Literal["auto", "onnxruntime", "openvino", "tensorrt"]
    device: str
    precision: Literal["fp32", "auto", "tf32", "fp16", "bf16", "int8"]
    threads: int
    frame_batch: int | Literal["auto"]
    person_batch: int | Literal["auto"]
    detect_every: int
    videos_at_once: int | Literal["auto"]
    prefetch: int
    start_s: float
    end_s: float
    stride: int
    stream: int | None
    matrix: Literal["auto", "official", "bt601", "bt709", "bt2020"]
    hdr: Literal["tonemap", "refuse"]
    deinterlace: bool
    pixels: Literal["exact", "planes"]
    image_fps: float
    max_frame_mpx: float
    allow_network: bool
    decode_device: Literal["auto", "cpu", "cuda"]
    max_people: int
    box_scale: float | None
    focal_px: float | None
    fov_deg: float | None
    cx_px: float | None
    cy_px: float | None
    camera_wh_px: tuple[int, ...] | None
    score: float | None
    iou_max: float | None
    boxes: Path | None
    min_track_s: float
    overwrite: bool
    gate_rotation_median_deg: float
    gate_rotation_p99_deg: float
    gate_persons_percent: float
    track_iou_min: float
    track_iou_min_weak: float
    track_score_strong: float
    track_memory_s: float
