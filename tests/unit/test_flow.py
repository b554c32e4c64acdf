import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cliffvid.flow import Stages, rebatch
from cliffvid.types import People


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


@given(st.lists(st.integers(0, 7), max_size=20), st.integers(1, 9))
def test_rebatch_recuts_without_loss(sizes, rows):
    total = sum(sizes)
    ends = np.cumsum([0, *sizes])
    tables = [people(range(a, b)) for a, b in zip(ends[:-1], ends[1:], strict=True)]
    out = list(rebatch(tables, rows))
    assert [len(table) for table in out] == [rows] * (total // rows) + ([total % rows] if total % rows else [])
    assert [int(i) for table in out for i in table.frame_idx] == list(range(total))
