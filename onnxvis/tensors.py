"""From ONNX constants and attributes to torch tensors and Python values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from onnxvis.ops.dtypes import torch_dtype

Precision = Literal["float32", "declared"]
"""What half-precision floats are computed in: float32, or what the file declares."""

_REGISTERED = 2
"""What `numpy.dtype.isbuiltin` says of dtypes that a library has added."""
HALF = frozenset({torch.float16, torch.bfloat16})
_HALF_ONNX = frozenset({int(ir.DataType.FLOAT16), int(ir.DataType.BFLOAT16)})
_HALF_NAMES = frozenset({"FLOAT16", "BFLOAT16"})
_TYPE_ATTRIBUTES = frozenset(
    {"to", "dtype", "output_datatype", "output_dtype", "precision", "stash_type", "softmax_precision"}
)
WIDER = {torch.uint16: torch.int32, torch.uint32: torch.int64, torch.uint64: torch.int64}
"""Dtypes that torch has and does not compute in, and those that hold their values; of uint64 those below 2**63."""


def computed_type(dtype: ir.DataType, precision: Precision) -> ir.DataType:
    """Return the ONNX type that a value of a declared type is computed in."""
    if dtype == ir.DataType.UNDEFINED or (precision == "float32" and int(dtype) in _HALF_ONNX):
        return ir.DataType.FLOAT
    return dtype


def held_dtype(dtype: ir.DataType) -> torch.dtype:
    """Return the torch dtype in which the values of an ONNX type are held: float32 and int8 for what torch lacks.

    Raises:
        UnsupportedOpError: Strings.
    """
    own = torch_dtype(int(dtype))
    return WIDER.get(own, own)


def constant(tensor: ir.TensorProtocol, precision: Precision = "float32") -> Tensor:
    """Copy an ONNX tensor into the dtype that its values are held in.

    Raises:
        UnsupportedOpError: It holds strings.
    """
    dtype = computed_type(tensor.dtype, precision)
    held = held_dtype(dtype)
    return from_array(np.asarray(tensor.numpy()), held)


def from_array(array: np.ndarray[Any, Any], held: torch.dtype) -> Tensor:
    """Copy an array, also of the small types that numpy knows by `ml_dtypes` alone, into a torch dtype.

    The copy lies where torch puts it: matrix products of some processors round by where their factors begin, and numpy
    begins anywhere, so that the same recipe would not make the same bits.
    """
    if array.dtype.isbuiltin == _REGISTERED:
        array = array.astype(np.float32 if held.is_floating_point else np.int8)
    return torch.from_numpy(np.array(array)).to(held, copy=True)


def as_tensor(array: np.ndarray[Any, Any]) -> Tensor:
    """Copy an array into the dtype that values of its type are held in."""
    return from_array(array, held_dtype(ir.DataType.from_numpy(array.dtype)))


def widened(tensor: Tensor) -> Tensor:
    """Return half-precision floats as float32: float16 gradients underflow to zero."""
    return tensor.float() if tensor.dtype in HALF else tensor


def attribute_value(name: str, attribute: ir.Attr, precision: Precision = "float32") -> Any:
    """Return an attribute as the operator functions take it: lists as tuples, tensors as torch tensors."""
    value = attribute.value
    if attribute.type == ir.AttributeType.TENSOR:
        return constant(attribute.as_tensor(), precision)
    if attribute.type == ir.AttributeType.STRING:
        text = attribute.as_string()
        return "FLOAT" if precision == "float32" and name == "to" and text.upper() in _HALF_NAMES else text
    if attribute.type == ir.AttributeType.STRINGS:
        return tuple(attribute.as_strings())
    if attribute.type in (ir.AttributeType.INTS, ir.AttributeType.FLOATS):
        return tuple(value)
    if precision == "float32" and name in _TYPE_ATTRIBUTES and value in _HALF_ONNX:
        return int(ir.DataType.FLOAT)
    return value


def as_dtype(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert a tensor; a function, so that a torch.fx graph can call it by name."""
    return tensor.to(dtype)


def zeros(dtype: str, shape: Sequence[int]) -> np.ndarray[Any, Any]:
    """Return zeros of an ONNX element type by its name; of float32 where it is not known."""
    return np.zeros(tuple(shape), np.float32 if dtype == "UNDEFINED" else ir.DataType[dtype].numpy())
