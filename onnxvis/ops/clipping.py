"""What onnxruntime's sums of 8-bit products lose on x86 processors without VNNI, emulated exactly.

There `vpmaddubsw` multiplies uint8 by int8 and adds two neighbors along the summed axis in 16 bits, and what does not
fit is clipped to [-32768, 32767]; such pairs are added up in 32 bits. Which two are neighbors depends on the kernel:
those of convolutions run over the channels first, those of `ConvInteger` over the taps; of depthwise convolutions no
product is paired. Every other pair of types is widened first and loses nothing.
Source: "When and why do I need to try U8U8?" of https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html;
which products are neighbors was found by feeding onnxruntime 1.31 all pairs.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor
from torch.nn import functional

from onnxvis.ops.table import Ints
from onnxvis.ops.window import extents, interleave, per_axis, split_pads

LOW, HIGH = -(1 << 15), (1 << 15) - 1
"""The range of the sum of two products."""
MOST = 255
"""The largest uint8."""
_AT_ONCE = 1 << 22
"""Products that are looked at together."""
Order = Literal["channels", "taps"]


class TooManyPairsError(Exception):
    """More pairs of products can be clipped than there is time for."""


@dataclass
class Tally:
    """What was lost while sums were clipped.

    Attributes:
        node: What is being computed, as its caller names it.
        clipped: How many sums were off, by node.
        sums: Of how many, by node.
        looked: How many pairs of products had to be looked at, of which few can be clipped.
        most: How many may be, before `TooManyPairsError` is raised.
    """

    node: str = ""
    clipped: dict[str, int] = field(default_factory=dict)
    sums: dict[str, int] = field(default_factory=dict)
    looked: int = 0
    most: float = math.inf

    def look(self, pairs: int) -> None:
        """Add to the pairs that were looked at.

        Raises:
            TooManyPairsError: That is too many.
        """
        self.looked += pairs
        if self.looked > self.most:
            raise TooManyPairsError

    def count(self, lost: Tensor) -> None:
        """Add what was lost of some sums to those of the current node."""
        self.clipped[self.node] = self.clipped.get(self.node, 0) + int((lost != 0).sum())
        self.sums[self.node] = self.sums.get(self.node, 0) + lost.numel()


_tally: ContextVar[Tally | None] = ContextVar("tally", default=None)


@contextlib.contextmanager
def clipped_sums(most: float = math.inf) -> Iterator[Tally]:
    """Let all operators clip their sums as processors without VNNI do, in this thread, and count how many.

    Args:
        most: How many pairs of products may be looked at; `TooManyPairsError` is raised from what needs more.

    Example:
        >>> with clipped_sums() as tally:
        ...     network(x)
    """
    tally = Tally(most=most)
    token = _tally.set(tally)
    try:
        yield tally
    finally:
        _tally.reset(token)


def add_what_a_product_loses(sums: Tensor, a: Tensor, b: Tensor, a_type: int | None, b_type: int | None) -> Tensor:
    """Return sums of a product of matrices, clipped where that is asked for: see `clipped_sums`.

    Args:
        sums: The exact ones, (..., M, N).
        a: (..., M, K), zero point included.
        b: (..., K, N), zero point included.
        a_type: The type of a.
        b_type: The type of b.
    """
    tally = _tally.get()
    if tally is None or (a_type, b_type) != (TensorProto.UINT8, TensorProto.INT8):
        return sums
    lost = lost_of_product(a, b).reshape(sums.shape)
    tally.count(lost)
    return sums + lost


def add_what_a_convolution_loses(
    sums: Tensor,
    x: Tensor,
    w: Tensor,
    padding: Tensor | None,
    x_type: int | None,
    w_type: int | None,
    order: Order,
    **geometry: Any,
) -> Tensor:
    """Return sums of a convolution, clipped where that is asked for: see `clipped_sums`.

    Args:
        sums: The exact ones, (N, M, D1, ..., Dn).
        x: (N, C, D1, ..., Dn), zero point included.
        w: (M, C / group, k1, ..., kn), zero point included.
        padding: What x is padded with, its zero point; None: 0.
        x_type: The type of x.
        w_type: The type of w.
        order: What the kernel sums over first. With "taps" the filters are its first factor.
        **geometry: The attributes of the node.
    """
    tally = _tally.get()
    types = (x_type, w_type) if order == "channels" else (w_type, x_type)
    if tally is None or types != (TensorProto.UINT8, TensorProto.INT8):
        return sums
    lost = lost_of_convolution(x, w, 0.0 if padding is None else float(padding), order, **geometry).reshape(sums.shape)
    tally.count(lost)
    return sums + lost


def lost_of_product(a: Tensor, b: Tensor) -> Tensor:
    """Return what clipping adds to the product of (..., M, K) with (..., K, N): 0 where all pairs fit.

    Args:
        a: Integers, as floats or not.
        b: Likewise; one of the two is unsigned.
    """
    a, b = (matrix.detach().float() for matrix in (a, b))
    rows, columns = a.unsqueeze(0) if a.ndim == 1 else a, b.unsqueeze(1) if b.ndim == 1 else b
    if columns.ndim <= 2:  # noqa: PLR2004 - one matrix for all
        flat = _lost(rows.reshape(-1, rows.shape[-1]), columns)
        return flat.reshape(*rows.shape[:-1], columns.shape[-1])
    batch = np.broadcast_shapes(tuple(rows.shape[:-2]), tuple(columns.shape[:-2]))
    lefts = rows.expand(*batch, *rows.shape[-2:]).reshape(-1, *rows.shape[-2:])
    rights = columns.expand(*batch, *columns.shape[-2:]).reshape(-1, *columns.shape[-2:])
    lost = torch.stack([_lost(left, right) for left, right in zip(lefts, rights, strict=True)])
    return lost.reshape(*batch, *lost.shape[1:])


def lost_of_convolution(
    x: Tensor,
    w: Tensor,
    padding: float,
    order: Order,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    """Return what clipping adds to a convolution, (N, M, D1, ..., Dn): the arguments are those of `Conv`.

    Args:
        x: The image, zero point included.
        w: The filters, zero point included.
        padding: What the image is padded with.
        order: What the kernel sums over first.
        auto_pad: As for `Conv`, and so the following.
        dilations: Distance of the taps.
        group: Number of groups of channels.
        kernel_shape: Spatial sizes of w.
        pads: Padding at the beginnings, then at the ends.
        strides: Steps of the window.
    """
    del kernel_shape
    x, w = x.detach().float(), w.detach().float()
    rank, filters, depth = x.ndim - 2, w.shape[0], w.shape[1]
    strides, dilations = per_axis(strides, rank), per_axis(dilations, rank)
    spans = extents(tuple(w.shape[2:]), dilations)
    begins, ends = split_pads(auto_pad, pads, x.shape[2:], spans, strides)
    windows = functional.pad(x, interleave(begins, ends), value=padding)
    for axis, (span, stride, dilation) in enumerate(zip(spans, strides, dilations, strict=True), start=2):
        windows = windows.unfold(axis, span, stride)[..., ::dilation]
    sizes = windows.shape[2 : 2 + rank]
    lost = x.new_zeros((x.shape[0], filters, *sizes), dtype=torch.float64)
    is_depthwise = order == "channels" and depth == 1 and filters == group
    if is_depthwise:
        return lost
    for number in range(group):
        part = windows[:, number * depth : (number + 1) * depth]
        own = slice(number * filters // group, (number + 1) * filters // group)
        # (N, C, *sizes, *taps) -> (N, *sizes, *taps, C) or (N, *sizes, C, *taps)
        taps = part.movedim(1, -1 if order == "channels" else 1 + rank)
        weights = w[own].movedim(1, -1) if order == "channels" else w[own]
        weights = weights.reshape(filters // group, -1).T
        if not _can_overflow(weights):
            continue
        rows = max(1, _AT_ONCE // max(taps[:, :1].numel(), 1))
        found = [
            _lost(piece.reshape(-1, weights.shape[0]), weights).reshape(*piece.shape[: 1 + rank], -1)
            for piece in torch.split(taps, rows, 1)
        ]
        lost[:, own] = torch.cat(found, 1).movedim(-1, 1)
    return lost


def overflowing_pairs(weights: Tensor, low: int = 0, high: int = MOST) -> Tensor:
    """Return which pairs of neighboring weights have products that cannot all be summed.

    Args:
        weights: (K, N), integers.
        low: The smallest integer that they are multiplied by.
        high: The largest.

    Returns:
        Flags, (K / 2 rounded up, N).
    """
    pairs = _neighbors(weights.float(), 0)
    most = sum(torch.maximum(part * low, part * high) for part in pairs)
    least = sum(torch.minimum(part * low, part * high) for part in pairs)
    return (torch.as_tensor(most) > HIGH) | (torch.as_tensor(least) < LOW)


def _can_overflow(weights: Tensor) -> bool:
    """Tell it from the magnitudes alone, whichever of two factors the weights are."""
    even, odd = _neighbors(weights.abs(), 0)
    return bool((MOST * (even + odd) > HIGH).any())


def _neighbors(matrix: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Return what stands at even and at odd places along an axis; an odd one that is missing is 0."""
    if matrix.shape[axis] % 2:
        shape = list(matrix.shape)
        shape[axis] = 1
        matrix = torch.cat([matrix, matrix.new_zeros(shape)], axis)
    even = [slice(None)] * axis + [slice(0, None, 2)]
    odd = [slice(None)] * axis + [slice(1, None, 2)]
    return matrix[tuple(even)], matrix[tuple(odd)]


def _lost(a: Tensor, b: Tensor) -> Tensor:
    """Return what clipping adds to the product of (M, K) with (K, N)."""
    if b.shape[1] > a.shape[0]:
        # One after the other what there is less of.
        return _lost(b.T, a.T).T
    lost = a.new_zeros((b.shape[1], a.shape[0]), dtype=torch.float64)
    if not lost.numel():
        return lost.T
    a_even, a_odd = (part.contiguous() for part in _neighbors(a.T, 0))
    b_even, b_odd = _neighbors(b, 0)
    # The largest and the smallest sum of each pair, over all rows: few pairs can be clipped.
    terms = [(x.amax(1, keepdim=True) * w, x.amin(1, keepdim=True) * w) for x, w in ((a_even, b_even), (a_odd, b_odd))]
    most = torch.maximum(*terms[0]) + torch.maximum(*terms[1])
    least = torch.minimum(*terms[0]) + torch.minimum(*terms[1])
    places, columns = ((most > HIGH) | (least < LOW)).nonzero(as_tuple=True)
    if (tally := _tally.get()) is not None:
        tally.look(len(places) * len(a))
    for k, n in zip(*(torch.split(each, max(1, _AT_ONCE // len(a))) for each in (places, columns)), strict=True):
        sums = a_even[k] * b_even[k, n, None] + a_odd[k] * b_odd[k, n, None]
        lost.index_add_(0, n, (sums.clamp(LOW, HIGH) - sums).double())
    return lost.T


def pairs_of(w: Tensor, order: Order, group: int) -> Tensor | None:
    """Return the filters of a convolution as the kernel pairs them: (K, M); None: of a depthwise one it pairs none.

    Args:
        w: (M, C / group, k1, ..., kn).
        order: What the kernel sums over first.
        group: Number of groups of channels.
    """
    if order == "channels" and w.shape[1] == 1 and w.shape[0] == group:
        return None
    return (w.movedim(1, -1) if order == "channels" else w).reshape(len(w), math.prod(w.shape[1:])).T
