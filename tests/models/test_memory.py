"""What a session does where memory does not suffice: the runtimes' own failures, and one that is put in."""

import subprocess
import sys
import time
from pathlib import Path
from weakref import WeakSet

import numpy as np
import pytest

import needs
from cliffvid.concurrency import AHEAD_BYTES, Stages
from cliffvid.errors import BackendMemoryError
from cliffvid.models.manifest import read_manifest
from cliffvid.models.session import OomRetry, open_session

# Answers 24 frames one by one, then all at once with too little memory for that, and compares.
SHORT_OF_MEMORY = """
import resource, sys
import numpy as np
from cliffvid.models.session import open_session
from cliffvid.models.manifest import BUNDLED, read_manifest
manifest = read_manifest(BUNDLED / "yolov3-tiny")
image = np.load(BUNDLED / "yolov3-tiny" / "samples.npz")["input.image"][:, :320, :320]
images = np.concatenate([np.roll(image, 10 * i, axis=2) for i in range(24)])
session = open_session(manifest, sys.argv[1], "cpu", 1)
ones = [session.run({"image": images[i : i + 1]}) for i in range(24)]
assert session.rows_max is None and not session.warnings
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 80_000_000,) * 2)
for _ in range(2):
    answers = session.run({"image": images})
    for name, answer in answers.items():
        wanted = np.concatenate([one[name] for one in ones])
        assert answer.shape == wanted.shape and np.abs(answer - wanted).max() <= float(sys.argv[2]), name
print(session.rows_max, len(session.warnings), session.warnings[0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="no such limit elsewhere")
@pytest.mark.parametrize(("backend", "tolerance"), [("onnxruntime", 0), ("openvino", 1e-3)])
def test_a_batch_too_large_for_the_memory_is_run_in_parts(backend, tolerance, tmp_path):
    """Truly: OpenVINO's plain call would keep silent, and give the answers of the run before."""
    needs.package(backend)
    done = subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY, backend, str(tolerance)],
        capture_output=True,
        text=True,
        env={"PATH": "", "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)},
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    rows, warnings, told = done.stdout.split(maxsplit=2)
    assert 1 <= int(rows) <= 12 and warnings == "1"
    assert f"yolov3-tiny on cpu: memory does not suffice for {2 * int(rows)} at once: went on with {rows}" in told


class Cramped:
    """A session with room for a few rows; notes how many it was asked for."""

    def __init__(self, session, room, error):
        self._session, self._room, self._error, self.asked = session, room, error, []
        self.manifest, self.backend = session.manifest, session.backend
        self.device, self.precision = session.device, session.precision

    def run(self, inputs):
        rows = len(inputs["crop"])
        self.asked.append(rows)
        if rows > self._room:
            raise self._error
        return self._session.run(inputs)


@pytest.fixture
def toy(toys):
    with open_session(read_manifest(toys / "toy-regressor"), threads=1) as session:
        yield session


def crops(rows):
    rng = np.random.default_rng(rows)
    return {
        "crop": rng.integers(0, 256, (rows, 32, 24, 3), np.uint8),
        "bbox_info": rng.random((rows, 3), np.float32),
    }


WORDS = [
    RuntimeError("CUDA failure 2: out of memory ; GPU=0"),
    RuntimeError("Available memory of 1 is smaller than requested bytes of 2: Failed to allocate memory"),
    RuntimeError("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
]


@pytest.mark.parametrize("error", WORDS, ids=lambda error: str(error)[:30])
def test_it_halves_once_and_keeps_to_it(toy, error):
    cramped = Cramped(toy, 5, error)
    session = OomRetry(cramped, 1)
    for rows in (18, 11, 0, 3):
        inputs = crops(rows)
        wanted, found = toy.run(inputs), session.run(inputs)
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            np.testing.assert_array_equal(found[name], value)
    assert cramped.asked == [18, 9, 4, 4, 4, 4, 2, 4, 4, 3, 0, 3]
    assert len(session.warnings) == 1 and "for 9 at once: went on with 4" in session.warnings[0]


def test_not_even_one_fits(toy):
    with pytest.raises(BackendMemoryError, match="toy-regressor on cpu: memory does not suffice for a single one"):
        OomRetry(Cramped(toy, 0, WORDS[0]), 1).run(crops(4))


def test_other_failures_are_not_taken_for_it(toy):
    session = OomRetry(Cramped(toy, 2, RuntimeError("illegal instruction")), 1)
    with pytest.raises(RuntimeError, match="illegal instruction"):
        session.run(crops(4))
    assert session.rows_max is None and not session.warnings


# The largest number of bytes that frames of a chain of slow stages held at once, by when they are let go.
@pytest.mark.parametrize(("frame_bytes", "frames"), [(1 << 10, 12), (AHEAD_BYTES, 7)])
def test_large_frames_wait_in_small_numbers(frame_bytes, frames):
    """Three stages, each two batches ahead, before one that is slow: of large ones each stage has one ready."""
    live, most = WeakSet(), []

    class Frame:
        nbytes = frame_bytes

        def __len__(self):
            return 1

    def source():
        for _ in range(40):
            frame = Frame()
            live.add(frame)
            yield frame
            del frame

    with Stages(2) as stages:
        items = source()
        for name in ("decode", "detect", "crop"):
            items = stages.ahead(name, "frames", items)
        for item in items:
            time.sleep(0.005)
            most.append(len(live))
            del item
    assert len(most) == 40 and max(most) <= frames


def test_networks_give_their_memory_back(tmp_path):
    code = (
        "from cliffvid.pipeline.video_run import open_run; from cliffvid import Options, open_models; import sys\n"
        "def used(): return int(open('/proc/self/statm').read().split()[1]) * 4096 / 1e6\n"
        "models = open_models(Options())\n"
        "from pathlib import Path\n"
        "with open_run(Path(sys.argv[1]), Options(end_s=0.4), models) as run: list(run.bodies())\n"
        "before = used(); models.close(); models.close(); print(before, used())"
    )
    film = Path(__file__).parents[2] / "examples" / "pedestrians.mp4"
    told = subprocess.check_output([sys.executable, "-c", code, film], text=True, cwd=tmp_path)
    before_mb, after_mb = map(float, told.split())
    assert after_mb < before_mb - 200 and after_mb < 250
