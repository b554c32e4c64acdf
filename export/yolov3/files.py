"""Read Darknet's cfg and weights files (YOLOv3 family).

File layout and layer rules are Darknet's (parser.c, convolutional_layer.c, maxpool_layer.c).
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cliffvid.errors import ModelError
from cliffvid.inputs import open_input, read_input
from cliffvid.tables import Float64

CFG_BYTES, WEIGHTS_BYTES = 1 << 20, 4 << 30
BATCH_NORM_EPSILON = 1e-5  # added to the variance, as in Darknet's CUDA code and the PyTorch ports
STEP_PX = 32  # canvas sides are multiples of the largest stride


@dataclass(frozen=True)
class Layer:
    """One layer section of a cfg file."""

    index: int  # from 0 after [net], as in route and shortcut
    kind: str
    options: dict[str, str]

    def number(self, key: str, default: int | None = None) -> int:
        return int(self.options[key] if default is None else self.options.get(key, default))

    def numbers(self, key: str) -> list[float]:
        return [float(part) for part in self.options[key].split(",")]


@dataclass(frozen=True)
class Convolution:
    """Weights of one convolutional layer, with batch normalisation folded in."""

    weight: Float64  # (filters, channels, size, size)
    bias: Float64  # (filters,)


def read_network(cfg: Path) -> tuple[list[Layer], list[tuple[int, int]]]:
    """Return the layers of a cfg file, and (channels in, channels out) of each.

    Raises InputError if it cannot be read, ModelError if it does not describe a supported detector.
    """
    layers = read_cfg(cfg)
    try:
        widths = count_channels(layers, cfg)
        count_strides(layers)
        check_heads(cfg, layers, widths)
        convolution_counts(layers, widths)
    except (KeyError, ValueError, IndexError, OverflowError) as error:
        raise ModelError(f"{cfg}: an option is missing or wrong ({error!r}); take the published cfg") from error
    return layers, widths


def read_cfg(path: Path) -> list[Layer]:
    """Return the layers of a cfg file, without [net]. Raises InputError or ModelError if it is invalid."""
    try:
        lines = read_input(path, CFG_BYTES).decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: no text, expected a Darknet cfg; weights and cfg exchanged?") from error
    sections: list[tuple[str, dict[str, str]]] = []
    for number, line in enumerate(lines, start=1):
        line = line.split("#")[0].strip()
        if line.startswith("[") and line.endswith("]"):
            sections.append((line[1:-1].strip(), {}))
        elif "=" in line and sections:
            key, value = line.split("=", 1)
            sections[-1][1][key.strip()] = value.strip()
        elif line:
            raise ModelError(f"{path}, line {number}: expected [section] or key=value, found {line!r}")
    if not sections or sections[0][0] not in ("net", "network"):
        raise ModelError(f"{path}: expected a Darknet cfg that begins with [net]")
    return [Layer(index, kind, options) for index, (kind, options) in enumerate(sections[1:])]


def count_channels(layers: list[Layer], path: Path) -> list[tuple[int, int]]:
    """Return (channels in, channels out) of every layer. Raises ModelError for an unsupported layer."""
    widths: list[tuple[int, int]] = []
    current = 3
    for layer in layers:
        entering = current
        sources = route_sources(layer) if layer.kind == "route" else []
        sources += [layer.index + layer.number("from")] if layer.kind == "shortcut" else []
        if not all(0 <= source < layer.index for source in sources):
            raise ValueError(f"layer {layer.index} [{layer.kind}] reads layers {sources}")
        if any(layer.number(key, 1) < 1 for key in ("filters", "size", "stride", "classes")):
            raise ValueError(f"layer {layer.index} [{layer.kind}] has a number below 1")
        if layer.kind == "convolutional":
            current = layer.number("filters")
        elif layer.kind == "route":
            current = sum(widths[source][1] for source in sources)
        elif layer.kind == "shortcut" and widths[sources[0]][1] != current:
            raise ValueError(f"layer {layer.index} [shortcut] adds {current} and {widths[sources[0]][1]} channels")
        elif layer.kind not in ("maxpool", "upsample", "shortcut", "yolo"):
            raise ModelError(f"{path}: layer {layer.index} is [{layer.kind}], which the export does not know")
        if layer.number("groups", 1) != 1 or layer.options.get("activation", "linear") not in ("linear", "leaky"):
            raise ModelError(
                f"{path}: layer {layer.index} [{layer.kind}] has groups or an activation other than "
                "linear and leaky, which the export does not know"
            )
        widths.append((entering, current))
    return widths


def count_strides(layers: list[Layer]) -> list[int]:
    """Return the stride of every layer in canvas pixels. Raises ValueError if one exceeds STEP_PX."""
    strides: list[int] = []
    current = 1
    for layer in layers:
        if layer.kind in ("convolutional", "maxpool"):
            current *= layer.number("stride", 1)
        elif layer.kind == "upsample":
            current //= layer.number("stride", 2)
        elif layer.kind == "route":
            current = strides[route_sources(layer)[0]]
        if not 1 <= current <= STEP_PX:
            raise ValueError(f"layer {layer.index} [{layer.kind}] has {current} px a cell")
        strides.append(current)
    return strides


def route_sources(layer: Layer) -> list[int]:
    """Return the indices of the layers that a [route] joins; negative ones are relative to the layer itself."""
    return [int(part) + (layer.index if part < 0 else 0) for part in layer.numbers("layers")]


def header_bytes(weights: Path) -> int:
    """Return the header size of a weights file: 20 bytes from version 0.2 on, 16 before."""
    with open_input(weights) as file:
        major, minor = struct.unpack("<2i", file.read(8).ljust(8, b"\0"))
    return 20 if major * 10 + minor >= 2 else 16


def convolution_counts(layers: list[Layer], widths: list[tuple[int, int]]) -> dict[int, int]:
    """Return the number of values per convolutional layer in a weights file, by index."""
    counts = {}
    for layer, (channels, filters) in zip(layers, widths, strict=True):
        if layer.kind == "convolutional":
            per_filter = channels * layer.number("size") ** 2 + (4 if layer.number("batch_normalize", 0) else 1)
            counts[layer.index] = filters * per_filter
    return counts


def weights_bytes(weights: Path, layers: list[Layer], widths: list[tuple[int, int]]) -> int:
    """Return the size in bytes that a weights file of these layers must have, with this file's header."""
    return header_bytes(weights) + 4 * sum(convolution_counts(layers, widths).values())


def read_weights(path: Path, layers: list[Layer], widths: list[tuple[int, int]]) -> dict[int, Convolution]:
    """Return the convolutions of a weights file by layer index. Raises ModelError if its size does not match the cfg.

    The header is three int32 (major, minor, revision) and the number of training images: int64 from version 0.2 on,
    int32 before. Float32 values follow in layer order: biases, (scales, means, variances,) kernel.
    """
    data = read_input(path, WEIGHTS_BYTES)
    header, counts = header_bytes(path), convolution_counts(layers, widths)
    expected = header + 4 * sum(counts.values())
    if len(data) != expected:
        raise ModelError(
            f"{path}: expected {expected:,} bytes (a header of {header} and the {len(counts)} convolutional "
            f"layers of the cfg), found {len(data):,}; the file is cut, or belongs to another cfg"
        )
    values = np.frombuffer(data, "<f4", offset=header)
    convolutions, start = {}, 0
    for index, count in counts.items():
        block, start = values[start : start + count].astype(np.float64), start + count
        convolutions[index] = fold(block, layers[index], *widths[index])
    return convolutions


def fold(block: Float64, layer: Layer, channels: int, filters: int) -> Convolution:
    """Return one layer's kernel and bias, with batch normalisation folded in."""
    size = layer.number("size")
    vectors = 4 if layer.number("batch_normalize", 0) else 1
    bias, *normalisation = block[: vectors * filters].reshape(vectors, filters)
    weight = block[vectors * filters :].reshape(filters, channels, size, size)
    if normalisation:
        scale, mean, variance = normalisation
        gain = scale / np.sqrt(variance + BATCH_NORM_EPSILON)
        weight, bias = weight * gain[:, None, None, None], bias - mean * gain
    return Convolution(weight, bias)


def check_heads(cfg: Path, layers: list[Layer], widths: list[tuple[int, int]]) -> None:
    """Raise ModelError unless each [yolo] follows a separate linear convolution of the right width."""
    heads = {layer.index - 1: layer for layer in layers if layer.kind == "yolo"}
    if not heads:
        raise ModelError(f"{cfg}: no [yolo] layer, so no detector")
    routed = {source for layer in layers if layer.kind == "route" for source in route_sources(layer)}
    classes = {head.number("classes") for head in heads.values()}
    for index, head in heads.items():
        anchors = np.array(head.numbers("anchors")).reshape(-1, 2)[[int(part) for part in head.numbers("mask")]]
        expected = len(anchors) * (5 + head.number("classes"))
        if head.options.get("scale_x_y", "1") not in ("1", "1.0") or head.number("new_coords", 0):
            raise ModelError(
                f"{cfg}: the [yolo] layer {head.index} decodes as YOLOv4 does, which the export does not know"
            )
        plain = layers[index].kind == "convolutional" and layers[index].options.get("activation") == "linear"
        if not plain or widths[index][1] != expected or routed & {index, index + 1} or len(classes) > 1:
            raise ModelError(
                f"{cfg}: the [yolo] layer {head.index} must follow a linear [convolutional] of {expected} filters "
                "that nothing else reads, and all [yolo] layers must have the same classes"
            )
