"""Reading and writing elements by index; negative indices count from the end of the dimension.

Indices are tensors wherever the shape of the result does not depend on their values.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from onnxvis.ops.table import ConstantTensor, Ints, operator

Reduction = Literal["none", "add", "mul", "max", "min"]
_TORCH_REDUCTION = {"mul": "prod", "max": "amax", "min": "amin"}


@operator("Slice")
def slice_axes(data: Tensor, starts: Ints, ends: Ints, axes: Ints | None = None, steps: Ints | None = None) -> Tensor:
    """Take every step-th element from start to end (exclusive) along each of `axes`, as far as there are any."""
    index = [slice(None)] * data.ndim
    turned = []
    for position, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = position if axes is None else axes[position] % data.ndim
        step = 1 if steps is None else steps[position]
        index[axis] = _slice(start, end, step, data.shape[axis])
        if step < 0:
            turned.append(axis)
    result = data[tuple(index)]
    return result.flip(turned) if turned else result


@operator("Gather")
def gather(data: Tensor, indices: Tensor | int, *, axis: int = 0) -> Tensor:
    """Take slices along `axis`: the shape of `indices` replaces that dimension."""
    if not isinstance(indices, Tensor):
        return data.select(axis, indices)
    before: list[Any] = [slice(None)] * (axis % data.ndim)
    if indices.ndim == 0:  # whose value torch would read, to select
        return data[*before, indices.reshape(1)].squeeze(axis)
    return data[*before, indices]


@operator("GatherElements")
def gather_elements(data: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """Take one element for each index: it replaces the coordinate along `axis`."""
    return data.gather(axis, _positive(indices, data.shape[axis]))


@operator("GatherND")
def gather_nd(data: Tensor, indices: Tensor, *, batch_dims: int = 0) -> Tensor:
    """Take slices at the coordinates in the last dimension of `indices`, after the shared `batch_dims`."""
    coordinates = indices.unsqueeze(batch_dims) if indices.ndim == batch_dims + 1 else indices
    batch = [
        torch.arange(data.shape[axis], device=data.device).view(-1, *[1] * (coordinates.ndim - 2 - axis))
        for axis in range(batch_dims)
    ]
    result = data[*batch, *coordinates.unbind(-1)]
    return result if coordinates is indices else result.squeeze(batch_dims)


@operator("ScatterElements")
def scatter_elements(
    data: Tensor, indices: Tensor, updates: Tensor, *, axis: int = 0, reduction: Reduction = "none"
) -> Tensor:
    """Write one element for each index, or combine it with what is there."""
    indices = _positive(indices, data.shape[axis])
    if reduction == "none":
        return data.scatter(axis, indices, updates)
    if reduction == "add":
        return data.scatter_add(axis, indices, updates)
    return data.scatter_reduce(axis, indices, updates, _TORCH_REDUCTION[reduction])


@operator("Scatter")
def scatter_9(data: Tensor, indices: Tensor, updates: Tensor, *, axis: int = 0) -> Tensor:
    """Write one element for each index: the older name of ScatterElements."""
    return scatter_elements(data, indices, updates, axis=axis)


@operator("ScatterND")
def scatter_nd(data: Tensor, indices: Tensor, updates: Tensor, *, reduction: Reduction = "none") -> Tensor:
    """Write slices at the coordinates in the last dimension of `indices`, or combine them with what is there."""
    if reduction in {"none", "add"}:
        return data.index_put(indices.unbind(-1), updates, accumulate=reduction == "add")
    depth = indices.shape[-1]
    rows = torch.zeros(indices.shape[:-1], dtype=torch.int64, device=data.device)
    for size, coordinate in zip(data.shape[:depth], indices.unbind(-1), strict=True):
        rows = rows * size + _positive(coordinate, size)
    table = data.reshape(data.shape[:depth].numel(), -1)
    written = updates.reshape(rows.numel(), -1)
    index = rows.reshape(-1, 1).expand_as(written)
    return table.scatter_reduce(0, index, written, _TORCH_REDUCTION[reduction]).reshape(data.shape)


@operator("OneHot", differentiable=False)
def one_hot(indices: Tensor, depth: int, values: Tensor, *, axis: int = -1) -> Tensor:
    """Return values[1] at the indices and values[0] elsewhere, along a new dimension of size `depth`."""
    depth = int(depth)
    axis = axis % (indices.ndim + 1)
    classes = torch.arange(depth, device=indices.device).view(-1, *[1] * (indices.ndim - axis))
    hot = torch.where(indices < 0, indices + depth, indices).unsqueeze(axis) == classes
    return torch.where(hot, values[1], values[0])


@operator("Compress")
def compress(input: Tensor, condition: Ints, *, axis: int | None = None) -> Tensor:
    """Keep the slices along `axis` where the condition holds; without `axis` elements of the flattened input."""
    kept = [position for position, keep in enumerate(condition) if keep]
    index = torch.tensor(kept, dtype=torch.int64, device=input.device)
    return input.reshape(-1)[index] if axis is None else input.index_select(axis, index)


@operator("ReverseSequence")
def reverse_sequence(input: Tensor, sequence_lens: Tensor, *, batch_axis: int = 1, time_axis: int = 0) -> Tensor:
    """Reverse the first `sequence_lens[b]` steps of each sequence b; the others stay."""
    x = input.movedim((time_axis, batch_axis), (0, 1))
    time = torch.arange(x.shape[0], device=input.device).unsqueeze(1)
    source = torch.where(time < sequence_lens, sequence_lens - 1 - time, time)
    batch = torch.arange(x.shape[1], device=input.device)
    return x[source, batch].movedim((0, 1), (time_axis, batch_axis))


@operator("Trilu")
def trilu(input: Tensor, k: int | None = None, *, upper: int = 1) -> Tensor:
    """Keep the elements on and above (or below) the k-th diagonal of the last two dimensions."""
    diagonal = 0 if k is None else k
    return input.triu(diagonal) if upper else input.tril(diagonal)


@operator("TensorScatter")
def tensor_scatter(
    past_cache: Tensor,
    update: Tensor,
    write_indices: Tensor | None = None,
    *,
    axis: int = -2,
    mode: Literal["linear", "circular"] = "linear",
) -> Tensor:
    """Write `update` into the cache along `axis` from `write_indices` on, one for each batch entry."""
    cache, written = past_cache.movedim(axis, 1), update.movedim(axis, 1)
    position = torch.arange(written.shape[1], device=update.device).unsqueeze(0)
    if write_indices is not None:
        position = position + write_indices.unsqueeze(1)
    if mode == "circular":
        position = position % cache.shape[1]
    batch = torch.arange(cache.shape[0], device=update.device).unsqueeze(1)
    return cache.index_put((batch, position), written).movedim(1, axis)


@operator("NonZero", differentiable=False)
def non_zero(X: ConstantTensor) -> Tensor:
    """Return the coordinates of the elements that are not zero, (rank, count)."""
    return torch.nonzero(X).T


@operator("Unique", differentiable=False)
def unique(X: ConstantTensor, *, axis: int | None = None, sorted: int = 1, outputs: int = 1) -> tuple[Tensor, ...]:
    """Return the unique elements (or slices along `axis`), where each occurs first, which one each is, and how often.

    Args:
        X: Any shape; without `axis` it is flattened.
        axis: The dimension whose slices are compared.
        sorted: Whether the result is in ascending order, else in order of first occurrence.
        outputs: How many of the four are returned.
    """
    values, inverse, counts = torch.unique(X, return_inverse=True, return_counts=True, dim=axis)
    inverse = inverse.reshape(-1)
    positions = torch.arange(inverse.numel(), device=X.device)
    first = torch.full_like(counts, inverse.numel()).scatter_reduce(0, inverse, positions, "amin")
    if not sorted:
        order = first.argsort()
        values, first, counts = values.index_select(0 if axis is None else axis, order), first[order], counts[order]
        inverse = order.argsort()[inverse]
    return (values, first, inverse, counts)[:outputs]


def _positive(indices: Tensor, size: int) -> Tensor:
    return torch.where(indices < 0, indices + size, indices).long()


def _slice(start: int, end: int, step: int, size: int) -> slice:
    """Return the elements in ascending order; a negative step is left to the caller to turn around."""
    start, end = (value + size if value < 0 else value for value in (start, end))
    if step > 0:
        return slice(min(max(start, 0), size), min(max(end, 0), size), min(step, size + 1))
    positions = range(min(max(start, 0), size - 1), min(max(end, -1), size - 1), step)
    return slice(positions[-1], positions[0] + 1, -step) if positions else slice(0, 0)
