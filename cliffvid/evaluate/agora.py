"""AGORA's tables: pickles of pandas, read without pandas and without running anything in them."""

from ..models.safe_pickle import Array, Plain, Record


def is_frame(value: Plain) -> bool:
    """Whether a record stands for a DataFrame."""
    return isinstance(value, Record) and value.name.endswith(".DataFrame")


def table(frame: Record) -> dict[str, list]:
    """Return a DataFrame's columns by name, each a list with an entry a row.

    Pandas from 0.25 to 2 is understood. Raises ValueError for columns that are no plain arrays.
    """
    manager = frame.state.get("_mgr", frame.state.get("_data"))
    if not isinstance(manager, Record):
        raise ValueError("a table without columns")
    names, blocks = _parts(manager)
    columns: dict[int, list] = {}
    for values, places in blocks:
        if not isinstance(values, list | Array):
            raise ValueError(f"a column of {values.name if isinstance(values, Record) else type(values).__name__}")
        many = isinstance(values, list) or values.ndim > 1
        for place, column in zip(_places(places, len(names)), values if many else [values], strict=True):
            columns[place] = list(column)
    return {str(name): columns[place] for place, name in enumerate(names)}


def _parts(manager: Record) -> tuple[list, list[tuple]]:
    """Return the names of the columns, and (values, places) of each block."""
    if isinstance(manager.state, list) and len(manager.state) == 4 and isinstance(manager.state[3], dict):
        kept = manager.state[3]["0.14.1"]  # before pandas 1.3
        return _labels(kept["axes"][0]), [(block["values"], block["mgr_locs"]) for block in kept["blocks"]]
    blocks, axes = manager.args
    return _labels(axes[0]), [(block.args[0], block.args[1]) for block in blocks]


def _labels(index: Record) -> list:
    return list(index.args[1]["data"])


def _places(places: Plain, count: int) -> list[int]:
    """Return the columns that a block's values are, given as a slice or as numbers."""
    if isinstance(places, Record):
        return list(range(count)[slice(*places.args)])
    return places.reshape(-1).tolist()
