import sys
import threading
import time
from types import SimpleNamespace

import pytest

import needs
from cliffvid import concurrency
from cliffvid.concurrency import Stages


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


@pytest.mark.parametrize("depth", [0, 2])
def test_sources_may_come_later_and_hold_nobody_up(depth):
    """None is no source for now: the others go on, and the end comes when none of them is left."""
    given = iter([[[1], [2], [3]], None, [[10]], None, None, None, [[20]]])
    with Stages(depth) as stages:
        assert list(stages.merged("a", "items", given, 2)) == [[1], [2], [10], [3]]
    assert [[20]] in given  # which it did not ask for any more


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
    concurrency._marker.cache_clear()
    try:
        with Stages(depth) as stages:
            assert list(stages.ahead("b", "items", doubled(stages.ahead("a", "items", numbers(3))))) == [[0], [2], [4]]
    finally:
        concurrency._marker.cache_clear()
    assert sorted(begun) == ["a"] * 4 + ["b"] * 4 and len(ended) == 8  # the last of each finds the end


def test_the_real_package_takes_what_it_is_given():
    nvtx = needs.package("nvtx")
    with nvtx.annotate("decode"):
        pass


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
