"""Conversions between element types, and where they cut the gradient.

Between floats the gradient passes straight through what is rounded; a conversion to integers cuts it, unless the
integers are carried by floats and the new type has room for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from onnx import TensorProto
from torch import Tensor

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops.dtypes import SMALL_FLOATS, bit_width, carrier_dtype, is_integer, limits, onnx_dtype, torch_dtype
from onnxvis.ops.small_floats import decoded, encoded, on_grid, width
from onnxvis.ops.table import Operator, Types, operator

_BYTE = 8


def _named(to: int | str) -> int:
    return int(TensorProto.DataType.Value(to.upper())) if isinstance(to, str) else to


def _type_asked(_: Types, attributes: Mapping[str, Any]) -> Types:
    return (_named(attributes["to"]),)


def _type_of_second(input_types: Types, _: Mapping[str, Any]) -> Types:
    return (input_types[1],)


@operator("Cast", since=6, carries=True, types=_type_asked)
def cast(input: Tensor, *, to: int, saturate: int = 1, round_mode: str = "up", input_types: Types = ()) -> Tensor:
    """Convert to the ONNX element type `to`.

    Args:
        input: Of any shape.
        to: The new type.
        saturate: Whether what is too large for a float of 8 bits becomes the largest one, rather than NaN or infinity.
        round_mode: For FLOAT8E8M0: "up", "down" or "nearest".
        input_types: The type of the input.
    """
    return _converted(input, _source(input, input_types), to, saturate, round_mode)


@operator("Cast", carries=True, types=_type_asked)
def cast_1(input: Tensor, *, to: str, input_types: Types = ()) -> Tensor:
    """Convert to the element type of that name, e.g. "FLOAT"."""
    return _converted(input, _source(input, input_types), _named(to))


@operator("CastLike", carries=True, types=_type_of_second)
def cast_like(
    input: Tensor, target_type: Tensor, *, saturate: int = 1, round_mode: str = "up", input_types: Types = ()
) -> Tensor:
    """Convert to the element type of `target_type`; the settings are those of `Cast`."""
    to = onnx_dtype(target_type.dtype) if len(input_types) < 2 or input_types[1] is None else input_types[1]  # noqa: PLR2004 - the second input
    return _converted(input, _source(input, input_types), to, saturate, round_mode)


@operator("BitCast", differentiable=False, types=_type_asked)
def bit_cast(input: Tensor, *, to: int, input_types: Types = ()) -> Tensor:
    """Read the same bits as another element type of the same size.

    Raises:
        UnsupportedOpError: The types differ in size.
    """
    source = _source(input, input_types)
    dtype = torch_dtype(to)
    if _bits(source) != _bits(to):
        names = f"{TensorProto.DataType.Name(source)} to {TensorProto.DataType.Name(to)}"
        message = f"BitCast from {names}: they differ in size"
        raise UnsupportedOpError(message, source=source, to=to)
    if _bits(to) > _BYTE:
        return input.to(torch_dtype(source)).view(dtype)
    return _from_code(encoded(input, source) if source in SMALL_FLOATS else input.long() & _mask(source), to)


def cuts_gradient(operator: Operator, attributes: Mapping[str, Any]) -> bool:
    """Tell whether no gradient passes a node, from what stands in the node itself.

    A Cast to integers that can be carried passes the gradient of what is carried already, and a CastLike does what its
    second input says: look at the dtype of the output.

    Raises:
        UnsupportedOpError: A Cast to an element type that torch does not have.
    """
    if operator.op_type != "Cast" or "to" not in attributes:
        return not operator.differentiable
    to = _named(attributes["to"])
    dtype = torch_dtype(to)
    return not (dtype.is_floating_point or dtype.is_complex or (is_integer(to) and carrier_dtype(to) is not None))


def _source(input: Tensor, input_types: Types) -> int:
    """Return the ONNX type of an input; that of its dtype where nobody said."""
    said = input_types[0] if input_types else None
    return onnx_dtype(input.dtype) if said is None else said


def _converted(input: Tensor, source: int, to: int, saturate: int = 1, round_mode: str = "up") -> Tensor:
    dtype = torch_dtype(to)
    if input.is_complex() and not dtype.is_complex:
        message = f"Cast from a complex type to {TensorProto.DataType.Name(to)}: ONNX has no such conversion"
        raise UnsupportedOpError(message, onnx_type=to)
    if to in SMALL_FLOATS:
        return on_grid(input, to, saturate=bool(saturate), round_mode=round_mode)
    if to == TensorProto.BOOL:
        return input != 0
    if not is_integer(to):
        return input.to(dtype)
    if input.is_floating_point() and is_integer(source) and _fits(source, to):
        return input.to(carrier_dtype(to))
    return _as_integers(input, to, dtype)


def _fits(source: int, to: int) -> bool:
    """Whether one carried integer type has room for all values of another."""
    (low, high), (lowest, highest) = limits(source), limits(to)
    return carrier_dtype(to) is not None and lowest <= low and high <= highest


def _as_integers(input: Tensor, to: int, dtype: torch.dtype) -> Tensor:
    """Round towards zero and keep the lowest bits."""
    bits = bit_width(to)
    if bits < _BYTE:
        low = limits(to)[0]
        return (torch.remainder(input.to(torch.int64) - low, 1 << bits) + low).to(dtype)
    if input.is_floating_point() and dtype != torch.uint64:
        # What is out of range is not defined; by way of int64 it is the same everywhere.
        return input.to(torch.int64).to(dtype)
    return input.to(dtype)


def _bits(onnx_type: int) -> int:
    if onnx_type in SMALL_FLOATS:
        return width(onnx_type)
    return bit_width(onnx_type) if is_integer(onnx_type) else _BYTE * torch_dtype(onnx_type).itemsize


def _mask(onnx_type: int) -> int:
    return (1 << _bits(onnx_type)) - 1


def _from_code(code: Tensor, to: int) -> Tensor:
    """Return what bits, as int64, mean in a type of 8 bits or less."""
    if to in SMALL_FLOATS:
        return decoded(code, to)
    return _converted(code, TensorProto.INT64, to)
