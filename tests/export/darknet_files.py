"""Random Darknet files, and what OpenCV's own reader makes of them."""

from pathlib import Path

import cv2
import numpy as np

SMALL_CFG = """
[net]
width=64
height=64
channels=3

[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky

[convolutional]
batch_normalize=1
filters=8
size=3
stride=1
pad=1
activation=leaky

[shortcut]
from=-2
activation=linear

[convolutional]  # 3
batch_normalize=1
filters=12
size=3
stride=2
pad=1
activation=leaky

[maxpool]
size=2
stride=2

[convolutional]  # 5
filters=10
size=1
stride=1
pad=1
activation=leaky

[maxpool]
stride=1
size=5

[route]
layers=-2

[maxpool]
stride=1
size=9

[route]
layers=-1, -3, 5

[maxpool]
size=2
stride=1

[convolutional]
filters=27
size=1
stride=1
pad=1
activation=linear

[yolo]
mask = 3,4,5
anchors = 5,7, 9,14, 14,20, 22,31, 40,25, 50,60
classes=4
num=6

[route]
layers = -4

[upsample]
stride=2

[route]
layers = -1, 3

[convolutional]
filters=27
size=1
stride=1
pad=1
activation=linear

[yolo]
mask = 0,1,2
anchors = 5,7, 9,14, 14,20, 22,31, 40,25, 50,60
classes=4
num=6
"""


def sections(cfg: str) -> list[dict[str, str]]:
    result = []
    for line in (line.split("#")[0].strip() for line in cfg.splitlines()):
        if line.startswith("["):
            result.append({"kind": line[1:-1]})
        elif line:
            key, value = line.split("=")
            result[-1][key.strip()] = value.strip()
    return result[1:]


def random_weights(cfg: str, seed: int, version: int = 2) -> bytes:
    """A weights file for a cfg; channels are counted by hand here. Heads get likely objects of likely classes."""
    rng = np.random.default_rng(seed)
    parts = [np.array([0, version, 0], "<i4").tobytes(), np.zeros(1, "<i8" if version >= 2 else "<i4").tobytes()]
    layers, widths = sections(cfg), []
    for index, layer in enumerate(layers):
        width = widths[-1] if widths else 3
        if layer["kind"] == "convolutional":
            filters, size = int(layer["filters"]), int(layer["size"])
            is_head = layers[index + 1]["kind"] == "yolo"
            bias = rng.normal(0, 0.5, filters)
            if is_head:
                bias.reshape(3, -1)[:, 4:] += 2.5
            blocks = [bias]
            if "batch_normalize" in layer:
                blocks += [rng.uniform(0.5, 1.5, filters), rng.normal(0, 0.2, filters), rng.uniform(0.5, 1.5, filters)]
            blocks.append(rng.normal(0, 0.3 if is_head else 1, filters * width * size**2) / np.sqrt(width * size**2))
            parts += [block.astype("<f4").tobytes() for block in blocks]
            width = filters
        elif layer["kind"] == "route":
            width = sum(
                widths[source if (source := int(part)) >= 0 else index + source] for part in layer["layers"].split(",")
            )
        widths.append(width)
    return b"".join(parts)


def write_net(folder: Path, cfg: str, weights: bytes) -> tuple[Path, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "net.cfg").write_text(cfg)
    (folder / "net.weights").write_bytes(weights)
    return folder / "net.cfg", folder / "net.weights"


def opencv_detections(cfg: str, weights: Path, image: np.ndarray, folder: Path) -> dict[str, np.ndarray]:
    """All anchors by OpenCV: box_px (A,4), objectness (A,), products (A,classes): class probability x objectness."""
    height, width = image.shape[:2]
    sides = {"width": width, "height": height}
    lines = [f"{key}={sides[key]}" if (key := line.split("=")[0]) in sides else line for line in cfg.splitlines()]
    (folder / "sized.cfg").write_text("\n".join(lines))
    net = cv2.dnn.readNetFromDarknet(str(folder / "sized.cfg"), str(weights))
    net.setInput(cv2.dnn.blobFromImage(image, 1 / 255, (width, height)))
    rows = np.concatenate(net.forward(net.getUnconnectedOutLayersNames())).astype(np.float64)
    centre, half = rows[:, :2] * (width, height), rows[:, 2:4] * (width, height) / 2
    return {
        "box_px": np.concatenate([centre - half, centre + half], axis=1),
        "objectness": rows[:, 4],
        "products": rows[:, 5:],
    }
