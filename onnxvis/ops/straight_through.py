"""Rounding that lets the gradient through: the forward value is the rounded one to the bit, its gradient that of none.

Where a value is clipped to a range, the gradient is that of the clipping: 1 inside, 0 outside. This is the
straight-through estimator (Bengio, Leonard and Courville 2013, https://arxiv.org/abs/1308.3432).
"""

from __future__ import annotations

from torch import Tensor


def straight_through(value: Tensor, rounded: Tensor) -> Tensor:
    """Return `rounded` with the gradient of `value`; both of one shape and dtype, `value` finite where it matters."""
    # The difference is exactly zero for every finite number; infinities would make NaN of it.
    gradient = value - value.detach()
    return rounded.detach() + gradient.nan_to_num(nan=0.0)


def rounded(value: Tensor, low: float | None = None, high: float | None = None) -> Tensor:
    """Round half to even and saturate to [low, high]; the gradient passes inside that range."""
    if low is None or high is None:
        inside = value if low is None and high is None else value.clamp(low, high)
        return straight_through(inside, inside.round())
    inside = value.clamp(low, high)
    # Nothing is infinite any more, and what is not a number may stay so.
    return inside.round().detach() + (inside - inside.detach())
