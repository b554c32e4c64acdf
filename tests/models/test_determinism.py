"""A row's answer does not depend on its company: to the bit, where the runtime allows it."""

import numpy as np
import pytest

import needs
from cliffvid.errors import BackendError
from cliffvid.models.manifest import BUNDLED, read_manifest
from cliffvid.models.parity import SAMPLES
from cliffvid.models.session import open_session


def rows_of(manifest, count, height):
    """Pictures of the model's own samples, moved sideways; of detectors the upper part."""
    with np.load(BUNDLED / manifest.name / SAMPLES) as samples:
        inputs = {name: samples[f"input.{name}"].astype(t.dtype) for name, t in manifest.inputs.items()}
    for name, rows in inputs.items():
        moved = [np.roll(rows, 8 * i, axis=2) if rows.ndim == 4 else rows for i in range(-(-count // len(rows)))]
        inputs[name] = np.concatenate(moved)[:count, :height]
    return inputs


@pytest.mark.parametrize(("name", "height"), [("person-open", 352), ("cliff-open", 256)])
@pytest.mark.parametrize(
    ("backend", "precision"), [("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")]
)
def test_bits_are_equal_over_batch_sizes_places_and_threads(backend, precision, name, height, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    needs.package(backend)
    manifest = read_manifest(BUNDLED / name)
    count = 5
    inputs, first = rows_of(manifest, count, height), None
    for threads in (1, 2):
        try:
            session = open_session(manifest, backend, "cpu", threads, precision)
        except BackendError as error:
            pytest.skip(str(error))
        with session:
            for size in (count, 1, 3):
                parts = [
                    session.run({key: value[start : start + size] for key, value in inputs.items()})
                    for start in range(0, count, size)
                ]
                answers = {key: np.concatenate([part[key] for part in parts]) for key in manifest.outputs}
                first = first or answers
                for key, value in answers.items():
                    np.testing.assert_array_equal(value, first[key], err_msg=f"{threads} threads, batches of {size}")
    assert len({row.tobytes() for row in first[next(iter(first))]}) == count  # no row is another's
