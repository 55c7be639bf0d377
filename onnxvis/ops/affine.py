"""The affine map between floats and the integers that stand for them: x = (q - zero_point) * scale.

Quantized integers come as integer tensors (constants) or carried by floats, and go as carried: see the docstring of
`onnxvis.ops.table`. Rounding passes the gradient straight through inside the range of the integers; scales and zero
points are constants for it.
"""

from __future__ import annotations

from typing import overload

import torch
from torch import Tensor

from onnxvis.ops.dtypes import SMALL_FLOATS, limits
from onnxvis.ops.small_floats import on_grid
from onnxvis.ops.straight_through import rounded

_SHORT = 2
"""Bytes of the integers that float32 carries."""


def carried(values: Tensor) -> Tensor:
    """Return integers as floats that hold them exactly; floats as they are."""
    if values.is_floating_point():
        return values
    return values.float() if values.dtype.itemsize <= _SHORT else values.double()


def centered(values: Tensor, zero_point: Tensor | None) -> Tensor:
    """Return values - zero_point, exactly; they must broadcast."""
    return carried(values) if zero_point is None else carried(values) - carried(zero_point)


def magnitude(onnx_type: int, zero_point: Tensor | None) -> int:
    """Return a bound of |value - zero_point| for an integer type."""
    low, high = limits(onnx_type)
    return max(-low, high) if zero_point is None else high - low


@overload
def single(parameter: Tensor) -> Tensor: ...
@overload
def single(parameter: None) -> None: ...
def single(parameter: Tensor | None) -> Tensor | None:
    """Return a parameter of one element without axes, so that it broadcasts to anything; others as they are."""
    return parameter.reshape(()) if parameter is not None and parameter.numel() == 1 else parameter


@overload
def along(parameter: Tensor, x: Tensor, axis: int, block_size: int = 0) -> Tensor: ...
@overload
def along(parameter: None, x: Tensor, axis: int, block_size: int = 0) -> None: ...
def along(parameter: Tensor | None, x: Tensor, axis: int, block_size: int = 0) -> Tensor | None:
    """Return a scale or zero point so that it broadcasts to `x`.

    Args:
        parameter: Of one element, of one for each index of the axis, or of one for each block.
        x: What is quantized.
        axis: The axis of the parameters.
        block_size: How many neighbors along the axis share a parameter; 0 without blocks.
    """
    parameter = single(parameter)
    if parameter is None or parameter.ndim == 0:
        return parameter
    if block_size:
        return parameter.repeat_interleave(block_size, axis).narrow(axis, 0, x.shape[axis])
    if parameter.ndim > 1:
        return parameter
    shape = [1] * x.ndim
    shape[axis] = -1
    return parameter.reshape(shape)


def quantized(value: Tensor, zero_point: Tensor | None, onnx_type: int, *, saturate: bool = True) -> Tensor:
    """Round what is already divided by its scale, half to even, add the zero point and saturate.

    Args:
        value: x / scale.
        zero_point: Broadcasts to it.
        onnx_type: The type of the result; `saturate` is for floats of 8 bits.
        saturate: See `onnxvis.ops.small_floats.on_grid`.

    Returns:
        The quantized values in float32, which holds them exactly.
    """
    value = value.float()
    if onnx_type in SMALL_FLOATS:
        shifted = value if zero_point is None else value + zero_point.float()
        return on_grid(shifted, onnx_type, saturate=saturate)
    # What is not a number becomes the lowest one, as in onnxruntime.
    whole = rounded(value.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf))
    return (whole if zero_point is None else whole + zero_point.float()).clamp(*limits(onnx_type))


def shifted_and_rounded(value: Tensor, zero_point: Tensor | None, onnx_type: int) -> Tensor:
    """Add the zero point before rounding, as some kernels do: an odd one changes where halves go."""
    value = value if zero_point is None else value + zero_point.float()
    return rounded(value).clamp(*limits(onnx_type))


def dequantized(values: Tensor, scale: Tensor, zero_point: Tensor | None, dtype: torch.dtype | None = None) -> Tensor:
    """Return (values - zero_point) * scale, multiplied in float32, in `dtype` or that of the scale."""
    return (centered(values, zero_point).float() * scale.float()).to(scale.dtype if dtype is None else dtype)
