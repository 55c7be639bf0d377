"""Shapes: reading them, and moving elements without computing on them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from onnxvis.ops.table import Ints, operator


@operator("Shape", differentiable=False)
def shape(data: Tensor, *, start: int = 0, end: int | None = None) -> Tensor:
    """Return the sizes of the dimensions start to end, int64; negative positions count from the end."""
    return torch.tensor(data.shape[start:end], dtype=torch.int64, device=data.device)


@operator("Size", differentiable=False)
def size(data: Tensor) -> Tensor:
    """Return the number of elements, an int64 scalar."""
    return torch.tensor(data.numel(), dtype=torch.int64, device=data.device)


@operator("Reshape")
def reshape(data: Tensor, shape: Ints, *, allowzero: int = 0) -> Tensor:
    """Give the elements another shape: -1 is inferred; 0 keeps the size there is, or is zero with `allowzero`."""
    if allowzero or 0 not in shape:
        return data.reshape(shape)
    return data.reshape([data.shape[axis] if size == 0 else size for axis, size in enumerate(shape)])


@operator("Flatten")
def flatten(input: Tensor, *, axis: int = 1) -> Tensor:
    """Make a matrix: the dimensions before `axis` become its rows, the others its columns."""
    return input.reshape(math.prod(input.shape[:axis]), math.prod(input.shape[axis:]))


@operator("Squeeze")
def squeeze(data: Tensor, axes: Ints | None = None) -> Tensor:
    """Remove dimensions of size 1: those in `axes`, or all."""
    return data.squeeze() if axes is None else data.squeeze(axes)


@operator("Unsqueeze")
def unsqueeze(data: Tensor, axes: Ints) -> Tensor:
    """Insert dimensions of size 1; `axes` are positions in the result."""
    rank = data.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        data = data.unsqueeze(axis)
    return data


@operator("Transpose")
def transpose(data: Tensor, *, perm: Ints | None = None) -> Tensor:
    """Permute the dimensions; without `perm` reverse them."""
    return data.permute(tuple(reversed(range(data.ndim))) if perm is None else perm)


@operator("Concat")
def concat(*inputs: Tensor, axis: int = 1) -> Tensor:
    """Join the inputs along `axis`, which only models of opset 1 to 3 may leave out."""
    return torch.cat(inputs, axis)


@operator("Split")
def split(
    input: Tensor, split: Ints | None = None, *, axis: int = 0, num_outputs: int | None = None, outputs: int
) -> tuple[Tensor, ...]:
    """Cut along `axis` into pieces of the sizes in `split`, or into equal ones of which the last may be smaller."""
    if split is not None:
        return torch.split(input, list(split), axis)
    total, parts = input.shape[axis], outputs if num_outputs is None else num_outputs
    piece = math.ceil(total / parts)
    return torch.split(input, [max(0, min(piece, total - i * piece)) for i in range(parts)], axis)


@operator("Expand")
def expand(input: Tensor, shape: Ints) -> Tensor:
    """Repeat dimensions of size 1 such that the input and `shape` fit each other; a 1 in `shape` changes nothing."""
    rank = max(input.ndim, len(shape))
    own = (1,) * (rank - input.ndim) + input.shape
    wanted = (1,) * (rank - len(shape)) + shape
    return input.expand([size if other == 1 else other for size, other in zip(own, wanted, strict=True)])


@operator("Tile", since=6)
def tile(input: Tensor, repeats: Ints) -> Tensor:
    """Repeat the input along each of its dimensions."""
    return input.repeat(repeats)


@operator("Tile")
def tile_1(input: Tensor, tiles: int, axis: int) -> Tensor:
    """Repeat the input along one dimension; both numbers are of the type of the input, which may be a float."""
    return input.repeat([int(tiles) if dim == int(axis) % input.ndim else 1 for dim in range(input.ndim)])


@operator("Identity")
def identity(input: Tensor) -> Tensor:
    """Return the input."""
    return input
