"""Load Darknet weights of the YOLOv3 family into torch, and export them to a model folder."""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cliffvid.errors import InputError, ModelError
from cliffvid.files import write_folder
from cliffvid.inputs import open_input
from cliffvid.models import downloads as official
from cliffvid.models.manifest import read_manifest
from cliffvid.models.manifest_schema import SAMPLES
from cliffvid.models.parity import Arrays
from cliffvid.tables import Array

from ..folder.graph import OPSET
from ..folder.half import HALF_ARITHMETIC
from ..folder.model_folder import check_name, describe_detector, pack_samples, with_manifest
from ..folder.proof import BATCHES, prove, warn
from ..open.sources import OPEN, sha256
from .files import STEP_PX, Convolution, Layer, read_network, read_weights, route_sources, weights_bytes
from .onnx_graph import CANDIDATES, PERSON, canvas_limits, check_size, export_darknet

RANKS = {"yolov3-tiny": 5, "yolov3": 10, "yolov3-spp": 12}
# For float16 it detects overflow and misplaced casts; it is not a claim about accuracy.
BOUNDS = {"model.onnx": 5e-4, "model.fp16.onnx": 0.1, HALF_ARITHMETIC: 0.1}
HALF_PX = 160


class YoloV3(nn.Module):
    """Torch module: RGB (N,3,H,W) in 0..1, sides multiples of 32 -> rows (N,anchors,85).

    A row is centre x, y, width, height in canvas pixels, objectness, 80 class probabilities. Rows run over cells
    (y, x), then anchors, one [yolo] layer after the other.
    """

    def __init__(self, layers: list[Layer], convolutions: dict[int, Convolution]) -> None:
        super().__init__()
        self.layers = layers
        self.convolutions = nn.ModuleDict()
        for index, numbers in convolutions.items():
            filters, channels, size, _ = numbers.weight.shape
            stride, pad = layers[index].number("stride", 1), (size // 2) * layers[index].number("pad", 0)
            convolution = nn.Conv2d(channels, filters, size, stride, pad)
            convolution.weight.data = torch.from_numpy(numbers.weight).float()
            assert convolution.bias is not None, "it was made with one"
            convolution.bias.data = torch.from_numpy(numbers.bias).float()
            self.convolutions[str(index)] = convolution

    def forward(self, image: Tensor) -> Tensor:
        outputs: list[Tensor] = []
        rows = []
        value = image
        for layer in self.layers:
            if layer.kind == "convolutional":
                value = self.convolutions[str(layer.index)](value)
                if layer.options.get("activation") == "leaky":
                    value = functional.leaky_relu(value, 0.1)
            elif layer.kind == "maxpool":
                size, stride = layer.number("size"), layer.number("stride", 1)
                before = (size - 1) // 2 if stride == 1 else 0
                after = size - 1 - before if stride == 1 else 0
                value = functional.pad(value, (before, after, before, after), value=-torch.inf)
                value = functional.max_pool2d(value, size, stride)
            elif layer.kind == "upsample":
                value = functional.interpolate(value, scale_factor=layer.number("stride", 2), mode="nearest")
            elif layer.kind == "route":
                value = torch.cat([outputs[source] for source in route_sources(layer)], dim=1)
            elif layer.kind == "shortcut":
                value = value + outputs[layer.index + layer.number("from")]
            elif layer.kind == "yolo":
                rows.append(decoded(value, layer, image.shape[-1] // value.shape[-1]))
            outputs.append(value)
        return torch.cat(rows, dim=1)


def decoded(value: Tensor, layer: Layer, stride_px: int) -> Tensor:
    """Decode one [yolo] layer's map (N,anchors*85,g,g) to rows (N,g*g*anchors,85): section 2.1 of the YOLOv3 paper."""
    anchors = torch.tensor(layer.numbers("anchors")).reshape(-1, 2)[[int(i) for i in layer.numbers("mask")]]
    n, _, height, width = value.shape
    value = value.reshape(n, len(anchors), -1, height, width).permute(0, 3, 4, 1, 2)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    corner = torch.stack([x, y], dim=-1)[:, :, None]
    value = value.float()  # for a float16 backbone
    center = (value[..., :2].sigmoid() + corner) * stride_px
    side = value[..., 2:4].exp() * anchors
    return torch.cat([center, side, value[..., 4:].sigmoid()], dim=-1).reshape(n, -1, value.shape[-1])


def find_cfg(weights: Path) -> Path:
    """Return the cfg of the known network with a weights file of this size. Raises ModelError if there is none."""
    with open_input(weights) as stream:
        if stream.read(512).lstrip().startswith(b"<"):
            raise ModelError(f"{weights}: a web page, expected Darknet weights; save the file itself, not its page")
    known = {cfg: weights_bytes(weights, *read_network(cfg)) for cfg in sorted(OPEN.glob("*.cfg"))}
    for cfg, expected in known.items():
        if weights.stat().st_size == expected:
            return cfg
    sizes = ", ".join(f"{cfg.stem} {expected:,}" for cfg, expected in known.items())
    raise ModelError(
        f"{weights}: {weights.stat().st_size:,} bytes, which is none of the known networks ({sizes}); the download is "
        "cut short or something else, or give its own description with --cfg"
    )


def load_yolov3(weights: str | Path, cfg: str | Path | None = None) -> YoloV3:
    """Return the torch module of a Darknet weights file in eval mode; ``cfg`` None: found by the file's size.

    Raises InputError for a missing file, ModelError if it does not match the cfg.
    """
    weights = Path(weights)
    if not weights.is_file():
        raise InputError(f"{weights}: no such file; give the path of the .weights file you downloaded")
    cfg = Path(cfg) if cfg else find_cfg(weights)
    layers, widths = read_network(cfg)
    return YoloV3(layers, read_weights(weights, layers, widths)).eval()


def export_yolov3(
    weights: Path,
    out: Path,
    cfg: Path | None = None,
    size_px: int = 416,
    name: str | None = None,
    say: Callable[[str], None] = lambda line: None,
    accept_parity: bool = False,
) -> Path:
    """Export a Darknet detector to a model folder in ``out``, with the official rule for people; return its path.

    ``say`` is called for each step, and if the file has the published size but another content.

    The official rule (pytorch-yolo-v3): objectness over 0.5, person is the likeliest class, NMS at an IoU of 0.4 or
    more (with inclusive pixel counts). Raises InputError, UsageError, ModelError or OutputError; then nothing is
    written. Outputs that differ from PyTorch's raise ModelError, unless ``accept_parity``, which the manifest records.
    model.fp16.onnx is left out if float16 changes too much.
    """
    check_name(name)
    check_size(size_px)
    say(f"reading {weights}")
    network = load_yolov3(weights, cfg)
    cfg = cfg or find_cfg(weights)
    name = name or cfg.stem
    published = {file.model: file.sha256 for file in official.FILES if file.sha256}
    digest = sha256(weights)
    if digest != published.get(cfg.stem, digest):
        say(f"warning: {weights} is not the published {cfg.stem}.weights (sha256): trained anew, or damaged on its way")
    say(f"found {cfg.stem}; exporting it at {size_px} x {size_px}, which takes up to a minute")
    model = export_darknet(cfg, weights, size_px, score="objectness", person_must_be_argmax=True, half=False)
    say("comparing the export with PyTorch")
    least_px, count = canvas_limits(network.layers, size_px)
    samples = [sample_image(size_px, size_px, batch) for batch in BATCHES] + [sample_image(least_px, size_px, 1)]
    references = [{"rows": person_rows(network, sample)} for sample in samples]
    rounded = partial(half_answers, network, size_px)
    files, parity = prove(weights, "detect", model, BOUNDS, samples, references, rounded, accept_parity)
    files[SAMPLES] = pack_samples(samples[0], references[0])
    manifest = {
        "name": name,
        "task": "detect",
        "rank": RANKS.get(cfg.stem, 5),
        "summary": f"{cfg.stem} at {size_px} x {size_px}, people by the official rule",
        "licence": "Darknet's weights: public domain (pjreddie.com/darknet); others: see where they come from",
        "source": [{"file": weights.name, "sha256": digest}],
        "exporter": {part: version(part) for part in ("cliffvid", "torch", "onnx")} | {"opset": OPSET},
        **describe_detector(count),
        "letterbox": {
            **{"width_px": size_px, "height_px": size_px, "interpolation": "cubic", "fill": 128},
            **{"least_px": least_px, "step_px": STEP_PX, "shape": "square"},  # as in the official code
        },
        "selection": {"score": "objectness", "score_min": 0.5, "iou_max": 0.4, "iou_offset_px": 1},
        "parity": parity,
    }
    write_folder(out / name, with_manifest(manifest, files))
    warn(read_manifest(out / name), say)
    return out / name


def sample_image(height_px: int, width_px: int, batch: int) -> Arrays:
    """Return images of coarse patches; deterministic."""
    patches = (batch, height_px // STEP_PX, width_px // STEP_PX, 3)
    coarse = np.random.default_rng(batch).integers(0, 256, patches, np.uint8)
    return {"image": coarse.repeat(STEP_PX, axis=1).repeat(STEP_PX, axis=2)}


def person_rows(network: nn.Module, sample: Arrays) -> Array:
    """Return rows (N,anchors,6) with the person class only: the reference for cliffvid.models.parity."""
    images = torch.from_numpy(sample["image"]).permute(0, 3, 1, 2).to(next(network.parameters()).dtype) / 255
    with torch.inference_mode():  # one by one, since the network keeps every layer's output
        return torch.cat([network(image)[..., : 6 + PERSON] for image in torch.split(images, 1)]).numpy()


def half_answers(network: YoloV3, size_px: int) -> tuple[Arrays, Arrays]:
    """Return candidates with weights and activations in float16, and their reference.

    Images are small: float16 takes fifty times as long as float32 on CPUs, and activations are as large in them.
    """
    side_px = min(size_px, HALF_PX)
    sample = sample_image(side_px, side_px, 1)
    rows = person_rows(deepcopy(network).half(), sample)
    best = np.argsort(-rows[..., 4], axis=1)[:, :CANDIDATES]
    rows = np.take_along_axis(rows, best[..., None], axis=1)
    center, half_side = rows[..., :2], rows[..., 2:4] / 2
    box = np.concatenate([center - half_side, center + half_side], axis=-1)
    answers = {"box_px": box, "objectness": rows[..., 4], "class_prob": rows[..., 5]}
    return answers, {"rows": person_rows(network, sample)}
