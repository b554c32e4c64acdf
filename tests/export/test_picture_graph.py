"""The graph that makes pictures on a device: the file the runtime has, and whether TensorRT takes it."""

import pytest

from cliffvid.backends.ort_pictures import GRAPH
from cliffvid.export.graph import to_bytes
from cliffvid.export.picture_graph import picture_graph


def test_the_runtime_has_the_file_that_is_made_here():
    """If not: python -m cliffvid.export.picture_graph"""
    assert GRAPH.read_bytes() == to_bytes(picture_graph())


def test_tensorrt_builds_it():
    """For frames up to 4K, the canvas of a detector and crops."""
    trt = pytest.importorskip("tensorrt_rtx")
    log = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    assert trt.OnnxParser(network, log).parse(GRAPH.read_bytes())
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    assert {(t.name, t.dtype) for t in outputs} == {("exact", trt.DataType.FLOAT), ("rounded", trt.DataType.UINT8)}
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    profile = builder.create_optimization_profile()
    profile.set_shape("frames", (1, 16, 16, 3), (8, 1080, 1920, 3), (16, 2160, 4096, 3))
    for line in ("row", "column"):
        for name in (f"{line}s", f"{line}_weights"):
            profile.set_shape(name, (1, 16, 2), (8, 256, 2), (64, 608, 4))
    assert config.add_optimization_profile(profile) == 0
    plan = builder.build_serialized_network(network, config)
    assert plan is not None and bytes(plan)[:4] == b"vtrt"
