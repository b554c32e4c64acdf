"""Rows of several videos in the same batches."""

import math
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from ..tables import Piece


class Shared:
    """A session for several who ask at once: all that waits while it is at work is answered by its next call."""

    def __init__(self, session) -> None:
        self._session, self._waiting = session, queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True, name="cliffvid-shared").start()

    def ask(self, inputs: dict[str, np.ndarray], answered: Callable[[dict[str, np.ndarray] | Exception], None]) -> None:
        """Returns at once; ``answered`` gets the answer, or what went wrong, in another thread."""
        self._waiting.put((inputs, answered))

    def _work(self) -> None:
        while True:
            asked = [self._waiting.get()]
            while not self._waiting.empty():
                asked.append(self._waiting.get())
            try:
                answers = together(self._session, [inputs for inputs, _ in asked])
            except Exception as error:
                answers = [error] * len(asked)
            for (_, answered), answer in zip(asked, answers, strict=True):
                answered(answer)


def rebatch(batches: Iterable[list[Piece]], rows: int, pieces: float = math.inf) -> Iterator[list[Piece]]:
    """The same rows in the same order, in batches of ``rows`` rows but for the last, whatever runs they belong to; of
    fewer where they come in more than so many ``pieces``.

    The end of a run comes after all its rows. Rows that follow each other in one run's pieces stay in pieces of their
    own: who needs them together joins them, once.
    """
    batch: list[Piece] = []
    room = rows
    for piece in (piece for pieces in batches for piece in pieces):
        while len(piece) >= room:
            yield [*batch, replace(piece, rows=piece.rows[:room])]
            piece = replace(piece, rows=piece.rows[room:])
            batch, room = [], rows
        if piece.rows is None and not batch:
            yield [piece]
        elif len(piece) or piece.rows is None:
            batch.append(piece)
            room -= len(piece)
            if sum(len(piece) > 0 for piece in batch) >= pieces:
                yield batch
                batch, room = [], rows
    if batch:
        yield batch


def together(session, inputs: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    """A session's answer to each of several inputs: those of one shape are asked for in a single call."""
    answers: list[dict[str, np.ndarray]] = [{}] * len(inputs)
    shapes: dict[tuple, list[int]] = {}
    for i, given in enumerate(inputs):
        # of pictures that are yet to be made their own
        rows = (array[0].shape if array.dtype.hasobject else array.shape[1:] for array in given.values())
        shapes.setdefault(tuple(rows), []).append(i)
    for members in shapes.values():
        if len(members) == 1:
            answers[members[0]] = session.run(inputs[members[0]])
            continue
        joined = {name: np.concatenate([inputs[i][name] for i in members]) for name in inputs[members[0]]}
        answer, start = session.run(joined), 0
        for i in members:
            end = start + len(next(iter(inputs[i].values())))
            answers[i] = {name: array[start:end] for name, array in answer.items()}
            start = end
    return answers
