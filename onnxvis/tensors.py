"""From ONNX constants and attributes to torch tensors and Python values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

_HALF = frozenset({torch.float16, torch.bfloat16})
_HALF_ONNX = frozenset({int(ir.DataType.FLOAT16), int(ir.DataType.BFLOAT16)})
_TYPE_ATTRIBUTES = frozenset({"to", "dtype", "output_datatype", "stash_type"})


def constant(tensor: ir.TensorProtocol) -> Tensor:
    """Copy an ONNX tensor; float16 and bfloat16 become float32, in which all is computed."""
    array = tensor.numpy()
    if array.dtype.kind not in "biufc":
        # ml_dtypes' small floats and integers are unknown to torch.
        array = array.astype(np.int8 if tensor.dtype.is_integer() else np.float32)
    return widened(torch.from_numpy(np.array(array)))


def widened(tensor: Tensor) -> Tensor:
    """Return half-precision floats as float32: float16 gradients underflow to zero."""
    return tensor.float() if tensor.dtype in _HALF else tensor


def attribute_value(name: str, attribute: ir.Attr) -> Any:
    """Return an attribute as the operator functions take it: lists as tuples, tensors as torch tensors."""
    value = attribute.value
    if attribute.type == ir.AttributeType.TENSOR:
        return constant(attribute.as_tensor())
    if attribute.type == ir.AttributeType.STRING:
        return attribute.as_string()
    if attribute.type == ir.AttributeType.STRINGS:
        return tuple(attribute.as_strings())
    if attribute.type in (ir.AttributeType.INTS, ir.AttributeType.FLOATS):
        return tuple(value)
    if name in _TYPE_ATTRIBUTES and value in _HALF_ONNX:
        return int(ir.DataType.FLOAT)
    return value


def as_dtype(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert a tensor; a function, so that a torch.fx graph can call it by name."""
    return tensor.to(dtype)


def zeros(dtype: str, shape: Sequence[int]) -> np.ndarray[Any, Any]:
    """Return zeros of an ONNX element type by its name; of float32 where it is not known."""
    return np.zeros(tuple(shape), np.float32 if dtype == "UNDEFINED" else ir.DataType[dtype].numpy())
