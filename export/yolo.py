"""The YOLOv3 family from Darknet weights: a torch module, and a model folder that answers as the official code."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cliffvid.errors import InputError, ModelError

from .darknet import (
    PERSON,
    Convolution,
    Layer,
    count_channels,
    export_darknet,
    read_cfg,
    read_weights,
    route_sources,
    weights_bytes,
)
from .graph import OPSET, to_bytes
from .model_folder import describe_detector, with_manifest, write_folder
from .sources import OPEN, sha256

RANKS = {"yolov3-tiny": 5, "yolov3": 10, "yolov3-spp": 12}
PARITY_MAX = 5e-4  # objectness and class probability; boxes in parts of their own size


class YoloV3(nn.Module):
    """(N,3,S,S) RGB 0..1, S a multiple of 32 -> (N,anchors,85) rows: centre x, y, width, height in px of the canvas,
    objectness, 80 class probabilities. Rows run over cells (y, x), then anchors, one [yolo] layer after the other.
    """

    def __init__(self, layers: list[Layer], convolutions: dict[int, Convolution]) -> None:
        super().__init__()
        self.layers = layers
        self.convolutions = nn.ModuleDict()
        for index, numbers in convolutions.items():
            filters, channels, size, _ = numbers.weight.shape
            stride, pad = layers[index].number("stride"), (size // 2) * layers[index].number("pad", 0)
            convolution = nn.Conv2d(channels, filters, size, stride, pad)
            convolution.weight.data = torch.from_numpy(numbers.weight).float()
            convolution.bias.data = torch.from_numpy(numbers.bias).float()
            self.convolutions[str(index)] = convolution

    def forward(self, image: Tensor) -> Tensor:
        outputs: list[Tensor] = []
        rows = []
        value = image
        for layer in self.layers:
            if layer.kind == "convolutional":
                value = self.convolutions[str(layer.index)](value)
                if layer.options["activation"] == "leaky":
                    value = functional.leaky_relu(value, 0.1)
            elif layer.kind == "maxpool":
                size, stride = layer.number("size"), layer.number("stride")
                before = (size - 1) // 2 if stride == 1 else 0
                after = size - 1 - before if stride == 1 else 0
                value = functional.pad(value, (before, after, before, after), value=-torch.inf)
                value = functional.max_pool2d(value, size, stride)
            elif layer.kind == "upsample":
                value = functional.interpolate(value, scale_factor=layer.number("stride"), mode="nearest")
            elif layer.kind == "route":
                value = torch.cat([outputs[source] for source in route_sources(layer)], dim=1)
            elif layer.kind == "shortcut":
                value = value + outputs[layer.index + layer.number("from")]
            elif layer.kind == "yolo":
                rows.append(decoded(value, layer, image.shape[-1] // value.shape[-1]))
            outputs.append(value)
        return torch.cat(rows, dim=1)


def decoded(value: Tensor, layer: Layer, stride_px: int) -> Tensor:
    """One [yolo] layer's map (N,anchors*85,g,g) as rows (N,g*g*anchors,85): section 2.1 of the YOLOv3 paper."""
    anchors = torch.tensor(layer.numbers("anchors")).reshape(-1, 2)[[int(i) for i in layer.numbers("mask")]]
    n, _, height, width = value.shape
    value = value.reshape(n, len(anchors), -1, height, width).permute(0, 3, 4, 1, 2)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    corner = torch.stack([x, y], dim=-1)[:, :, None]
    center = (value[..., :2].sigmoid() + corner) * stride_px
    side = value[..., 2:4].exp() * anchors
    return torch.cat([center, side, value[..., 4:].sigmoid()], dim=-1).reshape(n, -1, value.shape[-1])


def find_cfg(weights: Path) -> Path:
    """The known network whose weights file has just this many bytes. Raises ModelError if there is none."""
    if not weights.is_file():
        raise InputError(f"{weights}: no such file")
    known = {cfg: weights_bytes(read_cfg(cfg), cfg, weights) for cfg in sorted(OPEN.glob("*.cfg"))}
    for cfg, expected in known.items():
        if weights.stat().st_size == expected:
            return cfg
    sizes = ", ".join(f"{cfg.stem} {expected:,}" for cfg, expected in known.items())
    raise ModelError(
        f"{weights}: {weights.stat().st_size:,} bytes, which is none of the known networks ({sizes}); the download is "
        "cut short or something else, or give its own description with --cfg"
    )


def load_yolov3(weights: str | Path, cfg: str | Path | None = None) -> YoloV3:
    """The network of a Darknet weights file as a torch module in eval mode; ``cfg`` None: known by the file's size.

    Raises InputError if there is no such file, ModelError if it is not what the cfg describes.
    """
    weights = Path(weights)
    cfg = Path(cfg) if cfg else find_cfg(weights)
    layers = read_cfg(cfg)
    return YoloV3(layers, read_weights(weights, layers, count_channels(layers, cfg))).eval()


def export_yolov3(
    weights: Path, out: Path, cfg: Path | None = None, size_px: int = 416, name: str | None = None
) -> Path:
    """Write the model folder of a Darknet detector into ``out``, with the official rule for people; returns it.

    The official rule (pytorch-yolo-v3): objectness over 0.5, person the likeliest class, boxes with an overlap of
    0.4 or more (pixels counted inclusively) are doubles. Raises InputError, UsageError, ModelError or OutputError;
    then nothing is written.
    """
    network = load_yolov3(weights, cfg)
    cfg = cfg or find_cfg(weights)
    name = name or cfg.stem
    model = export_darknet(cfg, weights, size_px, score="objectness", person_must_be_argmax=True, half=False)
    data = to_bytes(model)
    parity = measure_parity(network, data, size_px)
    worst = max(parity["max_abs"].values())
    if not worst <= PARITY_MAX:
        raise ModelError(f"{weights}: onnxruntime and torch differ by {worst:.1e}, over {PARITY_MAX}; nothing written")
    manifest = {
        "name": name,
        "task": "detect",
        "rank": RANKS.get(cfg.stem, 5),
        "summary": f"{cfg.stem} at {size_px} x {size_px}, people by the official rule",
        "licence": "Darknet's weights: public domain (pjreddie.com/darknet); others: see where they come from",
        "source": [{"file": weights.name, "sha256": sha256(weights)}],
        "exporter": {"opset": OPSET},
        **describe_detector(size_px, model.graph.output[0].type.tensor_type.shape.dim[1].dim_value),
        "letterbox": {"width_px": size_px, "height_px": size_px, "interpolation": "cubic", "fill": 128},
        "selection": {"score": "objectness", "score_min": 0.5, "iou_max": 0.4, "iou_offset_px": 1},
        "parity": parity,
    }
    write_folder(out / name, with_manifest(manifest, {"model.onnx": data}))
    return out / name


def measure_parity(network: YoloV3, model: bytes, size_px: int) -> dict:
    """How far the ONNX candidates lie from the nearest of torch's rows, for batches of 1 and 7 random pictures."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    errors = {"box_px_per_box_size": 0.0, "objectness": 0.0, "class_prob": 0.0}
    for batch in (1, 7):
        coarse = rng.integers(0, 256, (batch, size_px // 32, size_px // 32, 3), np.uint8)
        images = coarse.repeat(32, axis=1).repeat(32, axis=2)
        answers = session.run(["box_px", "objectness", "class_prob"], {"image": images})
        with torch.no_grad():
            rows = network(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).numpy()
        for box, objectness, prob, wanted in zip(*answers, rows, strict=True):
            for key, error in candidate_errors(box, objectness, prob, wanted).items():
                errors[key] = max(errors[key], error)
    return {"reference": f"torch {torch.__version__}, float32", "samples": 8, "max_abs": errors}


def candidate_errors(box: np.ndarray, objectness: np.ndarray, prob: np.ndarray, rows: np.ndarray) -> dict[str, float]:
    """The largest distance of each candidate's numbers to those of the row that lies nearest to it in all of them."""
    center, side = (box[:, :2] + box[:, 2:]) / 2, box[:, 2:] - box[:, :2]
    errors = np.stack(
        [
            np.abs(np.c_[center, side][:, None] - rows[None, :, :4]).max(-1) / side.max(-1, keepdims=True),
            # candidates whose likeliest class is another have objectness 0
            np.abs(objectness[:, None] - rows[None, :, 4]) * (objectness > 0)[:, None],
            np.abs(prob[:, None] - rows[None, :, 5 + PERSON]),
        ]
    )
    nearest = errors.max(axis=0).argmin(axis=1)
    worst = errors[:, np.arange(len(box)), nearest].max(axis=1)
    return dict(zip(("box_px_per_box_size", "objectness", "class_prob"), map(float, worst), strict=True))
