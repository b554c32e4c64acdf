"""TensorRT running, on the stand-in of fake_gpu.py; and whether the real packages have what is used of them."""

import ast
import sys
from pathlib import Path

import numpy as np
import pytest

import cliffvid
import fake_gpu
from cliffvid.errors import BackendError
from cliffvid.models.backends.trt import bucket
from cliffvid.models.manifest import BUNDLED, read_manifest
from cliffvid.models.session import open_session
from fake_gpu import FakeGpu, open_on_gpu
from toys import toy_people


@pytest.mark.parametrize("rows", [1, 5, 31, 32, 33, 64, 100, 131])
def test_batches_of_any_size_come_back_in_order(gpu, folder, rows):
    inputs = toy_people(rows)
    with open_on_gpu(folder) as session, open_session(read_manifest(folder), "onnxruntime", "cpu") as exact:
        gpu.batches.clear()
        found, wanted = session.run(inputs), exact.run(inputs)
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, atol=1e-6, err_msg=name)
    assert gpu.batches == [32] * (rows // 32) + ([bucket(rows % 32, 32)] if rows % 32 else [])
    assert len(np.unique(found["betas"], axis=0)) == rows  # the rows differ


def test_one_piece_is_copied_while_another_is_computed(gpu, folder):
    with open_on_gpu(folder) as session:
        assert gpu.most_at_once == 1  # and a batch that fits needs no second set of buffers
        session.run(toy_people(64))
        assert gpu.most_at_once == 2


@pytest.mark.parametrize(("rows", "most", "size"), [(1, 32, 1), (3, 32, 4), (17, 32, 32), (17, 24, 24), (8, 8, 8)])
def test_sizes_of_batches_are_few(rows, most, size):
    assert bucket(rows, most) == size


def test_memory_and_streams_are_given_back(gpu, folder):
    with open_on_gpu(folder) as session:
        session.run(toy_people(70))
        assert gpu.allocated and len(gpu.streams) == 2
    assert gpu.allocated == {} and gpu.streams == {}


def test_a_failing_batch_leaves_the_session_usable(gpu, folder):
    with open_on_gpu(folder) as session:
        bad = toy_people(4)
        bad["crop"] = bad["crop"][:, :, :20]
        with pytest.raises(BackendError, match=r"refuses shape \(4, 32, 20, 3\) of 'crop' .*not in the profile"):
            session.run(bad)
        with pytest.raises(TypeError):
            session.run(toy_people(70) | {"bbox_info": np.zeros((70, 3))})  # float64
        assert not any(gpu.streams.values())  # no copy is under way into buffers that come to be used again
        assert len(session.run(toy_people(70))["betas"]) == 70


@pytest.mark.parametrize(
    ("memory", "words"),
    [
        (1 << 20, r"memory is full: 67 MB are needed for batches of up to 32, 1 MB are free; .*--max-batch"),
        (65 << 20, "memory is full"),
    ],
)
def test_full_memory_is_told(gpu, memory, words):
    gpu.memory = memory
    with pytest.raises(BackendError, match=words):
        open_on_gpu(BUNDLED / "yolov3-tiny")
    assert gpu.allocated == {} and gpu.streams == {}


def test_where_memory_has_no_room_for_two_pieces_they_take_turns(gpu, folder):
    inputs = toy_people(64)
    with open_on_gpu(folder) as session:
        whole = session.run(inputs)
    with open_on_gpu(folder) as session:
        gpu.memory = sum(map(len, gpu.allocated.values())) + (1 << 20)
        for name, answer in session.run(inputs).items():
            np.testing.assert_array_equal(answer, whole[name])
        assert len(gpu.streams) == 1 and len(session.warnings) == 1


def test_kernels_that_rtx_compiled_are_kept(gpu, folder):
    with open_on_gpu(folder) as session:
        session.run(toy_people(5))
    (cache,) = folder.glob("*.cache")
    assert b"batch-8" in cache.read_bytes()
    with open_on_gpu(folder) as session:
        session.run(toy_people(2))
    assert {b"batch-2", b"batch-8"} < set(cache.read_bytes().split())


def test_what_is_not_installed_is_named(gpu, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(BackendError, match=r"tensorrt is not installed: pip install .*\[tensorrt\].*\[rtx\]"):
        open_on_gpu(folder)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(BackendError, match=r"cuda.bindings.runtime is not installed: pip install .*\[tensorrt\]"):
        open_on_gpu(folder)


# -- the real packages -----------------------------------------------------------------------------------------------

# what the names in the three files stand for
TENSORRT = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "context": "IExecutionContext",
    "engine": "ICudaEngine",
    "e": "ParserError",
    "t": "ITensor",
    "self._runtime": "Runtime",
    "self._engine": "ICudaEngine",
    "self._config": "IRuntimeConfig",
    "self._cache": "IRuntimeCache",
    "self._context": "IExecutionContext",
}
RTX_ALONE = {  # in tensorrt_rtx, and not in tensorrt: used behind a question for the flavour
    "IBuilderConfig.set_compute_capability",
    "IBuilderConfig.num_compute_capabilities",
    "ComputeCapability.__members__",
    "IRuntimeConfig.create_runtime_cache",
    "IRuntimeConfig.set_runtime_cache",
    "IRuntimeCache.deserialize",
    "IRuntimeCache.serialize",
}


def used_names(file):
    """The dotted names that a file uses of TensorRT and of cuda-python."""
    source = (Path(cliffvid.__file__).parent / file).read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            owner, _, rest = ast.unparse(node).rpartition(".")
            for start in ("trt.", "maker.trt.", "self._maker.trt.", "self._cuda.", "runtime."):
                if f"{owner}.".startswith(start) and "(" not in owner and "[" not in owner:
                    yield f"{owner}.{rest}".removeprefix(start)
            if owner in TENSORRT:
                yield f"{TENSORRT[owner]}.{rest}"


def resolve(package, dotted):
    for part in dotted.split("."):
        package = getattr(package, part)
    return package


def test_every_name_that_is_used_is_in_the_real_package():
    import tensorrt_rtx

    used = {*used_names("models/backends/trt.py"), *used_names("models/backends/trt_plans.py")}
    assert {"IExecutionContext.execute_async_v3", "OnnxParser.get_error", "Builder.build_serialized_network"} <= used
    assert used > RTX_ALONE and len(used) > 40
    for name in used:
        assert resolve(tensorrt_rtx, name) is not None, name


def test_every_cuda_call_that_is_used_is_in_the_real_package():
    from cuda.bindings import runtime

    used = set(used_names("cuda.py"))
    assert {"cudaMemcpyAsync", "cudaMallocHost", "cudaError_t.cudaErrorMemoryAllocation"} <= used and len(used) > 12
    for name in used:
        assert resolve(runtime, name) is not None, name


@pytest.mark.parametrize(
    ("fake", "real"),
    [
        (fake_gpu.FakeRuntime, "Runtime"),
        (fake_gpu.FakeRtxEngine, "ICudaEngine"),
        (fake_gpu.FakeContext, "IExecutionContext"),
        (fake_gpu.FakeRuntimeConfig, "IRuntimeConfig"),
        (fake_gpu.FakeRuntimeCache, "IRuntimeCache"),
    ],
)
def test_the_stand_in_has_no_name_that_the_real_package_lacks(fake, real):
    invented = {name for name in dir(fake) if not name.startswith("_")} - set(dir(getattr(fake_gpu.real, real)))
    assert invented <= {"cache"}


def test_the_stand_in_for_cuda_answers_as_the_real_one():
    from cuda.bindings import runtime

    for name in (name for name in dir(fake_gpu.FakeCuda) if not name.startswith("_")):
        assert hasattr(runtime, name)
    gpu = FakeGpu()
    for name, arguments in (
        ("cudaMalloc", (8,)),
        ("cudaMemGetInfo", ()),
        ("cudaStreamCreateWithFlags", (1,)),
        ("cudaFree", (0,)),
    ):
        real, fake = getattr(runtime, name)(*arguments), getattr(gpu.cuda, name)(*arguments)
        assert len(real) == len(fake) and type(real[0]) is type(fake[0])
