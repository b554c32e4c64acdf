"""Batch sizes left to the program: what is chosen, what is remembered, and what is measured."""

import json
import time
from types import SimpleNamespace

import numpy as np
import pytest

from cliffvid import Options
from cliffvid.models import batch_size as batches
from cliffvid.models.manifest import BUNDLED, read_manifest
from cliffvid.models.session import OomRetry
from cliffvid.rules import Letterbox


class Device:
    """A session on a device that takes as long for a batch as ``cost_s`` says of its rows, with room for ``room``."""

    backend, device, precision = "onnxruntime", "cuda", "fp32"

    def __init__(self, manifest, cost_s, room=10**9):
        self.manifest, self._cost_s, self._room, self.asked = manifest, cost_s, room, []

    def run(self, inputs):
        self.asked.append({name: array.shape for name, array in inputs.items()})
        rows = len(next(iter(inputs.values())))
        if rows > self._room:
            raise RuntimeError("CUDA failure 2: out of memory")
        self.clock[0] += self._cost_s(rows)
        return {name: np.zeros((rows, *t.shape[1:]), t.dtype) for name, t in self.manifest.outputs.items()}


@pytest.fixture
def session_of(monkeypatch, tmp_path):
    """Function of a task, costs and room: such a device, whose clock is not the wall's; caches are the test's own."""
    clock = [0.0]
    monkeypatch.setattr(Device, "clock", clock, raising=False)
    monkeypatch.setattr(batches, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(batches, "nvidia_gpus", lambda: (True, "Imaginary GPU"))

    def make(task, cost_s, room=10**9):
        manifest = read_manifest(BUNDLED / {"detect": "yolov3-tiny", "regress": "cliff-open"}[task])
        return OomRetry(Device(manifest, cost_s, room), 1)

    return make


CACHE = ("cliffvid", "batches.json")


@pytest.mark.parametrize(
    ("task", "cost_s", "room", "best"),
    [
        ("detect", lambda n: 0.010 * n, 99, 1),  # batches gain nothing
        ("detect", lambda n: 0.010 + 0.001 * n, 99, 64),  # the more, the better
        ("detect", lambda n: 0.010 + 0.001 * n, 8, 8),  # as far as memory goes
        ("detect", lambda n: 0.001 * max(n, 4), 99, 4),  # full from four on
        ("regress", lambda n: 0.001 * max(n, 30), 999, 32),
        ("regress", lambda n: 9.0 + 0.001 * n, 99, 4),  # so slow that nothing more is tried
    ],
)
def test_the_least_size_that_is_nearly_the_fastest(session_of, task, cost_s, room, best):
    session = session_of(task, cost_s, room)
    assert batches.batch_for(session, Options()) == best
    assert not session.warnings
    rows = [len_of(shapes) for shapes in session._session.asked]
    assert max(rows) <= 2 * room and len(rows) <= 30


def len_of(shapes):
    return next(iter(shapes.values()))[0]


def test_what_was_found_is_remembered_per_network_device_precision_and_shape(session_of, tmp_path, caplog):
    caplog.set_level("INFO", "cliffvid")

    def ask(cost_s, options=None, **changed):
        session = session_of("detect", cost_s)
        for name, value in changed.items():
            setattr(session, name, value)
        return batches.batch_for(session, options or Options()), len(session._session.asked)

    slow_start, flat = (lambda n: 0.010 + 0.001 * n), (lambda n: 0.010 * n)
    assert ask(slow_start)[0] == 64
    assert caplog.messages == ["yolov3-tiny: finding the fastest batch size on cuda, once"]
    assert ask(flat) == (64, 0)  # another run, nothing measured
    assert len(caplog.messages) == 1
    assert ask(flat, Options(detector_shape="square"))[0] == 1
    assert ask(flat, backend="tensorrt")[0] == 1
    other = read_manifest(BUNDLED / "yolov3-tiny")
    other.files["model.onnx"] = "0" * 64
    assert ask(flat, manifest=other)[0] == 1
    file = tmp_path.joinpath(*CACHE)
    assert len(json.loads(file.read_text())) == 4 and "Imaginary GPU" in file.read_text()
    assert [path.name for path in file.parent.iterdir()] == ["batches.json"]
    for damage in (b"", b"{", b"[1]", b"\xff\xfe", file.read_bytes().replace(b"64", b'"x"')):
        file.write_bytes(damage)
        assert ask(flat)[0] == 1


def test_a_cache_that_cannot_be_written_costs_only_time(session_of, tmp_path):
    (tmp_path / "cliffvid").write_text("in the way")
    for _ in range(2):
        session = session_of("detect", lambda n: 0.010 * n)
        assert batches.batch_for(session, Options()) == 1 and session._session.asked


def test_a_detector_is_asked_about_the_canvas_it_will_get(session_of):
    session = session_of("detect", lambda n: 0.010 * n)
    batches.batch_for(session, Options())
    batches.batch_for(session, Options(detector_shape="square"))
    shapes = {shapes["image"][1:] for shapes in session._session.asked}
    assert shapes == {(352, 608, 3), (608, 608, 3)}
    assert session.manifest.rules["letterbox"] == Letterbox(608, 608, "linear", 128, 160, 32, "frame")


def test_on_a_cpu_nothing_is_measured_and_what_is_told_stands(session_of):
    detector, regressor = session_of("detect", time.sleep), session_of("regress", time.sleep)
    detector.device = regressor.device = "cpu"
    chosen = batches.with_batch_sizes(Options(), detector, regressor)
    assert (chosen.frame_batch, chosen.person_batch) == (4, 8)
    told = Options(frame_batch=3, person_batch=5)
    assert batches.with_batch_sizes(told, detector, regressor) == told
    assert batches.with_batch_sizes(Options(person_batch=5), detector, regressor) == Options(
        frame_batch=4, person_batch=5
    )
    assert not detector._session.asked and not regressor._session.asked


def test_networks_expect_the_rows_that_they_get(session_of):
    """Of sixteen frames in a batch, of which the detector sees every third, that is six."""
    expected, sessions = [], [session_of("detect", lambda n: n), session_of("regress", lambda n: n)]
    for session in sessions:
        session._session.pad_to = expected.append
    batches.with_batch_sizes(Options(device="cuda", frame_batch=16, person_batch=64, detect_every=3), *sessions)
    assert expected == [6, 64]
