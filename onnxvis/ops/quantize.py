"""From floats to quantized integers (or floats of 8 bits and less), and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from onnx import TensorProto
from torch import Tensor

from onnxvis.ops.affine import along, carried, dequantized, quantized
from onnxvis.ops.contrib_activation import DOMAIN
from onnxvis.ops.dtypes import torch_dtype
from onnxvis.ops.straight_through import straight_through
from onnxvis.ops.table import Types, operator

_LEVELS = 255


def _quantized_type(input_types: Types, attributes: Mapping[str, Any]) -> Types:
    return (_type_of(input_types, attributes.get("output_dtype", 0)),)


def _dequantized_type(input_types: Types, attributes: Mapping[str, Any]) -> Types:
    return (attributes.get("output_dtype", 0) or input_types[1],)


def _type_of(input_types: Types, output_dtype: int = 0) -> int:
    """Return the type that is quantized to: what is asked for, that of the zero point, or uint8."""
    given = input_types[2] if len(input_types) > 2 else None  # noqa: PLR2004 - the third input
    return output_dtype or given or TensorProto.UINT8


@operator("QuantizeLinear", since=10, carries=True, types=_quantized_type)
@operator("QuantizeLinear", domain=DOMAIN, carries=True, types=_quantized_type)
def quantize_linear(
    x: Tensor,
    y_scale: Tensor,
    y_zero_point: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
    saturate: int = 1,
    input_types: Types,
) -> Tensor:
    """Return saturate(round(x / y_scale) + y_zero_point), half rounded to even.

    Args:
        x: Of any shape.
        y_scale: One for all, one for each index of an axis, or one for each block along it.
        y_zero_point: Of the same shape.
        axis: The axis of the scales.
        block_size: How many neighbors along the axis share a scale; 0 without blocks.
        output_dtype: The type of the result; 0: that of the zero point, or uint8.
        precision: The type in which x is divided; 0: that of the scale.
        saturate: Whether floats of 8 bits saturate.
        input_types: The types of the inputs.
    """
    scale = along(carried(y_scale), x, axis, block_size)
    dtype = torch_dtype(precision) if precision else scale.dtype
    value = carried(x).to(dtype) / scale.to(dtype)
    to = _type_of(input_types, output_dtype)
    return quantized(value, along(y_zero_point, x, axis, block_size), to, saturate=bool(saturate))


@operator("DequantizeLinear", since=10, carries=True, types=_dequantized_type)
@operator("DequantizeLinear", domain=DOMAIN, carries=True, types=_dequantized_type)
def dequantize_linear(
    x: Tensor,
    x_scale: Tensor,
    x_zero_point: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Tensor:
    """Return (x - x_zero_point) * x_scale, in the type of the scale or `output_dtype`; else as QuantizeLinear."""
    scale, zero_point = along(x_scale, x, axis, block_size), along(x_zero_point, x, axis, block_size)
    return dequantized(x, scale, zero_point, torch_dtype(output_dtype) if output_dtype else x_scale.dtype)


def _dynamic_types(_: Types, __: Mapping[str, Any]) -> Types:
    return TensorProto.UINT8, TensorProto.FLOAT, TensorProto.UINT8


@operator("DynamicQuantizeLinear", since=11, carries=True, types=_dynamic_types, cuts=(1, 2))
def dynamic_quantize_linear(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Quantize to uint8 over the range of x and 0; return that, the scale, and the zero point.

    Nothing saturates, so that the gradient passes everywhere; scale and zero point are constants for it: what depends
    on them in the quantized values cancels when these are dequantized.
    """
    fixed = x.detach()
    low, high = fixed.amin().clamp_max(0), fixed.amax().clamp_min(0)
    scale = (high - low) / _LEVELS
    scale = torch.where(high == low, torch.ones_like(scale), scale)
    zero_point = (-low / scale).clamp(0, _LEVELS).round()
    value = x / scale
    whole = (value.detach().round() + zero_point).clamp(0, _LEVELS)
    return straight_through(value + zero_point, whole), scale, zero_point
