"""End in time what is still open when Python ends, such as an iterator that a program kept.

Python would take the threads by surprise: one that is in native code then aborts the process. And it would close the
iterators last, when parts of itself are gone.
"""

import atexit
from collections.abc import Callable, Generator
from functools import wraps
from typing import ParamSpec, Protocol, TypeVar
from weakref import WeakSet

P = ParamSpec("P")
T = TypeVar("T")


class Work(Protocol):
    """Owns a thread that works ahead of whoever takes what it made."""

    def is_alive(self) -> bool: ...
    def close(self) -> None: ...


_iterators: WeakSet[Generator] = WeakSet()
at_work: dict[Work, None] = {}  # in the order they began: a chain's last stage first, as it asks the one before


def closed_at_exit(make: Callable[P, Generator[T]]) -> Callable[P, Generator[T]]:
    """Make a generator function whose generators are closed before Python ends."""

    @wraps(make)
    def begin(*args: P.args, **kwargs: P.kwargs) -> Generator[T]:
        made = make(*args, **kwargs)
        _iterators.add(made)
        return made

    return begin


@atexit.register
def _end_all() -> None:
    for work in list(at_work):
        if work.is_alive():
            work.close()
    for each in list(_iterators):
        if not each.gi_running:  # by a thread of the program's own, which waits for good now
            each.close()
