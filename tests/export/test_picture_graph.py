"""The graphs that make pictures on a device: the files the runtime has, and the bytes that they move there."""

import math

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper, shape_inference

from cliffvid.export.folder.graph import to_bytes
from cliffvid.export.folder.image_graphs import picture_graph
from cliffvid.geometry import crop_boxes, crop_corners
from cliffvid.models.backends.ort_images import PICTURES, numbers
from cliffvid.rules import CropRule, Letterbox
from cliffvid.video.images.gpu import Block, GpuImage

GRAPHS = {path: picture_graph(*which) for which, path in PICTURES.items()}
VIEWS = {"Reshape", "Flatten", "Squeeze", "Unsqueeze"}  # they copy nothing
FRAMES, SIZE_WH = 16, (1920, 1080)
PEOPLE = [(300, 200, 460, 600), (900, 150, 1080, 600), (1500, 300, 1620, 600)]  # 400, 450 and 300 pixels tall


@pytest.mark.parametrize("file", GRAPHS, ids=lambda file: file.stem)
def test_the_runtime_has_the_files_that_are_made_here(file):
    """If not: python -m cliffvid.export.folder.image_graphs"""
    assert file.read_bytes() == to_bytes(GRAPHS[file])


HOSTS = {"Reshape": [1], "Pad": [1, 2], "Unsqueeze": [1], "Squeeze": [1]}


@pytest.mark.parametrize("file", GRAPHS, ids=lambda file: file.stem)
def test_nothing_is_copied_back_to_tell_shapes(file):
    """Kernels take some inputs from the host's memory: no node of the device makes them."""
    graph = GRAPHS[file].graph
    made = {name for node in graph.node for name in node.output}
    taken = {node.input[place] for node in graph.node for place in HOSTS.get(node.op_type, [])}
    assert taken and not taken & made


def bytes_moved(model: onnx.ModelProto, shapes: dict[str, tuple[int, ...]]) -> int:
    """Bytes that all nodes read and write where inputs and outputs have these shapes.

    Of what they index, nodes read what they take.
    """
    model = onnx.ModelProto.FromString(model.SerializeToString())
    for value in (*model.graph.input, *model.graph.output):
        value.CopyFrom(helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, shapes[value.name]))
    graph = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    sizes = {tensor.name: 0 for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        assert all(side.HasField("dim_value") for side in tensor.shape.dim), value.name
        count = math.prod(side.dim_value for side in tensor.shape.dim)
        sizes[value.name] = count * helper.tensor_dtype_to_np_dtype(tensor.elem_type).itemsize
    moved = 0
    for node in graph.node:
        if node.op_type not in VIEWS:
            read = [name for name in node.input if name]
            if node.op_type == "Gather":
                read = [*read[1:], *node.output]
            moved += sum(sizes[name] for name in (*read, *node.output))
    return moved


def moved_for(group, dtype: str) -> float:
    """Megabytes a frame that making the inputs moves."""
    computed = "float32" if group.precise and dtype == "float32" else "float16"
    model, arrays = picture_graph(computed, dtype), numbers(group, computed)
    for name in ("sides", "shape", "margins"):  # shapes follow from them
        model.graph.initializer.append(numpy_helper.from_array(arrays[name], name))
    shapes = {"samples": (1, group.tile), "picture": (len(group), *group.size_hw, 3)}
    shapes |= {name: array.shape for name, array in arrays.items()}
    return bytes_moved(model, shapes) / FRAMES / 1e6


PLANES, RGB = ("bt709", False), None
# Before, by the same count: canvases 119 and 356 MB, or 738 at 608; crops 104; RGB of planes 374.
CANVASES = {
    (PLANES, 416, "linear"): 27,
    (PLANES, 416, "cubic"): 44,
    (PLANES, 608, "linear"): 45,
    (PLANES, 608, "cubic"): 71,
    (RGB, 416, "linear"): 36,
    (RGB, 416, "cubic"): 59,
}
CROPS = {(PLANES, "uint8"): 26, (PLANES, "float32"): 28, (RGB, "uint8"): 32, (RGB, "float32"): 62}


@pytest.mark.parametrize(("colors", "side", "interpolation"), CANVASES)
def test_few_bytes_are_moved_for_a_canvas(colors, side, interpolation):
    images = Block(None, FRAMES, SIZE_WH, None, colors=colors).images()
    [canvases] = GpuImage.letterboxed(images, Letterbox(side, side, interpolation, 128)).groups
    assert moved_for(canvases, "uint8") < CANVASES[colors, side, interpolation]


@pytest.mark.parametrize(("colors", "dtype"), CROPS)
def test_few_bytes_are_moved_for_three_crops(colors, dtype):
    images, rule = Block(None, FRAMES, SIZE_WH, None, colors=colors).images(), CropRule(192, 256, 1.2, "height")
    corners = crop_corners(crop_boxes(np.array(PEOPLE * FRAMES, np.float32), rule), rule)
    [crops] = GpuImage.cropped(images, np.arange(FRAMES).repeat(len(PEOPLE)), corners, rule, dtype).groups
    assert moved_for(crops, dtype) < CROPS[colors, dtype]
