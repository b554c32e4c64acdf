"""Videos that are no paths: open files and frames in memory give the rows of the file, and one line for each fault."""

import io
import subprocess
import sys
import tempfile

import numpy as np
import pytest

import needs
from cliffvid import FrameSource, process, process_many, read_tracks, stream
from cliffvid.errors import InputError, UsageError
from cliffvid.tables import Tracks
from cliffvid.video.open import open_source
from cliffvid.video.reader import DecodeCounts


@pytest.fixture(scope="module")
def pixels(clip):
    """The frames of the clip as they are shown, and when."""
    with open_source(clip) as source:
        batches = list(source.frames(8, DecodeCounts()))
    images = [image.rgb().copy() for batch in batches for image in batch.images]
    return images, np.concatenate([batch.time_s for batch in batches])


@pytest.fixture(scope="module")
def truth(clip, tmp_path_factory, toy_options):
    out = tmp_path_factory.mktemp("truth") / "a.parquet"
    process(clip, out, toy_options())
    return read_tracks(out)


@pytest.fixture(autouse=True)
def no_copy_left(tmp_path, monkeypatch):
    place = tmp_path / "copies"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    yield
    assert not list(place.iterdir())


def same(rows: Tracks, truth: Tracks, but: tuple[str, ...] = ()) -> None:
    assert len(rows) == len(truth) > 0
    for name, column in truth.columns().items():
        if name not in but:
            np.testing.assert_array_equal(getattr(rows, name), column, err_msg=name)


def test_an_open_file_gives_the_rows_of_its_path(clip, tmp_path, toy_options, truth):
    with clip.open("rb") as file:
        process(file, tmp_path / "a.parquet", toy_options())
    rows = read_tracks(tmp_path / "a.parquet")
    same(rows, truth)
    assert rows.meta["video"] == truth.meta["video"]
    code = "import sys; sys.stdout.buffer.write(open(sys.argv[1], 'rb').read())"
    with subprocess.Popen([sys.executable, "-c", code, str(clip)], stdout=subprocess.PIPE) as pipe:
        parts = list(stream(pipe.stdout, toy_options()))
    same(parts[0].concat(parts), truth)
    assert parts[0].video["name"] == "<file>"


def test_frames_in_memory_give_the_rows_of_their_file(pixels, tmp_path, toy_options, truth):
    images, time_s = pixels
    process(FrameSource(images, time_s + 1e9), tmp_path / "a.parquet", toy_options())
    rows = read_tracks(tmp_path / "a.parquet")
    same(rows, truth, but=("pts", "time_s"))
    np.testing.assert_allclose(rows.time_s, truth.time_s, atol=1e-6)
    assert rows.video["name"] == "<frames>" and rows.video["width_px"] == truth.video["width_px"]
    torch = needs.package("torch")
    process(FrameSource(map(torch.from_numpy, images), fps=25, name="t"), tmp_path / "b.parquet", toy_options(stride=2))
    rows = read_tracks(tmp_path / "b.parquet")
    assert set(rows.frame_idx.tolist()) == set(range(0, 30, 2)) and rows.video["name"] == "t"
    np.testing.assert_allclose(rows.time_s, rows.frame_idx / 25)


def test_one_buffer_may_hold_all_frames_and_frames_are_taken_as_needed(pixels, toy_options, truth):
    images, time_s = pixels
    buffer, taken = np.empty_like(images[0]), []

    def frames():
        for index, image in enumerate(images):
            taken.append(index)
            buffer[:] = image
            yield buffer

    lockstep = toy_options(frame_batch=1, person_batch=1, prefetch=0)
    parts = []
    for rows in stream(FrameSource(frames(), time_s), lockstep):
        assert taken[-1] == rows.frame_idx[0]  # live: rows come before the next frame is taken
        parts.append(rows)
    same(parts[0].concat(parts), truth, but=("pts", "time_s"))


def endless(image, closed):
    try:
        while True:
            yield image
    finally:
        closed.append(True)


def test_a_generator_is_closed_when_the_caller_has_enough(pixels, toy_options):
    closed = []
    rows = stream(FrameSource(endless(pixels[0][0], closed), fps=25), toy_options())
    next(rows)
    rows.close()
    assert closed == [True]


IMAGE = np.zeros((72, 96, 3), np.uint8)
FAULTS = {
    "not one frame came": lambda: FrameSource([], fps=25),
    "frames is int, expected": lambda: FrameSource(5, fps=25),
    "times_s is float, expected": lambda: FrameSource([IMAGE], 0.5),
    "frame 1 did not come: ZeroDivisionError": lambda: FrameSource((IMAGE + 1 // n for n in (1, 0)), fps=25),
    "frame 1 has 80 x 72 pixels, those before it 96 x 72": lambda: FrameSource([IMAGE, IMAGE[:, :80]], fps=25),
    "frame 0 is float64 of shape": lambda: FrameSource([IMAGE / 255], fps=25),
    "frame 0 is uint8 of shape (72, 96)": lambda: FrameSource([IMAGE[..., 0]], fps=25),
    "frame 0 is object": lambda: FrameSource([None], fps=25),
    "times must increase": lambda: FrameSource([IMAGE] * 3, [0, 2, 1]),
    "time 1 is nan": lambda: FrameSource([IMAGE] * 3, [0, float("nan"), 1]),
    "time 0 is no number": lambda: FrameSource([IMAGE], ["noon"]),
    "times_s ended before the frames": lambda: FrameSource([IMAGE] * 3, [0, 1]),
    "ended after 3 frames, but there are 9 times": lambda: FrameSource([IMAGE] * 3, np.arange(9)),
    "not a readable video": lambda: io.BytesIO(b"no film" * 99),
    "nothing to read": lambda: io.BytesIO(),
    "gives str, expected bytes": lambda: io.StringIO("film"),
}


@pytest.mark.parametrize("words", FAULTS)
def test_each_fault_is_one_line_and_leaves_nothing(words, tmp_path, toy_options):
    with pytest.raises(InputError) as caught:
        process(FAULTS[words](), tmp_path / "a.parquet", toy_options())
    line = str(caught.value)
    assert words in line and line.startswith(("<frames>: ", "<file>: ")) and "\n" not in line
    assert [path.name for path in tmp_path.iterdir()] == ["copies"]


def test_a_fault_costs_its_own_video_alone(pixels, clip, tmp_path, toy_options):
    jobs = [(FrameSource([IMAGE[..., 0]], fps=25), tmp_path / "a.parquet"), (clip, tmp_path / "b.parquet")]
    done = {outcome.video: outcome.error for outcome in process_many(jobs, toy_options())}
    assert "expected uint8" in str(done["<frames>"]) and done[clip] is None


def test_what_is_no_video_is_a_mistake_of_use(tmp_path, clip, toy_options):
    for video in (IMAGE, 3, None):
        with pytest.raises(UsageError, match="a video cannot be"):
            process(video, tmp_path / "a.parquet", toy_options())
    for more in ({}, {"times_s": [0], "fps": 25}, {"fps": 0}, {"fps": "a"}, {"fps": [25]}):
        with pytest.raises(UsageError, match="fps"):
            FrameSource([IMAGE], **more)
    with clip.open("rb") as file, pytest.raises(UsageError, match="is also an input"):
        process(file, clip, toy_options(overwrite=True, format="parquet"))


def test_options_are_keywords_too(clip, tmp_path, toy_options, toys):
    with pytest.raises(UsageError, match="did you mean score"):
        process(clip, tmp_path / "a.parquet", scoer=0.5)
    with pytest.raises(UsageError, match="give all as Options, or as keywords"):
        process(clip, tmp_path / "a.parquet", toy_options(), score=0.5)
    names = {"models_dir": toys, "detector": "toy-detector", "regressor": "toy-regressor"}
    process(clip, tmp_path / "a.parquet", **names, max_people=1)
    assert set(np.bincount(read_tracks(tmp_path / "a.parquet").frame_idx)) == {1}
