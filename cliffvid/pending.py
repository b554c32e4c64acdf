"""Network inputs that are not computed yet: their pixels come from frames on the networks' device."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

EACH = ("lines", "line_weights", "places", "column_weights")


@dataclass(frozen=True, eq=False, slots=True)
class PendingGroup:
    """P inputs made of one block of frames: n lines of weighted lines of a frame, and m columns of columns of those.

    Lines and columns are those of a frame as stored. Arrays with a first axis Q have P rows, or one for all inputs.
    """

    frames: object  # all bytes of the block, as the backend holds it
    tile: int  # bytes that are taken at once
    tiles: int  # of each line that is taken
    starts: NDArray[np.int32]  # (P,L): first tile of each plane of each input's frame
    lines: NDArray[np.int32]  # (Q,n,R,L): tiles to skip for each line
    line_weights: NDArray[np.float32]  # (Q,n,R)
    places: NDArray[np.int32]  # (Q,m,3K): samples of each channel, among those that were taken of L lines
    column_weights: NDArray[np.float32]  # (Q,m,K)
    matrix: NDArray[np.float32]  # (3,3): from the channels to red, green and blue
    black: tuple[int, ...]  # (L,): black in each plane
    exchanged: bool  # whether lines are displayed as columns
    margins: tuple[int, int, int, int] = (0, 0, 0, 0)  # pixels of ``fill`` above, left, below and right
    fill: float = 0.0
    precise: bool = False  # float32 matters: pixels are not rounded yet

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def inner_hw(self) -> tuple[int, int]:
        """Return height and width within the margins."""
        n, m = self.lines.shape[1], self.places.shape[1]
        return (m, n) if self.exchanged else (n, m)

    @property
    def size_hw(self) -> tuple[int, int]:
        (height, width), (top, left, bottom, right) = self.inner_hw, self.margins
        return top + height + bottom, left + width + right

    def __getitem__(self, chosen: slice | NDArray[np.bool_]) -> "PendingGroup":
        """Return the chosen inputs, by a slice or a mask (P,)."""
        rows = {name: getattr(self, name) for name in EACH}
        rows = {name: array[chosen] for name, array in rows.items() if len(array) == len(self)}
        return replace(self, starts=self.starts[chosen], **rows)


class PendingInputs:
    """Inputs of a network (P,h,w,3) that the backend computes from frames on its device.

    It is used like an array: by its shape and length, sliced and concatenated.
    """

    dtype, ndim, nbytes = np.dtype(object), 4, 0  # no values yet, and none of this machine's memory

    def __init__(self, groups: Sequence[PendingGroup]) -> None:
        self.groups = [group for group in groups if len(group)] or groups[:1]

    def __len__(self) -> int:
        return sum(map(len, self.groups))

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self), *self.groups[0].size_hw, 3

    def __getitem__(self, rows: slice | NDArray[np.bool_]) -> "PendingInputs":
        """Return the chosen inputs, by a slice without steps or a mask (P,)."""
        parts, start = [], 0
        for group in self.groups:
            if isinstance(rows, slice):  # nothing is copied
                first, last, _ = rows.indices(len(self))
                parts.append(group[max(first - start, 0) : max(last - start, 0)])
            else:
                parts.append(group[rows[start : start + len(group)]])
            start += len(group)
        return PendingInputs(parts)

    def __array_function__(
        self, function: object, types: object, args: tuple[Sequence["PendingInputs"]], options: object
    ) -> object:
        """Implement np.concatenate."""
        if function is not np.concatenate:
            return NotImplemented
        return PendingInputs([group for each in args[0] for group in each.groups])


def pending_among(inputs: Mapping[str, object]) -> dict[str, PendingInputs]:
    """Return those of a network's inputs that are yet to be computed."""
    return {name: each for name, each in inputs.items() if isinstance(each, PendingInputs)}
