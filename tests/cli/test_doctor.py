"""`cliffvid doctor`: what it says of a machine, and that it says so only of what it tried."""

import json
import os
import shutil
import subprocess
import sys

import av
import pytest
from av.codec.hwaccel import HWAccel

from cliffvid.cli import doctor
from cliffvid.video.container import decoding_fault
from fake_cuda_ort import FakeOrt
from fake_gpu import FakeGpu


def run(tmp_path, *args, path=None):
    env = {**os.environ, "PATH": path or os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-m", "cliffvid", "doctor", "--json", *map(str, args)],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, {(f["topic"], f["name"]): f for f in map(json.loads, done.stdout.splitlines())}


def test_a_machine_without_a_gpu(tmp_path):
    code, findings = run(tmp_path, path="/nowhere")
    assert code == 0
    assert findings["backend", "onnxruntime on cpu"]["ok"] is True
    assert findings["GPU", "NVIDIA"]["ok"] is None and "no nvidia-smi" in findings["GPU", "NVIDIA"]["words"]
    assert "cliffvid[gpu]" in findings["backend", "onnxruntime on cuda"]["words"]
    if not os.path.exists("/dev/nvidia0"):
        decoder = findings["decode", "FFmpeg on cuda"]
        assert decoder["ok"] is None and "Cannot load libcuda.so.1" in decoder["words"]  # as FFmpeg's log has it
    assert findings["detect", "person-open (default)"]["ok"] and findings["regress", "cliff-open (default)"]["ok"]
    yolo = findings["official", "yolov3.weights"]
    for words in (
        "not here",
        "pjreddie.com",
        "248,007,048 bytes",
        "523e4e69",
        "public domain",
        "cliffvid export yolov3",
    ):
        assert words in yolo["words"]
    cliff = findings["official", "hr48-PA43.0_MJE69.0_MVE81.2_3dpw.pt"]["words"]
    smpl = findings["official", "SMPL_NEUTRAL.pkl"]["words"]
    assert "smpl.is.tue.mpg.de" in smpl and "models add-body SMPL_NEUTRAL.pkl" in smpl and "Licence: SMPL's own" in smpl
    assert "noah-research" in cliff and "317 MB" in cliff and "sha256 not known" in cliff and "MIT" in cliff


@pytest.mark.parametrize(
    ("script", "ok", "words"),
    [
        ("echo 'NVIDIA H100 80GB HBM3, 81559 MiB, 580.65.06'", True, "H100 80GB HBM3, 81559 MiB, 580.65.06"),
        ("echo 'NVIDIA-SMI has failed'; exit 9", False, "NVIDIA-SMI has failed); check the driver"),
    ],
)
def test_what_nvidia_smi_says(tmp_path, script, ok, words):
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\n{script}\n")
    smi.chmod(0o755)
    code, findings = run(tmp_path, path=f"{tmp_path}:/usr/bin:/bin")
    assert findings["GPU", "NVIDIA"]["ok"] is ok and words in findings["GPU", "NVIDIA"]["words"]
    assert code == (0 if ok else 1)


@pytest.mark.needs_cuda
def test_a_gpu_that_decodes():
    finding = doctor.decoder()
    assert finding.ok is True and "decodes H.264" in finding.words


def test_a_decoder_is_tried_on_a_film(capfd):
    assert decoding_fault(None) is None  # the CPU decodes it
    assert "decodes no H.264 there" in decoding_fault(HWAccel("qsv", allow_software_fallback=True))
    assert av.logging.get_level() is None and capfd.readouterr() == ("", "")


def test_what_draws_is_really_opened(monkeypatch):
    from cliffvid import BackendError

    def fail(name):
        raise BackendError("apt-get install libegl1")

    monkeypatch.setattr(doctor, "open_renderer", fail)
    finding = doctor.renderer()
    assert finding.ok is None and "does not work: apt-get install libegl1" in finding.words


def test_models_of_ones_own_in_use_and_broken(tmp_path, toys):
    shutil.copytree(toys / "toy-detector", tmp_path / "engines" / "yolov3")
    manifest = tmp_path / "engines" / "yolov3" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"toy-detector"', '"yolov3"'))
    shutil.copytree(toys / "toy-regressor", tmp_path / "engines" / "cliff-open")  # a name that a bundled model has too
    own = tmp_path / "engines" / "cliff-open" / "manifest.json"
    own.write_text(own.read_text().replace('"toy-regressor"', '"cliff-open"'))
    code, findings = run(tmp_path)
    assert code == 0 and findings["official", "yolov3.weights"]["words"].startswith("in use as yolov3")
    assert findings["backend", "onnxruntime on cpu"]["words"].startswith("works; the bundled regressor is")
    manifest.write_text(manifest.read_text().replace('"schema": 1', '"schema": 7'))
    code, findings = run(tmp_path)
    broken = findings["detect", "yolov3"]
    assert code == 1 and broken["ok"] is False and "schema 7" in broken["words"]
    assert findings["official", "yolov3.weights"]["words"].startswith("not here")


def test_two_builds_of_onnxruntime_are_told(monkeypatch):
    monkeypatch.setattr("cliffvid.models.backends.ort.version", lambda name: "1.24.0")
    (finding,) = doctor.wheels()
    assert finding.ok is False and "overwrite each other" in finding.words and "pip uninstall" in finding.words


@pytest.mark.parametrize("file", ["libc.so.6", "none.so"])
def test_cudnn_is_looked_for_where_onnxruntime_has_cuda(monkeypatch, file):
    assert list(doctor.cudnn()) == []
    monkeypatch.setattr(doctor, "load_onnxruntime", lambda: FakeOrt(FakeGpu()))
    monkeypatch.setattr(doctor, "CUDNN", file)
    (finding,) = doctor.cudnn()
    assert finding.ok is False and "does not load" in finding.words and "pip install nvidia-cudnn-cu12" in finding.words
