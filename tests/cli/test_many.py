"""Several videos in flight: shared batches, results of their own."""

import numpy as np
import pytest

from cliffvid import Options, process, process_many, read_tracks
from cliffvid.errors import InputError, OutputError
from cliffvid.pipeline.networks import open_models
from clips import make_clip


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Five films of other lengths, sizes and people; the third shows nobody, the fourth is one frame."""
    folder = tmp_path_factory.mktemp("films")
    kinds = [(23, 2, (192, 144)), (40, 3, (320, 240)), (17, 0, (192, 144)), (1, 1, (192, 144)), (31, 4, (256, 256))]
    return [
        make_clip(folder / f"{i}.mp4", frames=frames, people=people, size=size)
        for i, (frames, people, size) in enumerate(kinds)
    ]


@pytest.fixture(scope="module")
def options(toys):
    def make(**changed):
        given = {"models_dir": toys, "detector": "toy-detector", "regressor": "toy-regressor"}
        return Options(**given | changed)

    return make


@pytest.fixture(scope="module")
def models(options):
    with open_models(options()) as opened:
        yield opened


@pytest.fixture(scope="module")
def alone(films, options, tmp_path_factory):
    """The bytes of each film's tracks, processed by itself in one thread, frame by frame."""
    folder, plain = tmp_path_factory.mktemp("alone"), options(frame_batch=1, person_batch=1, prefetch=0)
    for film in films:
        process(film, folder / f"{film.stem}.parquet", plain)
    return [(folder / f"{film.stem}.parquet").read_bytes() for film in films]


@pytest.mark.parametrize("videos", [1, 5])
@pytest.mark.parametrize(("frame_batch", "person_batch"), [(1, 1), (1, 100), (4, 3), (7, 8), (64, 1), (64, 100)])
@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_tracks_are_the_same_bytes_whatever_is_in_flight(
    films, options, models, alone, tmp_path, videos, frame_batch, person_batch, prefetch
):
    how = options(frame_batch=frame_batch, person_batch=person_batch, prefetch=prefetch, videos_at_once=videos)
    jobs = [(film, tmp_path / f"{film.stem}.parquet") for film in films]
    outcomes = list(process_many(jobs, how, models=models))
    assert sorted(outcome.video for outcome in outcomes) == films and not any(o.error for o in outcomes)
    assert [out.read_bytes() for _, out in jobs] == alone
    for outcome in outcomes:
        assert outcome.report.people == len(read_tracks(outcome.output))


def test_batches_fill_across_videos(films, options, tmp_path):
    with open_models(options()) as models:
        sizes = []
        run = models.detector.run
        models.detector.run = lambda inputs: (sizes.append(len(inputs["image"])), run(inputs))[1]
        jobs = [(films[3], tmp_path / f"{i}.parquet") for i in range(20)]  # films of one frame
        reports = [outcome.report for outcome in process_many(jobs, options(frame_batch=10), models=models)]
    assert sizes == [10, 10]
    assert len(reports) == 20 and reports[-1].batch_fill["detect"] == 1.0


def test_how_full_batches_were_is_told_of_what_the_network_was_given(clip, options, tmp_path):
    with open_models(options()) as models:
        run = models.regressor.run

        def sees_half(inputs):
            answer = run(inputs)
            return answer | {"presence": np.arange(len(answer["presence"])) % 2 * np.float32(1)}

        models.regressor.run = sees_half
        how = options(frame_batch=30, person_batch=9)
        (outcome,) = process_many([(clip, tmp_path / "a.parquet")], how, models=models)  # 30 frames of 3 people
    assert outcome.report.people == 40 and [*outcome.report.batch_fill.items()] == [("detect", 1.0), ("regress", 1.0)]


def test_a_bad_one_costs_only_itself(films, options, alone, tmp_path):
    (tmp_path / "bad.mp4").write_text("no film")
    (tmp_path / "folder").write_text("a file")
    outs = [tmp_path / "results" / f"{i}.parquet" for i in range(5)]
    outs[1] = tmp_path / "folder" / "1.parquet"  # cannot be written
    sources = [films[0], films[1], tmp_path / "bad.mp4", tmp_path / "missing.mp4", films[4]]
    outcomes = {o.output: o for o in process_many(zip(sources, outs, strict=True), options(frame_batch=2))}
    kinds = [type(outcomes[out].error) for out in outs]
    assert kinds[0] is kinds[4] is type(None) and kinds[1] is OutputError
    assert issubclass(kinds[2], InputError) and issubclass(kinds[3], InputError)
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["0.parquet", "4.parquet"]
    assert [outs[0].read_bytes(), outs[4].read_bytes()] == [alone[0], alone[4]]


def test_a_writer_that_fails_midway_stops_its_video_alone(films, options, alone, tmp_path, monkeypatch):
    from cliffvid.tracks.write import ParquetWriter

    write = ParquetWriter._write
    monkeypatch.setattr(ParquetWriter, "_write", lambda self, t: 1 / 0 if "bad" in self.path.name else write(self, t))
    jobs = [(films[1], tmp_path / "bad.parquet"), (films[0], tmp_path / "0.parquet")]
    outcomes = {o.output.name: o for o in process_many(jobs, options(frame_batch=1))}
    assert isinstance(outcomes["bad.parquet"].error, ZeroDivisionError) and outcomes["0.parquet"].error is None
    assert [path.name for path in tmp_path.iterdir()] == ["0.parquet"]
    assert (tmp_path / "0.parquet").read_bytes() == alone[0]


def test_an_engine_that_fails_ends_all_and_leaves_nothing(films, options, tmp_path):
    with open_models(options()) as models:
        models.regressor.run = lambda inputs: 1 / 0
        jobs = [(film, tmp_path / f"{film.stem}.parquet") for film in films]
        with pytest.raises(ZeroDivisionError):
            list(process_many(jobs, options(), models=models))
    assert list(tmp_path.iterdir()) == []


def test_left_early_it_keeps_what_was_finished(films, options, tmp_path):
    jobs = [(film, tmp_path / f"{film.stem}.parquet") for film in films]
    outcomes = process_many(jobs, options(frame_batch=1, videos_at_once=2))
    first = next(outcomes)
    outcomes.close()
    assert list(tmp_path.iterdir()) == [first.output] and len(read_tracks(first.output))


def test_videos_are_opened_in_their_turn(films, options, tmp_path):
    asked = []

    def jobs():
        for i in range(100):
            asked.append(i)
            yield films[3], tmp_path / f"{i}.parquet"

    outcomes = process_many(jobs(), options(frame_batch=1, person_batch=1, prefetch=1))
    next(outcomes)
    assert max(asked) < 20
    outcomes.close()
