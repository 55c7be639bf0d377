"""Pooling over windows and over whole planes. Layout: X is (N, C, D1, ..., Dn) with one to three spatial axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops.table import Ints, operator
from onnxvis.ops.window import extents, interleave, per_axis, split_pads

_OfRank = dict[int, Callable[..., Tensor]]
_MAX_POOL: _OfRank = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_AVERAGE_POOL: _OfRank = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
_CONV: _OfRank = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


class _Windows(NamedTuple):
    """Where the windows of a pooling operator lie; one number for each spatial axis."""

    kernel: Ints
    strides: Ints
    dilations: Ints
    begins: Ints
    ends: Ints
    counts: Ints

    @property
    def torch_can_pad(self) -> bool:
        """Whether torch takes this padding: the same on both sides and at most half of the kernel."""
        halves = zip(self.begins, self.kernel, strict=True)
        return self.begins == self.ends and all(0 <= 2 * pad <= size for pad, size in halves)

    @property
    def dilated(self) -> bool:
        return max(self.dilations) > 1


@operator("MaxPool")
def max_pool(
    X: Tensor,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints | None = None,
    kernel_shape: Ints,
    pads: Ints | None = None,
    storage_order: int = 0,
    strides: Ints | None = None,
    outputs: int = 1,
) -> Tensor | tuple[Tensor, Tensor]:
    """Maximum of each window, and where it is in the flattened input; padding never wins."""
    windows = _windows(
        X,
        kernel_shape,
        auto_pad=auto_pad,
        ceil_mode=ceil_mode,
        dilations=dilations,
        pads=pads,
        strides=strides,
    )
    if not X.is_floating_point():
        # 8-bit integers, which torch does not pool and float32 holds exactly.
        pooled = _max(X.float(), windows, ceil_mode).to(X.dtype)
    else:
        pooled = _max(X, windows, ceil_mode)
    if outputs == 1:
        return pooled
    return pooled, _indices(X, windows, column_major=bool(storage_order))


@operator("AveragePool")
def average_pool(
    X: Tensor,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Ints | None = None,
    kernel_shape: Ints,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    """Mean of each window; elements of the padding count only with `count_include_pad`."""
    windows = _windows(
        X,
        kernel_shape,
        auto_pad=auto_pad,
        ceil_mode=ceil_mode,
        dilations=dilations,
        pads=pads,
        strides=strides,
    )
    if windows.torch_can_pad and not windows.dilated:
        average = _AVERAGE_POOL[len(kernel_shape)]
        return average(X, kernel_shape, windows.strides, windows.begins, bool(ceil_mode), bool(count_include_pad))
    sums = _sums(X, windows)
    for axis in range(len(kernel_shape)):
        counts = _valid_counts(X, windows, axis, include_pad=bool(count_include_pad))
        sums = sums / counts.reshape(-1, *[1] * (len(kernel_shape) - 1 - axis))
    return sums


@operator("LpPool")
def lp_pool(
    X: Tensor,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints | None = None,
    kernel_shape: Ints,
    p: float = 2,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    """Lp norm of each window."""
    windows = _windows(
        X,
        kernel_shape,
        auto_pad=auto_pad,
        ceil_mode=ceil_mode,
        dilations=dilations,
        pads=pads,
        strides=strides,
    )
    sums = _sums(X.abs() ** p, windows)
    # The slope of the root at 0 is infinite: a window of zeros gets the gradient 0, not NaN.
    positive = sums > 0
    roots: Tensor = torch.where(positive, sums, 1.0) ** (1 / p)
    return torch.where(positive, roots, 0.0)


@operator("GlobalAveragePool")
def global_average_pool(X: Tensor) -> Tensor:
    """Mean over all spatial axes."""
    return X.mean(tuple(range(2, X.ndim)), keepdim=True)


@operator("GlobalMaxPool")
def global_max_pool(X: Tensor) -> Tensor:
    """Maximum over all spatial axes."""
    return X.amax(tuple(range(2, X.ndim)), keepdim=True)


@operator("GlobalLpPool")
def global_lp_pool(X: Tensor, *, p: float = 2) -> Tensor:
    """Lp norm over all spatial axes."""
    norm: Tensor = torch.linalg.vector_norm(X, p, tuple(range(2, X.ndim)), keepdim=True)
    return norm


def _windows(
    X: Tensor,
    kernel: Ints,
    *,
    auto_pad: str,
    ceil_mode: int,
    dilations: Ints | None,
    pads: Ints | None,
    strides: Ints | None,
) -> _Windows:
    rank = X.ndim - 2
    if rank not in _CONV:
        message = f"Pooling over {rank} spatial axes is not implemented; over 1 to 3 it is"
        raise UnsupportedOpError(message, rank=rank)
    strides, dilations = per_axis(strides, rank), per_axis(dilations, rank)
    extent = extents(kernel, dilations)
    begins, ends = split_pads(auto_pad, pads, X.shape[2:], extent, strides)
    geometry = zip(X.shape[2:], extent, strides, begins, ends, strict=True)
    counts = tuple(_count(*axis, ceil=bool(ceil_mode)) for axis in geometry)
    return _Windows(kernel, strides, dilations, begins, ends, counts)


def _count(size: int, extent: int, stride: int, begin: int, end: int, *, ceil: bool) -> int:
    """How many windows there are along an axis."""
    room = size + begin + end - extent
    count = (-(-room // stride) if ceil else room // stride) + 1
    # The last window must not begin in the padding at the end.
    return count - 1 if ceil and (count - 1) * stride >= size + begin else count


def _padded(X: Tensor, windows: _Windows, value: float) -> Tensor:
    """Pad so that exactly the wanted number of windows fits."""
    extent = extents(windows.kernel, windows.dilations)
    axes = zip(X.shape[2:], extent, windows.strides, windows.begins, windows.counts, strict=True)
    ends = [(count - 1) * stride + span - begin - size for size, span, stride, begin, count in axes]
    return functional.pad(X, interleave(windows.begins, ends), value=value)


def _max(X: Tensor, windows: _Windows, ceil_mode: int) -> Tensor:
    pool = _MAX_POOL[len(windows.kernel)]
    if windows.torch_can_pad:
        return pool(X, windows.kernel, windows.strides, windows.begins, windows.dilations, bool(ceil_mode))
    return pool(_padded(X, windows, -math.inf), windows.kernel, windows.strides, 0, windows.dilations)


def _indices(X: Tensor, windows: _Windows, *, column_major: bool) -> Tensor:
    """Where each maximum is in the flattened input; `column_major` reverses the order of the spatial axes."""
    sizes = X.shape[2:]
    padded = _padded(X.detach().double(), windows, -math.inf)
    pool = _MAX_POOL[len(sizes)]
    _, flat = pool(padded, windows.kernel, windows.strides, 0, windows.dilations, ceil_mode=False, return_indices=True)
    places = []
    for size, begin in zip(reversed(padded.shape[2:]), reversed(windows.begins), strict=True):
        places.append(flat % size - begin)
        flat = flat // size
    places.reverse()
    order = range(len(sizes) - 1, -1, -1) if column_major else range(len(sizes))
    planes = torch.arange(X.shape[0] * X.shape[1], device=X.device)
    index = planes.reshape(X.shape[0], X.shape[1], *[1] * len(sizes)).expand_as(places[0])
    for axis in order:
        index = index * sizes[axis] + places[axis]
    return index


def _sums(X: Tensor, windows: _Windows) -> Tensor:
    """Sum of each window, the padding being 0."""
    padded = _padded(X, windows, 0.0)
    rank = len(windows.kernel)
    if not windows.dilated:
        return _AVERAGE_POOL[rank](padded, windows.kernel, windows.strides) * math.prod(windows.kernel)
    planes = padded.flatten(0, 1).unsqueeze(1)
    sums = _CONV[rank](planes, X.new_ones(1, 1, *windows.kernel), None, windows.strides, 0, windows.dilations)
    return sums.reshape(*X.shape[:2], *windows.counts)


def _valid_counts(X: Tensor, windows: _Windows, axis: int, *, include_pad: bool) -> Tensor:
    """How many elements of each window along a spatial axis count for the mean."""
    begin, end, size = windows.begins[axis], windows.ends[axis], X.shape[2 + axis]
    first, last = (-begin, size + end) if include_pad else (0, size)
    starts = torch.arange(windows.counts[axis], device=X.device) * windows.strides[axis] - begin
    taps = torch.arange(windows.kernel[axis], device=X.device) * windows.dilations[axis]
    places = starts[:, None] + taps
    return ((places >= first) & (places < last)).sum(1).to(X.dtype)
