"""Random changes of what the pixels say, not of where they are: blurred, noisy, in other colors.

Each image by a draw from its own generator, differentiably, on the images' device, as `onnxvis.transforms` wants it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from onnxvis.draws import check_generators, limit, limit_range, spatial_size, uniform
from onnxvis.sampling import padded

_REACH = 4
"""Standard deviations after which a Gaussian kernel ends."""
_MOST_SEEDS = 2**63 - 1


@dataclass(frozen=True)
class Blur:
    """Blur each image by a Gaussian of random width; outside is its reflection, so that the mean stays.

    For (N, C, L), (N, C, H, W) and (N, C, D, H, W).

    Attributes:
        low: Smallest standard deviation in pixels; 0 is no blur.
        high: Largest.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        """Refuse empty and negative ranges."""
        limit_range(self, zero=True)

    def __call__(self, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Blur (N, C, *spatial) images."""
        check_generators(images, generators)
        axes = len(spatial_size(images, self))
        sigmas = uniform(generators, 1, self.low, self.high)
        # As long as the widest needs, whatever is drawn: then no kernel depends on the others of its batch.
        kernels = _gaussians(sigmas, math.ceil(_REACH * self.high)).to(images)
        for axis in range(2, 2 + axes):
            images = _convolved(images, kernels, axis)
        return images


@dataclass(frozen=True)
class Noise:
    """Add Gaussian noise, independent in every pixel and channel.

    It is drawn on the images' device, by a generator that a draw from the image's own one seeds: nothing is copied, but
    another kind of device makes other noise. Images may leave [0, 1]. For any shape (N, C, ...).

    Attributes:
        std: Its standard deviation, in units of the image's range [0, 1].
    """

    std: float

    def __post_init__(self) -> None:
        """Refuse negative deviations."""
        limit(self, std=self.std)

    def __call__(self, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Add noise to (N, C, ...) images."""
        check_generators(images, generators)
        noise = torch.empty(images.shape, dtype=images.dtype, device=images.device)
        for own, generator in zip(noise, generators, strict=True):
            seed = int(torch.randint(_MOST_SEEDS, (), generator=generator))
            own.normal_(generator=torch.Generator(images.device).manual_seed(seed))
        return images + self.std * noise


@dataclass(frozen=True)
class ColorShift:
    """Multiply each channel by a random gain and add a random offset, so that no object depends on its exact color.

    Images may leave [0, 1]. For any number of channels and any shape (N, C, ...).

    Attributes:
        gain: Largest logarithm of the gain, to either side: gains are e to the power of a uniform draw.
        offset: Largest offset, to either side, in units of the image's range [0, 1].

    From Plug-In Inversion, with 1 for both (Ghiasi et al. 2022, https://arxiv.org/abs/2201.12961).
    """

    gain: float = 1.0
    offset: float = 1.0

    def __post_init__(self) -> None:
        """Refuse negative ranges."""
        limit(self, gain=self.gain, offset=self.offset)

    def __call__(self, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Shift the colors of (N, C, ...) images."""
        check_generators(images, generators)
        count, channels = images.shape[:2]
        drawn = uniform(generators, 2 * channels, -1, 1).reshape(count, 2, channels, *[1] * (images.dim() - 2))
        gains, offsets = (self.gain * drawn[:, 0]).exp(), self.offset * drawn[:, 1]
        return images * gains.to(images) + offsets.to(images)


def _gaussians(sigmas: Tensor, radius: int) -> Tensor:
    """Return the kernels for standard deviations (N, 1): (N, 2 * radius + 1), each with sum 1."""
    distances = torch.arange(-radius, radius + 1, dtype=sigmas.dtype)
    # Where sigma is 0, or too small to divide by, the center alone weighs.
    return (-0.5 * (distances / sigmas.clamp(min=1e-3)) ** 2).softmax(dim=1)


def _convolved(images: Tensor, kernels: Tensor, axis: int) -> Tensor:
    """Convolve every channel of (N, C, *spatial) along one axis with its image's kernel (N, K)."""
    count, channels = images.shape[:2]
    length = kernels.shape[1]
    wide = padded(images, axis, length // 2, "reflect")
    # Every channel of every image is one of a single image, by itself: (N, C, *spatial) -> (1, N * C, *spatial)
    weights = kernels.repeat_interleave(channels, dim=0).unsqueeze(1)
    shape = [length if other == axis else 1 for other in range(2, images.dim())]
    convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[images.dim() - 3]
    result = convolve(wide.flatten(0, 1)[None], weights.reshape(-1, 1, *shape), groups=count * channels)
    return result.reshape(images.shape)
