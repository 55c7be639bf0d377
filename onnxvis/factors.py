"""The axes of a tensor as products of factors, of which some count channels.

Attention splits 24 channels into 3 heads of 8, a channel shuffle into 4 groups of 6, and windows of an image may be
merged with either. A Reshape only groups the same factors anew: channels are found again where such a path ends.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

Size = int | str | None


class Factor(NamedTuple):
    """A factor of an axis, and whether it counts channels."""

    size: Size
    is_channel: bool = False


Axis = tuple[Factor, ...]
Layout = tuple[Axis, ...]


def plain(shape: Sequence[Size], *channels: int) -> Layout:
    """Return the layout in which these axes hold channels, and nothing is split or merged."""
    marked = {axis % len(shape) for axis in channels}
    return tuple((Factor(size, axis in marked),) for axis, size in enumerate(shape))


def channel_axis(layout: Layout) -> int | None:
    """Return the axis that holds all channels and nothing else, or None."""
    holding = [index for index, axis in enumerate(layout) if counts_channels(axis)]
    wide = [index for index in holding if size_of(layout[index]) != 1] or holding
    return wide[0] if len(wide) == 1 and is_pure(layout[wide[0]]) else None


def counts_channels(axis: Axis) -> bool:
    """Whether an axis holds channels, perhaps among others."""
    return any(factor.is_channel for factor in axis)


def is_pure(axis: Axis) -> bool:
    """Whether an axis holds channels alone, or none."""
    return len({factor.is_channel for factor in axis if factor.size != 1}) <= 1


def size_of(axis: Axis) -> Size:
    """Return the number of elements along an axis, as far as it is known."""
    if len(axis) == 1:
        return axis[0].size
    sizes = [factor.size for factor in axis if isinstance(factor.size, int)]
    return math.prod(sizes) if len(sizes) == len(axis) else None


def resized(layout: Layout | None, shape: Sequence[Size] | None) -> Layout | None:
    """Give the axes other sizes; None where the rank differs, or where an axis holds channels and others."""
    if layout is None or shape is None or len(layout) != len(shape):
        return None
    axes: list[Axis] = []
    for axis, size in zip(layout, shape, strict=True):
        if size is not None and size_of(axis) == size:
            axes.append(axis)
        elif is_pure(axis):
            axes.append((Factor(size, counts_channels(axis)),))
        else:
            return None
    return tuple(axes)


def widened(layout: Layout, shape: Sequence[Size]) -> Layout | None:
    """Broadcast to a shape of the same rank or a higher one."""
    missing = len(shape) - len(layout)
    return resized(((),) * missing + layout, shape) if missing >= 0 else None


def without(layout: Layout, gone: set[int]) -> Layout:
    """Remove some axes."""
    return tuple(axis for index, axis in enumerate(layout) if index not in gone)


def marks(layout: Layout) -> tuple[tuple[bool, ...], ...]:
    """Return where a layout has channels: what has to agree in what is added up."""
    return tuple(
        (counts_channels(axis),) if is_pure(axis) else tuple(factor.is_channel for factor in axis) for axis in layout
    )


def regrouped(layout: Layout, shape: Sequence[Size]) -> Layout | None:
    """Distribute the factors over the axes of a new shape, from the left and then from the right.

    Sizes that are not known may hide anything in between but channels; None where they might.
    """
    factors = list(itertools.chain.from_iterable(layout))
    left = _taken(factors, shape)
    open_sizes = shape[len(left) :]
    factors.reverse()
    right = [axis[::-1] for axis in _taken(factors, open_sizes[::-1])][::-1]
    middle = open_sizes[: len(open_sizes) - len(right)]
    lost = any(factor.is_channel and factor.size != 1 for factor in factors)
    if lost or (not middle and any(factor.size != 1 for factor in factors)):
        return None
    return (*left, *((Factor(size),) for size in middle), *right)


def _taken(factors: list[Factor], sizes: Sequence[Size]) -> list[Axis]:
    """Take the factors of each axis off the start of a list, as far as the sizes are known."""
    axes: list[Axis] = []
    for size in sizes:
        axis = _take(factors, size)
        if axis is None:
            break
        axes.append(axis)
    return axes


def _take(factors: list[Factor], size: Size) -> Axis | None:
    """Take factors of this product off the start of a list, the last one in part if need be; None: it is left as is."""
    if size == 1 or isinstance(size, str):
        same = bool(factors) and factors[0].size == size
        return (factors.pop(0),) if same else () if size == 1 else None
    axis, rest, needed = [], list(factors), size or 0
    while needed != 1:
        own = rest.pop(0) if rest else Factor(None)
        if not needed or not isinstance(own.size, int):
            return None
        common = math.gcd(needed, own.size)
        if common not in (needed, own.size):
            return None
        if common != 1:
            axis.append(Factor(common, own.is_channel))
        if common < own.size:
            rest.insert(0, Factor(own.size // common, own.is_channel))
        needed //= common
    factors[:] = rest
    return tuple(axis)
