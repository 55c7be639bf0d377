"""Deformable convolution: the windows' elements are taken from wherever an input says.

Dai et al. 2017, https://arxiv.org/abs/1703.06211; Zhu et al. 2019, https://arxiv.org/abs/1811.11168.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from onnxvis.ops.table import Ints, operator
from onnxvis.ops.window import per_axis


@operator("DeformConv")
def deform_conv(
    X: Tensor,
    W: Tensor,
    offset: Tensor,
    B: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    offset_group: int = 1,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    """Convolve elements at fractional places, which are interpolated linearly; outside of X is zero.

    Args:
        X: (N, C, D1, ..., Dn), any n.
        W: (M, C / group, k1, ..., kn).
        offset: (N, offset_group k1 ... kn n, o1, ..., on), how far each element of each window is moved along each
            axis, in pixels.
        B: (M,).
        mask: (N, offset_group k1 ... kn, o1, ..., on), a factor for each element of each window.
        dilations: The step between the elements of a window, along each axis.
        group: Groups of channels that are convolved apart.
        kernel_shape: (k1, ..., kn).
        offset_group: Groups of the channels of X that are moved alike.
        pads: All beginnings, then all ends.
        strides: The step from window to window, along each axis.
    """
    rank, sizes = X.ndim - 2, offset.shape[2:]
    kernel = tuple(W.shape[2:]) if kernel_shape is None else kernel_shape
    begins = per_axis(pads, 2 * rank, default=0)[:rank]
    # (N, offset_group, taps, n, windows) and, regular, (taps, n, windows)
    moved = offset.reshape(X.shape[0], offset_group, math.prod(kernel), rank, math.prod(sizes))
    regular = _regular_places(kernel, tuple(sizes), per_axis(strides, rank), per_axis(dilations, rank), begins)
    elements = _interpolated(X, moved + regular.to(X), offset_group)
    if mask is not None:
        elements = elements * mask.reshape(X.shape[0], offset_group, 1, math.prod(kernel), -1)
    columns = elements.reshape(X.shape[0], group, -1, math.prod(sizes))
    Y = (W.reshape(group, W.shape[0] // group, -1) @ columns).reshape(X.shape[0], -1, *sizes)
    return Y if B is None else Y + B.reshape(-1, *[1] * rank)


def _regular_places(kernel: Ints, sizes: Ints, strides: Ints, dilations: Ints, begins: Ints) -> Tensor:
    """Where the elements of the windows of an ordinary convolution are: (taps, n, windows)."""
    rank = len(kernel)
    places = []
    for axis in range(rank):
        taps = torch.arange(kernel[axis]) * dilations[axis]
        starts = torch.arange(sizes[axis]) * strides[axis] - begins[axis]
        along = _along(taps, axis, kernel)[:, None] + _along(starts, axis, sizes)
        places.append(along)
    return torch.stack(places, 1)


def _along(values: Tensor, axis: int, shape: Ints) -> Tensor:
    """The values along one axis of a grid, flattened."""
    return values.reshape(-1, *[1] * (len(shape) - 1 - axis)).expand(shape).reshape(-1)


def _interpolated(X: Tensor, places: Tensor, groups: int) -> Tensor:
    """Sample X at places (N, groups, taps, n, windows): (N, groups, C / groups, taps, windows)."""
    planes = X.reshape(X.shape[0], groups, X.shape[1] // groups, -1)
    shape = (*planes.shape[:3], *places.shape[2:3], *places.shape[4:])
    low = places.floor()
    fraction = places - low.detach()
    result = X.new_zeros(())
    for corner in itertools.product((0, 1), repeat=places.shape[3]):
        index, weight = _corner(low, fraction, corner, tuple(X.shape[2:]))
        index = index.flatten(2).unsqueeze(2).expand(*shape[:3], -1)
        result = result + planes.gather(3, index).reshape(shape) * weight.unsqueeze(2)
    return result


def _corner(low: Tensor, fraction: Tensor, corner: Ints, sizes: Ints) -> tuple[Tensor, Tensor]:
    """Index into the flattened planes and weight of one neighbor of each place, (N, groups, taps, windows)."""
    index = torch.zeros_like(low[..., 0, :], dtype=torch.int64)
    weight = torch.ones_like(low[..., 0, :])
    for axis, (upper, size) in enumerate(zip(corner, sizes, strict=True)):
        place, part = low[..., axis, :] + upper, fraction[..., axis, :]
        inside = (place >= 0) & (place < size)
        weight = weight * torch.where(inside, part if upper else 1 - part, 0.0)
        index = index * size + place.clamp(0, size - 1).long()
    return index, weight
