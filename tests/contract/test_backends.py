"""One body of promises for every runtime that works here: see cliffvid.backends.Session."""

import numpy as np
import pytest

from cliffvid.backends import KNOWN, open_session
from cliffvid.errors import BackendError, ModelError
from cliffvid.models import BUNDLED, read_manifest
from cliffvid.parity import check_samples


@pytest.fixture(params=[*KNOWN, "tensorrt-rtx"])
def run_on(request, tmp_path_factory, monkeypatch):
    """Function of a manifest: an open session of this backend, one thread; caches are thrown away."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    backend, device = request.param, KNOWN[request.param.removesuffix("-rtx")].devices[0]
    if device == "cuda":
        from fake_gpu import FakeGpu, put_in_place

        put_in_place(monkeypatch, FakeGpu(), backend)
        monkeypatch.setattr("cliffvid.backends.trt.MAX_BATCH", 8)  # less than some batches here
    else:
        pytest.importorskip(backend)

    def run(manifest):
        session = open_session(manifest, backend.removesuffix("-rtx"), device, 1)
        assert (session.backend, session.precision, session.device) == (backend, "fp32", device)
        return session

    return run


def toy_inputs(manifest, rows):
    rng = np.random.default_rng(0)
    return {
        name: (rng.integers(0, 256, (rows, *row)) if len(row) == 3 else rng.random((rows, *row)))
        .astype(manifest.inputs[name].dtype)
        for name, row in manifest.row_shapes().items()
    }  # fmt: skip


@pytest.mark.parametrize("name", ["toy-detector", "toy-regressor"])
def test_any_number_of_rows_by_name_dtype_and_shape(run_on, toys, name):
    manifest = read_manifest(toys / name)
    inputs = toy_inputs(manifest, 19)
    with run_on(manifest) as session:
        whole = session.run(inputs)
        kept = {key: value.copy() for key, value in whole.items()}
        for rows in (0, 1, 2, 7, 18):
            part = session.run({key: value[:rows] for key, value in inputs.items()})
            assert part.keys() == manifest.outputs.keys()
            for key, spec in manifest.outputs.items():
                assert part[key].dtype == spec.dtype and part[key].shape == (rows, *spec.shape[1:])
                np.testing.assert_allclose(part[key], whole[key][:rows], rtol=1e-5, atol=1e-6)
        for key, value in whole.items():
            np.testing.assert_array_equal(value, kept[key])  # later runs leave earlier answers alone


def test_inputs_need_not_be_contiguous(run_on, toys):
    manifest = read_manifest(toys / "toy-regressor")
    inputs = toy_inputs(manifest, 6)
    with run_on(manifest) as session:
        every_other = session.run({key: value[::2] for key, value in inputs.items()})
        copied = session.run({key: value[::2].copy() for key, value in inputs.items()})
    for key, value in copied.items():
        np.testing.assert_array_equal(every_other[key], value)


def test_two_at_once_and_closed_twice(run_on, toys):
    first, second = read_manifest(toys / "toy-detector"), read_manifest(toys / "toy-regressor")
    with run_on(first) as a, run_on(second) as b:
        for _ in range(3):
            assert a.run(toy_inputs(first, 2)).keys() == first.outputs.keys()
            assert b.run(toy_inputs(second, 3)).keys() == second.outputs.keys()
        b.close()
        b.close()
        assert len(a.run(toy_inputs(first, 4))["box_px"]) == 4


@pytest.mark.parametrize(("name", "bound"), [("yolov3-tiny", 5e-3), ("cliff-open", 1e-4)])
def test_answers_are_the_references(run_on, name, bound):
    """float32 indeed: in bfloat16 the regressor's rotations would be off by 0.5."""
    with run_on(read_manifest(BUNDLED / name)) as session:
        assert max(check_samples(session).values()) < bound


def test_a_network_that_is_not_what_its_manifest_says(run_on, toys):
    manifest = read_manifest(toys / "toy-regressor")
    manifest.outputs["extra"] = manifest.outputs["betas"]
    with pytest.raises(ModelError, match="'extra': the manifest promises"):
        run_on(manifest)


def test_what_a_backend_does_not_have_is_told(toys):
    manifest = read_manifest(toys / "toy-regressor")
    with pytest.raises(BackendError, match="--device cuda: openvino has cpu here"):
        open_session(manifest, "openvino", "cuda")
    with pytest.raises(BackendError, match="--precision fp16: openvino has fp32"):
        open_session(manifest, "openvino", precision="fp16")
    with pytest.raises(ModelError, match=r"toy-regressor: has no model\.int8.*, which --precision int8 needs"):
        open_session(manifest, precision="int8")


def test_a_runtime_that_is_not_installed_is_named(toys, monkeypatch):
    import sys

    manifest = read_manifest(toys / "toy-regressor")
    for backend, extra in (("onnxruntime", "cpu"), ("openvino", "openvino")):
        monkeypatch.setitem(sys.modules, backend, None)
        with pytest.raises(BackendError, match=rf"{backend} is not installed: pip install .*\[{extra}\]"):
            open_session(manifest, backend)
