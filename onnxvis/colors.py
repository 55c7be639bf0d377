"""Colors as they vary in natural images: a linear map from uncorrelated channels to red, green and blue.

Every color matrix M has mean channel variance 1: unit-variance, uncorrelated c give RGB colors M c whose channels have
variance 1 on average, so M changes the correlation of the channels and not the contrast of the image.
"""

from __future__ import annotations

import torch
from torch import Tensor

RGB_CHANNELS = 3


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
        deviations. The green share of each axis is positive.

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
    matrix = axes * variances.clamp(min=0).sqrt()
    return _unit_variance(matrix.flip(1)).float()


def _unit_variance(matrix: Tensor) -> Tensor:
    return matrix * (RGB_CHANNELS / matrix.square().sum()).sqrt()
