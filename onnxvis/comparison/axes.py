"""How the axes of one tensor become those of another, and how far the two then are from each other.

Arrays are (P, *shape): one tensor's values for P inputs, which are never mixed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_MOST_AXES = 5
_TINY = 1e-12
_LIKELY = 5
"""As it is, and with the channels at the other end."""


@dataclass(frozen=True)
class Alignment:
    """From the axes of one tensor to those of another: reshaped, permuted, reshaped.

    Attributes:
        inner: The shape before the axes are permuted.
        order: Where each axis of the result comes from.
        shape: The shape of the result.
    """

    inner: tuple[int, ...]
    order: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def is_identity(self) -> bool:
        """Whether elements stay in their order."""
        return self.order == tuple(range(len(self.order)))

    def __call__(self, array: Array) -> Array:
        """Return a (P, *shape) array with the axes of the other tensor."""
        count = array.shape[0]
        moved = array.reshape(count, *self.inner).transpose(0, *(axis + 1 for axis in self.order))
        return moved.reshape(count, *self.shape)


def alignments(first: Sequence[int], second: Sequence[int]) -> Iterator[Alignment]:
    """Yield the ways in which a tensor of one shape may be one of another, the likeliest first.

    Args:
        first: The shape of the tensor.
        second: That of the other.
    """
    if math.prod(first) != math.prod(second):
        return
    shape = tuple(second)
    one, other = _squeezed(first), _squeezed(second)
    if len(one) <= _MOST_AXES and sorted(one) == sorted(other):
        usual = [tuple(range(len(one))), *_turns(len(one))]
        for order in dict.fromkeys([*usual, *itertools.permutations(range(len(one)))]):
            if tuple(one[axis] for axis in order) == other:
                yield Alignment(one, order, shape)
        return
    # A flattened tensor, of either layout.
    yield Alignment((math.prod(one),), (0,), shape)
    for order in _turns(len(one)):
        yield Alignment(one, order, shape)
    for order in _turns(len(other)):
        # (C, H, W) of the other <- this one, which is (H, W, C) flattened
        inner = tuple(other[axis] for axis in np.argsort(order))
        yield Alignment(inner, order, shape)


def _squeezed(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _turns(rank: int) -> Iterator[tuple[int, ...]]:
    """Yield the orders that move the first axis to the end, and the last to the front."""
    if 1 < rank <= _MOST_AXES:
        yield (*range(1, rank), 0)
    if 2 < rank <= _MOST_AXES:  # noqa: PLR2004 - with two axes both are the same
        yield (rank - 1, *range(rank - 1))
        # The same behind a batch.
        yield (0, *range(2, rank), 1)
        yield (0, rank - 1, *range(1, rank - 1))


@dataclass(frozen=True)
class Errors:
    """How far two tensors are from each other.

    Attributes:
        absolute: The largest absolute difference.
        relative: The same, relative to the first tensor's largest magnitude.
        mean: The root of the mean squared difference, relative to that of the first tensor.
    """

    absolute: float
    relative: float
    mean: float


def errors(first: Array, second: Array) -> Errors:
    """Compare two arrays of one shape; where only one has NaN or infinity, the error is infinite."""
    one, other = (np.asarray(array, np.result_type(array, np.float32)) for array in (first, second))
    if one.size == 0:
        return Errors(0.0, 0.0, 0.0)
    with np.errstate(all="ignore"):
        difference = np.abs(one - other)
    if not np.isfinite(difference).all():
        difference[_same(one, other)] = 0.0
        if not np.isfinite(difference).all():
            return Errors(math.inf, math.inf, math.inf)
        one = np.where(np.isfinite(one), one, 0.0)
    absolute, largest = (float(np.max(np.abs(array), initial=0.0)) for array in (difference, one))
    # Squares of what is scaled stay in range.
    size = largest * _root(one / max(largest, _TINY))
    root = absolute * _root(difference / max(absolute, _TINY))
    return Errors(absolute, absolute / max(largest, _TINY), root / max(size, _TINY))


def _root(array: Array) -> float:
    return math.sqrt(float(np.mean(np.square(array), dtype=np.float64)))


def _same(one: Array, other: Array) -> Array:
    return np.asarray((one == other) | (np.isnan(one) & np.isnan(other)))


def aligned(first: Array, second: Array, limit: float) -> tuple[Alignment, Errors] | None:
    """Find the alignment under which two tensors agree within a relative error; None: there is none.

    Args:
        first: (P, *shape).
        second: (P, *shape) of the other.
        limit: The largest relative error.
    """
    for alignment in alignments(first.shape[1:], second.shape[1:]):
        found = errors(alignment(first), second)
        if found.relative <= limit:
            return alignment, found
    return None


def nearest(first: Array, second: Array) -> tuple[Alignment, Errors] | None:
    """Return the likely alignment under which two tensors are nearest to each other; None: their sizes differ."""
    # Tensors of one shape are taken as they are: another order would be nearer by chance.
    count = 1 if first.shape == second.shape else _LIKELY
    likely = list(itertools.islice(alignments(first.shape[1:], second.shape[1:]), count))
    found = [(alignment, errors(alignment(first), second)) for alignment in likely]
    return min(found, key=lambda item: item[1].mean, default=None)
