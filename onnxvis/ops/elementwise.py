"""Arithmetic and functions of one element, with broadcasting as in numpy (ONNX specification).

A result has the dtype of the first input: ONNX has no type promotion.
"""

from __future__ import annotations

import functools
from typing import Literal

import torch
from torch import Tensor

from onnxvis.ops.straight_through import rounded
from onnxvis.ops.table import operator


@operator("Add", since=7)
def add(A: Tensor, B: Tensor | float) -> Tensor:
    """A + B."""
    return A + B


@operator("Sub", since=7)
def sub(A: Tensor, B: Tensor | float) -> Tensor:
    """A - B."""
    return A - B


@operator("Mul", since=7)
def mul(A: Tensor, B: Tensor | float) -> Tensor:
    """A * B."""
    return A * B


@operator("Div", since=7)
def div(A: Tensor, B: Tensor | float) -> Tensor:
    """A / B; the quotient of integers is truncated toward zero."""
    if A.is_floating_point():
        return A / B
    return torch.div(A, _not_zero(B), rounding_mode="trunc")


@operator("Pow", since=7)
def pow(X: Tensor, Y: Tensor | float) -> Tensor:
    """X to the power of Y, in the dtype of X whatever the dtype of Y is."""
    result = torch.pow(X, Y)
    return result if result.dtype == X.dtype else result.to(X.dtype)


@operator("Mod")
def mod(A: Tensor, B: Tensor | float, *, fmod: int = 0) -> Tensor:
    """Remainder of A / B: with the sign of B, or with the sign of A where `fmod` is 1."""
    divisor = B if A.is_floating_point() else _not_zero(B)
    return torch.fmod(A, divisor) if fmod else torch.remainder(A, divisor)


def _not_zero(divisor: Tensor | float) -> Tensor | float:
    """Integers are not divided by zero, which ends the process of some libraries, and not the model's computation."""
    if isinstance(divisor, Tensor):
        return divisor.masked_fill(divisor == 0, 1)
    return divisor if divisor != 0 else 1


@operator("Neg")
def neg(X: Tensor) -> Tensor:
    """-X."""
    return -X


@operator("Abs")
def abs(X: Tensor) -> Tensor:
    """Magnitude of X; its gradient at 0 is 0."""
    return torch.abs(X)


@operator("Sqrt")
def sqrt(X: Tensor) -> Tensor:
    """Square root."""
    return torch.sqrt(X)


@operator("Exp")
def exp(input: Tensor) -> Tensor:
    """Natural exponential."""
    return torch.exp(input)


@operator("Log")
def log(input: Tensor) -> Tensor:
    """Natural logarithm."""
    return torch.log(input)


@operator("Reciprocal")
def reciprocal(X: Tensor) -> Tensor:
    """1 / X."""
    return torch.reciprocal(X)


@operator("Erf")
def erf(input: Tensor) -> Tensor:
    """Error function."""
    return torch.erf(input)


@operator("Floor", differentiable=False)
def floor(X: Tensor) -> Tensor:
    """Largest integer not above X."""
    return torch.floor(X)


@operator("Ceil", differentiable=False)
def ceil(X: Tensor) -> Tensor:
    """Smallest integer not below X."""
    return torch.ceil(X)


@operator("Round")
def round(X: Tensor) -> Tensor:
    """Nearest integer; halves go to the even one; the gradient passes as if nothing were rounded."""
    return rounded(X)


@operator("Sign", differentiable=False)
def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1; what is not a number stays so."""
    return torch.where(torch.isnan(input), input, torch.sign(input))


@operator("Sin")
def sin(input: Tensor) -> Tensor:
    """Sine of an angle in radians."""
    return torch.sin(input)


@operator("Cos")
def cos(input: Tensor) -> Tensor:
    """Cosine of an angle in radians."""
    return torch.cos(input)


@operator("Tan")
def tan(input: Tensor) -> Tensor:
    """Tangent of an angle in radians."""
    return torch.tan(input)


@operator("Asin")
def asin(input: Tensor) -> Tensor:
    """Inverse sine, in radians."""
    return torch.asin(input)


@operator("Acos")
def acos(input: Tensor) -> Tensor:
    """Inverse cosine, in radians."""
    return torch.acos(input)


@operator("Atan")
def atan(input: Tensor) -> Tensor:
    """Inverse tangent, in radians."""
    return torch.atan(input)


@operator("Sinh")
def sinh(input: Tensor) -> Tensor:
    """Hyperbolic sine."""
    return torch.sinh(input)


@operator("Cosh")
def cosh(input: Tensor) -> Tensor:
    """Hyperbolic cosine."""
    return torch.cosh(input)


@operator("Asinh")
def asinh(input: Tensor) -> Tensor:
    """Inverse hyperbolic sine."""
    return torch.asinh(input)


@operator("Acosh")
def acosh(input: Tensor) -> Tensor:
    """Inverse hyperbolic cosine."""
    return torch.acosh(input)


@operator("Atanh")
def atanh(input: Tensor) -> Tensor:
    """Inverse hyperbolic tangent."""
    return torch.atanh(input)


@operator("Min")
def min(*data_0: Tensor) -> Tensor:
    """Elementwise minimum of all inputs."""
    return functools.reduce(torch.minimum, data_0)


@operator("Max")
def max(*data_0: Tensor) -> Tensor:
    """Elementwise maximum of all inputs."""
    return functools.reduce(torch.maximum, data_0)


@operator("Sum")
def sum(*data_0: Tensor) -> Tensor:
    """Elementwise sum of all inputs."""
    return functools.reduce(torch.add, data_0)


@operator("Mean")
def mean(*data_0: Tensor) -> Tensor:
    """Elementwise mean of all inputs."""
    return functools.reduce(torch.add, data_0) / len(data_0)


@operator("BitShift", differentiable=False)
def bit_shift(X: Tensor, Y: Tensor | int, *, direction: Literal["LEFT", "RIGHT"]) -> Tensor:
    """X shifted by Y bits; a right shift keeps the sign."""
    return X << Y if direction == "LEFT" else X >> Y


@operator("BitwiseAnd", differentiable=False)
def bitwise_and(A: Tensor, B: Tensor | int) -> Tensor:
    """A & B."""
    return A & B


@operator("BitwiseOr", differentiable=False)
def bitwise_or(A: Tensor, B: Tensor | int) -> Tensor:
    """A | B."""
    return A | B


@operator("BitwiseXor", differentiable=False)
def bitwise_xor(A: Tensor, B: Tensor | int) -> Tensor:
    """A ^ B."""
    return A ^ B


@operator("BitwiseNot", differentiable=False)
def bitwise_not(X: Tensor) -> Tensor:
    """~X."""
    return ~X
