"""What a run asks of a GPU: onnxruntime-gpu and FFmpeg's NVDEC path, on a CUDA without kernels that counts."""

import platform
from pathlib import Path

import pytest

from nullcuda import fetch
from nullcuda.run import run

FRAMES, FRAME_BATCH = 59, 2
CONVOLUTIONS = 2  # of each of the two toy networks


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Runs of 30 batches of 1080p with 0 to 3 people a frame, and the nodes on the CPU of the package's networks."""
    return run(Path(__file__).with_name("on_null_cuda.py"), str(tmp_path_factory.mktemp("scenario")))


def calls(counts) -> int:
    return sum(counts["calls"].values())


@pytest.mark.parametrize("way", ["planes", "nvdec", "exact"])
@pytest.mark.parametrize(
    ("measure", "most"),
    [
        pytest.param(lambda counts: counts["plans"], 2 * CONVOLUTIONS, id="plans"),
        # onnxruntime waits once as it opens a session
        pytest.param(
            lambda counts: counts["device_syncs"] + counts["frees"] - counts["surfaces_freed"] - counts["opened"],
            0,
            id="device-waits",
        ),
        # as FFmpeg for each frame of NVDEC, and onnxruntime for the weights of a session that it opens
        pytest.param(
            lambda counts: counts["stream_syncs"] + counts["event_syncs"] - calls(counts) - counts["decoded"],
            2 * CONVOLUTIONS + 4,
            id="waits",
        ),
        pytest.param(lambda counts: len(counts["on_cpu"]), 0, id="nodes-on-the-cpu"),
    ],
)
def test_a_run_asks_for_no_more_than(found, way, measure, most):
    assert measure(found[way]) <= most


@pytest.mark.parametrize("way", ["planes", "nvdec", "exact"])
def test_all_of_a_process_have_one_context(found, way):
    assert found[way]["contexts"] == 1


@pytest.mark.parametrize(("way", "most"), [("planes", 7), ("nvdec", 9)])
def test_copies_of_a_frame(found, way, most):
    """Of planes three, and of what a picture is made of, and each input of a network, one; here two frames a batch."""
    assert found[way]["h2d"] / FRAMES <= most


@pytest.mark.parametrize(
    ("way", "sent", "fetched"), [("planes", 3.2e6, 20e3), ("nvdec", 60e3, 20e3), ("exact", 6.4e6, 3.2e6)]
)
def test_bytes_of_a_frame(found, way, sent, fetched):
    """1.5 or 3 bytes a pixel, indices and weights of the canvas and crops; of a frame that stays, these alone.

    Answers and thumbnails come back, and frames that are to be exact, which FFmpeg makes RGB.
    """
    counts = found[way]
    assert 0 < counts["h2d_bytes"] / FRAMES <= sent and 0 < counts["d2h_bytes"] / FRAMES <= fetched


def test_the_number_of_a_gpu_reaches_onnxruntime_and_ffmpeg(found):
    """No kernel, memory or context is the first one's."""
    assert found["nvdec"]["first_gpu"] > found["nvdec"]["launches"]
    assert found["second"]["first_gpu"] == 0 and found["second"]["launches"] == found["nvdec"]["launches"]
    assert found["second"]["mapped"] == FRAMES


def test_frames_are_let_go_as_soon_as_they_are_rgb(found):
    """Of 59, FFmpeg has memory for a batch and the few that it decodes ahead."""
    counts = found["nvdec"]
    assert FRAME_BATCH <= counts["surfaces"] <= FRAME_BATCH + 6 and counts["surfaces_freed"] == counts["surfaces"]
    assert counts["decoded"] == counts["mapped"] == FRAMES


def test_frames_that_stay_are_copied_without_a_kernel(found):
    """Only thumbnails are made there as well: of each batch, and of the frames that show the camera's motion."""
    batches, looks = -(-FRAMES // FRAME_BATCH), FRAMES // 12 + 1
    assert 0 < calls(found["nvdec"]) - calls(found["planes"]) <= batches + looks
    assert found["nvdec"]["d2d"] - found["planes"]["d2d"] >= 2 * FRAMES  # luma and chroma


@pytest.mark.parametrize("way", ["planes", "nvdec", "exact"])
def test_the_whole_run_was_counted(found, way):
    counts = found[way]
    assert counts["frames"] == FRAMES and counts["people"] == 49
    assert counts["convolutions"] == CONVOLUTIONS * sum(n for name, n in counts["calls"].items() if "toy" in name)
    assert counts["launches"] > calls(counts)


def test_memory_of_networks_does_not_double(found):
    memory = found["memory"]
    assert 0 < memory["None"] == memory["kSameAsRequested"] < memory["kNextPowerOfTwo"]


@pytest.mark.parametrize("network", ["person-open", "cliff-open", "yolov3-tiny"])
def test_networks_of_the_package_run_on_the_gpu_as_a_whole(found, network):
    assert found[network] == []


@pytest.mark.parametrize(
    ("whose", "words"),
    [("gpu", "model.onnx: memory does not suffice to load it; end "), ("host", "page-locked memory is full; take sm")],
)
def test_what_is_short_of_memory_is_told(found, whose, words):
    """cuBLAS only says that it was not initialized."""
    assert words in found["full"][whose] and "\n" not in found["full"][whose]


def test_precisions_with_wrong_outputs_are_refused(found):
    """A CUDA without kernels computes nothing right; each candidate was opened once, as it would run."""
    words = found["auto"]["words"]
    assert words.startswith("error: person-open: no precision gives the right outputs on cuda (fp32: ")
    assert "tf32: " in words and words.count("its results would be wrong") == 2 and "choose --device cpu" in words
    assert found["auto"]["tf32"] == ["0", "1"]


def test_nothing_counts_as_fetched_where_there_is_no_onnxruntime_gpu(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    fetch.main(tmp_path)
    assert not list(tmp_path.iterdir()) and "tests on the null CUDA are skipped" in capsys.readouterr().err
