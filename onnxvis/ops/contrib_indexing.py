"""Selecting, sampling and rearranging elements in domain com.microsoft; most are older forms of default operators."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from onnxvis.ops.constant import range_of
from onnxvis.ops.contrib_activation import DOMAIN
from onnxvis.ops.indexing import gather_nd as plain_gather_nd
from onnxvis.ops.indexing import trilu as plain_trilu
from onnxvis.ops.indexing import unique as plain_unique
from onnxvis.ops.pad import pad as plain_pad
from onnxvis.ops.spatial import grid_sample as plain_grid_sample
from onnxvis.ops.table import ConstantTensor, Ints, operator


@operator("Trilu", domain=DOMAIN)
def trilu(X: Tensor, k: int | None = None, *, upper: int = 1) -> Tensor:
    """As the default domain's operator."""
    return plain_trilu(X, k, upper=upper)


@operator("GatherND", domain=DOMAIN)
def gather_nd(data: Tensor, indices: Tensor) -> Tensor:
    """As the default domain's operator, without batch dimensions."""
    return plain_gather_nd(data, indices)


@operator("Pad", domain=DOMAIN)
def pad(data: Tensor, pads: Ints, value: Tensor | float | None = None, *, mode: str = "constant") -> Tensor:
    """As the default domain's operator."""
    return plain_pad(data, pads, value, mode=mode)


@operator("GridSample", domain=DOMAIN)
def grid_sample(
    X: Tensor, Grid: Tensor, *, align_corners: int = 0, mode: str = "bilinear", padding_mode: str = "zeros"
) -> Tensor:
    """As the default domain's operator, with images (N, C, H, W) alone."""
    return plain_grid_sample(X, Grid, align_corners=align_corners, mode=mode, padding_mode=padding_mode)


@operator("Range", domain=DOMAIN, differentiable=False)
def range_by_one(start: Tensor, limit: float, delta: float | None = None) -> Tensor:
    """As the default domain's operator, by steps of 1 where none is given; numbers may be of one element."""
    return range_of(start.reshape(()), limit, 1 if delta is None else delta)


@operator("Unique", domain=DOMAIN, differentiable=False)
def unique(x: ConstantTensor, *, outputs: int = 1) -> tuple[Tensor, ...]:
    """Return what occurs, in the order of the first occurrences, which of it each element is, and how often it is."""
    values, _, places, counts = plain_unique(x, sorted=0, outputs=4)
    return (values, places, counts)[:outputs]


@operator("ExpandDims", domain=DOMAIN)
def expand_dims(X: Tensor, axis: int) -> Tensor:
    """Insert an axis of size 1."""
    return X.unsqueeze(axis)


@operator("UnfoldTensor", domain=DOMAIN)
def unfold_tensor(input: Tensor, *, dim: int = -1, size: int, step: int = 1) -> Tensor:
    """Return all slices of `size` along `dim`, `step` apart; the elements of a slice are the last axis."""
    return input.unfold(dim, size, step)


@operator("TorchEmbedding", domain=DOMAIN)
def torch_embedding(
    weight: Tensor, indices: Tensor, padding_idx: Tensor | None = None, scale_grad_by_freq: Tensor | None = None
) -> Tensor:
    """Look up rows of the weights; the last two inputs are for training."""
    del padding_idx, scale_grad_by_freq
    return functional.embedding(indices, weight)


@operator("CropAndResize", domain=DOMAIN)
def crop_and_resize(
    X: Tensor,
    rois: Tensor,
    batch_indices: Tensor,
    crop_size: Ints,
    *,
    extrapolation_value: float = 0.0,
    mode: str = "bilinear",
) -> Tensor:
    """Sample each region evenly, its corners included: (N, C, H, W) -> (R, C, *crop_size).

    Args:
        X: Images.
        rois: (R, 4): y1, x1, y2, x2; 0 and 1 are the centers of the outermost pixels.
        batch_indices: Which image each region is of, (R,).
        crop_size: Height and width.
        extrapolation_value: What lies outside of the image.
        mode: "bilinear" or "nearest".
    """
    rows, row_inside = _places(rois[:, 0], rois[:, 2], crop_size[0], X.shape[2])
    columns, column_inside = _places(rois[:, 1], rois[:, 3], crop_size[1], X.shape[3])
    inside = (row_inside[:, :, None] & column_inside[:, None, :]).unsqueeze(1)
    images = X[batch_indices.long()]
    if mode == "nearest":
        # Half away from zero, and there are no negative places.
        sampled = _select(_select(images, (rows + 0.5).floor(), 2), (columns + 0.5).floor(), 3)
    else:
        sampled = _interpolated(_interpolated(images, rows, 2), columns, 3)
    return torch.where(inside, sampled, extrapolation_value)


def _places(first: Tensor, last: Tensor, count: int, size: int) -> tuple[Tensor, Tensor]:
    """Where samples lie along an axis, (R, count), and whether that is in the image."""
    if count > 1:
        steps = torch.arange(count, device=first.device) * (size - 1) / (count - 1)
        places = first[:, None] * (size - 1) + (last - first)[:, None] * steps
    else:
        places = 0.5 * (first + last)[:, None] * (size - 1)
    inside = (places >= 0) & (places <= size - 1)
    return torch.where(inside, places, 0.0), inside


def _select(images: Tensor, places: Tensor, axis: int) -> Tensor:
    """Take rows (axis 2) or columns (axis 3) of each image, at (R, count) whole places."""
    shape = [images.shape[0], 1, 1, 1]
    shape[axis] = places.shape[1]
    size = list(images.shape)
    size[axis] = places.shape[1]
    return images.gather(axis, places.long().reshape(shape).expand(size))


def _interpolated(images: Tensor, places: Tensor, axis: int) -> Tensor:
    low = places.floor()
    fraction = (places - low.detach()).unsqueeze(1).unsqueeze(5 - axis)
    return _select(images, low, axis) * (1 - fraction) + _select(images, places.ceil(), axis) * fraction
