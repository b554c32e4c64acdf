"""AGORA's tables: pickles of pandas, read without pandas and without running anything in them."""

import pickle

import numpy as np

from .pickles import StandIn


class Frame(StandIn):
    """Stands for a DataFrame."""

    def table(self) -> dict[str, list]:
        """The columns by name, each a list with an entry a row. Raises ValueError for one that is no plain array."""
        manager = self.state.get("_mgr", self.state.get("_data"))
        if not isinstance(manager, _Manager):
            raise ValueError("a table without columns")
        return manager.table()


class _Index(StandIn):
    labels: list | None = None


class _Manager(StandIn):
    """Stands for what holds a DataFrame's columns, as pandas from 0.25 to 2 writes it."""

    def __init__(self, blocks=(), axes=()) -> None:
        self.blocks, self.axes = list(blocks), list(axes)

    def __setstate__(self, state) -> None:
        if isinstance(state, tuple) and len(state) == 4 and isinstance(state[3], dict):  # before pandas 1.3
            told = state[3]["0.14.1"]
            self.axes = list(told["axes"])
            self.blocks = [(block["values"], block["mgr_locs"]) for block in told["blocks"]]

    def table(self) -> dict[str, list]:
        names = self.axes[0].labels
        columns: dict[int, list] = {}
        for values, places in self.blocks:
            if not isinstance(values, np.ndarray):
                raise ValueError(f"a column of {type(values).__name__}")
            where = range(len(names))[places] if isinstance(places, slice) else np.asarray(places).reshape(-1).tolist()
            for place, column in zip(where, values if values.ndim > 1 else [values], strict=True):
                columns[place] = list(column)
        return {str(name): columns[place] for place, name in enumerate(names)}


def _new_index(kind, given):
    index = _Index()
    data = given.get("data") if isinstance(given, dict) else None
    index.labels = None if data is None else list(np.asarray(data).reshape(-1))
    return index


def _block(values, places, ndim=2, *_):
    return values, places


def _refuse(*_):
    raise pickle.UnpicklingError("texts as pandas 3 keeps them; save it with pandas 2, or with dtype object")


NAMES = {
    ("pandas.core.frame", "DataFrame"): Frame,
    ("pandas", "DataFrame"): Frame,
    **{("pandas.core.internals.managers", name): _Manager for name in ("BlockManager", "SingleBlockManager")},
    ("pandas.core.internals", "BlockManager"): _Manager,
    ("pandas._libs.internals", "_unpickle_block"): _block,
    ("pandas.core.indexes.base", "_new_Index"): _new_index,
    ("pandas.core.indexes.base", "Index"): _Index,
    ("pandas", "Index"): _Index,
    ("pandas", "RangeIndex"): _Index,
    ("pandas.core.indexes.range", "RangeIndex"): _Index,
    ("pandas.core.indexes.numeric", "Int64Index"): _Index,
    ("pandas.arrays", "ArrowStringArray"): _refuse,
    ("builtins", "slice"): slice,
    ("__builtin__", "slice"): slice,
}
