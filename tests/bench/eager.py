"""The official networks' architectures in torch, with random weights. Needs torch alone, of all that runs networks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cliffvid.export.cliff.network import VARIANTS, Cliff, PixelsToBody
from cliffvid.export.open.sources import OPEN
from cliffvid.export.yolov3.export import YoloV3, load_yolov3
from cliffvid.export.yolov3.files import convolution_counts, read_network

CFG = OPEN / "yolov3.cfg"


def yolov3_weights(folder: Path) -> Path:
    """A Darknet weights file whose values neither grow nor fade on their way through the network; made anew."""
    path = folder / "random-yolov3.weights"
    layers, widths = read_network(CFG)
    rng = np.random.default_rng(0)
    parts = [np.array([0, 2, 0, 0, 0], "<i4")]
    for index in convolution_counts(layers, widths):
        layer, (channels, filters) = layers[index], widths[index]
        fan_in = channels * layer.number("size") ** 2
        vectors = [np.zeros(filters)]
        if layer.number("batch_normalize", 0):
            vectors += [np.ones(filters), np.zeros(filters), np.ones(filters)]
        parts += [vector.astype("<f4") for vector in vectors]
        parts.append(rng.normal(0, 1 / np.sqrt(fan_in), filters * fan_in).astype("<f4"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(part.tobytes() for part in parts))
    return path


def random_cliff() -> Cliff:
    """CLIFF-HR48."""
    torch.manual_seed(0)
    network = Cliff(VARIANTS["cliff-hr48"])
    network.load_state_dict(network.state_dict())  # folds the head
    return network.eval()


def torch_networks(folder: Path) -> tuple[YoloV3, nn.Module]:
    """Both networks, from pixels on, in eval mode; the detector by the weights in ``folder``, made unless there."""
    weights = folder / "random-yolov3.weights"
    detector = load_yolov3(weights if weights.exists() else yolov3_weights(folder), CFG)
    return detector, PixelsToBody(random_cliff()).eval()


def eager(folder: Path, threads: int) -> tuple[Callable, Callable]:
    """The two networks operator by operator: images uint8 (N,H,W,3) -> rows, and crops with bbox_info -> rotmat, betas,
    camera; numpy in, numpy out.
    """
    torch.set_num_threads(threads)
    detector, regressor = torch_networks(folder)

    def detect(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return detector(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).numpy()

    def regress(crops: np.ndarray, bbox_info: np.ndarray) -> tuple[np.ndarray, ...]:
        with torch.inference_mode():
            answers = regressor(torch.from_numpy(crops), torch.from_numpy(bbox_info))
            return tuple(answer.numpy() for answer in answers)

    return detect, regress
