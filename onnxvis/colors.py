"""Colors as they vary in natural images: a linear map from uncorrelated channels to red, green and blue.

Every color matrix M has mean channel variance 1: unit-variance, uncorrelated c give RGB colors M c whose channels have
variance 1 on average, so M changes the correlation of the channels and not the contrast of the image.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from onnxvis.errors import SettingError

RGB_CHANNELS = 3
Colors = tuple[tuple[float, ...], ...]
"""A color matrix as plain numbers, row by row."""
_LEAST_VARIANCE = 1e-4
"""Of an axis of given images, as a part of the largest."""
_LEAST_DETERMINANT = 1e-6
"""Of a color matrix: below it, some colors cannot be written with it in float32."""


def natural_color_matrix() -> Tensor:
    """Give the color matrix of natural images.

    The axes are brightness, red against blue, and green against magenta: I1, I2, I3 of Ohta, Kanade and Sakai, "Color
    information for region segmentation" (1980), which found them by principal component analysis of photographs.
    The variances along them are the eigenvalues of the RGB covariance of ImageNet (values in [0, 1]; the method is in
    Krizhevsky et al., 2012, section 4.1, the numbers in fb.resnet.torch, `datasets/imagenet.lua`, 2015).

    Returns:
        Tensor: (3, 3) float32; columns are the axes, scaled to their standard deviations.
    """
    axes = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 2.0, -1.0]]).T
    variances = torch.tensor([0.2175, 0.0188, 0.0045])
    return _unit_variance(axes / axes.norm(dim=0) * variances.sqrt())


def color_matrix_of(images: Tensor) -> Tensor:
    """Compute the color matrix of given images by principal component analysis of their pixels.

    Args:
        images: (N, 3, ...) RGB images of any size; the scale of the values does not matter.

    Returns:
        Tensor: (3, 3) float32; columns are the principal axes, largest variance first, scaled to their standard
        deviations, though none to less than a hundredth of the largest: so any color can be written, even where the
        images are grey. The green share of each axis is positive.

    Raises:
        ValueError: The images do not have three channels, or all pixels have the same color.
    """
    if images.shape[1] != RGB_CHANNELS:
        message = f"color_matrix_of needs (N, 3, ...) RGB images, got shape {tuple(images.shape)}"
        raise ValueError(message)
    pixels = images.detach().transpose(0, 1).flatten(1).double()
    variances, axes = torch.linalg.eigh(torch.cov(pixels))
    if not bool(variances[-1] > 0):
        message = "color_matrix_of needs pixels of different colors, all have the same"
        raise ValueError(message)
    axes = torch.where(axes[1] < 0, -axes, axes)
    matrix = axes * torch.maximum(variances, _LEAST_VARIANCE * variances[-1]).sqrt()
    return _unit_variance(matrix.flip(1)).float()


def as_colors(given: Sequence[Sequence[float]] | Tensor | None) -> Colors | None:
    """Read a color matrix as plain numbers, scaled to mean channel variance 1; None stays None.

    Raises:
        SettingError: It is no invertible matrix of three by three numbers.
    """
    if given is None:
        return None
    try:
        rows = [[float(value) for value in row] for row in given]
        is_square = [len(row) for row in rows] == [RGB_CHANNELS] * RGB_CHANNELS
    except (TypeError, ValueError):
        is_square = False
    matrix = torch.tensor(rows if is_square else [], dtype=torch.float64)
    # What is not finite has a determinant that compares as false.
    if not abs(float(_unit_variance(matrix).det() if is_square else math.nan)) > _LEAST_DETERMINANT:
        message = "colors must be an invertible matrix of 3 rows of 3 numbers, such as color_matrix_of(images) gives."
        raise SettingError(message, colors=given)
    return tuple(tuple(row) for row in _unit_variance(matrix).tolist())


@functools.lru_cache(maxsize=8)
def color_matrix(
    channels: int, device: torch.device, *, decorrelate: bool = True, colors: Colors | None = None
) -> Tensor | None:
    """Choose the color matrix of images, None where there is nothing to mix.

    Args:
        channels: How many the images have; three are taken for red, green and blue.
        device: Where the matrix is needed.
        decorrelate: Whether colors are wanted at all.
        colors: The matrix; None: that of natural images.
    """
    if channels != RGB_CHANNELS or not decorrelate:
        return None
    return (natural_color_matrix() if colors is None else torch.tensor(colors)).to(device)


def mixed(matrix: Tensor | None, channels: Tensor) -> Tensor:
    """Mix uncorrelated channels (N, 3, ...) to colors of the same shape."""
    return channels if matrix is None else (matrix @ channels.flatten(2)).view(channels.shape)


def unmixed(matrix: Tensor | None, colors: Tensor) -> Tensor:
    """Undo `mixed`."""
    return colors if matrix is None else mixed(torch.linalg.inv(matrix), colors)


def _unit_variance(matrix: Tensor) -> Tensor:
    return matrix * (RGB_CHANNELS / matrix.square().sum()).sqrt()
