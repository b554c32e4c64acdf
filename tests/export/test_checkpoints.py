"""Files that are no checkpoint, or not the right one: one clear error each, and no code ever runs."""

import argparse
import collections
import os
import pickle
import sys
import types
import warnings

import numpy as np
import pytest
import torch

from cliffvid.errors import InputError, ModelError
from cliffvid.export.cliff.checkpoints import bare_key, read_state_dict
from cliffvid.export.cliff.network import load_cliff
from synthetic import make_tiny_checkpoint

WEIGHTS = {"encoder.conv1.weight": torch.arange(4.0)}


class Bomb:
    """Makes a folder when unpickled."""

    def __init__(self, path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_prefixes_go_and_nothing_else_does():
    keys = {
        "module.encoder.incre_modules.0.weight": "encoder.incre_modules.0.weight",
        "model.backbone.conv1.weight": "backbone.conv1.weight",
        "model.module.head.fc1.weight": "head.fc1.weight",
        "head.downsample_module.0.weight": "head.downsample_module.0.weight",
        "fc1.weight": "fc1.weight",
    }
    assert {key: bare_key(key) for key in keys} == keys


@pytest.mark.parametrize("zipped", [True, False])
def test_what_trainers_keep_beside_the_weights_is_read_past(tmp_path, zipped):
    """Their classes need not be installed, and are not created."""
    names = {
        "CfgNode": "yacs.config",
        "AttributeDict": "pytorch_lightning.utilities.parsing",
        "ModelCheckpoint": "pytorch_lightning.callbacks.model_checkpoint",
    }
    modules, classes = {}, []
    for name, module in names.items():
        classes.append(type(name, (dict,), {"__module__": module}))
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            modules.setdefault(".".join(parts[:end]), types.ModuleType(parts[end - 1]))
        setattr(modules[module], name, classes[-1])
    config, settings, callback = classes
    node = config(lr=1e-4, inner=config(size=3))
    node.__dict__["__immutable__"] = True
    content = {
        "state_dict": collections.OrderedDict(WEIGHTS),
        "hyper_parameters": settings(config=node, options=argparse.Namespace(epochs=3)),
        "callbacks": {callback: {"best": np.float64(3), "step": np.int64(4), "flag": np.bool_(True)}},
        "history": np.array([1.0, 2.0]),
    }
    path = tmp_path / "lightning.ckpt"
    with pytest.MonkeyPatch.context() as patch:
        for name, module in modules.items():
            patch.setitem(sys.modules, name, module)
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert torch.equal(read_state_dict(path)["encoder.conv1.weight"], torch.arange(4.0))


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path, form):
    path, mark = tmp_path / "evil.pt", tmp_path / "was-run"
    content = {"model": WEIGHTS, "more": Bomb(mark)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(content["more"], protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(ModelError, match=r"evil\.pt: refused: .*posix\.mkdir.*Nothing was run"):
        read_state_dict(path)
    assert not mark.exists()
    Bomb(mark).__reduce__()[0](str(mark))  # the bomb is live
    assert mark.exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"<!DOCTYPE html><html>Google Drive can't scan this file for viruses</html>", "a web page"),
        (b"\n <html></html>", "a web page"),
        (b"PK\x03\x04" + bytes(3000), "damaged, or no PyTorch checkpoint"),
        (np.random.default_rng(0).bytes(4000), "damaged, or no PyTorch checkpoint"),
        (b"\x00\x00\x00\x00\x02\x00\x00\x00" + bytes(4000), "damaged, or no PyTorch checkpoint"),  # darknet's weights
        (b"some text", "damaged, or no PyTorch checkpoint"),
    ],
    ids=["page", "page after space", "broken zip", "noise", "darknet", "text"],
)
def test_files_of_other_kinds(tmp_path, content, told):
    path = tmp_path / "cliff.pt"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=rf"cliff\.pt: {told}.*(download|open its link)"):
        load_cliff(path)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("part", [0.03, 0.5, 0.99])
def test_truncated(tmp_path, part, zipped):
    path = tmp_path / "cliff.pt"
    torch.save({"model": {"fc1.weight": torch.ones(300, 300)}}, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(ModelError, match=r"cliff\.pt: damaged.*download it again"):
        load_cliff(path)


def test_one_changed_byte(tmp_path):
    path = tmp_path / "cliff.pt"
    torch.save({"model": {"fc1.weight": torch.ones(300, 300)}}, path)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ModelError, match=r"cliff\.pt: damaged.*has changed since it was written"):
        load_cliff(path)


def test_torchscript(tmp_path):
    path = tmp_path / "cliff.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit's own
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(ModelError, match=r"cliff\.pt: .*TorchScript"):
        load_cliff(path)


@pytest.mark.parametrize("content", [[1, 2], torch.ones(3), {"epoch": 3}, {"model": {}}, "text", None])
def test_no_weights_inside(tmp_path, content):
    torch.save(content, tmp_path / "cliff.pt")
    with pytest.raises(ModelError, match=r"cliff\.pt: no weights: expected a state dict"):
        load_cliff(tmp_path / "cliff.pt")


def test_missing_file_and_folder(tmp_path):
    (tmp_path / "empty.pt").touch()
    os.mkfifo(tmp_path / "pipe.pt")
    told = {
        "none.pt": "no such file; give the path of the checkpoint",
        ".": "a folder",
        "empty.pt": "the file is empty",
        "pipe.pt": "a pipe",
    }
    for name, words in told.items():
        with pytest.raises(InputError, match=words):
            load_cliff(tmp_path / name)


def test_another_network(tmp_path):
    torch.save({"state_dict": {"conv1.weight": torch.ones(64, 3, 7, 7), "fc.bias": torch.ones(9)}}, tmp_path / "net.pt")
    with pytest.raises(ModelError, match=r"net\.pt: holds 2 tensors \(conv1\.weight, fc\.bias\).*official CLIFF HRNet"):
        load_cliff(tmp_path / "net.pt")


def without(key):
    return lambda weights: weights.pop(key)


def with_value(key, value):
    return lambda weights: weights.update({key: value})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without("encoder.bn1.running_var"), r"1 tensors missing: encoder\.bn1\.running_var"),
        (without("init_pose"), r"1 tensors missing: init_pose"),
        (with_value("fc3.weight", torch.ones(2)), r"1 tensors unexpected: fc3\.weight"),
        (with_value("fc2.bias", torch.ones(1023)), r"wrong shape: fc2\.bias \(1023,\) instead of \(1024,\)"),
        (with_value("fc2.bias", torch.ones(1024).int()), r"wrong type: fc2\.bias torch\.int32"),
        (with_value("fc2.bias", torch.full((1024,), torch.nan)), r"not finite: fc2\.bias"),
        (with_value("fc2.bias", torch.ones(1024).index_fill(0, torch.tensor(3), torch.inf)), r"not finite: fc2\.bias"),
    ],
)
def test_not_exactly_the_tensors_of_the_network(monkeypatch, tmp_path, change, told):
    path = make_tiny_checkpoint(monkeypatch, tmp_path / "cliff.pt", change=change)
    with pytest.raises(ModelError, match=rf"cliff\.pt: expected the \d+ tensors of official CLIFF ResNet-50.*{told}"):
        load_cliff(path)


def test_what_changes_no_result_is_forgiven(monkeypatch, tmp_path):
    """Counters of batches may be missing, and weights be stored in another precision."""

    def change(weights):
        for key in [key for key in weights if key.endswith("num_batches_tracked")]:
            del weights[key]
        weights["fc1.bias"] = weights["fc1.bias"].double()
        weights["fc2.bias"] = weights["fc2.bias"].half()

    network = load_cliff(make_tiny_checkpoint(monkeypatch, tmp_path / "cliff.pt", change=change))
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32, torch.int64}
