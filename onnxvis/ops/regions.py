"""Pooling of regions of interest: each of R boxes in images (N, C, H, W) becomes (C, height, width)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from onnxvis.ops.table import Ints, operator

# The n samples of a bin lie more than (n - 1) / n pixels apart, so that at most three are less than a pixel away from
# any place; counted from the last one before them, and with one to spare for rounding.
_NEAR = 5


@operator("RoiAlign", since=16)
def roi_align(
    X: Tensor,
    rois: Tensor,
    batch_indices: Tensor,
    *,
    coordinate_transformation_mode: str = "half_pixel",
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Tensor:
    """Pool bilinear samples of each region: He et al., "Mask R-CNN", 2017, https://arxiv.org/abs/1703.06870.

    Args:
        X: (N, C, H, W).
        rois: Boxes (x1, y1, x2, y2), (R, 4).
        batch_indices: The image of each box, (R,).
        coordinate_transformation_mode: "half_pixel", or "output_half_pixel" for pixels at integer coordinates and
            regions of at least one pixel.
        mode: "avg", or "max" for the largest weighted neighbor of a sample (so do onnxruntime and the reference).
        output_height: Bins along y.
        output_width: Bins along x.
        sampling_ratio: Samples along each axis of a bin; 0 is one for each pixel begun.
        spatial_scale: Factor of the coordinates.

    Returns:
        (R, C, output_height, output_width).
    """
    half_pixel = coordinate_transformation_mode == "half_pixel"
    corners = rois * spatial_scale - (0.5 if half_pixel else 0.0)
    start, extent = corners[:, :2], corners[:, 2:] - corners[:, :2]
    extent = extent if half_pixel else extent.clamp(min=1.0)
    planes = X[batch_indices.long()]
    if sampling_ratio <= 0:
        weights = (
            _footprint(start[:, 1], extent[:, 1], output_height, X.shape[2]),
            _footprint(start[:, 0], extent[:, 0], output_width, X.shape[3]),
        )
        return _largest_near(planes, *weights) if mode == "max" else _average(planes, *weights)
    columns = _taps(start[:, 0], extent[:, 0], output_width * sampling_ratio, X.shape[3])
    rows = _taps(start[:, 1], extent[:, 1], output_height * sampling_ratio, X.shape[2])
    corner_values = _corner_values(planes, rows, columns)
    if mode == "max":
        return functional.max_pool2d(corner_values.amax(0), sampling_ratio)
    return functional.avg_pool2d(corner_values.sum(0), sampling_ratio)


@operator("RoiAlign")
def roi_align_10(
    X: Tensor,
    rois: Tensor,
    batch_indices: Tensor,
    *,
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Tensor:
    """As `roi_align`, with pixels at integer coordinates and regions of at least one pixel."""
    return roi_align(
        X,
        rois,
        batch_indices,
        coordinate_transformation_mode="output_half_pixel",
        mode=mode,
        output_height=output_height,
        output_width=output_width,
        sampling_ratio=sampling_ratio,
        spatial_scale=spatial_scale,
    )


@operator("MaxRoiPool")
def max_roi_pool(X: Tensor, rois: Tensor, *, pooled_shape: Ints, spatial_scale: float = 1.0) -> Tensor:
    """Return the maximum of each bin of each region, 0 for a bin without a pixel.

    Girshick, "Fast R-CNN", 2015, https://arxiv.org/abs/1504.08083.

    Args:
        X: (N, C, H, W).
        rois: The image, and the first and last pixel of a box: (index, x1, y1, x2, y2), (R, 5).
        pooled_shape: Bins along y and x.
        spatial_scale: Factor of the coordinates.

    Returns:
        (R, C, *pooled_shape).
    """
    # Halves are rounded away from zero.
    scaled = rois[:, 1:] * spatial_scale
    corners = torch.sign(scaled) * torch.floor(scaled.abs() + 0.5)
    columns = _covered(corners[:, 0], corners[:, 2], pooled_shape[1], X.shape[3])
    rows = _covered(corners[:, 1], corners[:, 3], pooled_shape[0], X.shape[2])
    planes = X[rois[:, 0].long()]
    # (R, C, H, W) -> (R, C, H, bins) -> (R, C, bins, bins)
    across = _largest(planes.unsqueeze(-2), columns[:, None, None])
    pooled = _largest(across.transpose(-1, -2).unsqueeze(-2), rows[:, None, None]).transpose(-1, -2)
    return torch.where(pooled == -torch.inf, 0.0, pooled)


def _covered(first: Tensor, last: Tensor, bins: int, size: int) -> Tensor:
    """Which elements of an axis belong to each bin of each region: (R, bins, size)."""
    step = (last - first + 1).clamp(min=1)[:, None] / bins
    index = torch.arange(bins, device=first.device)
    begin, end = torch.floor(index * step) + first[:, None], torch.ceil((index + 1) * step) + first[:, None]
    place = torch.arange(size, device=first.device)
    return (place >= begin[..., None]) & (place < end[..., None])


def _largest(values: Tensor, chosen: Tensor) -> Tensor:
    """The maximum over the last axis of what is chosen, -inf of nothing."""
    return torch.where(chosen, values, -torch.inf).amax(-1)


class _Footprint(NamedTuple):
    """What the adaptive samples of a bin weigh along one axis, (R, bins, size) each, and (R, bins) for `zero`."""

    mean: Tensor
    most: Tensor
    least: Tensor
    zero: Tensor
    """Whether some sample gives a neighbor no weight: one outside, on the border, or on a pixel."""


def _footprint(start: Tensor, extent: Tensor, bins: int, size: int) -> _Footprint:
    """Weigh each pixel by the samples near it, of which there are few whatever the size of the region."""
    step = extent[:, None] / bins
    count = torch.ceil(step.detach())
    between = step / count.clamp(min=1)
    begin = start[:, None] + step * torch.arange(bins, device=start.device)
    pixel = torch.arange(size, device=start.device, dtype=start.dtype)
    first = torch.floor((pixel - 1 - begin[..., None]) / between[..., None] - 0.5).detach()
    index = first.nan_to_num().clamp(min=0)[..., None] + torch.arange(_NEAR, device=start.device)
    place = begin[..., None, None] + (index + 0.5) * between[..., None, None]
    sampled = (index >= 0) & (index < count[..., None, None]) & (place >= -1) & (place <= size)
    distance = (place.clamp(0, size - 1) - pixel[:, None]).abs()
    near = sampled & (distance < 1)
    weight = torch.where(near, 1 - distance, 0.0)
    ends = begin + 0.5 * between, begin + (count - 0.5) * between
    zero = (ends[0] <= 0) | (ends[1] >= size - 1) | (count < 1) | (weight == 1).any(-1).any(-1)
    least = torch.where(near, weight, torch.inf).amin(-1)
    return _Footprint(weight.sum(-1) / count.clamp(min=1)[..., None], weight.amax(-1), least, zero)


def _average(planes: Tensor, rows: _Footprint, columns: _Footprint) -> Tensor:
    return rows.mean[:, None] @ planes @ columns.mean[:, None].transpose(-1, -2)


def _largest_near(planes: Tensor, rows: _Footprint, columns: _Footprint) -> Tensor:
    """The largest product of a value and the weights along both axes, of those that a sample has as neighbors."""
    across = _largest_product(planes, columns)
    pooled = _largest_product(across.transpose(-1, -2), rows).transpose(-1, -2)
    zero = (rows.zero[:, :, None] | columns.zero[:, None, :])[:, None]
    return torch.where(zero, pooled.clamp(min=0), pooled)


def _largest_product(values: Tensor, axis: _Footprint) -> Tensor:
    """(R, C, length, size) -> (R, C, length, bins)."""
    touched = torch.isfinite(axis.least)
    bins = zip(axis.most.unbind(1), axis.least.unbind(1), touched.unbind(1), strict=True)
    pooled = []
    for most, least, near in bins:
        # An infinite weight of what is not chosen would make NaN of its gradient.
        weights = torch.where(values > 0, most[:, None, None], torch.where(near, least, 0.0)[:, None, None])
        pooled.append(_largest(values * weights, near[:, None, None]))
    return torch.stack(pooled, -1)


def _taps(start: Tensor, extent: Tensor, count: int, size: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Both neighbors of `count` even samples of each region along an axis: index and weight, (R, count) each."""
    steps = (torch.arange(count, device=start.device, dtype=start.dtype) + 0.5) / count
    place = start[:, None] + extent[:, None] * steps
    inside = ((place >= -1) & (place <= size)).to(place.dtype)
    place = place.clamp(0, size - 1)
    low = place.floor()
    high = (low + 1).clamp(max=size - 1)
    fraction = place - low
    return (low.long(), (1 - fraction) * inside), (high.long(), fraction * inside)


def _corner_values(
    planes: Tensor, rows: tuple[tuple[Tensor, Tensor], ...], columns: tuple[tuple[Tensor, Tensor], ...]
) -> Tensor:
    """The weighted values at the four neighbors of each sample: (4, R, C, height, width)."""
    regions = torch.arange(planes.shape[0], device=planes.device)[:, None, None]
    values = [
        # Indexing with a slice between tensors moves the channels to the end.
        (planes[regions, :, y[:, :, None], x[:, None, :]] * (v[:, :, None] * w[:, None, :])[..., None])
        for y, v in rows
        for x, w in columns
    ]
    return torch.stack(values).permute(0, 1, 4, 2, 3)
