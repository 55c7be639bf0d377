"""Images at other positions: affine maps, reflected borders, other sizes; differentiably, for 1 to 3 spatial axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from onnxvis.errors import InputError, SettingError

Fill = Literal["reflect"] | float
"""What lies outside an image: its reflection, in which the outermost pixels come twice, or a constant."""
_IMAGE_AXES = 2
_VOLUME_AXES = 3


def checked_fill(settings: Any) -> None:
    """Keep the setting `fill` of a frozen dataclass: "reflect" or a finite number.

    Raises:
        SettingError: It is neither.
    """
    fill = settings.fill
    if fill == "reflect":
        return
    if isinstance(fill, str) or not math.isfinite(fill):
        message = f"{type(settings).__name__} takes fill='reflect' or a number, such as 0.5, not {fill!r}."
        raise SettingError(message, fill=fill)
    object.__setattr__(settings, "fill", float(fill))


def sampling_grid(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Apply affine maps to the pixel centers, as `torch.nn.functional.affine_grid`, but faster.

    Args:
        maps: (N, d, d + 1), from view to image coordinates, each in the order x, y, z and from -1 to 1 between the
            image's edges; the last column is the shift.
        size: The d sizes of the view, in the order of its axes: z, y, x.

    Returns:
        (N, *size, d) positions.
    """
    count, axes, _ = maps.shape
    *columns, grid = maps.reshape(count, axes, *[1] * axes, axes + 1).unbind(dim=-1)
    for axis, (column, length) in enumerate(zip(reversed(columns), size, strict=True)):
        centers = (torch.arange(length, device=maps.device) * 2 + 1) / length - 1
        grid = column * centers.to(maps.dtype).reshape(-1, *[1] * (axes - 1 - axis)) + grid
    return grid.movedim(1, -1)


def resample(images: Tensor, maps: Tensor, fill: Fill) -> Tensor:
    """Look at each image through its affine map, by linear interpolation along every axis.

    Args:
        images: (N, C, *spatial) with d = 1 to 3 spatial axes.
        maps: (N, d, d + 1) on any device, as `sampling_grid` takes them.
        fill: What lies outside the images.

    Returns:
        (N, C, *spatial), on the images' device.
    """
    size = images.shape[2:]
    grid = sampling_grid(maps.to(images), size)
    if len(size) == 1:
        # grid_sample knows no signals: they are images of one row, looked at along its middle.
        row = functional.pad(grid, (0, 1))[:, None]
        return _sampled(images[:, :, None], row, fill)[:, :, 0]
    return _sampled(images, grid, fill)


def _sampled(images: Tensor, grid: Tensor, fill: Fill) -> Tensor:
    mode = "bilinear"  # along each axis, whatever their number
    if isinstance(fill, str):
        return functional.grid_sample(images, grid, mode, padding_mode="reflection", align_corners=False)
    # What grid_sample knows outside is 0: so let `fill` be 0.
    return functional.grid_sample(images - fill, grid, mode, padding_mode="zeros", align_corners=False) + fill


def padded(images: Tensor, axis: int, width: int, fill: Fill) -> Tensor:
    """Add `width` pixels at both ends of an axis; reflections go back and forth where they are wider than the image."""
    if isinstance(fill, str):
        return _mirrored(images, axis, width)
    axes = images.dim() - axis
    return functional.pad(images, [0] * (2 * axes - 2) + [width, width], value=fill)


def _mirrored(images: Tensor, axis: int, width: int) -> Tensor:
    while width > 0:
        size = images.shape[axis]
        step = min(width, size)
        start, end = images.narrow(axis, 0, step), images.narrow(axis, size - step, step)
        images = torch.cat([start.flip(axis), images, end.flip(axis)], axis)
        width -= step
    return images


def fit(images: Tensor, size: Sequence[int]) -> Tensor:
    """Resize images by linear interpolation along every axis; where they shrink, every pixel counts (antialiasing).

    Args:
        images: (N, C, *spatial) with 1 to 3 spatial axes; others pass if they have that size already.
        size: The wanted spatial sizes.

    Returns:
        (N, C, *size); the images themselves if that is their size.

    Raises:
        InputError: The images have another number of spatial axes than `size`, or more than can be resized.
    """
    wanted = tuple(size)
    if tuple(images.shape[2:]) == wanted:
        return images
    axes = len(wanted)
    if images.dim() != axes + 2 or axes > _VOLUME_AXES:
        message = f"Shape {tuple(images.shape)} cannot be brought to spatial size {wanted}: leave out what changed it."
        raise InputError(message, shape=tuple(images.shape), size=wanted)
    if axes == 1:
        return _resized(images[:, :, None], (1, *wanted))[:, :, 0]
    if axes == _IMAGE_AXES:
        return _resized(images, wanted)
    # Interpolation works axis by axis: first the planes of a volume, then from plane to plane.
    count, channels, depth = images.shape[:3]
    planes = _resized(images.flatten(1, 2), wanted[1:]).reshape(count, channels, depth, -1)
    return _resized(planes, (wanted[0], planes.shape[-1])).reshape(count, channels, *wanted)


def _resized(images: Tensor, size: Sequence[int]) -> Tensor:
    return functional.interpolate(images, size=list(size), mode="bilinear", align_corners=False, antialias=True)
