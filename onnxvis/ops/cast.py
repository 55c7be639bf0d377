"""Conversions between element types, and where they cut the gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from onnx import TensorProto
from torch import Tensor

from onnxvis.ops.dtypes import torch_dtype
from onnxvis.ops.table import Operator, operator

_FLOAT8 = frozenset({torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz})


@operator("Cast", since=6)
def cast(input: Tensor, *, to: int, saturate: int = 1, round_mode: str = "up") -> Tensor:  # noqa: ARG001 - only float8e8m0 is rounded by mode
    """Convert to the ONNX element type `to`; `saturate` clips what is too large for an 8-bit float."""
    return _converted(input, torch_dtype(to), saturate)


@operator("Cast")
def cast_1(input: Tensor, *, to: str) -> Tensor:
    """Convert to the element type of that name, e.g. "FLOAT"."""
    return input.to(torch_dtype(TensorProto.DataType.Value(to.upper())))


@operator("CastLike")
def cast_like(input: Tensor, target_type: Tensor, *, saturate: int = 1, round_mode: str = "up") -> Tensor:  # noqa: ARG001 - as for cast
    """Convert to the element type of `target_type`."""
    return _converted(input, target_type.dtype, saturate)


@operator("BitCast", differentiable=False)
def bit_cast(input: Tensor, *, to: int) -> Tensor:
    """Read the same bits as another element type of the same size."""
    return input.view(torch_dtype(to))


def cuts_gradient(operator: Operator, attributes: Mapping[str, Any]) -> bool:
    """Tell whether no gradient passes a node, from what stands in the node itself.

    What a CastLike does depends on its second input: look at the dtype of its output.

    Raises:
        UnsupportedOpError: A Cast to an element type that torch does not have.
    """
    if operator.op_type != "Cast" or "to" not in attributes:
        return not operator.differentiable
    to = attributes["to"]
    dtype = torch_dtype(TensorProto.DataType.Value(to.upper()) if isinstance(to, str) else to)
    return not (dtype.is_floating_point or dtype.is_complex)


def _converted(input: Tensor, dtype: torch.dtype, saturate: int) -> Tensor:
    if dtype not in _FLOAT8:
        return input.to(dtype)
    limit = torch.finfo(dtype).max
    if saturate:
        return input.clamp(-limit, limit).to(dtype)
    if dtype == torch.float8_e4m3fn:  # which torch saturates; half a step above the largest number is rounded down
        input = input.masked_fill(input.abs() > limit * 29 / 28, torch.nan)
    return input.to(dtype)
