"""Binary operators before opset 7: `broadcast=1` lays the first dimension of the second input on `axis` of the first.

Without `axis` the shapes are matched from the last dimension, as ever since (ONNX specification, opsets 1 to 6).
"""

from __future__ import annotations

from torch import Tensor

from onnxvis.ops import elementwise, logic
from onnxvis.ops.table import operator


@operator("Add")
def add_1(A: Tensor, B: Tensor, *, axis: int | None = None, broadcast: int = 0) -> Tensor:
    """A + B."""
    return A + aligned(A, B, axis, broadcast)


@operator("Sub")
def sub_1(A: Tensor, B: Tensor, *, axis: int | None = None, broadcast: int = 0) -> Tensor:
    """A - B."""
    return A - aligned(A, B, axis, broadcast)


@operator("Mul")
def mul_1(A: Tensor, B: Tensor, *, axis: int | None = None, broadcast: int = 0) -> Tensor:
    """A * B."""
    return A * aligned(A, B, axis, broadcast)


@operator("Div")
def div_1(A: Tensor, B: Tensor, *, axis: int | None = None, broadcast: int = 0) -> Tensor:
    """A / B; the quotient of integers is truncated toward zero."""
    return elementwise.div(A, aligned(A, B, axis, broadcast))


@operator("Pow")
def pow_1(X: Tensor, Y: Tensor, *, axis: int | None = None, broadcast: int = 0) -> Tensor:
    """X to the power of Y."""
    return elementwise.pow(X, aligned(X, Y, axis, broadcast))


@operator("And", differentiable=False)
def logical_and_1(A: Tensor, B: Tensor, *, axis: int | None = None, broadcast: int = 0) -> Tensor:
    """A and B."""
    return logic.logical_and(A, aligned(A, B, axis, broadcast))


@operator("Or", differentiable=False)
def logical_or_1(A: Tensor, B: Tensor, *, axis: int | None = None, broadcast: int = 0) -> Tensor:
    """A or B."""
    return logic.logical_or(A, aligned(A, B, axis, broadcast))


@operator("Xor", differentiable=False)
def logical_xor_1(A: Tensor, B: Tensor, *, axis: int | None = None, broadcast: int = 0) -> Tensor:
    """Either A or B."""
    return logic.logical_xor(A, aligned(A, B, axis, broadcast))


@operator("Equal", differentiable=False)
def equal_1(A: Tensor, B: Tensor, *, axis: int | None = None, broadcast: int = 0) -> Tensor:
    """A == B."""
    return logic.equal(A, aligned(A, B, axis, broadcast))


@operator("Less", differentiable=False)
def less_1(A: Tensor, B: Tensor, *, axis: int | None = None, broadcast: int = 0) -> Tensor:
    """A < B."""
    return logic.less(A, aligned(A, B, axis, broadcast))


@operator("Greater", differentiable=False)
def greater_1(A: Tensor, B: Tensor, *, axis: int | None = None, broadcast: int = 0) -> Tensor:
    """A > B."""
    return logic.greater(A, aligned(A, B, axis, broadcast))


def aligned(A: Tensor, B: Tensor, axis: int | None, broadcast: int) -> Tensor:
    """Return B with trailing dimensions of size 1, such that its first dimension meets dimension `axis` of A."""
    if not broadcast or axis is None:
        return B
    trailing = A.ndim - axis % A.ndim - B.ndim
    return B.reshape(*B.shape, *[1] * trailing)
