"""`cliffvid export cliff`: export a published CLIFF checkpoint to a model folder, and verify that they agree.

Torch is needed for exports only; it is imported when an export begins.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import onnx

from cliffvid.files import write_folder
from cliffvid.models.manifest import read_manifest
from cliffvid.models.parity import POSE_6D, SAMPLES, Arrays, errors
from cliffvid.optional import load

from ..folder.half import HALF_ARITHMETIC
from ..folder.model_folder import check_name, pack_samples, tensor, with_manifest
from ..folder.proof import BATCHES, FP16, FP32, prove, warn
from ..open.sources import sha256

if TYPE_CHECKING:
    import torch

    from .network import Cliff, PixelsToBody, Variant

OPSET = 20
OUTPUTS = ("rotmat", "betas", "camera")
# Error bounds, with errors as in cliffvid.models.parity: rotations are compared by their 6D vectors.
#
# Float32. Depth and weights decide how rounding of 1e-7 grows: to 1e-7 in one network's outputs, to 6e-5 in another's.
# PyTorch's float32 error against float64 measures it for this network; the bound is LEEWAY times that error. Of 480
# random heads on real backbones (four kinds, three spreads) the worst was 6 times it with onnxruntime (99 %: 5) and 13
# times with OpenVINO; GPUs sum in other orders. Faults begin at 300 times.
#
# Float16. HALF_BOUND is 3 degrees for a rotation that is well determined by its vectors. More means overflow, a
# misplaced cast, or a network unfit for float16. precision.choose decides what is good enough for a user's video.
LEEWAY = 50
LEAST_ROUNDING = float(np.finfo(np.float32).eps)  # lower limit for PyTorch's error
MOST = 0.01  # rounding error above which float32 is unusable
HALF_BOUND = 0.05


class Convention(TypedDict):
    """Facts for the manifests of one project's networks: crops that they were trained on, body and licence."""

    rank: int
    body: str
    crop: dict[str, float | str]
    bbox_info: dict[str, float]
    licence: str


BODY_LICENCE = "The SMPL and SMPL-X body models are not included and have their own licences."
OFFICIAL: Convention = {
    "rank": 10,
    "body": "smpl",
    "crop": {"box_scale": 1.1, "size_side": "height"},
    "bbox_info": {"centre_scale": 2.8, "size_offset": 0.24, "size_scale": 0.06},  # Human3.6M's statistics
    "licence": "CLIFF: MIT, with parts of SPIN (BSD-3-Clause) and HRNet (MIT); nothing separate is stated for the "
    f"weights. {BODY_LICENCE}",
}
MMHUMAN3D: Convention = {
    **OFFICIAL,
    "rank": 8,
    # Its training boxes are the joints' extents times 1.2, which is about 1.1 times a detector's box.
    "crop": {"box_scale": 1.1, "size_side": "width", "fit": "square", "corners": "exact"},
    "licence": f"MMHuman3D: Apache-2.0. {BODY_LICENCE}",
}
BEDLAM: Convention = {
    "rank": 15,
    "body": "smpl",
    "crop": {
        "box_scale": 1.0,
        "size_side": "height",
        "fit": "square",
        "corners": "truncate",
        "resample": "antialias",
    },
    "bbox_info": {"centre_scale": 1.0, "size_offset": 0.0, "size_scale": 1.0},
    "licence": f"BEDLAM: code and weights for non-commercial scientific research only (Max Planck). {BODY_LICENCE}",
}
# Crops that each network was trained on. The official crop widens the box to the crop's aspect ratio, rounds corners,
# and is bilinear without antialiasing; `fit`, `corners` and `resample` give the differences.
CONVENTIONS: dict[str, Convention] = {
    "cliff-res50": OFFICIAL,
    "cliff-hr48": {**OFFICIAL, "rank": 20},
    "cliff-res50-mmhuman3d": MMHUMAN3D,
    "cliff-bedlam": BEDLAM,
    "cliff-bedlam-x": {**BEDLAM, "rank": 5, "body": "smplx"},
}


def export_cliff(
    checkpoint: Path,
    out: Path,
    name: str | None = None,
    say: Callable[[str], None] = lambda line: None,
    accept_parity: bool = False,
) -> Path:
    """Export a CLIFF checkpoint to the model folder ``out / name`` and return its path.

    The network is identified by its weights; ``name`` defaults to that of the network. ``say`` is called for each step.
    The folder has manifest.json, model.onnx (float32), and model.fp16.onnx unless float16 changes too much. It is
    written only if model.onnx agrees with PyTorch, or with ``accept_parity``, which the manifest records. Raises
    InputError for a missing file, ModelError if it is not CLIFF or outputs differ, UsageError for an invalid name,
    BackendError without PyTorch, OutputError if the folder cannot be written.
    """
    check_name(name)
    for package in ("onnxruntime", "onnxscript", "torch"):
        load(package, 'pip install "cliffvid[cpu,export]"')
    from .network import load_cliff

    say(f"reading {checkpoint}")
    network = load_cliff(checkpoint)
    say(f"found {network.variant.title}; exporting it, which takes up to a minute")
    model = trace(network)
    say("comparing the export with PyTorch")
    samples, references, bounds = judged_by(network)

    def rounded() -> tuple[Arrays, Arrays]:
        """Return float16 outputs and reference for the first batch only: CPUs are eight times slower in float16."""
        return half_answers(network, samples[0]), references[0]

    files, parity = prove(checkpoint, "regress", model, bounds, samples, references, rounded, accept_parity)
    kept = samples[-1] | {"crop": samples[-1]["crop"].astype(np.uint8)}
    files[SAMPLES] = pack_samples(kept, references[-1])
    manifest = describe(network.variant, checkpoint, name) | {"parity": parity}
    folder = out / (name or network.variant.name)
    write_folder(folder, with_manifest(manifest, files))
    warn(read_manifest(folder), say)
    return folder


def describe(variant: "Variant", checkpoint: Path, name: str | None = None) -> dict[str, object]:
    """Return the manifest of a cliff.Variant's model folder, without parity and file hashes."""
    said = CONVENTIONS[variant.name]
    height, width, joints, betas = variant.height_px, variant.width_px, variant.joints, variant.betas
    return {
        "name": name or variant.name,
        "task": "regress",
        "rank": said["rank"],
        "summary": f"{variant.title}: {joints} joints, {betas} betas",
        "licence": said["licence"],
        "source": [{"file": checkpoint.name, "sha256": sha256(checkpoint)}],
        "exporter": {part: version(part) for part in ("cliffvid", "torch", "onnxscript", "onnx")} | {"opset": OPSET},
        "inputs": {
            "crop": tensor("float32", ["N", height, width, 3], ["person", "y", "x", "rgb"], "0..255, not rounded"),
            "bbox_info": tensor("float32", ["N", 3], ["person", "centre x, centre y, size"], "see bbox_info"),
        },
        "outputs": {
            "rotmat": tensor("float32", ["N", joints, 3, 3], ["person", "joint", "row", "column"], "rotation"),
            "betas": tensor("float32", ["N", betas], ["person", "shape"], "standard deviations"),
            "camera": tensor("float32", ["N", 3], ["person", "s, tx, ty"], "of the crop; tx, ty in m"),
        },
        "crop": {"width_px": width, "height_px": height, **said["crop"]},
        "bbox_info": said["bbox_info"],
        "body": said["body"],
    }


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Silence warnings of torch's exporter about its internals."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = log.level
    log.setLevel(logging.ERROR)  # else: four lines about torchvision's operators, which are not used here
    with warnings.catch_warnings():
        # torch 2.13 copies a deprecated class
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
        # both inputs share the axis N, as intended
        warnings.filterwarnings("ignore", "# The axis name: N will not be used", UserWarning)
        try:
            yield
        finally:
            log.setLevel(level)


def trace(network: "Cliff") -> onnx.ModelProto:
    """Return the checked ONNX model of the network: crop and bbox_info -> OUTPUTS, with a dynamic batch axis N."""
    import torch

    from .backbones import fold_norms
    from .network import PixelsToBody

    variant = network.variant
    example = (torch.zeros(2, variant.height_px, variant.width_px, 3), torch.zeros(2, 3))  # a 1 would be a fixed axis
    people = torch.export.Dim("N", min=1)
    with quiet_exporter():
        program = torch.onnx.export(
            PixelsToBody(fold_norms(network)).eval(),
            example,
            input_names=["crop", "bbox_info"],
            output_names=list(OUTPUTS),
            dynamic_shapes=({0: people}, {0: people}),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None, "dynamo returns one"
    model = program.model_proto
    strip(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def strip(model: onnx.ModelProto) -> None:
    """Remove metadata that no runtime reads, such as stack traces with local paths."""
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    model.graph.name = "cliff"
    for part in [*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer]:
        del part.metadata_props[:]
        part.doc_string = ""


def sample_inputs(variant: "Variant", batch: int) -> Arrays:
    """Return crops with coarse patches, edges and noise, and typical bbox_info; deterministic."""
    rng = np.random.default_rng(batch)
    coarse = rng.uniform(0, 255, (batch, variant.height_px // 32, variant.width_px // 32, 3))
    crops = coarse.repeat(32, axis=1).repeat(32, axis=2)
    crops += rng.normal(0, 12, crops.shape)
    return {
        "crop": crops.clip(0, 255).round().astype(np.float32),  # integers, so that samples.npz is small
        "bbox_info": rng.uniform(-1, 1, (batch, 3)).astype(np.float32),
    }


def judged_by(network: "Cliff") -> tuple[list[Arrays], list[Arrays], dict[str, float]]:
    """Return batches of samples, the network's float64 outputs for them, and the resulting error bounds."""
    import torch

    whole = sample_inputs(network.variant, max(BATCHES))
    exact = by_definition(network, whole, torch.float64)
    samples, references = (
        [{key: a[:batch] for key, a in side.items()} for batch in BATCHES] for side in (whole, exact)
    )
    rounding = errors("regress", by_definition(network, samples[0], torch.float32), references[0])[1]
    bound = min(LEEWAY * max(LEAST_ROUNDING, *rounding.values()), MOST)
    return samples, references, {FP32: bound, FP16: HALF_BOUND, HALF_ARITHMETIC: HALF_BOUND}


def by_definition(network: "Cliff", sample: Arrays, dtype: "torch.dtype") -> Arrays:
    """Return the outputs of the unfolded network, and the 6D vectors of its rotations."""
    import torch

    from .network import MEAN, STD, rotation_6d_to_matrix

    network = deepcopy(network).to(dtype)
    mean, std = torch.tensor(MEAN, dtype=dtype), torch.tensor(STD, dtype=dtype)
    crops, bbox_info = (torch.from_numpy(sample[name]).to(dtype) for name in ("crop", "bbox_info"))
    with torch.inference_mode():
        images = ((crops / 255 - mean) / std).permute(0, 3, 1, 2)
        # one by one: HRNet's float64 activations for seven people take gigabytes
        features = torch.cat([network.encoder(image).mean(dim=(2, 3)) for image in torch.split(images, 1)])
        pose, betas, camera = network.iterate(features, bbox_info)
        pose = pose.reshape(-1, network.variant.joints, 3, 2)
        answers = (rotation_6d_to_matrix(pose), betas, camera, pose)
    return {name: answer.numpy() for name, answer in zip((*OUTPUTS, POSE_6D), answers, strict=True)}


def half_answers(network: "Cliff", sample: Arrays) -> Arrays:
    """Return the outputs with the backbone's weights and activations in float16."""
    from .backbones import fold_norms
    from .network import PixelsToBody

    rounding = PixelsToBody(fold_norms(network)).eval()
    rounding.network.encoder.half().register_forward_pre_hook(lambda _, images: images[0].half())
    return by_torch(rounding, sample)


def by_torch(network: "PixelsToBody", sample: Arrays) -> Arrays:
    """Return the outputs of the exported module."""
    import torch

    with torch.inference_mode():
        outputs = network(*map(torch.from_numpy, sample.values()))
    return {name: output.numpy() for name, output in zip(OUTPUTS, outputs, strict=True)}
