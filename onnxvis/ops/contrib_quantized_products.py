"""Matrix products and convolutions of domain com.microsoft with quantized integers.

Their sums are exact, as in `onnxvis.ops.quantized`; the gradient is that of the same map without rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from onnx import TensorProto
from torch import Tensor

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops.affine import carried, quantized, single
from onnxvis.ops.contrib_activation import DOMAIN
from onnxvis.ops.contrib_attention import multi_head_attention
from onnxvis.ops.quantize import dynamic_quantize_linear
from onnxvis.ops.quantized import multiplied, q_linear_conv, type_of
from onnxvis.ops.table import Ints, Types, operator

_Y_ZERO_POINT = 8


def _gemm_type(input_types: Types, _: Mapping[str, Any]) -> Types:
    given = input_types[_Y_ZERO_POINT] if len(input_types) > _Y_ZERO_POINT else None
    return (TensorProto.FLOAT if given is None else given,)


@operator("QGemm", domain=DOMAIN, carries=True, types=_gemm_type)
def q_gemm(
    A: Tensor,
    a_scale: Tensor,
    a_zero_point: Tensor,
    B: Tensor,
    b_scale: Tensor,
    b_zero_point: Tensor,
    C: Tensor | None = None,
    y_scale: Tensor | None = None,
    y_zero_point: Tensor | None = None,
    *,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    input_types: Types,
) -> Tensor:
    """Return alpha A B + C of quantized matrices, requantized if there is a scale for it, else in float32.

    Args:
        A: (M, K), or (K, M) with `transA`.
        a_scale: One number.
        a_zero_point: One number.
        B: (K, N), or (N, K) with `transB`.
        b_scale: One number, or one for each column.
        b_zero_point: Of the same shape.
        C: Broadcasts to (M, N); its scale is alpha a_scale b_scale.
        y_scale: One number.
        y_zero_point: One number.
        alpha: Factor of the product.
        transA: Whether A is transposed first.
        transB: Whether B is transposed first.
        input_types: The types of the inputs.
    """
    left, right = A.T if transA else A, B.T if transB else B
    sums = multiplied(left, right, a_zero_point, b_zero_point, input_types[0], input_types[3])
    if C is not None:
        sums = sums.double() + carried(C)
    scale = alpha * single(a_scale) * single(b_scale)
    if y_scale is None or y_zero_point is None:
        return sums.float() * scale
    value = sums.float() * (scale / single(y_scale))
    return quantized(value, single(y_zero_point), _gemm_type(input_types, {})[0] or TensorProto.UINT8)


@operator("QLinearConv", domain=DOMAIN, carries=True, types=type_of(7))
def q_linear_conv_of_microsoft(
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
    channels_last: int = 0,
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
    input_types: Types,
) -> Tensor:
    """Convolve as `QLinearConv` of the default domain; `channels_last`: x and the result are (N, D1, ..., Dn, C)."""
    y = q_linear_conv(
        x.movedim(-1, 1) if channels_last else x,
        x_scale,
        x_zero_point,
        w,
        w_scale,
        w_zero_point,
        y_scale,
        y_zero_point,
        B,
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        kernel_shape=kernel_shape,
        pads=pads,
        strides=strides,
        input_types=input_types,
    )
    return y.movedim(1, -1) if channels_last else y


@operator("MatMulIntegerToFloat", domain=DOMAIN, carries=True, types=type_of(2))
def mat_mul_integer_to_float(
    A: Tensor,
    B: Tensor,
    a_scale: Tensor,
    b_scale: Tensor,
    a_zero_point: Tensor | None = None,
    b_zero_point: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    input_types: Types,
) -> Tensor:
    """Return A B + bias of quantized matrices, in float32; the parameters of B can be one for each column."""
    sums = multiplied(A, B, a_zero_point, b_zero_point, input_types[0], input_types[1])
    y = sums.float() * (single(a_scale) * single(b_scale))
    return y if bias is None else y + bias


@operator("DynamicQuantizeMatMul", domain=DOMAIN, carries=True, types=type_of(0))
def dynamic_quantize_mat_mul(
    A: Tensor,
    B: Tensor,
    b_scale: Tensor,
    b_zero_point: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    input_types: Types,
) -> Tensor:
    """Quantize A over its range and return A B + bias, in float32."""
    a, a_scale, a_zero_point = dynamic_quantize_linear(A)
    types = (TensorProto.UINT8, input_types[1])
    return mat_mul_integer_to_float(a, B, a_scale, b_scale, a_zero_point, b_zero_point, bias, input_types=types)


@operator("QAttention", domain=DOMAIN, carries=True, types=type_of(3))
def q_attention(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    input_scale: Tensor,
    weight_scale: Tensor,
    mask_index: Tensor | None = None,
    input_zero_point: Tensor | None = None,
    weight_zero_point: Tensor | None = None,
    past: Tensor | None = None,
    *,
    do_rotary: int = 0,
    mask_filter_value: float = -10000.0,
    num_heads: int,
    past_present_share_buffer: int = 0,
    scale: float | None = None,
    unidirectional: int = 0,
    input_types: Types,
    outputs: int = 1,
) -> Tensor | tuple[Tensor, Tensor]:
    """Self-attention whose projections are products of quantized matrices; the rest is `Attention` in float32.

    Raises:
        UnsupportedOpError: Rotation, or one buffer for past and present.
    """
    if do_rotary or past_present_share_buffer:
        message = "QAttention: do_rotary and past_present_share_buffer are not implemented"
        raise UnsupportedOpError(message, op_type="QAttention")
    types = (input_types[0], input_types[1])
    projected = mat_mul_integer_to_float(
        input, weight, input_scale, weight_scale, input_zero_point, weight_zero_point, bias, input_types=types
    )
    query, key, value = projected.chunk(3, -1)
    found = multi_head_attention(
        query,
        key,
        value,
        key_padding_mask=mask_index,
        past_key=None if past is None else past[0],
        past_value=None if past is None else past[1],
        mask_filter_value=mask_filter_value,
        num_heads=num_heads,
        scale=scale,
        unidirectional=unidirectional,
        outputs=3,
    )
    y, keys, values = found
    return y if outputs == 1 else (y, torch.stack([keys, values]))
