"""What the error of a tensor looks like, where that has a name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from onnxvis.comparison.axes import Array
from onnxvis.comparison.pairs import TensorPair, back, units_of
from onnxvis.comparison.weights import listed

_EXACT = 1e-3
_FEW = 0.34
_NOTICEABLE = 0.02
_EXAMPLES = 2048
"""So many places of each unit show what an error looks like."""
_MATRIX, _KERNEL = 2, 4


def symptoms(arrays: tuple[Array, Array], pair: TensorPair, axis: int | None, limit: float) -> Iterator[str]:
    """Say what the error looks like.

    Args:
        arrays: (P, *shape) of each file.
        pair: What is known of them.
        axis: The axis of the channels in the first file's shape, or None.
        limit: The relative error from which on two tensors differ.
    """
    one, other = arrays
    if pair.verdict == "shape" or pair.alignment is None:
        yield f"its shape is {tuple(other.shape[1:])} instead of {tuple(one.shape[1:])}"
        return
    if not np.isfinite(other).all() and np.isfinite(one).all():
        yield f"it holds {'NaN' if np.isnan(other).any() else 'infinity'}, which the other does not"
        return
    if pair.permutation is not None:
        moved = [index for index, place in enumerate(pair.permutation) if index != place]
        yield f"the same filters in another order ({len(moved)} of {len(pair.permutation)} are elsewhere)"
        return
    turned = back(pair.alignment, one, other)
    some = np.unique(np.linspace(0, units_of(one, axis).shape[1] - 1, _EXAMPLES).astype(int))
    units = [units_of(array, axis)[:, some].astype(np.float64) for array in (one, turned)]
    for look in _LOOKS:
        said = look(units[0], units[1], limit)
        if said is not None:
            yield said
            break
    yield from _border(one, turned, axis, limit)


def _some_units(one: Array, other: Array, limit: float) -> str | None:
    scale = float(np.abs(one).max())
    wrong = np.flatnonzero(np.abs(one - other).max(axis=1) > limit * scale)
    if not 0 < len(wrong) <= _FEW * len(one):
        return None
    constant_now = bool(np.ptp(other[wrong], axis=1).max() == 0) and np.ptp(one[wrong], axis=1).max() > 0
    plural = "" if len(wrong) == 1 else "s"
    says = " (constant there)" if constant_now else ""
    return f"only filter{plural} {listed(wrong)} of {len(one)} differ{'s' if not plural else ''}{says}"


def _constant_factor(one: Array, other: Array, limit: float) -> str | None:
    size = float(np.sum(one * one))
    factor = float(np.sum(one * other)) / size if size else 0.0
    near = np.abs(factor * one - other).max() <= max(limit, _EXACT) * np.abs(other).max()
    told = near and factor != 0 and abs(factor - 1) > _NOTICEABLE
    return f"its values are {factor:.3g} times as large" if told else None


def _own_factors(one: Array, other: Array, limit: float) -> str | None:
    """Recognize a scale and an offset of each unit, as those of a normalization or a bias."""
    centered = one - one.mean(axis=1, keepdims=True), other - other.mean(axis=1, keepdims=True)
    size = np.sum(centered[0] ** 2, axis=1, keepdims=True)
    slope = np.sum(centered[0] * centered[1], axis=1, keepdims=True) / np.where(size > 0, size, 1)
    rest = np.abs(slope * centered[0] - centered[1]).max()
    if one.shape[1] <= _MATRIX or rest > max(limit, _EXACT) * np.abs(other).max():
        return None
    if np.allclose(slope[size > 0], 1, atol=_EXACT):
        return "each filter is off by a constant (a bias?)"
    return "each filter is scaled, and off by a constant (a normalization?)"


_LOOKS: Sequence[Callable[[Array, Array, float], str | None]] = (_constant_factor, _some_units, _own_factors)


def _border(one: Array, other: Array, axis: int | None, limit: float) -> Iterator[str]:
    """Recognize an error at the border alone: other pads."""
    if axis is None or one.ndim < _KERNEL:
        return
    spatial = [place for place in range(2, one.ndim) if place != axis + 1 and one.shape[place] > _KERNEL]
    wrong = np.abs(one - other) > limit * np.abs(one).max()
    inner = wrong[tuple(slice(1, -1) if place in spatial else slice(None) for place in range(one.ndim))]
    if wrong.any() and not inner.any():
        yield "only at the border (pads?)"
