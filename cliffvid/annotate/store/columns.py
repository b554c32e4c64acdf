"""Hold many records as columns: a tenth of the memory of dicts, and lines of the journal that are short and parse fast.

A column is one of: a list with a value for each row; a list of one value, that of all rows; a text, the joined values
of equal length, such as hashes; an object of columns, where all values are objects with the same keys.
"""

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Self, TypeAlias, TypeVar, cast, overload

import numpy as np

Column: TypeAlias = "list[object] | str | dict[str, Column]"
Record = TypeVar("Record")
JOINED_LEAST = 16  # characters of values that are joined
ROW_BITS = 32


class Packed(Sequence[Record]):
    """Records of equal keys, held as columns; each access makes a record."""

    def __init__(self, columns: dict[str, Column], count: int) -> None:
        self.columns, self._count = columns, count

    @classmethod
    def of(cls, records: Sequence[Record]) -> Self | None:
        """Return the records as columns; None if their keys differ or there are none."""
        columns = _column(list(records)) if records else None
        return cls(columns, len(records)) if isinstance(columns, dict) else None

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, row: int) -> Record: ...
    @overload
    def __getitem__(self, row: slice) -> list[Record]: ...
    def __getitem__(self, row: int | slice) -> Record | list[Record]:
        if isinstance(row, slice):
            return [self[each] for each in range(self._count)[row]]
        if not -self._count <= row < self._count:
            raise IndexError(row)
        row %= self._count
        return cast(Record, {name: _value(column, row, self._count) for name, column in self.columns.items()})

    def values(self, path: str) -> Sequence[object]:
        """Return a column by its name, ``a.b`` for one in an object; None for each row without it."""
        held = self.held(path)
        return held if len(held) == self._count else list(held) * self._count

    def held(self, path: str) -> Sequence[object]:
        """Return a column as ``values`` does, but a value that all rows have only once."""
        column: Column = self.columns
        names = path.split(".")
        while names and isinstance(column, dict):
            column = column.get(names.pop(0), [None])
        values = column if isinstance(column, list) else spread(column, self._count)
        return [_deep(value, names) for value in values] if names else values


def spread(column: Column, count: int) -> Sequence[object]:
    """Return a column with a value for each row."""
    if isinstance(column, list):
        return column if len(column) == count else column * count
    if isinstance(column, str):
        width = len(column) // count
        return [column[begin : begin + width] for begin in range(0, len(column), width)]
    if not column:
        return [{} for _ in range(count)]
    values = zip(*(spread(each, count) for each in column.values()), strict=True)
    return [dict(zip(column, row, strict=True)) for row in values]


def fits(column: object, count: int) -> bool:
    """Return whether parsed JSON is a column of so many rows."""
    if isinstance(column, dict):
        return all(fits(each, count) for each in column.values())
    if isinstance(column, str):
        return len(column) >= JOINED_LEAST * count and not len(column) % count
    return isinstance(column, list) and len(column) in (1, count)


def _value(column: Column, row: int, count: int) -> object:
    if isinstance(column, dict):
        return {name: _value(each, row, count) for name, each in column.items()}
    if isinstance(column, str):
        width = len(column) // count
        return column[row * width : (row + 1) * width]
    return column[row if len(column) > 1 else 0]


def _column(values: list[object]) -> Column:
    first = values[0]
    if isinstance(first, dict) and all(isinstance(each, dict) and each.keys() == first.keys() for each in values):
        objects = cast(list[dict[str, object]], values)
        return {name: _column([each[name] for each in objects]) for name in first}
    if all(type(each) is type(first) and each == first for each in values):
        return [first]
    if isinstance(first, str) and len(first) >= JOINED_LEAST:
        texts = [each for each in values if isinstance(each, str) and each.isascii()]
        if len(texts) == len(values) and set(map(len, texts)) == {len(first)}:
            return "".join(texts)
    return values


class Records(MutableMapping[str, Record]):
    """Records by name: single ones, and rows of columns. The one that was put in last counts."""

    def __init__(self) -> None:
        self._rows: list[Packed[Record]] = []
        self._where: dict[str, int | Record] = {}  # a number of rows and a row in them, or the record itself

    def put(self, names: Sequence[str], rows: Packed[Record], keep: bool = False) -> None:
        """Put in rows, one for each name; ``keep``: except for names that are in already."""
        begin = len(self._rows) << ROW_BITS
        self._rows.append(rows)
        places = zip(names, range(begin, begin + len(rows)), strict=True)
        if keep:
            for name, place in places:
                self._where.setdefault(name, place)
        else:
            self._where.update(places)

    def blocks(self, *paths: str) -> Iterator[tuple[list[str], list[Sequence[object]]]]:
        """Yield names, and some values of their records, ``a.b`` for one in an object, many at once as columns."""
        names, places = list(self._where), list(self._where.values())
        numbers = np.array([place if isinstance(place, int) else -1 for place in places], np.int64)
        ends = [*(np.flatnonzero(np.diff(numbers >> ROW_BITS)) + 1).tolist(), len(names)]
        for begin, end in zip([0, *ends[:-1]], ends, strict=True):
            if begin == end:
                continue
            number, chosen = int(numbers[begin]) >> ROW_BITS, numbers[begin:end] & (1 << ROW_BITS) - 1
            if number < 0:
                yield names[begin:end], [[_deep(each, path.split(".")) for each in places[begin:end]] for path in paths]
                continue
            columns, rows = [self._rows[number].values(path) for path in paths], chosen.tolist()
            if rows != list(range(len(self._rows[number]))):
                columns = [[column[row] for row in rows] for column in columns]
            yield names[begin:end], columns

    def select(self, *paths: str) -> Iterator[tuple[object, ...]]:
        """Yield the name and some values of each record, as ``blocks`` does, one by one."""
        for names, columns in self.blocks(*paths):
            yield from zip(names, *columns, strict=True)

    def columns(self, names: Sequence[str], *paths: str) -> list[list[object]]:
        """Return some values of the records of these names, as ``select`` does, as columns; None without a record."""
        columns: list[list[object]] = [[None] * len(names) for _ in paths]
        rows: dict[int, list[tuple[int, int]]] = {}  # number of rows -> place in a column, and row
        for place, name in enumerate(names):
            where = self._where.get(name)
            if isinstance(where, int):
                rows.setdefault(where >> ROW_BITS, []).append((place, where & (1 << ROW_BITS) - 1))
            elif where is not None:
                for column, path in zip(columns, paths, strict=True):
                    column[place] = _deep(where, path.split("."))
        for number, places in rows.items():
            for column, path in zip(columns, paths, strict=True):
                values = self._rows[number].values(path)
                for place, row in places:
                    column[place] = values[row]
        return columns

    def __getitem__(self, name: str) -> Record:
        where = self._where[name]
        return self._rows[where >> ROW_BITS][where & (1 << ROW_BITS) - 1] if isinstance(where, int) else where

    def __setitem__(self, name: str, record: Record) -> None:
        self._where[name] = record

    def __delitem__(self, name: str) -> None:
        del self._where[name]

    def __contains__(self, name: object) -> bool:
        return name in self._where

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)


def _deep(record: object, names: list[str]) -> object:
    for name in names:
        record = record.get(name) if isinstance(record, Mapping) else None
    return record
