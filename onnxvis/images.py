"""Image parameterizations: from free parameters to images in [0, 1], by construction.

Every parameterization can render any given image (to within 1/255), renders each image of a batch from its own
parameters only, and starts each image from the draws of its own generator.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from onnxvis.amplitudes import counts, decaying
from onnxvis.colors import Colors, as_colors, color_matrix, mixed, unmixed
from onnxvis.errors import InputError

# A seed image is kept this far from 0 and 1, where the logit is infinite: less than half a step of 8 bits.
MARGIN = 1 / 1024


class Parameterization(Protocol):
    """A way to write images as parameters that an optimizer may move freely."""

    def start(
        self,
        shape: tuple[int, ...],
        generators: Sequence[torch.Generator],
        *,
        seed_image: Tensor | None = None,
        contrast: float = 1.0,
    ) -> tuple[Tensor, ...]:
        """Give the parameters to start from: those of the seed image, or of noise around mid-grey.

        Args:
            shape: (N, C, H, W) of the images.
            generators: One CPU generator for each image.
            seed_image: (C, H, W) or (N, C, H, W), values in [0, 1].
            contrast: Factor on the logits of the starting image, thus on its distance from mid-grey.

        Returns:
            tuple[Tensor, ...]: float32 tensors on the CPU, images along the first axis, without gradient history.

        Raises:
            InputError: The seed image does not have the shape of the images, or values outside [0, 1].
        """

    def render(self, parameters: tuple[Tensor, ...], shape: tuple[int, ...]) -> Tensor:
        """Compute the images, (N, C, H, W) in [0, 1], differentiably and on the parameters' device."""


@dataclass(frozen=True)
class Pixel:
    """One parameter per pixel and channel: the logit of its value.

    Attributes:
        std: Standard deviation of the starting logits.
    """

    std: float = 0.2

    def start(
        self,
        shape: tuple[int, ...],
        generators: Sequence[torch.Generator],
        *,
        seed_image: Tensor | None = None,
        contrast: float = 1.0,
    ) -> tuple[Tensor, ...]:
        """Give the logits of the seed image, or white noise; see `Parameterization.start`."""
        if seed_image is not None:
            return (seed_logits(seed_image, shape) * contrast,)
        return (normal(shape, generators) * self.std * contrast,)

    def render(self, parameters: tuple[Tensor, ...], shape: tuple[int, ...]) -> Tensor:
        """Compute the images, (N, C, H, W) in [0, 1]; see `Parameterization.render`."""
        (logits,) = parameters
        return torch.sigmoid(logits).view(shape)


@dataclass(frozen=True)
class Fourier:
    """The Fourier coefficients of the logits, in units of a natural image's spectrum and colors.

    Equal steps in all parameters make equal steps in proportion to what natural images hold: an amplitude that falls
    with frequency as f^-decay, and colors that vary mostly in brightness. Olah et al., "Feature Visualization"
    (2017), https://distill.pub/2017/feature-visualization/. The scale is such that independent normal parameters of
    unit variance give logits of unit variance, for every image size.

    Attributes:
        decay: Exponent of the amplitude spectrum: about 1 for natural images, 0 for white noise. A little more than 1
            holds back the fine patterns that only the optimized network sees.
        std: Standard deviation of the starting logits.
        decorrelate: Whether images of three channels are RGB and get the colors of natural images.
        colors: Their color matrix, as `onnxvis.colors` tells; None: that of natural images.
    """

    decay: float = 1.25
    std: float = 0.05
    decorrelate: bool = True
    colors: Colors | None = None

    def __post_init__(self) -> None:
        """Read the color matrix as plain numbers."""
        object.__setattr__(self, "colors", as_colors(self.colors))

    def start(
        self,
        shape: tuple[int, ...],
        generators: Sequence[torch.Generator],
        *,
        seed_image: Tensor | None = None,
        contrast: float = 1.0,
    ) -> tuple[Tensor, ...]:
        """Give the coefficients of the seed image, or of noise; see `Parameterization.start`."""
        if seed_image is None:
            half = (*shape[:-1], shape[-1] // 2 + 1, 2)
            return (normal(half, generators) * self.std * contrast,)
        logits = seed_logits(seed_image, shape) * contrast
        channels = unmixed(self._color_matrix(shape, logits.device), logits)
        coefficients = torch.fft.rfftn(channels, dim=spatial_axes(shape), norm="ortho")
        return (torch.view_as_real(coefficients) / _amplitudes(shape[2:], self.decay, logits.device),)

    def render(self, parameters: tuple[Tensor, ...], shape: tuple[int, ...]) -> Tensor:
        """Compute the images, (N, C, H, W) in [0, 1]; see `Parameterization.render`."""
        (coefficients,) = parameters
        # Colors may be mixed before the transform, which is linear; here the data lie contiguous.
        coefficients = mixed(self._color_matrix(shape, coefficients.device), coefficients)
        spectrum = torch.view_as_complex(coefficients * _amplitudes(shape[2:], self.decay, coefficients.device))
        return torch.sigmoid(torch.fft.irfftn(spectrum, s=shape[2:], dim=spatial_axes(shape), norm="ortho"))

    def _color_matrix(self, shape: tuple[int, ...], device: torch.device) -> Tensor | None:
        return color_matrix(shape[1], device, decorrelate=self.decorrelate, colors=self.colors)


def normal(shape: tuple[int, ...], generators: Sequence[torch.Generator]) -> Tensor:
    """Draw normal parameters of unit variance, those of each image from its own generator."""
    return _drawn(torch.randn, shape, generators)


def uniform(shape: tuple[int, ...], generators: Sequence[torch.Generator]) -> Tensor:
    """Draw parameters between 0 and 1, those of each image from its own generator."""
    return _drawn(torch.rand, shape, generators)


def _drawn(draw: Callable[..., Tensor], shape: tuple[int, ...], generators: Sequence[torch.Generator]) -> Tensor:
    if len(generators) != shape[0]:
        message = f"{shape[0]} images need as many generators, got {len(generators)}"
        raise ValueError(message)
    return torch.stack([draw(shape[1:], generator=generator) for generator in generators])


def seed_logits(seed_image: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Invert the sigmoid of the seed image, repeated for each image of the batch.

    Raises:
        InputError: The seed image does not have the shape of the images, or values outside [0, 1].
    """
    if tuple(seed_image.shape) not in {shape, shape[1:]}:
        message = f"The seed image has shape {tuple(seed_image.shape)}, the images have {shape}: resize it first."
        raise InputError(message, found=tuple(seed_image.shape), expected=shape)
    values = seed_image.detach().to("cpu", torch.float32)
    if not bool(((values >= 0) & (values <= 1)).all()):
        low, high = float(values.min()), float(values.max())
        message = f"The seed image has values from {low:g} to {high:g}: scale them to [0, 1]."
        raise InputError(message, low=low, high=high)
    return torch.logit(values, eps=MARGIN).expand(shape)


def spatial_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """List the axes of (N, C, H, W) images that are neither the batch nor the channels."""
    return tuple(range(2, len(shape)))


@functools.lru_cache(maxsize=8)
def _amplitudes(size: tuple[int, ...], decay: float, device: torch.device) -> Tensor:
    """Give the amplitude of each coefficient of a real Fourier transform: (H, W // 2 + 1, 2).

    Normal parameters of unit variance then give an image of unit variance: in the sum over frequencies, those that the
    real transform stores once for +f and -f count with both their halves, thus with amplitude 2.
    """
    amplitudes = decaying(size, decay)
    variance = (counts(size).square() * amplitudes.square()).sum() / amplitudes[..., 0].numel() / size[-1]
    return (amplitudes / variance.sqrt())[..., None].repeat_interleave(2, dim=-1).to(device)
