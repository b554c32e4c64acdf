"""What a run asks of a GPU, counted by the real onnxruntime-gpu and NVDEC's path of FFmpeg on a CUDA without kernels."""

from collections.abc import Callable
from pathlib import Path

import pytest

from nullcuda.run import run

CONVOLUTIONS = 2  # of each of the two toy networks
RGB_PLANES = 1920 * 1080 * 3 / 2


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Two runs of 30 batches of frames with 0 to 3 people, and where nodes of the package's networks run."""
    return run(Path(__file__).with_name("on_null_cuda.py"), str(tmp_path_factory.mktemp("scenario")))


def calls(counts: dict) -> int:
    return sum(counts["calls"].values())


def today(number: object, *goal: object, **more: object):
    return pytest.param(*goal, **more, marks=pytest.mark.xfail(strict=False, reason=f"today {number}"))


@pytest.mark.parametrize("frames", ["planes", "nvdec"])
@pytest.mark.parametrize(
    ("measure", "most"),
    [
        today(8, lambda counts: counts["plans"], 2 * CONVOLUTIONS, id="plans"),
        today("69 and 99", lambda counts: counts["device_syncs"], 0, id="device-waits"),
        today(
            "412 in 126 calls",
            lambda counts: counts["stream_syncs"] + counts["event_syncs"] - calls(counts),
            0,
            id="waits",
        ),
        pytest.param(lambda counts: counts["contexts"], 1, id="contexts"),
        pytest.param(lambda counts: sum(map(len, counts["on_cpu"].values())), 0, id="nodes-on-the-cpu"),
        pytest.param(lambda counts: counts["d2h_bytes"] / counts["frames"], 20e3, id="bytes-back-a-frame"),
    ],
)
def test_a_run_asks_no_more_than(found, frames, measure: Callable[[dict], float], most):
    assert measure(found[frames]) <= most


@pytest.mark.parametrize(("frames", "most"), [("planes", 3.2e6), ("nvdec", 60e3)])
def test_what_is_sent_of_a_frame(found, frames, most):
    """Its planes, and indices and weights of the canvas and the crops; of a frame that NVDEC decoded, these alone."""
    assert found[frames]["h2d_bytes"] / found[frames]["frames"] <= most


@pytest.mark.parametrize("frames", ["planes", "nvdec"])
def test_the_whole_run_was_counted(found, frames):
    counts = found[frames]
    assert counts["frames"] == 59 and counts["people"] > 40
    assert counts["convolutions"] == CONVOLUTIONS * sum(n for name, n in counts["calls"].items() if "toy" in name)
    assert counts["launches"] > calls(counts)
    assert (counts["decoders"], counts["decoded"], counts["mapped"]) == (
        (1, 59, 59) if frames == "nvdec" else (0, 0, 0)
    )


@pytest.mark.parametrize(
    "network", [today(12, "person-open", id="person-open"), today(1, "cliff-open", id="cliff-open"), "yolov3-tiny"]
)
def test_networks_of_the_package_run_on_the_gpu_as_a_whole(found, network):
    assert found[network] == []
