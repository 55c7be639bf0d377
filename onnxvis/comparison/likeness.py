"""How alike two tensors are, beyond their difference: the angle between them, and the geometry of their units."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_MOST_EXAMPLES = 256


def cosine(first: Array, second: Array) -> float:
    """Return the cosine of the angle between two arrays, read as vectors; NaN where one is zero or not finite."""
    one, other = (np.asarray(array).reshape(-1) for array in (first, second))
    with np.errstate(over="ignore", invalid="ignore"):
        size = math.sqrt(float(one @ one)) * math.sqrt(float(other @ other))
        angle = float(one @ other) / size if size > 0 else math.nan
    return min(1.0, max(-1.0, angle)) if math.isfinite(size) else math.nan


def linear_cka(first: Array, second: Array) -> float:
    """Return the linear centered kernel alignment of two layers, in [0, 1].

    It is 1 where one layer's units are a rotation of the other's, times a constant: it does not ask which unit is
    which. Kornblith et al., Similarity of Neural Network Representations Revisited, 2019 (https://arxiv.org/abs/1905.00414).

    Args:
        first: (examples, units).
        second: (examples, units), of the same examples.
    """
    some = _spread(len(first))
    grams = [_centered_gram(np.asarray(array[some], np.float32)) for array in (first, second)]
    size = math.sqrt(float(np.sum(grams[0] ** 2))) * math.sqrt(float(np.sum(grams[1] ** 2)))
    return float(np.sum(grams[0] * grams[1])) / size if size > 0 and math.isfinite(size) else math.nan


def _spread(count: int) -> Array:
    """Choose at most so many examples, spread over all."""
    return np.unique(np.linspace(0, count - 1, min(count, _MOST_EXAMPLES)).astype(int))


def _centered_gram(units: Array) -> Array:
    centered = units - units.mean(axis=0, keepdims=True)
    return np.asarray(centered @ centered.T)


def permutation(first: Array, second: Array, limit: float) -> tuple[int, ...] | None:
    """Find which unit of the second is which of the first.

    Units are sorted by what they answer; where that pairs all of them within the limit, they are the same units.

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
    # Rounding must not decide the order: what is nearly the same is told apart by a projection of all examples.
    direction = np.random.default_rng(0).standard_normal(one.shape[1])
    order_one, order_other = np.argsort(one @ direction), np.argsort(other @ direction)
    scale = float(np.max(np.abs(one), initial=0.0))
    if np.max(np.abs(one[order_one] - other[order_other]), initial=0.0) > limit * scale:
        return None
    found = np.empty(len(one), int)
    found[order_one] = order_other
    return tuple(int(index) for index in found)
