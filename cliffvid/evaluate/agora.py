"""Read AGORA's tables, which are pickled pandas DataFrames, without pandas and without executing the pickle."""

from collections.abc import Iterable
from operator import index

import numpy as np

from ..models.safe_pickle import PickledObject, Plain


def is_frame(value: Plain) -> bool:
    """Return whether a value represents a DataFrame."""
    return isinstance(value, PickledObject) and value.name.endswith(".DataFrame")


def table(value: Plain) -> dict[Plain, Plain]:
    """Return a DataFrame's columns by name, each a list with one entry per row.

    Supports pandas 0.25 to 2. Raises ValueError for columns that are not plain arrays.
    """
    state = fields(record(value).state)
    manager = state.get("_mgr", state.get("_data"))
    if not isinstance(manager, PickledObject):
        raise ValueError("a table without columns")
    names, blocks = _parts(manager)
    columns: dict[int, list[Plain]] = {}
    for values, places in blocks:
        if not isinstance(values, list | np.ndarray):
            raise ValueError(
                f"a column of {values.name if isinstance(values, PickledObject) else type(values).__name__}"
            )
        many = isinstance(values, list) or values.ndim > 1
        parts: Iterable[Plain] = values if many else [values]
        for place, column in zip(_places(places, len(names)), parts, strict=True):
            columns[place] = entries(column)
    return {str(name): columns[place] for place, name in enumerate(names)}


def record(value: Plain) -> PickledObject:
    """Return the value if it is a record, else raise ValueError."""
    if not isinstance(value, PickledObject):
        raise ValueError(f"{type(value).__name__} instead of an object")
    return value


def fields(value: Plain) -> dict[Plain, Plain]:
    """Return the value if it is a dictionary, else raise ValueError."""
    if not isinstance(value, dict):
        raise ValueError(f"{type(value).__name__} instead of a dictionary")
    return value


def entries(value: Plain) -> list[Plain]:
    """Return the items of a list or of an array's first axis. Raises ValueError for anything else."""
    if not isinstance(value, list | np.ndarray):
        raise ValueError(f"{type(value).__name__} instead of a list")
    return list(value)


def _parts(manager: PickledObject) -> tuple[list[Plain], list[tuple[Plain, Plain]]]:
    """Return the column names, and (values, column indices) of each block."""
    state = manager.state
    if isinstance(state, list) and len(state) == 4 and isinstance(state[3], dict):
        kept = fields(state[3]["0.14.1"])  # before pandas 1.3
        old = [fields(block) for block in entries(kept["blocks"])]
        return _labels(entries(kept["axes"])[0]), [(block["values"], block["mgr_locs"]) for block in old]
    blocks, axes = manager.args
    new = [record(block) for block in entries(blocks)]
    return _labels(entries(axes)[0]), [(block.args[0], block.args[1]) for block in new]


def _labels(axis: Plain) -> list[Plain]:
    return entries(fields(record(axis).args[1])["data"])


def _places(places: Plain, count: int) -> list[int]:
    """Return the column indices of a block, given as a slice or as an array."""
    if isinstance(places, PickledObject):
        start, stop, step = map(_whole, places.args)
        return list(range(count)[start:stop:step])
    if not isinstance(places, np.ndarray):
        raise ValueError(f"{type(places).__name__} instead of numbers")
    numbers: list[int] = places.reshape(-1).tolist()
    return numbers


def _whole(value: Plain) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int | np.ndarray):
        raise ValueError(f"{type(value).__name__} instead of a whole number")
    return index(value)
