import os
import pickle

import numpy as np
import pytest

from bodies import body_arrays, save_npz, save_pkl
from cliffvid.errors import ModelError, UsageError
from cliffvid.models.body import load_body
from cliffvid.models.smpl_files import add_body, read_body_file


@pytest.fixture(scope="module")
def arrays():
    return body_arrays("smpl")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user without bodies, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("CLIFFVID_ENGINES", raising=False)
    load_body.cache_clear()
    yield tmp_path
    load_body.cache_clear()


def test_a_pickle_with_chumpy_and_scipy_in_it_is_read_without_either(arrays, tmp_path):
    path = save_pkl(tmp_path / "SMPL_NEUTRAL.pkl", arrays)
    assert b"chumpy.reordering" in path.read_bytes() and b"scipy.sparse" in path.read_bytes()
    found = read_body_file(path)
    for key, array in arrays.items():
        np.testing.assert_allclose(found[key], array, rtol=1e-6, atol=1e-30)


class Evil:
    def __init__(self, call, *args):
        self.call = call, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "data, named",
    [
        (pickle.dumps(Evil(os.system, "touch ran"), 2), "system"),
        (pickle.dumps({"v_template": Evil(os.system, "touch ran")}, 4), "system"),
        (b'cbuiltins\neval\n(S\'open("ran", "w")\'\ntR.', "builtins.eval"),
        (b"c__builtin__\ngetattr\n(cnumpy\nndarray\nS'__class__'\ntR.", "getattr"),
        (b"cnumpy\nload\n(S'x'\ntR.", "numpy.load"),
        (b"\x80\x04\x8c\x05numpy\x8c\x0edtype.__init__\x93.", "dtype.__init__"),
        (b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\n(I0\ntS'b'\ntR.", "unknown kind"),
    ],
)
def test_a_pickle_that_would_run_something_is_refused_by_name(data, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "SMPL_NEUTRAL.pkl").write_bytes(data)
    with pytest.raises(ModelError, match=named):
        read_body_file(tmp_path / "SMPL_NEUTRAL.pkl")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("key", ["f", "weights", "kintree_table"])
def test_arrays_that_do_not_fit_each_other_are_refused(key, arrays, tmp_path):
    wrong = {
        "f": arrays["f"] + 6890,
        "weights": arrays["weights"][:, 1:],
        "kintree_table": arrays["kintree_table"][:, ::-1],
    }
    path = save_npz(tmp_path / "SMPL_NEUTRAL.npz", arrays | {key: wrong[key]})
    with pytest.raises(ModelError, match="not a body in SMPL's format"):
        read_body_file(path)


def test_files_that_are_no_body(tmp_path):
    for name, data in {"b.pkl": b"text", "c.npz": b"PK\x03\x04cut", "d.pkl": pickle.dumps({})}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ModelError, match="not a body"):
            read_body_file(tmp_path / name)


def test_an_added_body_is_found_by_name(arrays, home):
    with pytest.raises(UsageError, match=r"fetch SMPL_NEUTRAL.pkl from https://smpl.is.tue.mpg.de, then: cliffvid"):
        load_body("smpl")
    with pytest.raises(UsageError, match=r"SMPLX_MALE\.npz"):
        load_body("smplx-male")
    add_body(save_pkl(home / "basicModel_neutral_lbs_10_207_0_v1.0.0.pkl", arrays))
    add_body(save_npz(home / "basicmodel_f_lbs.npz", arrays | {"v_template": arrays["v_template"] * 2}))
    body = load_body("smpl")
    assert not body.redistributable and load_body("open-body").redistributable
    np.testing.assert_allclose(body.rest_joints_m, arrays["J_regressor"] @ arrays["v_template"], atol=1e-6)
    np.testing.assert_allclose(load_body("smpl-female").rest_joints_m, 2 * body.rest_joints_m, atol=1e-5)
    with pytest.raises(UsageError, match="--gender"):
        add_body(save_npz(home / "body.npz", arrays))
    assert add_body(home / "body.npz", "male").name == "smpl-male"
