"""Many cells of one size laid out as one picture, near-square and row by row, and taken apart again."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from onnxvis.errors import InputError

Array = np.ndarray[Any, Any]


def grid(cells: Array, gap: int, level: int) -> Array:
    """Lay (count, H, W, ...) out as one picture (rows * H, columns * W, ...), with gaps of one level between cells."""
    rows, columns = _grid_shape(len(cells))
    padded = np.pad(
        cells,
        [(0, rows * columns - len(cells)), (0, gap), (0, gap), *[(0, 0)] * (cells.ndim - 3)],
        constant_values=level,
    )
    height, width, *rest = padded.shape[1:]
    # (rows * columns, H, W) -> (rows, H, columns, W) -> (rows * H, columns * W)
    laid_out = padded.reshape(rows, columns, height, width, *rest).swapaxes(1, 2)
    picture = laid_out.reshape(rows * height, columns * width, *rest)
    return np.ascontiguousarray(picture[: len(picture) - gap, : picture.shape[1] - gap])


def cells_of(picture: Array, count: int, gap: int, what: str) -> Array:
    """Undo `grid`: (count, H, W, ...).

    Args:
        picture: The grid.
        count: Number of cells.
        gap: Pixels between them.
        what: The error calls the cells so.

    Raises:
        InputError: The picture does not have the size of a grid of that many cells.
    """
    rows, columns = _grid_shape(count)
    height, width = picture.shape[0] + gap, picture.shape[1] + gap
    if height % rows or width % columns or min(height // rows, width // columns) <= gap:
        size = f"{picture.shape[1]}x{picture.shape[0]} pixels"
        message = f"A picture of {size} does not hold {count} {what} as a grid of {columns}x{rows}."
        raise InputError(message, size=picture.shape[:2], count=count)
    rest = picture.shape[2:]
    padded = np.pad(picture, [(0, gap), (0, gap), *[(0, 0)] * len(rest)])
    # (rows * H, columns * W) -> (rows, H, columns, W) -> (rows, columns, H, W)
    cells = padded.reshape(rows, height // rows, columns, width // columns, *rest).swapaxes(1, 2)
    return cells.reshape(rows * columns, *cells.shape[2:])[:count, : height // rows - gap, : width // columns - gap]


def _grid_shape(count: int) -> tuple[int, int]:
    """Return the rows and columns of the near-square grid of so many cells, wide rather than high."""
    columns = math.isqrt(count - 1) + 1
    return -(-count // columns), columns
