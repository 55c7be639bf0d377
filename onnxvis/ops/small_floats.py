"""Floats of 8 bits and less: their values on the grid of their type, held in float32.

All but FLOAT8E8M0, whose values are the powers of two, have a sign, an exponent and a mantissa of a few bits. A value
is rounded to the nearest of the grid, ties to the even mantissa (ONNX specification, `Cast`; OCP 8-bit floating point
and microscaling formats). The gradient passes straight through inside the representable range.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from onnx import TensorProto, helper
from torch import Tensor

from onnxvis.ops.straight_through import straight_through

RoundMode = Literal["up", "down", "nearest"]


class _Format(NamedTuple):
    """A type of floats.

    Attributes:
        mantissa: The bits of the mantissa.
        exponent: The smallest exponent of a normal number; below it the grid is uniform.
        largest: The largest finite number.
        beyond: What a larger one becomes where it does not saturate.
    """

    mantissa: int
    exponent: int
    largest: float
    beyond: float


_FORMATS: dict[int, _Format] = {
    TensorProto.FLOAT8E4M3FN: _Format(3, -6, 448.0, torch.nan),
    TensorProto.FLOAT8E4M3FNUZ: _Format(3, -7, 240.0, torch.nan),
    TensorProto.FLOAT8E5M2: _Format(2, -14, 57344.0, torch.inf),
    TensorProto.FLOAT8E5M2FNUZ: _Format(2, -15, 57344.0, torch.nan),
    TensorProto.FLOAT6E2M3: _Format(3, 0, 7.5, 7.5),
    TensorProto.FLOAT6E3M2: _Format(2, -2, 28.0, 28.0),
    TensorProto.FLOAT4E2M1: _Format(1, 0, 6.0, 6.0),
}
_WIDTHS: dict[int, int] = {TensorProto.FLOAT4E2M1: 4, TensorProto.FLOAT6E2M3: 6, TensorProto.FLOAT6E3M2: 6}
_POWERS = 127
"""FLOAT8E8M0 holds the powers of two from minus this to this."""
_ROUNDED_UP: dict[str, float] = {"up": 0.5, "down": 1.0, "nearest": 0.75}
"""From which fraction (0.5 is the power of two itself, 1 the next one) the exponent is rounded up."""


def on_grid(value: Tensor, onnx_type: int, *, saturate: bool = True, round_mode: str = "up") -> Tensor:
    """Round floats to the values of a type of `onnxvis.ops.dtypes.SMALL_FLOATS`.

    Args:
        value: Of any shape.
        onnx_type: The type.
        saturate: Whether what is too large becomes the largest finite number, rather than NaN or infinity.
        round_mode: For FLOAT8E8M0 alone: "up" (away from zero), "down" or "nearest" (ties away from zero).

    Returns:
        The rounded values, in float32.
    """
    value = value.float()
    if onnx_type == TensorProto.FLOAT8E8M0:
        return straight_through(value, _power_of_two(value.detach(), saturate=saturate, round_mode=round_mode))
    form = _FORMATS[onnx_type]
    inside = value.clamp(-form.largest, form.largest)
    return straight_through(inside, _nearest((inside if saturate else value).detach(), form))


def _nearest(value: Tensor, form: _Format) -> Tensor:
    exponent = (torch.frexp(value)[1] - 1).clamp_min(form.exponent)
    step = torch.ldexp(torch.ones_like(value), exponent - form.mantissa)
    rounded = torch.round(value / step) * step
    return torch.where(rounded.abs() > form.largest, form.beyond * rounded.sign(), rounded)


def _power_of_two(value: Tensor, *, saturate: bool, round_mode: str) -> Tensor:
    fraction, exponent = torch.frexp(value)
    threshold = _ROUNDED_UP[round_mode]
    upward = fraction > threshold if round_mode == "up" else fraction >= threshold
    power = exponent - 1 + upward.to(exponent.dtype)
    power = torch.where(value.isinf(), 2 * _POWERS, torch.where(value == 0, -2 * _POWERS, power))
    result = torch.ldexp(torch.ones_like(value), power.clamp(-_POWERS, _POWERS))
    if not saturate:
        result = result.masked_fill(power.abs() > _POWERS, torch.nan)
    return result.masked_fill(value.isnan() | (value < 0), torch.nan)


def width(onnx_type: int) -> int:
    """Return the number of bits of a type of small floats."""
    return _WIDTHS.get(onnx_type, 8)


def encoded(value: Tensor, onnx_type: int) -> Tensor:
    """Return the bits of values of a type, as int64."""
    table = _decoding(onnx_type, value.device)
    wanted = value.unsqueeze(-1)
    same = (wanted == table) & (wanted.signbit() == table.signbit())
    return (same | (wanted.isnan() & table.isnan())).to(torch.uint8).argmax(-1)


def decoded(bits: Tensor, onnx_type: int) -> Tensor:
    """Return the values that bits (an integer tensor) stand for in a type, in float32."""
    return _decoding(onnx_type, bits.device)[bits.long()]


def _decoding(onnx_type: int, device: torch.device) -> Tensor:
    """Return the value of each code."""
    codes = np.arange(1 << width(onnx_type), dtype=np.uint8)
    values = codes.view(helper.tensor_dtype_to_np_dtype(onnx_type)).astype(np.float32)
    return torch.from_numpy(values).to(device)
