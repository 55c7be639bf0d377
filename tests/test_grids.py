from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxvis.errors import InputError
from onnxvis.grids import cells_of, grid


@given(
    count=st.integers(1, 30),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    gap=st.integers(0, 3),
    bands=st.sampled_from([(), (3,)]),
)
def test_cells_are_taken_out_as_they_were_put_in(
    count: int, height: int, width: int, gap: int, bands: tuple[int, ...]
) -> None:
    shape = (count, height, width, *bands)
    cells = (np.arange(np.prod(shape)) * 37 % 251).astype(np.uint8).reshape(shape)
    assert np.array_equal(cells_of(grid(cells, gap, 128), count, gap, "cells"), cells)


def test_gaps_and_what_the_last_row_leaves_open() -> None:
    cells = np.zeros((3, 1, 2), np.uint8)
    picture = [[0, 0, 7, 0, 0], [7] * 5, [0, 0, 7, 0, 0]]
    assert grid(cells[:2], 1, 7).tolist() == picture[:1]
    assert grid(cells, 1, 7)[:2].tolist() == picture[:2]
    assert grid(cells, 1, 7)[2].tolist()[:3] == [0, 0, 7]


def test_a_picture_of_another_size_holds_no_cells() -> None:
    with pytest.raises(InputError, match="5x2 pixels does not hold 4 slices as a grid of 2x2"):
        cells_of(np.zeros((2, 5)), 4, 0, "slices")
