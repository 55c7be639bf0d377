"""Reductions along axes, arg-reductions, running sums and TopK.

Without axes all dimensions are reduced, or none where `noop_with_empty_axes` is set; then what the operator does to one
element (square, magnitude, logarithm) is still done. A result has the dtype of the input.
"""

from __future__ import annotations

import torch
from torch import Tensor

from onnxvis.ops.table import Ints, operator


@operator("ReduceSum")
def reduce_sum(data: Tensor, axes: Ints | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    """Sum."""
    dims = _dims(data, axes, noop_with_empty_axes)
    return data if dims is None else _sum(data, dims, keepdims)


@operator("ReduceMean")
def reduce_mean(data: Tensor, axes: Ints | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    """Arithmetic mean; that of integers is truncated toward zero."""
    dims = _dims(data, axes, noop_with_empty_axes)
    if dims is None:
        return data
    if data.is_floating_point():
        return data.mean(dims, keepdim=bool(keepdims))
    total = _sum(data, dims, keepdims)
    return torch.div(total, data.numel() // total.numel(), rounding_mode="trunc")


@operator("ReduceMax")
def reduce_max(data: Tensor, axes: Ints | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    """Maximum; equal maxima share the gradient. The maximum of nothing is the lowest number."""
    dims = _dims(data, axes, noop_with_empty_axes)
    if dims is None:
        return data
    if data.numel() == 0:
        return _filled(data, dims, keepdims, _lowest(data.dtype))
    return data.amax(dims, keepdim=bool(keepdims))


@operator("ReduceMin")
def reduce_min(data: Tensor, axes: Ints | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    """Minimum; equal minima share the gradient. The minimum of nothing is the highest number."""
    dims = _dims(data, axes, noop_with_empty_axes)
    if dims is None:
        return data
    if data.numel() == 0:
        return _filled(data, dims, keepdims, _highest(data.dtype))
    return data.amin(dims, keepdim=bool(keepdims))


@operator("ReduceProd")
def reduce_prod(data: Tensor, axes: Ints | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    """Product."""
    dims = _dims(data, axes, noop_with_empty_axes) or ()
    result = data
    for dim in dims:
        result = result.prod(dim, keepdim=True, dtype=data.dtype)
    return result if keepdims or not dims else result.squeeze(dims)


@operator("ReduceL1")
def reduce_l1(data: Tensor, axes: Ints | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    """Sum of magnitudes."""
    dims = _dims(data, axes, noop_with_empty_axes)
    return data.abs() if dims is None else _sum(data.abs(), dims, keepdims)


@operator("ReduceL2")
def reduce_l2(data: Tensor, axes: Ints | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    """Euclidean norm; its gradient at 0 is 0."""
    dims = _dims(data, axes, noop_with_empty_axes)
    if dims is None:
        return data.abs()
    if data.is_floating_point():
        norm: Tensor = torch.linalg.vector_norm(data, dim=dims, keepdim=bool(keepdims))
        return norm
    return _sum(data * data, dims, keepdims).double().sqrt().to(data.dtype)


@operator("ReduceSumSquare")
def reduce_sum_square(
    data: Tensor, axes: Ints | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Tensor:
    """Sum of squares."""
    dims = _dims(data, axes, noop_with_empty_axes)
    return data * data if dims is None else _sum(data * data, dims, keepdims)


@operator("ReduceLogSum")
def reduce_log_sum(
    data: Tensor, axes: Ints | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Tensor:
    """Logarithm of the sum."""
    dims = _dims(data, axes, noop_with_empty_axes)
    total = data if dims is None else _sum(data, dims, keepdims)
    return total.log().to(data.dtype)


@operator("ReduceLogSumExp")
def reduce_log_sum_exp(
    data: Tensor, axes: Ints | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Tensor:
    """Logarithm of the sum of exponentials, without overflow."""
    dims = _dims(data, axes, noop_with_empty_axes)
    if dims is None:
        return data
    if data.is_floating_point():
        return data.logsumexp(dims, keepdim=bool(keepdims))
    return data.double().logsumexp(dims, keepdim=bool(keepdims)).to(data.dtype)


@operator("ArgMax", differentiable=False)
def arg_max(data: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    """Index of the maximum along `axis`: the first one, or the last one where `select_last_index` is set."""
    if select_last_index:
        return data.shape[axis] - 1 - data.flip(axis).argmax(axis, keepdim=bool(keepdims))
    return data.argmax(axis, keepdim=bool(keepdims))


@operator("ArgMin", differentiable=False)
def arg_min(data: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    """Index of the minimum along `axis`: the first one, or the last one where `select_last_index` is set."""
    if select_last_index:
        return data.shape[axis] - 1 - data.flip(axis).argmin(axis, keepdim=bool(keepdims))
    return data.argmin(axis, keepdim=bool(keepdims))


@operator("CumSum")
def cum_sum(x: Tensor, axis: int, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    """Running sum along `axis`; `exclusive` leaves each element out of its own sum, `reverse` runs from the end."""
    terms = _shifted(x, axis, exclusive, reverse, 0)
    return _turned(_turned(terms, axis, reverse).cumsum(axis, dtype=x.dtype), axis, reverse)


@operator("CumProd")
def cum_prod(x: Tensor, axis: int, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    """Running product along `axis`; `exclusive` and `reverse` as for `cum_sum`."""
    factors = _shifted(x, axis, exclusive, reverse, 1)
    return _turned(_turned(factors, axis, reverse).cumprod(axis, dtype=x.dtype), axis, reverse)


@operator("TopK")
def top_k_1(X: Tensor, *, k: int, axis: int = -1) -> tuple[Tensor, Tensor]:
    """Return the k largest values along `axis`, and their indices."""
    return top_k(X, k, axis=axis)


@operator("TopK", since=10)
def top_k(X: Tensor, K: int, *, axis: int = -1, largest: int = 1, sorted: int = 1) -> tuple[Tensor, Tensor]:  # noqa: ARG001 - sorted is always right
    """Return the K largest (or smallest) values along `axis`, and their indices; of equal values the first comes first.

    `torch.topk` promises no order among equal values, the specification does: hence a stable sort.
    """
    values, indices = torch.sort(X, dim=axis, descending=bool(largest), stable=True)
    return values.narrow(axis, 0, K), indices.narrow(axis, 0, K)


def _dims(data: Tensor, axes: Ints | None, noop_with_empty_axes: int) -> Ints | None:
    """Return the dimensions to reduce; None where nothing is to be reduced."""
    if axes:
        return axes
    return None if noop_with_empty_axes else tuple(range(data.ndim))


def _sum(data: Tensor, dims: Ints, keepdims: int) -> Tensor:
    # torch sums integers in int64 unless told otherwise
    return data.sum(dims, keepdim=bool(keepdims), dtype=data.dtype)


def _filled(data: Tensor, dims: Ints, keepdims: int, value: float) -> Tensor:
    shape = data.sum(dims, keepdim=bool(keepdims)).shape
    return torch.full(shape, value, dtype=data.dtype, device=data.device)


def _lowest(dtype: torch.dtype) -> float:
    if dtype.is_floating_point:
        return -float("inf")
    return False if dtype == torch.bool else torch.iinfo(dtype).min


def _highest(dtype: torch.dtype) -> float:
    if dtype.is_floating_point:
        return float("inf")
    return True if dtype == torch.bool else torch.iinfo(dtype).max


def _turned(x: Tensor, axis: int, reverse: int) -> Tensor:
    return x.flip(axis) if reverse else x


def _shifted(x: Tensor, axis: int, exclusive: int, reverse: int, neutral: int) -> Tensor:
    """Move the elements one place along, dropping the last and starting with the neutral element."""
    size = x.shape[axis]
    if not exclusive or size == 0:
        return x
    first = torch.full_like(x.narrow(axis, 0, 1), neutral)
    if reverse:
        return torch.cat([x.narrow(axis, 1, size - 1), first], axis)
    return torch.cat([first, x.narrow(axis, 0, size - 1)], axis)
