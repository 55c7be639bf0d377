"""Comparison, logic and selection: results are bool tensors, through which no gradient passes, except for Where."""

from __future__ import annotations

import torch
from torch import Tensor

from onnxvis.ops.table import operator


@operator("Equal", since=7, differentiable=False)
def equal(A: Tensor, B: Tensor | float) -> Tensor:
    """A == B."""
    return torch.eq(A, B)


@operator("Less", since=7, differentiable=False)
def less(A: Tensor, B: Tensor | float) -> Tensor:
    """A < B."""
    return A < B


@operator("LessOrEqual", differentiable=False)
def less_or_equal(A: Tensor, B: Tensor | float) -> Tensor:
    """A <= B."""
    return A <= B


@operator("Greater", since=7, differentiable=False)
def greater(A: Tensor, B: Tensor | float) -> Tensor:
    """A > B."""
    return A > B


@operator("GreaterOrEqual", differentiable=False)
def greater_or_equal(A: Tensor, B: Tensor | float) -> Tensor:
    """A >= B."""
    return A >= B


@operator("And", since=7, differentiable=False)
def logical_and(A: Tensor, B: Tensor) -> Tensor:
    """A and B."""
    return torch.logical_and(A, B)


@operator("Or", since=7, differentiable=False)
def logical_or(A: Tensor, B: Tensor) -> Tensor:
    """A or B."""
    return torch.logical_or(A, B)


@operator("Xor", since=7, differentiable=False)
def logical_xor(A: Tensor, B: Tensor) -> Tensor:
    """Either A or B."""
    return torch.logical_xor(A, B)


@operator("Not", differentiable=False)
def logical_not(X: Tensor) -> Tensor:
    """Not X."""
    return torch.logical_not(X)


@operator("IsNaN", differentiable=False)
def is_nan(X: Tensor) -> Tensor:
    """Where X is not a number."""
    return torch.isnan(X)


@operator("IsInf", differentiable=False)
def is_inf(X: Tensor, *, detect_negative: int = 1, detect_positive: int = 1) -> Tensor:
    """Where X is infinite, of the signs asked for."""
    if detect_negative and detect_positive:
        return torch.isinf(X)
    if detect_negative:
        return torch.isneginf(X)
    return torch.isposinf(X) if detect_positive else torch.zeros_like(X, dtype=torch.bool)


@operator("Where")
def where(condition: Tensor, X: Tensor, Y: Tensor) -> Tensor:
    """X where the condition holds, else Y; all three are broadcast."""
    return torch.where(condition, X, Y)
