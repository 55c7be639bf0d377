"""Products of small integers that floats hold, summed exactly.

A float32 sum of integers is exact, in whatever order it is added, while no partial sum can reach 2^24. What could is
cut into pieces along the summed axis, or computed in float64.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from onnxvis.ops.conv import conv

_EXACT = 1 << 24


def exact_conv(X: Tensor, W: Tensor, bound: int, *, group: int = 1, **geometry: Any) -> Tensor:
    """Convolve integers in float32 with others, exactly.

    Args:
        X: (N, C, D1, ..., Dn); the padding is 0.
        W: (M, C / group, k1, ..., kn).
        bound: No product of an element of each exceeds it.
        group: As for `Conv`.
        **geometry: The other attributes of `Conv`.

    Returns:
        The sums, in float32 or float64.
    """
    taps = math.prod(W.shape[2:])
    size = _EXACT // (taps * bound)
    if W.shape[1] <= size:
        return conv(X, W, group=group, **geometry)
    if group > 1 or size == 0:
        return conv(X.double(), W.double(), group=group, **geometry)
    pieces = zip(torch.split(X, size, 1), torch.split(W, size, 1), strict=True)
    sums = [conv(part, weights, **geometry).double() for part, weights in pieces]
    return torch.stack(sums).sum(0)


def exact_matmul(A: Tensor, B: Tensor, bound: int) -> Tensor:
    """Multiply matrices of integers in float32, exactly; no product of two elements exceeds `bound`.

    Returns:
        The sums, in float32 or float64.
    """
    if A.shape[-1] * bound <= _EXACT:
        return A @ B
    return A.double() @ B.double()
