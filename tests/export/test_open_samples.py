"""The bundled samples are what independent code answers to real pictures, and the bundled networks answer so too."""

import numpy as np
import pytest

from cliffvid.errors import ModelError
from cliffvid.models.manifest import BUNDLED, read_manifest
from cliffvid.models.parity import check_samples
from cliffvid.models.session import open_session
from open_samples import PEOPLE, detector_samples, person_samples, regressor_samples

MAKERS = {
    "person-open": person_samples,
    "yolov3-tiny": detector_samples,
    "cliff-open": lambda sources, scratch: regressor_samples(sources),
}


@pytest.mark.parametrize(("name", "count"), [("person-open", 1), ("yolov3-tiny", 1), ("cliff-open", PEOPLE)])
def test_samples_are_the_references_own(sources, tmp_path, name, count):
    inputs, reference = MAKERS[name](sources, tmp_path)
    with np.load(BUNDLED / name / "samples.npz", allow_pickle=False) as kept:
        # a decoder's or resizer's other version may round other pixels up
        for key, value in inputs.items():
            assert len(value) == count
            np.testing.assert_allclose(kept[f"input.{key}"].astype(float), value, atol=2)
        for key, value in reference.items():
            np.testing.assert_allclose(kept[f"reference.{key}"], value, atol=2e-3, rtol=2e-3)
    if count > 1:
        assert (reference["presence"] > 0.9).all()  # people


def test_the_heavy_network_answers_as_its_reference(cliffvid, sources, tmp_path):
    """It is exported by the command, answers as LiteRT and the slow head do, and runs by its name."""
    _, reference = regressor_samples(sources, "blazepose-heavy")
    assert (
        cliffvid("export", "open", "--heavy", "--out", tmp_path / "m", "--sources", sources, toy_models=False)[0] == 0
    )
    folder = tmp_path / "m" / "cliff-open-heavy"
    with np.load(folder / "samples.npz", allow_pickle=False) as kept:
        for key, value in reference.items():
            np.testing.assert_allclose(kept[f"reference.{key}"], value, atol=2e-3, rtol=2e-3)
    with open_session(read_manifest(folder)) as session:
        assert set(check_samples(session)) == set(session.manifest.outputs)
    code, _, said = cliffvid("export", "open", "--heavy", "--check", toy_models=False)
    assert code == 2 and "--heavy --check: cliff-open-heavy is not bundled" in said


@pytest.mark.parametrize("name", MAKERS)
def test_the_bundled_networks_answer_as_the_references(name):
    with open_session(read_manifest(BUNDLED / name)) as session:
        found = check_samples(session)
        assert set(found) == set(session.manifest.outputs) and all(error > 0 for error in found.values())
        session.manifest.parity["bound"]["model.onnx"] = max(found.values()) * 0.99
        with pytest.raises(ModelError, match=rf"{name}: .* from the reference .*its results would be wrong"):
            check_samples(session)
