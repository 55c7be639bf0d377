"""Rounding that lets the gradient through: the forward value is the rounded one to the bit, its gradient that of none.

Whoever clips a value to a range besides, clips its gradient: 1 inside, 0 outside. This is the straight-through
estimator (Bengio, Leonard and Courville 2013, https://arxiv.org/abs/1308.3432).
"""

from __future__ import annotations

from torch import Tensor


def straight_through(value: Tensor, rounded: Tensor) -> Tensor:
    """Return `rounded` with the gradient of `value`; both of one shape and dtype, `value` finite where it matters."""
    # The difference is exactly zero for every finite number; infinities would make NaN of it.
    gradient = value - value.detach()
    return rounded.detach() + gradient.nan_to_num(nan=0.0)


def rounded(value: Tensor) -> Tensor:
    """Round half to even; the gradient passes everywhere."""
    return straight_through(value, value.round())
