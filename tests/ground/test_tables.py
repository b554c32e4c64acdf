from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pytest

from cliffvid.tables import Bodies, People, Table, Tracks


@dataclass(frozen=True, eq=False)
class Toy(Table):
    name: Annotated[np.ndarray, "int64 P"]
    box: Annotated[np.ndarray, "float32|uint8 P 4"]


def toy(n=3):
    return Toy(np.arange(n), np.zeros((n, 4), np.float32))


@pytest.mark.parametrize(
    ("name", "box", "told"),
    [
        (
            np.arange(3),
            np.zeros((2, 4), np.float32),
            "Toy.box must be float32|uint8 ('P', 4) with {'P': 3}, got float32 (2, 4)",
        ),
        (np.arange(3), np.zeros((3, 5), np.float32), "got float32 (3, 5)"),
        (np.arange(3), np.zeros((3, 4)), "got float64 (3, 4)"),
        (np.arange(3.0), np.zeros((3, 4), np.uint8), "Toy.name must be int64"),
        ([1, 2, 3], np.zeros((3, 4), np.uint8), "got <class 'list'>"),
    ],
)
def test_a_wrong_column_is_named(name, box, told):
    with pytest.raises(ValueError) as error:
        Toy(name, box)
    assert told in str(error.value)


def test_slices_masks_and_concat_keep_rows_together():
    table = Toy(np.arange(5), np.arange(20, dtype=np.float32).reshape(5, 4))
    again = Toy.concat([table[:2], table[np.array([2])], table[table.name > 2]])
    np.testing.assert_array_equal(again.name, table.name)
    np.testing.assert_array_equal(again.box, table.box)
    assert len(table[:0]) == 0 and len(Toy.empty()) == 0


def test_optional_columns_are_absent_or_in_every_row():
    plain, like = Bodies.empty(), Bodies.empty(["confidence", "joint_confidence", "other"], joints=24)
    assert plain.confidence is None and "confidence" not in plain.columns()
    assert like.joint_confidence.shape == (0, 24) and Bodies.concat([like, like]).confidence.shape == (0,)
    for tables in ([plain, like], [like, plain]):
        with pytest.raises(ValueError, match="Bodies: tables of different columns"):
            Bodies.concat(tables)
    with pytest.raises(ValueError, match="confidence must be"):
        Bodies(**plain.columns(), confidence=np.zeros(1, np.float32))


def test_tracks_have_the_columns_of_bodies_and_people():
    columns = set(Tracks.empty().columns())
    assert set(People.empty().columns()) < set(Bodies.empty().columns()) < columns
    assert columns - set(Bodies.empty().columns()) == {"track_id"}
