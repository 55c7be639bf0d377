"""Arrays, shapes and axes by hypothesis, such that no step of a difference crosses a kink."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

Array = npt.NDArray[Any]
Draw = Callable[[st.SearchStrategy[Any]], Any]


def generator(draw: Draw) -> np.random.Generator:
    """Draw a generator of random numbers."""
    return np.random.default_rng(draw(st.integers(0, 2**31)))


def spread(draw: Draw, shape: Sequence[int], low: float = -2.0, high: float = 2.0) -> Array:
    """Draw an array of distinct float32 values, evenly apart and shuffled; zero is never among them."""
    count = int(np.prod(shape))
    rng = generator(draw)
    points = low + (high - low) * (np.arange(count) + 0.5 + 0.2 * rng.random()) / max(count, 1)
    gap = (high - low) / (4 * (count + 1))
    points[np.abs(points) < gap] += 2 * gap
    return rng.permutation(points).reshape(tuple(shape)).astype(np.float32)


def several(draw: Draw, shapes_of: Sequence[Sequence[int]], low: float = -2.0, high: float = 2.0) -> list[Array]:
    """Draw arrays of which no two elements are equal, not even of two arrays."""
    sizes = [int(np.prod(shape)) for shape in shapes_of]
    parts = np.split(spread(draw, (sum(sizes),), low, high), np.cumsum(sizes)[:-1])
    return [part.reshape(tuple(shape)) for part, shape in zip(parts, shapes_of, strict=True)]


def shapes(draw: Draw, rank: int | tuple[int, int] = (1, 4), largest: int = 4) -> tuple[int, ...]:
    """Draw a shape of small sizes."""
    low, high = (rank, rank) if isinstance(rank, int) else rank
    return tuple(draw(st.lists(st.integers(1, largest), min_size=low, max_size=high)))


def broadcast_to(draw: Draw, shape: Sequence[int]) -> tuple[int, ...]:
    """Draw a shape that broadcasts to another one."""
    kept = draw(st.integers(0, len(shape)))
    return tuple(1 if draw(st.booleans()) else size for size in shape[kept:])


def axis_of(draw: Draw, rank: int, lowest: int | None = None) -> int:
    """Draw an axis, negative or not."""
    return int(draw(st.integers(-rank if lowest is None else lowest, rank - 1)))


def axes_of(draw: Draw, rank: int, *, smallest: int = 1, negative: bool = True) -> list[int]:
    """Draw different axes in any order, each of them negative or not."""
    axes = draw(st.lists(st.integers(0, rank - 1), min_size=smallest, max_size=rank, unique=True))
    return [axis - rank if negative and draw(st.booleans()) else axis for axis in axes]


def integers(draw: Draw, shape: Sequence[int], low: int, high: int, dtype: Any = np.int64) -> Array:
    """Draw integers from low to high, which is one of them."""
    return generator(draw).integers(low, high, tuple(shape), endpoint=True).astype(dtype)


def booleans(draw: Draw, shape: Sequence[int]) -> Array:
    """Draw truth values."""
    return integers(draw, shape, 0, 1, np.bool_)


def chosen(draw: Draw, **choices: Sequence[Any]) -> dict[str, Any]:
    """Draw attributes; a choice of None leaves the attribute out."""
    drawn = {name: draw(st.sampled_from(list(values))) for name, values in choices.items()}
    return {name: value for name, value in drawn.items() if value is not None}


def whole(*values: int) -> Array:
    """An int64 vector: a shape, axes, pads."""
    return np.array(values, np.int64)


def single(*values: float) -> Array:
    """A float32 vector."""
    return np.array(values, np.float32)


def away_from(array: Array, *kinks: float, margin: float = 0.05) -> Array:
    """Move the elements that are near a kink to the side of it."""
    for kink in kinks:
        near = np.abs(array - kink) < margin
        array = np.where(near, np.float32(kink + 2 * margin), array).astype(np.float32)
    return array
