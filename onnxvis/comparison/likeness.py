"""How alike two tensors are, beyond their difference: the angle between them, and the geometry of their units."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_MOST_EXAMPLES = 256
_MOST_UNITS = 4096
"""Of more units not all distances are computed."""


def cosine(first: Array, second: Array) -> float:
    """Return the cosine of the angle between two arrays, read as vectors; NaN where one is zero or not finite."""
    one, other = (np.asarray(array).reshape(-1) for array in (first, second))
    with np.errstate(over="ignore", invalid="ignore"):
        size = math.sqrt(float(one @ one)) * math.sqrt(float(other @ other))
        angle = float(one @ other) / size if size > 0 else math.nan
    return min(1.0, max(-1.0, angle)) if math.isfinite(angle) and math.isfinite(size) else math.nan


def linear_cka(first: Array, second: Array) -> float:
    """Return the linear centered kernel alignment of two layers, in [0, 1].

    It is 1 where one layer's units are a rotation of the other's, times a constant: it does not ask which unit is
    which. Kornblith et al., Similarity of Neural Network Representations Revisited, 2019 (https://arxiv.org/abs/1905.00414).

    Args:
        first: (examples, units).
        second: (examples, units), of the same examples.
    """
    some = _spread(len(first))
    with np.errstate(all="ignore"):
        grams = [_centered_gram(np.asarray(array[some], np.float32)) for array in (first, second)]
        size = math.sqrt(float(np.sum(grams[0] ** 2))) * math.sqrt(float(np.sum(grams[1] ** 2)))
        alike = float(np.sum(grams[0] * grams[1])) / size if size > 0 else math.nan
    return alike if math.isfinite(size) else math.nan


def _spread(count: int) -> Array:
    """Choose at most so many examples, spread over all."""
    return np.unique(np.linspace(0, count - 1, min(count, _MOST_EXAMPLES)).astype(int))


def _centered_gram(units: Array) -> Array:
    centered = units - units.mean(axis=0, keepdims=True)
    return np.asarray(centered @ centered.T)


def permutation(first: Array, second: Array, limit: float) -> tuple[int, ...] | None:
    """Find which unit of the second is which of the first.

    Each is paired with the nearest; where that pairs all of them within the limit, they are the same units.

    Args:
        first: (units, examples).
        second: (units, examples).
        limit: The largest difference, relative to the largest magnitude of the first.

    Returns:
        tuple: For each unit of the first its number in the second; None: they are other units.
    """
    if first.shape != second.shape:
        return None
    # Where some examples tell them apart, the others need not be looked at.
    for columns in (_spread(first.shape[1]), slice(None)):
        found = _sorted_alike(first[:, columns], second[:, columns], limit)
        if found is None:
            return None
    return found


def _sorted_alike(first: Array, second: Array, limit: float) -> tuple[int, ...] | None:
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return None
    one, other = (np.asarray(array, np.float64) for array in (first, second))
    reach = limit * float(np.max(np.abs(one), initial=0.0))
    found = _by_projection(one, other) if len(one) > _MOST_UNITS else _by_distance(one, other, reach)
    if found is None or np.max(np.abs(one - other[found]), initial=0.0) > reach:
        return None
    return tuple(int(index) for index in found)


def _by_projection(one: Array, other: Array) -> Array:
    """Pair units by the order of one number each, a projection of all that they answer."""
    direction = np.random.default_rng(0).standard_normal(one.shape[1])
    found = np.empty(len(one), int)
    found[np.argsort(one @ direction)] = np.argsort(other @ direction)
    return found


def _by_distance(one: Array, other: Array, reach: float) -> Array | None:
    """Pair each unit with the nearest that is left; units that are alike share theirs out among themselves."""
    distances = np.square(one).sum(axis=1)[:, None] + np.square(other).sum(axis=1)[None] - 2 * one @ other.T
    found = np.argmin(distances, axis=1)
    taken: set[int] = set()
    for unit, nearest in enumerate(found):
        if int(nearest) in taken:
            free = [index for index in np.argsort(distances[unit]) if int(index) not in taken][:1]
            if not free or np.max(np.abs(one[unit] - other[free[0]]), initial=0.0) > reach:
                return None
            found[unit] = free[0]
        taken.add(int(found[unit]))
    return np.asarray(found)
