"""ONNX element types, and the torch dtypes that their values are held in.

Torch does not compute in floats of 8 bits and less, nor in integers of less than 8: the former are held in float32, on
the grid of their own type (see `onnxvis.ops.small_floats`), the latter in int8.
"""

from __future__ import annotations

import torch
from onnx import TensorProto

from onnxvis.errors import UnsupportedOpError

_OWN: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.UINT8: torch.uint8,
    TensorProto.INT8: torch.int8,
    TensorProto.UINT16: torch.uint16,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.BOOL: torch.bool,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.UINT32: torch.uint32,
    TensorProto.UINT64: torch.uint64,
    TensorProto.COMPLEX64: torch.complex64,
    TensorProto.COMPLEX128: torch.complex128,
    TensorProto.BFLOAT16: torch.bfloat16,
}
_ONNX = {dtype: onnx_type for onnx_type, dtype in _OWN.items()} | {
    torch.float8_e4m3fn: TensorProto.FLOAT8E4M3FN,
    torch.float8_e4m3fnuz: TensorProto.FLOAT8E4M3FNUZ,
    torch.float8_e5m2: TensorProto.FLOAT8E5M2,
    torch.float8_e5m2fnuz: TensorProto.FLOAT8E5M2FNUZ,
}
_BITS: dict[int, tuple[int, bool]] = {
    TensorProto.UINT2: (2, False),
    TensorProto.INT2: (2, True),
    TensorProto.UINT4: (4, False),
    TensorProto.INT4: (4, True),
    TensorProto.UINT8: (8, False),
    TensorProto.INT8: (8, True),
    TensorProto.UINT16: (16, False),
    TensorProto.INT16: (16, True),
    TensorProto.UINT32: (32, False),
    TensorProto.INT32: (32, True),
    TensorProto.UINT64: (64, False),
    TensorProto.INT64: (64, True),
}
"""The width of each integer type, and whether it is signed."""

SMALL_FLOATS = frozenset(
    {
        TensorProto.FLOAT8E4M3FN,
        TensorProto.FLOAT8E4M3FNUZ,
        TensorProto.FLOAT8E5M2,
        TensorProto.FLOAT8E5M2FNUZ,
        TensorProto.FLOAT8E8M0,
        TensorProto.FLOAT6E2M3,
        TensorProto.FLOAT6E3M2,
        TensorProto.FLOAT4E2M1,
    }
)
"""The types of floats that are held in float32."""

_CARRIER_BITS = 16
"""Integers of more bits than these are carried by float64: float32 holds integers of 24 bits."""
_WIDEST_CARRIED = 32


def torch_dtype(onnx_type: int) -> torch.dtype:
    """Return the torch dtype that the values of an ONNX element type are held in.

    Args:
        onnx_type: A value of `onnx.TensorProto.DataType`.

    Raises:
        UnsupportedOpError: Strings, and numbers that are no type.
    """
    if onnx_type in _OWN:
        return _OWN[onnx_type]
    if onnx_type in SMALL_FLOATS:
        return torch.float32
    if onnx_type in _BITS:
        return torch.int8
    known = onnx_type in TensorProto.DataType.values()
    name = TensorProto.DataType.Name(onnx_type) if known else str(onnx_type)
    message = f"Torch cannot hold the element type {name}; take a target that needs none of it"
    raise UnsupportedOpError(message, onnx_type=onnx_type)


def onnx_dtype(dtype: torch.dtype) -> int:
    """Return the `onnx.TensorProto.DataType` of a torch dtype.

    Raises:
        KeyError: ONNX has no such element type.
    """
    return _ONNX[dtype]


def is_integer(onnx_type: int | None) -> bool:
    """Whether an ONNX element type holds integers; booleans are none."""
    return onnx_type in _BITS


def bit_width(onnx_type: int) -> int:
    """Return the number of bits of an integer type."""
    return _BITS[onnx_type][0]


def limits(onnx_type: int) -> tuple[int, int]:
    """Return the smallest and the largest value of an integer type."""
    bits, signed = _BITS[onnx_type]
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


def carrier_dtype(onnx_type: int) -> torch.dtype | None:
    """Return the float dtype that carries the values of an integer type exactly; None where they are never carried."""
    bits = bit_width(onnx_type)
    if bits > _WIDEST_CARRIED or onnx_type == TensorProto.UINT32:
        return None
    return torch.float32 if bits <= _CARRIER_BITS else torch.float64
