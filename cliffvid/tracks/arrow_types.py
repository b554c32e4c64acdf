"""Define protocols for the parts of pyarrow that are used, because pyarrow has no types."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, Self

from ..tables import Array


class DataType(Protocol):
    list_size: int  # of fixed-size lists only


class Field(Protocol):
    name: str
    type: DataType


class Schema(Protocol):
    names: list[str]
    metadata: dict[bytes, bytes] | None

    def __iter__(self) -> Iterator[Field]: ...
    def with_metadata(self, metadata: Mapping[str, str]) -> Self: ...


class Column(Protocol):
    """An Array, or a ChunkedArray, which ``combine_chunks`` turns into an Array."""

    type: DataType
    null_count: int
    offsets: "Column"  # of variable-size lists only

    def __len__(self) -> int: ...
    def combine_chunks(self) -> "Column": ...
    def flatten(self) -> "Column": ...
    def to_numpy(self, zero_copy_only: bool = True) -> Array: ...
    def to_pylist(self) -> list[object]: ...


class ArrowTable(Protocol):
    schema: Schema
    nbytes: int

    def __len__(self) -> int: ...
    def __getitem__(self, name: str) -> Column: ...
    def add_column(self, place: int, field: object, column: object) -> Self: ...
    def cast(self, schema: Schema) -> Self: ...


class Batch(Protocol):
    def __len__(self) -> int: ...
    def column(self, name: str) -> Column: ...


class ColumnFooter(Protocol):
    path_in_schema: str
    num_values: int
    total_uncompressed_size: int


class GroupFooter(Protocol):
    num_columns: int

    def column(self, place: int) -> ColumnFooter: ...


class Footer(Protocol):
    """The footer of a parquet file."""

    num_rows: int
    num_row_groups: int
    metadata: dict[bytes, bytes] | None

    def row_group(self, place: int) -> GroupFooter: ...


class ParquetFile(Protocol):
    metadata: Footer
    schema_arrow: Schema

    def read(self, columns: Sequence[str], use_threads: bool = True) -> ArrowTable: ...
    def iter_batches(self, batch_size: int, columns: Sequence[str], use_threads: bool = True) -> Iterator[Batch]: ...


class ArrowWriter(Protocol):
    is_open: bool

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> object: ...
    def write_table(self, table: ArrowTable, row_group_size: int | None = None) -> None: ...
    def add_key_value_metadata(self, metadata: Mapping[str, str]) -> None: ...
    def close(self) -> None: ...
