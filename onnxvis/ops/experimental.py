"""Operators that the first opsets called experimental and later ones removed; old files still have them.

The others of their kind are among their families: Affine, Crop, ImageScaler, ParametricSoftplus, Scale, ScaledTanh.
"""

from __future__ import annotations

import torch
from onnx import TensorProto
from torch import Tensor

from onnxvis.ops.dtypes import torch_dtype
from onnxvis.ops.indexing import slice_axes
from onnxvis.ops.table import ConstantTensor, Floats, Ints, operator


@operator("ConstantFill", differentiable=False)
def constant_fill(
    input: ConstantTensor | None = None,
    *,
    dtype: int = TensorProto.FLOAT,
    extra_shape: Ints = (),
    input_as_shape: int = 0,
    shape: Ints | None = None,
    value: float = 0.0,
) -> Tensor:
    """Return a tensor filled with `value`, of the shape `shape`, or that of the input with `extra_shape` after it.

    With `input_as_shape` the input is not of that shape, but holds it.
    """
    return torch.full(_shape(input, shape, extra_shape, input_as_shape), value, dtype=torch_dtype(dtype))


@operator("GivenTensorFill", differentiable=False)
def given_tensor_fill(
    shape: ConstantTensor | Ints | None = None, *, extra_shape: Ints = (), input_as_shape: int = 0, values: Floats
) -> Tensor:
    """Return a tensor of these values, of the shape `shape`: an attribute, or an input as for `constant_fill`."""
    of_input, given = (shape, None) if isinstance(shape, Tensor) else (None, shape)
    return torch.tensor(values, dtype=torch.float32).reshape(_shape(of_input, given, extra_shape, input_as_shape))


@operator("DynamicSlice")
def dynamic_slice(data: Tensor, starts: Ints, ends: Ints, axes: Ints | None = None) -> Tensor:
    """Take the elements from start to end (exclusive) along each of `axes`: what became Slice-10."""
    return slice_axes(data, starts, ends, axes)


def _shape(input: Tensor | None, shape: Ints | None, extra_shape: Ints, input_as_shape: int) -> Ints:
    if input is None:
        return shape or ()
    return (*(input.tolist() if input_as_shape else input.shape), *extra_shape)
