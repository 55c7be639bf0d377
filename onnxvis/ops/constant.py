"""Tensors made from attributes, shapes and numbers."""

from __future__ import annotations

import math

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops.dtypes import torch_dtype
from onnxvis.ops.table import Floats, Ints, operator


@operator("Constant", differentiable=False)
def constant(
    *,
    value: Tensor | None = None,
    sparse_value: onnx.SparseTensorProto | None = None,
    value_int: int | None = None,
    value_ints: Ints | None = None,
    value_float: float | None = None,
    value_floats: Floats | None = None,
    value_string: str | None = None,
    value_strings: tuple[str, ...] | None = None,
) -> Tensor:
    """Return the one attribute that is given, as a tensor.

    Raises:
        UnsupportedOpError: A string.
    """
    if value is not None:
        return value
    if sparse_value is not None:
        return dense(sparse_value)
    integers = value_int if value_int is not None else value_ints
    if integers is not None:
        return torch.tensor(integers, dtype=torch.int64)
    floats = value_float if value_float is not None else value_floats
    if floats is not None:
        return torch.tensor(floats, dtype=torch.float32)
    message = "Constant: strings are not implemented; only what a float tensor needs can be computed"
    raise UnsupportedOpError(message, op_type="Constant", value=value_string or value_strings)


def dense(sparse: onnx.SparseTensorProto) -> Tensor:
    """Return a sparse tensor with its zeros.

    Its indices are (NNZ,), positions in the flattened tensor, or (NNZ, rank), coordinates.
    """
    dims = tuple(sparse.dims)
    values = numpy_helper.to_array(sparse.values)
    indices = numpy_helper.to_array(sparse.indices)
    result = np.zeros(dims, values.dtype)
    where = tuple(indices.T) if indices.ndim > 1 else np.unravel_index(indices, dims)
    result[where] = values
    return torch.from_numpy(result)


@operator("ConstantOfShape", differentiable=False)
def constant_of_shape(input: Ints, *, value: Tensor | None = None) -> Tensor:
    """Return a tensor of the shape `input`, filled with the one element of `value`, or with float32 zeros."""
    if value is None:
        return torch.zeros(input)
    return value.reshape(()).expand(input).contiguous()


@operator("Range", differentiable=False)
def range_of(start: Tensor, limit: float, delta: float, *, stash_type: int = TensorProto.FLOAT) -> Tensor:
    """Return start, start + delta, ... up to but without `limit`, in the dtype of `start`.

    Args:
        start: One element.
        limit: Where to end.
        delta: Step.
        stash_type: ONNX element type in which a range of 16-bit floats is computed.
    """
    count = max(0, math.ceil((limit - start.item()) / delta))
    half = start.dtype in {torch.float16, torch.bfloat16}
    dtype = torch_dtype(stash_type) if half else start.dtype
    steps = torch.arange(count, device=start.device).to(dtype)
    return (start.reshape(()).to(dtype) + steps * delta).to(start.dtype)


@operator("EyeLike", differentiable=False)
def eye_like(input: Tensor, *, dtype: int | None = None, k: int = 0) -> Tensor:
    """Return ones on the k-th diagonal and zeros elsewhere, in the shape of the matrix `input`."""
    rows = torch.arange(input.shape[0], device=input.device).unsqueeze(1)
    columns = torch.arange(input.shape[1], device=input.device)
    return (columns - rows == k).to(input.dtype if dtype is None else torch_dtype(dtype))


@operator("HannWindow", differentiable=False)
def hann_window(size: int, *, output_datatype: int = TensorProto.FLOAT, periodic: int = 1) -> Tensor:
    """Hann window: 0.5 - 0.5 cos."""
    return _window(size, (0.5, -0.5), periodic).to(torch_dtype(output_datatype))


@operator("HammingWindow", differentiable=False)
def hamming_window(size: int, *, output_datatype: int = TensorProto.FLOAT, periodic: int = 1) -> Tensor:
    """Hamming window: 25/46 - 21/46 cos."""
    return _window(size, (25 / 46, -21 / 46), periodic).to(torch_dtype(output_datatype))


@operator("BlackmanWindow", differentiable=False)
def blackman_window(size: int, *, output_datatype: int = TensorProto.FLOAT, periodic: int = 1) -> Tensor:
    """Blackman window: 0.42 - 0.5 cos + 0.08 cos of twice the angle."""
    return _window(size, (0.42, -0.5, 0.08), periodic).to(torch_dtype(output_datatype))


def _window(size: int, coefficients: Floats, periodic: int) -> Tensor:
    """Sum of the cosines of multiples of an angle that goes once around the circle.

    Of one element that is not periodic it is NaN, as in onnxruntime.
    """
    period = (size if periodic else size - 1) or math.nan
    angle = 2 * math.pi / period * torch.arange(size, dtype=torch.float64)
    constant, *others = coefficients
    window = torch.zeros(size, dtype=torch.float64)
    for multiple, coefficient in enumerate(others, start=1):
        window += coefficient * torch.cos(multiple * angle)
    # The constant last: so Blackman's numbers add up to exactly 0 and 1, which counts where they become integers.
    return window + constant
