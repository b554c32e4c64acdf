"""Network inputs that are not computed yet: their pixels come from frames on the networks' device."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False, slots=True)
class PendingGroup:
    """Inputs whose pixels are weighted sums of K rows and K columns of one block of frames."""

    frames: object  # the block (F,H,W,3) uint8, as the backend holds it
    rows: NDArray[np.int64]  # (P,h,K): offset of each row in the block, in pixels
    columns: NDArray[np.int64]  # (P,w,K): offset of each column in a row
    row_weights: NDArray[np.float32]  # (P,h,K)
    column_weights: NDArray[np.float32]  # (P,w,K)
    fill: float  # the value where weights are 0

    def where(self, chosen: NDArray[np.bool_]) -> "PendingGroup":
        """Return the chosen inputs, by a mask (P,)."""
        columns = {n: getattr(self, n)[chosen] for n in ("rows", "columns", "row_weights", "column_weights")}
        return replace(self, **columns)


class PendingInputs:
    """Inputs of a network (P,h,w,3) that the backend computes from frames on its device.

    It is used like an array: by its shape and length, sliced and concatenated.
    """

    dtype, ndim, nbytes = np.dtype(object), 4, 0  # no values yet, and none of this machine's memory

    def __init__(self, groups: Sequence[PendingGroup]) -> None:
        self.groups = [group for group in groups if len(group.rows)] or groups[:1]

    def __len__(self) -> int:
        return sum(len(group.rows) for group in self.groups)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        first = self.groups[0]
        return len(self), first.rows.shape[1], first.columns.shape[1], 3

    def __getitem__(self, rows: slice | NDArray[np.bool_]) -> "PendingInputs":
        """Return the chosen inputs, by a slice or a mask (P,)."""
        chosen = np.zeros(len(self), bool)
        chosen[rows] = True
        parts = np.split(chosen, np.cumsum([len(group.rows) for group in self.groups])[:-1])
        return PendingInputs([group.where(some) for group, some in zip(self.groups, parts, strict=True)])

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
