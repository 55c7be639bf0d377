"""How far a long sum may be off that is added up in float32, number by number.

The rounding of a running sum is up to half a place of what has been added so far, at every step, and where all numbers
are alike it is off to the same side at each: the error grows with the number of terms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

_EPSILON = 2.0**-24
_RUNNING = 0.25
"""The sum so far is half of the whole on average, and at least four are added up side by side; this is twice that."""
_LINEAR: Mapping[str, Callable[..., int]] = {
    "AveragePool": lambda _, kernel_shape, **__: math.prod(kernel_shape),
    "Conv": lambda _, weights, *__, **___: math.prod(weights.shape[1:]),
    "Gemm": lambda a, *_, transA=0, **__: a.shape[0 if transA else -1],
    "GlobalAveragePool": lambda x: math.prod(x.shape[2:]),
    "MatMul": lambda a, _: a.shape[-1],
}
"""Operators that are sums of products, and how many terms these have."""
_REDUCING = frozenset({"ReduceMean", "ReduceSum"})
_NORMALIZING: Mapping[str, Callable[..., int]] = {
    "GroupNormalization": lambda x, *_, num_groups, **__: math.prod(x.shape[1:]) // num_groups,
    "InstanceNormalization": lambda x, *_, **__: math.prod(x.shape[2:]),
    "LayerNormalization": lambda x, *_, axis=-1, **__: math.prod(x.shape[axis:]),
}
"""Operators that take off a mean, and how many numbers it is one of."""


def is_running_sum(
    op_type: str,
    function: Callable[..., Any],
    arguments: Sequence[Any],
    settings: Mapping[str, Any],
    sides: Sequence[Tensor],
) -> bool:
    """Tell whether results of an operator differ from the exact one by no more than running sums in float32 may.

    Args:
        op_type: The operator; of one that adds up nothing, no result differs by that.
        function: Computes it.
        arguments: What it gets.
        settings: Its attributes.
        sides: The results, each of the shape that the function makes.
    """
    if op_type not in _REDUCING and op_type not in _LINEAR and op_type not in _NORMALIZING:
        return False
    exact = function(*map(_double, arguments), **settings)
    if not isinstance(exact, Tensor):
        return False
    allowed = _allowed(op_type, function, [_double(argument) for argument in arguments], settings)
    return all(side.shape == exact.shape and bool(((side - exact).abs() <= allowed).all()) for side in sides)


def _allowed(
    op_type: str, function: Callable[..., Any], arguments: Sequence[Any], settings: Mapping[str, Any]
) -> Tensor:
    """Return how far each number of a result may be off."""
    if op_type in _LINEAR or op_type in _REDUCING:
        magnitudes: Tensor = function(*(_magnitude(argument) for argument in arguments), **settings)
        terms = arguments[0].numel() // max(magnitudes.numel(), 1)
        if op_type in _LINEAR:
            terms = _LINEAR[op_type](*arguments, **settings)
        off: Tensor = _RUNNING * _EPSILON * terms * magnitudes.abs()
        return off
    first, *others = arguments
    # What the mean is off moves each number as much as if the number itself were.
    shift = _RUNNING * _EPSILON * _NORMALIZING[op_type](*arguments, **settings) * first.abs().max()
    signs = 1 - 2 * (torch.arange(first.numel(), dtype=first.dtype).reshape(first.shape) % 2)
    moved: Tensor = function(first + shift * signs, *others, **settings)
    most: Tensor = (moved - function(first, *others, **settings)).abs().max()
    return most


def _double(argument: Any) -> Any:
    return argument.double() if isinstance(argument, Tensor) and argument.is_floating_point() else argument


def _magnitude(argument: Any) -> Any:
    return argument.abs() if isinstance(argument, Tensor) and argument.is_floating_point() else argument
