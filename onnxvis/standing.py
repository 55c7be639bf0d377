"""Where a unit stands among the units of its layer, and a picture among others: arithmetic on activations alone.

Answers are activations of all units of a layer, one number each. A direction of 1 means that much activation is wanted,
-1 that little is: all numbers here are larger, and ranks smaller, the better it is reached.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_ROUNDING = 1e-4
"""Changes of an activation that are smaller than this, relative to it, may be rounding."""
_LEAST_SPREAD = 0.1
"""Units that hardly ever answer are taken to vary by this fraction of what the layer's units usually do."""
_SEVERAL = 2


@dataclass(frozen=True)
class Standing:
    """Where some filters stand among all of a layer.

    Attributes:
        rank: 1 and the number of other filters that answer more than the weakest of these.
        units: The number of filters in the layer.
        margin: By how much the weakest of these answers more than the strongest other; negative where it does not.
        rival: The strongest other.
    """

    rank: int
    units: int
    margin: float
    rival: int


@dataclass(frozen=True)
class Place:
    """Where a picture stands among natural images.

    Attributes:
        beyond: The share of the natural images that drive the unit less than the picture does (where it is to be
            minimized, more), in [0, 1].
        count: The number of natural images.
        best: The name of the one that drives it most, or least.
        best_activation: How much.
    """

    beyond: float
    count: int
    best: str
    best_activation: float


@dataclass(frozen=True)
class Agreement:
    """How much pictures that should show the same have in common.

    Attributes:
        mean: The mean cosine over all pairs of pictures, in [-1, 1].
        least: That of the least similar pair.
        count: The number of pictures.
    """

    mean: float
    least: float
    count: int

    def __str__(self) -> str:
        return f"of {self.count} seeds: cosine {self.mean:.2f}, at least {self.least:.2f}, of what other units see"


def kept(activation: float, seed: float, reference: float, direction: float = 1.0) -> float | None:
    """Return which part of what was gained over the seed is left: 1 is all of it, 0 none, negative less than the seed.

    Args:
        activation: What is left.
        seed: The activation of the seed.
        reference: The activation whose distance from the seed counts as the whole.
        direction: 1 or -1.

    Returns:
        float | None: None where nothing was gained: the reference is no better than the seed, but for rounding.
    """
    gained = reference - seed
    if gained * direction <= _ROUNDING * max(abs(reference), abs(seed)):
        return None
    return (activation - seed) / gained


def standing(answers: Array, filters: Sequence[int], direction: float = 1.0) -> Standing | None:
    """Compare some filters with all others of their layer.

    Args:
        answers: (units,).
        filters: Which of them are wanted.
        direction: 1 or -1.

    Returns:
        Standing | None: None where no filter is wanted, or no other is left.
    """
    others = np.setdiff1d(np.arange(len(answers)), filters)
    if not len(filters) or not len(others):
        return None
    signed = answers * direction
    weakest = float(signed[list(filters)].min())
    rival = int(others[np.argmax(signed[others])])
    rank = 1 + int((signed[others] > weakest).sum())
    return Standing(rank, len(answers), weakest - float(signed[rival]), rival)


def standardized(answers: Array, baseline: Array) -> Array | None:
    """Count answers in standard deviations from each unit's mean on a baseline, so that units can be compared.

    A unit that hardly varies on the baseline counts as varying by a tenth of what the layer's median unit does.

    Args:
        answers: (..., units).
        baseline: (images, units): what the same units answer to other images.

    Returns:
        Array | None: (..., units); None where the baseline has fewer than two images, or no unit varies on it.
    """
    if len(baseline) < _SEVERAL:
        return None
    spread = baseline.std(axis=0, ddof=1)
    awake = spread[spread > 0]
    if not len(awake):
        return None
    scaled: Array = (answers - baseline.mean(axis=0)) / np.maximum(spread, _LEAST_SPREAD * np.median(awake))
    return scaled


def combined(answers: Array, filters: Sequence[int]) -> Array:
    """Return the activation of what is wanted: the sum over some filters, or without any the mean over all.

    Args:
        answers: (..., units).
        filters: Which of them; empty: all.

    Returns:
        Array: (...).
    """
    return np.asarray(answers[..., list(filters)].sum(axis=-1) if len(filters) else answers.mean(axis=-1))


def place(activation: float, natural: Array, names: Sequence[str], direction: float = 1.0) -> Place:
    """Compare a picture with natural images.

    Args:
        activation: The picture's.
        natural: (images,): theirs, at least one.
        names: What they are called.
        direction: 1 or -1.
    """
    best = int(np.argmax(natural * direction))
    beyond = float((natural * direction < activation * direction).mean())
    return Place(beyond, len(natural), names[best], float(natural[best]))


def agreement(answers: Array, filters: Sequence[int] = (), baseline: Array | None = None) -> Agreement | None:
    """Compare pictures of one unit by what the other units of its layer see in them.

    The unit's own answer is left out: that the pictures agree in it is no news.

    Args:
        answers: (pictures, units).
        filters: What the pictures were made for.
        baseline: (images, units): the answers are standardized on these. Without, units that always answer make all
            pictures look alike.

    Returns:
        Agreement | None: None for fewer than two pictures or other units, or where a picture moves none of these.
    """
    scaled = answers if baseline is None else standardized(answers, baseline)
    others = np.setdiff1d(np.arange(answers.shape[-1]), filters)
    if scaled is None or len(answers) < _SEVERAL or len(others) < _SEVERAL:
        return None
    vectors = scaled[:, others]
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not lengths.all():
        return None
    cosines = (vectors / lengths) @ (vectors / lengths).T
    pairs = [float(cosines[i, j]) for i, j in itertools.combinations(range(len(answers)), 2)]
    return Agreement(float(np.mean(pairs)), min(pairs), len(answers))
