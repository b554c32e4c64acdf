"""`cliffvid export cliff`: a published CLIFF checkpoint as a model folder, with proof that the two agree.

Torch is needed here and nowhere else in cliffvid; it is imported when an export begins.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import numpy as np

from cliffvid.errors import BackendError
from cliffvid.parity import SAMPLES, Arrays

from .half import HALF_ARITHMETIC, halve
from .model_folder import check_name, pack_samples, tensor, with_manifest, write_folder
from .proof import BATCHES, prove
from .sources import sha256

OPSET = 20
OUTPUTS = ("rotmat", "betas", "camera")
# For float16 it is a check against overflow and misplaced casts, not a claim about accuracy.
BOUNDS = {"model.onnx": 1e-4, "model.fp16.onnx": 0.05, HALF_ARITHMETIC: 0.05}

BODY_LICENCE = "The SMPL and SMPL-X body models are not included and have their own licences."
OFFICIAL = {
    "rank": 10,
    "body": "smpl",
    "crop": {"box_scale": 1.1, "size_side": "height"},
    "bbox_info": {"centre_scale": 2.8, "size_offset": 0.24, "size_scale": 0.06},  # Human3.6M's statistics
    "licence": "CLIFF: MIT, with parts of SPIN (BSD-3-Clause) and HRNet (MIT); nothing separate is stated for the "
    f"weights. {BODY_LICENCE}",
}
MMHUMAN3D = {
    "rank": 8,
    # Its boxes for training are joints' extents widened by 1.2, which is about 1.1 of what a detector draws.
    "crop": {"box_scale": 1.1, "size_side": "width", "fit": "square", "corners": "exact"},
    "licence": f"MMHuman3D: Apache-2.0. {BODY_LICENCE}",
}
BEDLAM = {
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
# What each network was trained on. A crop differs from the official one (the box widened to the crop's aspect, corners
# rounded, bilinear without antialiasing) where `fit`, `corners` or `resample` say so.
CONVENTIONS = {
    "cliff-res50": OFFICIAL,
    "cliff-hr48": OFFICIAL | {"rank": 20},
    "cliff-res50-mmhuman3d": OFFICIAL | MMHUMAN3D,
    "cliff-bedlam": BEDLAM,
    "cliff-bedlam-x": BEDLAM | {"rank": 5, "body": "smplx"},
}


def export_cliff(
    checkpoint: Path, out: Path, name: str | None = None, say: Callable[[str], None] = lambda line: None
) -> Path:
    """Make the model folder ``out / name`` from a checkpoint of CLIFF; returns its path.

    Which network it is, is found out from the weights; ``name`` is by default that of the network, ``say`` is told of
    each step. The folder holds manifest.json, model.onnx (float32) and model.fp16.onnx, and is written only once both
    have answered as PyTorch does. Raises InputError for a missing file, ModelError for one that is not CLIFF or for
    answers that differ, UsageError for an impossible name, BackendError without PyTorch, OutputError if the folder
    cannot be written.
    """
    check_name(name)
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise BackendError(f'{error.name} is not installed: pip install "cliffvid[cpu,export]"') from error
    from .cliff import PixelsToBody, load_cliff

    say(f"reading {checkpoint}")
    network = load_cliff(checkpoint)
    say(f"found {network.variant.title}; exporting it, which takes up to a minute")
    model = trace(network)
    files = {"model.onnx": model.SerializeToString(), "model.fp16.onnx": halve(model, checkpoint).SerializeToString()}
    del model  # as large as the network
    say("comparing the export with PyTorch")
    samples = [sample_inputs(network.variant, batch) for batch in BATCHES]
    exact = PixelsToBody(network).eval()
    references = [by_torch(exact, sample) for sample in samples]
    # float16 on the first batch alone: on CPUs it is eight times slower than float32
    rounded = half_answers(network, samples[0]), references[0]
    parity = prove(checkpoint, "regress", files, BOUNDS, samples, references, rounded)
    files[SAMPLES] = pack_samples(samples[-1] | {"crop": samples[-1]["crop"].astype(np.uint8)}, references[-1])
    manifest = describe(network.variant, checkpoint, name) | {"parity": parity}
    write_folder(out / manifest["name"], with_manifest(manifest, files))
    return out / manifest["name"]


def describe(variant, checkpoint: Path, name: str | None = None) -> dict:
    """The manifest of a cliff.Variant's model folder, but for parity and the files' hashes."""
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
    """Silences what torch's exporter says about its own insides; none of it concerns the network."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = log.level
    log.setLevel(logging.ERROR)  # else: four lines on torchvision's operators, which nothing here uses
    with warnings.catch_warnings():
        # torch 2.13 copies its own deprecated class
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
        # both inputs share the axis N, as they should
        warnings.filterwarnings("ignore", "# The axis name: N will not be used", UserWarning)
        try:
            yield
        finally:
            log.setLevel(level)


def trace(network):
    """The checked ONNX model of a ``Cliff``: crop and bbox_info in, OUTPUTS out, with a free batch axis N."""
    import onnx
    import torch

    from .backbones import fold_norms
    from .cliff import PixelsToBody

    variant = network.variant
    example = (torch.zeros(2, variant.height_px, variant.width_px, 3), torch.zeros(2, 3))  # a 1 would be kept as one
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
    model = program.model_proto
    strip(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def strip(model) -> None:
    """Remove all that no runtime reads: among it are stack traces with the paths of this machine."""
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    model.graph.name = "cliff"
    for part in [*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer]:
        del part.metadata_props[:]
        part.doc_string = ""


def sample_inputs(variant, batch: int) -> Arrays:
    """Crops with coarse patches, edges and noise, and bbox-infos of the usual size; the same in every run."""
    rng = np.random.default_rng(batch)
    coarse = rng.uniform(0, 255, (batch, variant.height_px // 32, variant.width_px // 32, 3))
    crops = coarse.repeat(32, axis=1).repeat(32, axis=2)
    crops += rng.normal(0, 12, crops.shape)
    return {
        "crop": crops.clip(0, 255).round().astype(np.float32),  # whole, so that samples.npz is small
        "bbox_info": rng.uniform(-1, 1, (batch, 3)).astype(np.float32),
    }


def half_answers(network, sample: Arrays) -> Arrays:
    """What the network answers with its backbone's weights and values in float16."""

    from .backbones import fold_norms
    from .cliff import PixelsToBody

    rounding = PixelsToBody(fold_norms(network)).eval()
    rounding.network.encoder.half().register_forward_pre_hook(lambda _, images: images[0].half())
    return by_torch(rounding, sample)


def by_torch(network, sample: Arrays) -> Arrays:
    """What a PixelsToBody answers."""
    import torch

    with torch.inference_mode():
        outputs = network(*map(torch.from_numpy, sample.values()))
    return {name: output.numpy() for name, output in zip(OUTPUTS, outputs, strict=True)}
