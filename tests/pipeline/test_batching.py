"""Parts of several videos in the same batches."""

from types import SimpleNamespace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cliffvid.models.session import together
from cliffvid.pipeline.batching import Part, joined, lifted, rebatch
from cliffvid.pipeline.counts import Counts
from cliffvid.tables import People


def people(frames):
    n = len(frames)
    zeros = np.zeros(n, np.float32)
    frames = np.array(frames, np.int64)
    return People(frames, frames, frames * 0.1, zeros, np.zeros((n, 4), np.float32), np.zeros(n, np.uint16))


@given(st.lists(st.integers(0, 7), max_size=20), st.integers(1, 9))
def test_rebatch_recuts_without_loss(sizes, rows):
    total = sum(sizes)
    ends = np.cumsum([0, *sizes])
    tables = [people(range(a, b)) for a, b in zip(ends[:-1], ends[1:], strict=True)]
    out = [list(batch) for batch in rebatch(([Part("a", table)] for table in tables), rows)]
    sizes = [sum(map(len, batch)) for batch in out]
    assert sizes == [rows] * (total // rows) + ([total % rows] if total % rows else [])
    assert [int(i) for batch in out for part in batch for i in part.rows.frame_idx] == list(range(total))


@given(st.lists(st.integers(0, 7), max_size=20), st.integers(1, 9), st.integers(1, 4))
def test_rebatch_waits_for_so_many_parts_alone(sizes, rows, parts):
    ends = np.cumsum([0, *sizes])
    tables = [people(range(a, b)) for a, b in zip(ends[:-1], ends[1:], strict=True)]
    made = []
    for batch in rebatch(([Part("a", table)] for table in tables), rows, parts):
        made += [int(i) for part in batch for i in part.rows.frame_idx]
        assert len(batch) <= parts and sum(map(len, batch)) <= rows
    assert made == list(range(sum(sizes)))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 7)), max_size=20), st.integers(1, 9))
def test_rebatch_mixes_runs_and_ends_each_after_its_rows(given, rows):
    sent = [Part(run, people([run] * size)) for run, size in given] + [Part(run) for run in range(3)]
    out = [part for batch in rebatch(([part] for part in sent), rows) for part in batch]
    for run in range(3):
        mine = [part for part in out if part.video == run]
        assert mine[-1].rows is None and all(len(part) for part in mine[:-1])
        assert sum(map(len, mine)) == sum(size for other, size in given if other == run)


def test_parts_of_one_video_that_follow_each_other_are_joined_and_ends_stay():
    batch = [Part("a", people([0, 1])), Part("a", people([2])), Part("a"), Part("b", people([3])), Part("c")]
    ((first, end, other, last),) = joined([[*batch]])
    assert [first.video, end.video, other.video, last.video] == ["a", "a", "b", "c"]
    assert first.rows.frame_idx.tolist() == [0, 1, 2] and other.rows.frame_idx.tolist() == [3]
    assert end.rows is None and last.rows is None


def test_an_end_does_not_wait_for_rows_of_others():
    def source():
        yield [Part("a", people([0, 1]))]
        yield [Part("a")]
        raise AssertionError("asked for more first")

    batches = rebatch(source(), 2)
    assert len(next(batches)[0]) == 2 and next(batches) == [Part("a")]


def test_a_stage_is_given_rows_alone_and_no_rows_are_no_end():
    counts, noted = Counts(), []
    video = SimpleNamespace(counts=counts)
    batch = [Part(video, people([3, 4])), Part(video), Part(video, people([]))]

    def stage(tables):
        assert [len(table) for table in tables] == [2, 0]
        return [table[:1] for table in tables]

    ((first, end, empty),) = lifted(stage, [batch], lambda counts, rows: noted.append((counts, len(rows))))
    assert (len(first), end.rows, len(empty)) == (1, None, 0) and empty.rows is not None
    assert noted == [(counts, 1), (counts, 0)]


def test_sources_of_one_shape_are_asked_about_together():
    class Session:
        calls = []  # noqa: RUF012

        def run(self, inputs):
            self.calls.append(len(inputs["x"]))
            return {"y": inputs["x"].sum(axis=1)}

    inputs = [{"x": np.full((n, width), n)} for n, width in ((2, 3), (1, 5), (4, 3))]
    answers = together(Session(), inputs)
    assert Session.calls == [6, 1]
    assert [answer["y"].tolist() for answer in answers] == [[6, 6], [5], [12] * 4]
