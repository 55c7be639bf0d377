"""ONNX element types and their torch dtypes; a type without a torch dtype that holds numbers is an error."""

from __future__ import annotations

import torch
from onnx import TensorProto

from onnxvis.errors import UnsupportedOpError

_TORCH: dict[int, torch.dtype] = {
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
    TensorProto.FLOAT8E4M3FN: torch.float8_e4m3fn,
    TensorProto.FLOAT8E4M3FNUZ: torch.float8_e4m3fnuz,
    TensorProto.FLOAT8E5M2: torch.float8_e5m2,
    TensorProto.FLOAT8E5M2FNUZ: torch.float8_e5m2fnuz,
}
_ONNX = {dtype: onnx_type for onnx_type, dtype in _TORCH.items()}


def torch_dtype(onnx_type: int) -> torch.dtype:
    """Return the torch dtype of an ONNX element type.

    Args:
        onnx_type: A value of `onnx.TensorProto.DataType`.

    Raises:
        UnsupportedOpError: Strings, the 2- and 4-bit types, float8e8m0, and numbers that are no type.
    """
    if onnx_type in _TORCH:
        return _TORCH[onnx_type]
    known = onnx_type in TensorProto.DataType.values()
    name = TensorProto.DataType.Name(onnx_type) if known else str(onnx_type)
    message = f"The element type {name} has no torch dtype; cast to another type when exporting the model"
    raise UnsupportedOpError(message, onnx_type=onnx_type)


def onnx_dtype(dtype: torch.dtype) -> int:
    """Return the `onnx.TensorProto.DataType` of a torch dtype.

    Raises:
        KeyError: ONNX has no such element type.
    """
    return _ONNX[dtype]
