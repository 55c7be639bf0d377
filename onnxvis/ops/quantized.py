"""Convolutions and products of matrices of quantized integers.

Sums are exact, as in onnxruntime on processors whose 8-bit instructions do not clip (`onnxvis.ops.clipping` emulates
the others), and requantized as there: the sum, with its bias, becomes float32, is multiplied by x_scale * w_scale /
y_scale, and rounded half to even. The gradient is that of the same map without rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnx import TensorProto
from torch import Tensor

from onnxvis.ops.affine import carried, centered, magnitude, quantized, single
from onnxvis.ops.clipping import Order, add_what_a_convolution_loses, add_what_a_product_loses
from onnxvis.ops.dtypes import is_integer
from onnxvis.ops.exact import exact_conv, exact_matmul
from onnxvis.ops.table import Ints, OutputTypes, Types, operator


def type_of(position: int) -> OutputTypes:
    """Return a function that says: the output is of the type of the input at that position."""

    def types(input_types: Types, _: Mapping[str, Any]) -> Types:
        return (input_types[position],)

    return types


def int32(_: Types, __: Mapping[str, Any]) -> Types:
    """Say that the output is of type int32."""
    return (TensorProto.INT32,)


@operator("QLinearConv", since=10, carries=True, types=type_of(7))
def q_linear_conv(
    x: Tensor,
    x_scale: Tensor,
    x_zero_point: Tensor,
    w: Tensor,
    w_scale: Tensor,
    w_zero_point: Tensor,
    y_scale: Tensor,
    y_zero_point: Tensor,
    B: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
    input_types: Types,
) -> Tensor:
    """Convolve quantized (N, C, D1, ..., Dn) with (M, C / group, k1, ..., kn) and requantize.

    Args:
        x: The image, padded with its zero point.
        x_scale: One number.
        x_zero_point: One number.
        w: The filters.
        w_scale: One number, or one for each filter.
        w_zero_point: Of the same shape.
        y_scale: One number.
        y_zero_point: One number; the result has its type.
        B: The bias, (M), of scale x_scale * w_scale.
        auto_pad: As for `Conv`, and so the following.
        dilations: Distance of the taps.
        group: Number of groups of channels.
        kernel_shape: Spatial sizes of w.
        pads: Padding at the beginnings, then at the ends.
        strides: Steps of the window.
        input_types: The types of the inputs.
    """
    sums = _convolved(
        x,
        w,
        x_zero_point,
        w_zero_point,
        input_types[0],
        input_types[3],
        "channels",
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        kernel_shape=kernel_shape,
        pads=pads,
        strides=strides,
    )
    if B is not None:
        sums = sums.double() + _per_filter(carried(B), w)
    scale = single(x_scale) * _per_filter(w_scale, w) / single(y_scale)
    return quantized(sums.float() * scale, single(y_zero_point), input_types[7] or TensorProto.UINT8)


@operator("ConvInteger", since=10, carries=True, types=int32)
def conv_integer(
    x: Tensor,
    w: Tensor,
    x_zero_point: Tensor | None = None,
    w_zero_point: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
    input_types: Types,
) -> Tensor:
    """Convolve quantized (N, C, D1, ..., Dn) with (M, C / group, k1, ..., kn); the sums are of type int32."""
    return _convolved(
        x,
        w,
        x_zero_point,
        w_zero_point,
        input_types[0],
        input_types[1],
        "taps",
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        kernel_shape=kernel_shape,
        pads=pads,
        strides=strides,
    ).double()


@operator("QLinearMatMul", since=10, carries=True, types=type_of(7))
def q_linear_mat_mul(
    a: Tensor,
    a_scale: Tensor,
    a_zero_point: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero_point: Tensor,
    y_scale: Tensor,
    y_zero_point: Tensor,
    *,
    input_types: Types,
) -> Tensor:
    """Multiply quantized matrices, the last two dimensions, and requantize.

    The parameters of `a` can be one for each row, those of `b` one for each column.
    """
    sums = multiplied(a, b, a_zero_point, b_zero_point, input_types[0], input_types[3])
    scale = _per_row(a_scale) * single(b_scale) / _per_row(y_scale)
    value = sums.float() * scale.float()
    return quantized(value, _per_row(y_zero_point), input_types[7] or TensorProto.UINT8)


@operator("MatMulInteger", since=10, carries=True, types=int32)
def mat_mul_integer(
    A: Tensor,
    B: Tensor,
    a_zero_point: Tensor | None = None,
    b_zero_point: Tensor | None = None,
    *,
    input_types: Types,
) -> Tensor:
    """Multiply quantized matrices, the last two dimensions; the sums are of type int32."""
    return multiplied(A, B, a_zero_point, b_zero_point, input_types[0], input_types[1]).double()


def multiplied(
    a: Tensor,
    b: Tensor,
    a_zero_point: Tensor | None,
    b_zero_point: Tensor | None,
    a_type: int | None,
    b_type: int | None,
) -> Tensor:
    """Return the matrix product of (a - a_zero_point) and (b - b_zero_point), exactly where they are integers.

    Args:
        a: (..., M, K).
        b: (..., K, N).
        a_zero_point: One number, one for each row, or (..., M, 1).
        b_zero_point: One number, one for each column, or (..., 1, N).
        a_type: The type of a.
        b_type: The type of b.
    """
    rows = None if a_zero_point is None else _per_row(a_zero_point)
    left, right = centered(a, rows), centered(b, single(b_zero_point))
    if a_type is None or b_type is None or not (is_integer(a_type) and is_integer(b_type)):
        return left @ right  # floats of 8 bits
    sums = exact_matmul(left, right, magnitude(a_type, a_zero_point) * magnitude(b_type, b_zero_point))
    return add_what_a_product_loses(sums, a, b, a_type, b_type)


def _convolved(
    x: Tensor,
    w: Tensor,
    x_zero_point: Tensor | None,
    w_zero_point: Tensor | None,
    x_type: int | None,
    w_type: int | None,
    order: Order,
    **geometry: Any,
) -> Tensor:
    """Convolve (x - x_zero_point) with (w - w_zero_point), exactly; `order`: what onnxruntime's kernel sums first."""
    image = centered(x, single(x_zero_point))
    filters = centered(w, None if w_zero_point is None else _leading(w_zero_point, w))
    bound = magnitude(x_type or TensorProto.UINT8, x_zero_point) * magnitude(w_type or TensorProto.UINT8, w_zero_point)
    sums = exact_conv(image, filters, bound, **geometry)
    return add_what_a_convolution_loses(sums, x, w, x_zero_point, x_type, w_type, order, **geometry)


def _leading(parameter: Tensor, w: Tensor) -> Tensor:
    """Return what is one for each filter so that it broadcasts to the filters w."""
    return single(parameter) if parameter.numel() == 1 else parameter.reshape(-1, *[1] * (w.ndim - 1))


def _per_filter(parameter: Tensor, w: Tensor) -> Tensor:
    """Return what is one for each filter so that it broadcasts to what w is convolved with."""
    return single(parameter) if parameter.numel() == 1 else parameter.reshape(-1, *[1] * (w.ndim - 2))


def _per_row(parameter: Tensor) -> Tensor:
    parameter = single(parameter)
    return parameter.unsqueeze(-1) if parameter.ndim == 1 else parameter
