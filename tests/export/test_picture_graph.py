"""The graphs that make pictures on a device: the files the runtime has, and whether TensorRT takes them."""

import pytest

import needs
from cliffvid.export.folder.graph import to_bytes
from cliffvid.export.folder.image_graphs import nv12_graph, picture_graph, planes_graph
from cliffvid.models.backends.ort_images import FROM_NV12, FROM_PLANES, PICTURE


@pytest.mark.parametrize(
    ("file", "graph"), [(PICTURE, picture_graph), (FROM_PLANES, planes_graph), (FROM_NV12, nv12_graph)]
)
def test_the_runtime_has_the_files_that_are_made_here(file, graph):
    """If not: python -m cliffvid.export.folder.image_graphs"""
    assert file.read_bytes() == to_bytes(graph())


LINES = ((1, 16, 2), (8, 256, 2), (64, 608, 4))  # the least, the usual and the most: canvases and crops
PROFILES = {
    PICTURE: {
        "frames": ((1, 16, 16, 3), (8, 1080, 1920, 3), (16, 2160, 4096, 3)),
        **dict.fromkeys(("rows", "row_weights", "columns", "column_weights"), LINES),
    },
    FROM_PLANES: {
        "y": ((1, 16, 16), (1, 1080, 1920), (1, 2160, 4096)),
        **dict.fromkeys("uv", ((1, 8, 8), (1, 540, 960), (1, 1080, 2048))),
    },
    FROM_NV12: {"y": ((16, 512), (1080, 2048), (2160, 4096)), "uv": ((8, 512), (540, 2048), (1080, 4096))},
}
OUTPUTS = {PICTURE: {"exact": "FLOAT", "rounded": "UINT8"}, FROM_PLANES: {"rgb": "UINT8"}, FROM_NV12: {"rgb": "UINT8"}}


@pytest.mark.parametrize("file", [PICTURE, FROM_PLANES, FROM_NV12], ids=lambda file: file.stem)
def test_tensorrt_builds_them(file):
    """For frames up to 4K."""
    trt = needs.package("tensorrt_rtx")
    log = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    assert trt.OnnxParser(network, log).parse(file.read_bytes())
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    assert {tensor.name: tensor.dtype.name for tensor in outputs} == OUTPUTS[file]
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    profile = builder.create_optimization_profile()
    for name, shapes in PROFILES[file].items():
        profile.set_shape(name, *shapes)
    if file == FROM_NV12:
        profile.set_shape_input("width", (16,), (1920,), (4096,))
    assert config.add_optimization_profile(profile) == 0
    plan = builder.build_serialized_network(network, config)
    assert plan is not None and bytes(plan)[:4] == b"vtrt"
