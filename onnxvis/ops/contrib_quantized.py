"""Operators of domain com.microsoft on quantized integers, element by element and window by window.

Each is the float operator between a dequantization and a quantization, in the very order of additions and roundings of
onnxruntime's kernels; the gradient is that of the float operator.
"""

from __future__ import annotations

import math

import torch
from onnx import TensorProto
from torch import Tensor
from torch.nn import functional

from onnxvis.ops.affine import carried, centered, dequantized, quantized, shifted_and_rounded
from onnxvis.ops.contrib_activation import DOMAIN
from onnxvis.ops.pool import average_pool, max_pool
from onnxvis.ops.quantized import type_of
from onnxvis.ops.table import Ints, Types, operator
from onnxvis.ops.window import interleave, per_axis, split_pads

_PER_TERM = 3
"""A term of a QLinearConcat is its values, their scale and their zero point."""
_SINCE_LAST_AXIS = 13
"""From this opset on Softmax goes along one axis; before, along all that follow."""
_RESERVE = 5.0
"""The logarithm of the room that QLinearSoftmax leaves above its sums in float32."""


@operator("QLinearAdd", domain=DOMAIN, carries=True, types=type_of(0))
def q_linear_add(
    A: Tensor,
    A_scale: Tensor,
    A_zero_point: Tensor | None,
    B: Tensor,
    B_scale: Tensor,
    B_zero_point: Tensor | None,
    C_scale: Tensor,
    C_zero_point: Tensor | None = None,
    *,
    input_types: Types,
) -> Tensor:
    """Return A + B of quantized tensors that broadcast, quantized again.

    The order of the fused multiplications and additions is that of onnxruntime's kernel for AVX2.
    """
    if _is_scalar(A) and not _is_scalar(B):
        A, A_scale, A_zero_point, B, B_scale, B_zero_point = B, B_scale, B_zero_point, A, A_scale, A_zero_point
    a, b = A_scale / C_scale, B_scale / C_scale
    zero_a, zero_b, zero_c = (_or_zero(zero, a) for zero in (A_zero_point, B_zero_point, C_zero_point))
    offset = zero_c - _fused(zero_a, a, zero_b * b)
    sums = _fused(carried(A), a, _fused(carried(B), b, offset))
    return shifted_and_rounded(sums, None, _type(input_types))


@operator("QLinearMul", domain=DOMAIN, carries=True, types=type_of(0))
def q_linear_mul(
    A: Tensor,
    A_scale: Tensor,
    A_zero_point: Tensor | None,
    B: Tensor,
    B_scale: Tensor,
    B_zero_point: Tensor | None,
    C_scale: Tensor,
    C_zero_point: Tensor | None = None,
    *,
    input_types: Types,
) -> Tensor:
    """Return A * B of quantized tensors that broadcast, quantized again."""
    product = centered(A, A_zero_point) * centered(B, B_zero_point)
    return shifted_and_rounded(product * (A_scale * B_scale / C_scale), C_zero_point, _type(input_types))


@operator("QLinearSigmoid", domain=DOMAIN, carries=True, types=type_of(0))
def q_linear_sigmoid(
    X: Tensor,
    X_scale: Tensor,
    X_zero_point: Tensor | None,
    Y_scale: Tensor,
    Y_zero_point: Tensor | None = None,
    *,
    input_types: Types,
) -> Tensor:
    """Logistic function of a quantized tensor, quantized again."""
    y = torch.sigmoid(dequantized(X, X_scale, X_zero_point))
    return quantized(y / Y_scale, Y_zero_point, _type(input_types))


@operator("QLinearLeakyRelu", domain=DOMAIN, carries=True, types=type_of(0))
def q_linear_leaky_relu(
    X: Tensor,
    X_scale: Tensor,
    X_zero_point: Tensor | None,
    Y_scale: Tensor,
    Y_zero_point: Tensor | None = None,
    *,
    alpha: float = 0.01,
    input_types: Types,
) -> Tensor:
    """LeakyRelu of a quantized tensor, quantized again."""
    x = dequantized(X, X_scale, X_zero_point)
    return quantized(torch.where(x >= 0, x, alpha * x) / Y_scale, Y_zero_point, _type(input_types))


@operator("QLinearSoftmax", domain=DOMAIN, carries=True, types=type_of(0))
def q_linear_softmax(
    X: Tensor,
    X_scale: Tensor,
    x_zero_point: Tensor | None,
    y_scale: Tensor,
    y_zero_point: Tensor | None = None,
    *,
    axis: int = -1,
    opset: int,
    input_types: Types,
) -> Tensor:
    """Softmax of a quantized tensor, as of that opset, quantized again.

    The exponentials are scaled to nearly the range of float32, and 1 / y_scale is rounded down to an integer.
    """
    del x_zero_point  # the same for all elements
    if opset < _SINCE_LAST_AXIS:
        rows = carried(X).flatten(axis).reshape(*X.shape[:axis], -1)
        return _softmax(rows, X_scale, y_scale, y_zero_point, _type(input_types)).reshape(X.shape)
    moved = carried(X).movedim(axis, -1)
    return _softmax(moved, X_scale, y_scale, y_zero_point, _type(input_types)).movedim(-1, axis)


def _softmax(x: Tensor, x_scale: Tensor, y_scale: Tensor, y_zero_point: Tensor | None, to: int) -> Tensor:
    """Softmax along the last axis."""
    room = math.log(torch.finfo(torch.float32).max / x.shape[-1]) - _RESERVE
    scale = x_scale.double()
    exponent = (x - x.detach().amax(-1, keepdim=True)).double() + room / scale
    powers = torch.exp(exponent * scale).float()
    return quantized(powers * torch.floor(1 / y_scale) / powers.sum(-1, keepdim=True), y_zero_point, to)


@operator("QLinearGlobalAveragePool", domain=DOMAIN, carries=True, types=type_of(0))
def q_linear_global_average_pool(
    X: Tensor,
    x_scale: Tensor,
    x_zero_point: Tensor,
    y_scale: Tensor,
    y_zero_point: Tensor,
    *,
    channels_last: int = 0,
    input_types: Types,
) -> Tensor:
    """Mean over all spatial axes of a quantized (N, C, D1, ..., Dn), or (N, D1, ..., Dn, C), quantized again."""
    axes = tuple(range(1, X.ndim - 1) if channels_last else range(2, X.ndim))
    count = math.prod(X.shape[axis] for axis in axes)
    sums = centered(X, x_zero_point).double().sum(axes, keepdim=True)
    return quantized(sums.float() * (x_scale / (y_scale * count)), y_zero_point, _type(input_types))


@operator("QLinearAveragePool", domain=DOMAIN, carries=True, types=type_of(0))
def q_linear_average_pool(
    X: Tensor,
    x_scale: Tensor,
    x_zero_point: Tensor | None,
    y_scale: Tensor,
    y_zero_point: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    channels_last: int = 0,
    count_include_pad: int = 0,
    kernel_shape: Ints,
    pads: Ints | None = None,
    strides: Ints | None = None,
    input_types: Types,
) -> Tensor:
    """Mean of each window of a quantized tensor, quantized again; `channels_last`: (N, D1, ..., Dn, C)."""
    x = dequantized(X, x_scale, x_zero_point)
    x = x.movedim(-1, 1) if channels_last else x
    if ceil_mode and count_include_pad:
        y = _full_means(x, kernel_shape, auto_pad, pads, per_axis(strides, len(kernel_shape)))
    else:
        y = average_pool(
            x,
            auto_pad=auto_pad,
            ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
            kernel_shape=kernel_shape,
            pads=pads,
            strides=strides,
        )
    y = y.movedim(1, -1) if channels_last else y
    return shifted_and_rounded(y / y_scale, y_zero_point, _type(input_types))


def _full_means(x: Tensor, kernel: Ints, auto_pad: str, pads: Ints | None, strides: Ints) -> Tensor:
    """Divide by the size of the whole window also where it reaches beyond the padding, as this kernel does."""
    begins, ends = split_pads(auto_pad, pads, x.shape[2:], kernel, strides)
    room = [end + stride - 1 for end, stride in zip(ends, strides, strict=True)]
    y = average_pool(functional.pad(x, interleave(begins, room)), kernel_shape=kernel, strides=strides)
    for axis, (size, begin, stride) in enumerate(zip(x.shape[2:], begins, strides, strict=True), start=2):
        # The last window must not begin in the padding at the end.
        y = y.narrow(axis, 0, min(y.shape[axis], -(-(size + begin) // stride)))
    return y


@operator("QLinearReduceMean", domain=DOMAIN, carries=True, types=type_of(0))
def q_linear_reduce_mean(
    data: Tensor,
    data_scale: Tensor,
    data_zero_point: Tensor | None,
    reduced_scale: Tensor,
    reduced_zero_point: Tensor | None = None,
    *,
    axes: Ints,
    keepdims: int,
    input_types: Types,
) -> Tensor:
    """Mean of a quantized tensor over some axes, quantized again."""
    mean = dequantized(data, data_scale, data_zero_point).mean(axes, keepdim=bool(keepdims))
    return quantized(mean / reduced_scale, reduced_zero_point, _type(input_types))


@operator("QLinearConcat", domain=DOMAIN, carries=True, types=type_of(1))
def q_linear_concat(Y_scale: Tensor, Y_zero_point: Tensor, *inputs: Tensor, axis: int, input_types: Types) -> Tensor:
    """Join quantized tensors, each given with its scale and zero point, at the scale and zero point of the result."""
    terms = zip(inputs[::_PER_TERM], inputs[1::_PER_TERM], inputs[2::_PER_TERM], strict=True)
    to = _type(input_types, 1)
    parts = [quantized(dequantized(x, scale, zero) / Y_scale, Y_zero_point, to) for x, scale, zero in terms]
    return torch.cat(parts, axis)


@operator("QLinearWhere", domain=DOMAIN, carries=True, types=type_of(1))
def q_linear_where(
    condition: Tensor,
    X: Tensor,
    x_scale: Tensor,
    x_zero_point: Tensor,
    Y: Tensor,
    y_scale: Tensor,
    y_zero_point: Tensor,
    z_scale: Tensor,
    z_zero_point: Tensor,
    *,
    input_types: Types,
) -> Tensor:
    """Return X where the condition holds, Y elsewhere, at the scale and zero point of the result."""
    to = _type(input_types, 1)
    x = quantized(dequantized(X, x_scale, x_zero_point) / z_scale, z_zero_point, to)
    y = quantized(dequantized(Y, y_scale, y_zero_point) / z_scale, z_zero_point, to)
    return torch.where(condition, x, y)


@operator("NhwcMaxPool", domain=DOMAIN, carries=True, types=type_of(0))
def nhwc_max_pool(
    x: Tensor,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints | None = None,
    kernel_shape: Ints,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    """Maximum of each window of (N, D1, ..., Dn, C); the settings are those of `MaxPool`."""
    pooled = max_pool(
        carried(x).movedim(-1, 1),
        auto_pad=auto_pad,
        ceil_mode=ceil_mode,
        dilations=dilations,
        kernel_shape=kernel_shape,
        pads=pads,
        strides=strides,
    )
    return (pooled if isinstance(pooled, Tensor) else pooled[0]).movedim(1, -1)


def _type(input_types: Types, index: int = 0) -> int:
    """Return the type that is quantized to, that of an input."""
    return input_types[index] or TensorProto.UINT8


def _or_zero(zero_point: Tensor | None, scale: Tensor) -> Tensor:
    return torch.zeros_like(scale) if zero_point is None else carried(zero_point)


def _is_scalar(x: Tensor) -> bool:
    """Whether all neighbors along the last axis share one element of it."""
    return x.ndim == 0 or x.shape[-1] == 1


def _fused(factor: Tensor, other: Tensor, term: Tensor) -> Tensor:
    """Return factor * other + term of float32, rounded once."""
    return (factor.double() * other.double() + term.double()).float()
