import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import needs
from cliffvid import concurrency as flow
from cliffvid.concurrency import Stages
from cliffvid.pipeline.batching import Shared, rebatch, together
from cliffvid.tables import People, Piece


def people(frames):
    n = len(frames)
    zeros = np.zeros(n, np.float32)
    frames = np.array(frames, np.int64)
    return People(frames, frames, frames * 0.1, zeros, np.zeros((n, 4), np.float32), np.zeros(n, np.uint16))


def numbers(n, fail_at=None, log=None):
    try:
        for i in range(n):
            if i == fail_at:
                raise RuntimeError(f"fault at {i}")
            yield [i]
    finally:
        if log is not None:
            log.append("closed")


def doubled(items, fail_at=None):
    for item in items:
        if item[0] == fail_at:
            raise RuntimeError(f"fault at {item[0]}")
        yield [2 * item[0]]


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_order_is_kept_and_units_are_counted(depth):
    with Stages(depth) as stages:
        out = list(stages.ahead("b", "items", doubled(stages.ahead("a", "items", numbers(50)))))
    assert out == [[2 * i] for i in range(50)]
    assert [stage.done for stage in stages.stages] == [50, 50]


@pytest.mark.parametrize("depth", [0, 2])
@pytest.mark.parametrize("where", ["first", "middle", "sink"])
def test_a_fault_surfaces_and_every_stage_is_closed(depth, where):
    log = []
    with pytest.raises(RuntimeError, match="fault at 5"), Stages(depth) as stages:
        first = stages.ahead("a", "items", numbers(1000, 5 if where == "first" else None, log))
        last = stages.ahead("b", "items", doubled(first, 5 if where == "middle" else None))
        for i, _ in enumerate(last):
            if where == "sink" and i == 5:
                raise RuntimeError("fault at 5")
    assert log == ["closed"]  # the fixture no_thread_left looks after the threads


def test_a_fault_keeps_its_own_traceback():
    with pytest.raises(RuntimeError) as error, Stages(2) as stages:
        list(stages.ahead("a", "items", numbers(10, fail_at=3)))
    assert "numbers" in [entry.name for entry in error.traceback]


def test_memory_is_bounded_by_depth():
    made = []

    def source():
        for i in range(100):
            made.append(i)
            yield [i]

    with Stages(3) as stages:
        out = stages.ahead("a", "items", source())
        next(out)
        time.sleep(0.2)
        assert len(made) <= 1 + 3 + 1  # taken, waiting, and one in the maker's hands


def test_stages_do_work_at_the_same_time():
    """Two stages that each wait for the other to have begun its next item: only possible side by side."""
    begun = [threading.Event() for _ in range(4)]

    def slow(items):
        for item in items:
            if item[0] + 1 < len(begun):
                assert begun[item[0] + 1].wait(5)
            yield item

    def source():
        for i in range(4):
            begun[i].set()
            yield [i]

    with Stages(1) as stages:
        assert len(list(stages.ahead("b", "items", slow(stages.ahead("a", "items", source()))))) == 4


def test_busy_time_leaves_waiting_out():
    def source():
        for i in range(4):
            time.sleep(0.05)
            yield [i]

    for depth in (0, 2):
        with Stages(depth) as stages:
            list(stages.ahead("idle", "items", doubled(stages.ahead("busy", "items", source()))))
        busy = stages.busy_s()
        assert busy["busy"] >= 0.2 and busy["idle"] < 0.1 * busy["busy"] + 0.02


@pytest.mark.parametrize("depth", [0, 2])
def test_stages_are_ranges_for_nvidias_profilers(depth, monkeypatch):
    begun = []

    class Annotate:
        def __init__(self, message):
            begun.append(message)

        def __enter__(self): ...
        def __exit__(self, *_):
            ended.append(1)

    ended = []
    monkeypatch.setitem(sys.modules, "nvtx", SimpleNamespace(annotate=Annotate))
    flow._marker.cache_clear()
    try:
        with Stages(depth) as stages:
            assert list(stages.ahead("b", "items", doubled(stages.ahead("a", "items", numbers(3))))) == [[0], [2], [4]]
    finally:
        flow._marker.cache_clear()
    assert sorted(begun) == ["a"] * 4 + ["b"] * 4 and len(ended) == 8  # the last of each finds the end


def test_the_real_package_takes_what_it_is_given():
    nvtx = needs.package("nvtx")
    with nvtx.annotate("decode"):
        pass


@given(st.lists(st.integers(0, 7), max_size=20), st.integers(1, 9))
def test_rebatch_recuts_without_loss(sizes, rows):
    total = sum(sizes)
    ends = np.cumsum([0, *sizes])
    tables = [people(range(a, b)) for a, b in zip(ends[:-1], ends[1:], strict=True)]
    out = [list(batch) for batch in rebatch(([Piece("a", table)] for table in tables), rows)]
    sizes = [sum(map(len, batch)) for batch in out]
    assert sizes == [rows] * (total // rows) + ([total % rows] if total % rows else [])
    assert [int(i) for batch in out for piece in batch for i in piece.rows.frame_idx] == list(range(total))


@given(st.lists(st.integers(0, 7), max_size=20), st.integers(1, 9), st.integers(1, 4))
def test_rebatch_waits_for_so_many_pieces_alone(sizes, rows, pieces):
    ends = np.cumsum([0, *sizes])
    tables = [people(range(a, b)) for a, b in zip(ends[:-1], ends[1:], strict=True)]
    made = []
    for batch in rebatch(([Piece("a", table)] for table in tables), rows, pieces):
        made += [int(i) for piece in batch for i in piece.rows.frame_idx]
        assert len(batch) <= pieces and sum(map(len, batch)) <= rows
    assert made == list(range(sum(sizes)))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 7)), max_size=20), st.integers(1, 9))
def test_rebatch_mixes_runs_and_ends_each_after_its_rows(given, rows):
    sent = [Piece(run, people([run] * size)) for run, size in given] + [Piece(run) for run in range(3)]
    out = [piece for batch in rebatch(([piece] for piece in sent), rows) for piece in batch]
    for run in range(3):
        mine = [piece for piece in out if piece.run == run]
        assert mine[-1].rows is None and all(len(piece) for piece in mine[:-1])
        assert sum(map(len, mine)) == sum(size for other, size in given if other == run)


def test_an_end_does_not_wait_for_rows_of_others():
    def source():
        yield [Piece("a", people([0, 1]))]
        yield [Piece("a")]
        raise AssertionError("asked for more first")

    batches = rebatch(source(), 2)
    assert len(next(batches)[0]) == 2 and next(batches) == [Piece("a")]


@pytest.mark.parametrize("depth", [0, 2])
@pytest.mark.parametrize("width", [1, 2, 5])
def test_sources_take_turns_and_each_keeps_its_order(depth, width):
    sources = ([[name, i] for i in range(n)] for name, n in (("a", 3), ("b", 1), ("c", 0), ("d", 4)))
    with Stages(depth) as stages:
        out = list(stages.merged("a", "items", sources, width))
    want = {"1": "aaabdddd", "2": "abaadddd", "5": "abdadadd"}[str(width)]
    assert "".join(name for name, _ in out) == want
    assert [i for name, i in out if name == "d"] == [0, 1, 2, 3]


def test_at_most_so_many_sources_are_open_at_a_time():
    live, most = set(), []

    def source(name):
        live.add(name)
        most.append(len(live))
        yield [name]
        live.discard(name)

    with Stages(0) as stages:
        list(stages.merged("a", "items", map(source, range(20)), 3))
    assert max(most) == 3


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


class Doubling:
    """A session that waits to be let go on, and fails at negative numbers."""

    def __init__(self):
        self.asked, self.go = [], threading.Semaphore(0)

    def run(self, inputs):
        self.asked.append(inputs["x"].tolist())
        assert self.go.acquire(timeout=5)
        if (inputs["x"] < 0).any():
            raise ValueError("negative")
        return {"y": 2 * inputs["x"]}


def test_who_asks_while_a_session_is_at_work_is_answered_by_its_next_call():
    session, answers, all_in = Doubling(), {}, threading.Event()
    shared = Shared(session)

    def ask(name, numbers, last=False):
        def answered(answer):
            answers[name] = answer if isinstance(answer, Exception) else answer["y"].tolist()
            if last:
                all_in.set()

        shared.ask({"x": np.array(numbers)}, answered)

    ask("a", [1])
    while not session.asked:
        time.sleep(0.001)
    ask("b", [2, 3])
    ask("c", [4])
    session.go.release()
    while len(session.asked) < 2:
        time.sleep(0.001)
    ask("d", [5])
    ask("e", [-6], last=True)
    session.go.release(2)
    assert all_in.wait(5) and session.asked == [[1], [2, 3, 4], [5, -6]]
    assert [answers[name] for name in "abc"] == [[2], [4, 6], [8]]
    assert str(answers["d"]) == str(answers["e"]) == "negative"  # and it goes on
    all_in.clear()
    ask("f", [7], last=True)
    session.go.release()
    assert all_in.wait(5) and answers["f"] == [14]
