"""Image parameterizations: from free parameters to images in [0, 1], by construction.

Every parameterization can render any given image (to within 1/255), renders each image of a batch from its own
parameters only, and starts each image from the draws of its own generator.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from onnxvis.colors import RGB_CHANNELS, natural_color_matrix
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
            return (_seed_logits(seed_image, shape) * contrast,)
        return (_normal(shape, generators) * self.std * contrast,)

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
    """

    decay: float = 1.25
    std: float = 0.05
    decorrelate: bool = True

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
            return (_normal(half, generators) * self.std * contrast,)
        logits = _seed_logits(seed_image, shape) * contrast
        if self._colored(shape):
            logits = (torch.linalg.inv(_color_matrix(logits.device)) @ logits.flatten(2)).view(shape)
        coefficients = torch.fft.rfftn(logits, dim=_spatial_axes(shape), norm="ortho")
        return (torch.view_as_real(coefficients) / _amplitudes(shape[2:], self.decay, logits.device),)

    def render(self, parameters: tuple[Tensor, ...], shape: tuple[int, ...]) -> Tensor:
        """Compute the images, (N, C, H, W) in [0, 1]; see `Parameterization.render`."""
        (coefficients,) = parameters
        if self._colored(shape):
            # Colors may be mixed before the transform, which is linear; here the data lie contiguous.
            mixed = _color_matrix(coefficients.device) @ coefficients.flatten(2)
            coefficients = mixed.view(coefficients.shape)
        spectrum = torch.view_as_complex(coefficients * _amplitudes(shape[2:], self.decay, coefficients.device))
        return torch.sigmoid(torch.fft.irfftn(spectrum, s=shape[2:], dim=_spatial_axes(shape), norm="ortho"))

    def _colored(self, shape: tuple[int, ...]) -> bool:
        return self.decorrelate and shape[1] == RGB_CHANNELS


def _normal(shape: tuple[int, ...], generators: Sequence[torch.Generator]) -> Tensor:
    """Draw each image from its own generator."""
    if len(generators) != shape[0]:
        message = f"{shape[0]} images need as many generators, got {len(generators)}"
        raise ValueError(message)
    return torch.stack([torch.randn(shape[1:], generator=generator) for generator in generators])


def _seed_logits(seed_image: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Invert the sigmoid of the seed image, repeated for each image of the batch."""
    if tuple(seed_image.shape) not in {shape, shape[1:]}:
        message = f"The seed image has shape {tuple(seed_image.shape)}, the images have {shape}: resize it first."
        raise InputError(message, found=tuple(seed_image.shape), expected=shape)
    values = seed_image.detach().to("cpu", torch.float32)
    if not bool(((values >= 0) & (values <= 1)).all()):
        low, high = float(values.min()), float(values.max())
        message = f"The seed image has values from {low:g} to {high:g}: scale them to [0, 1]."
        raise InputError(message, low=low, high=high)
    return torch.logit(values, eps=MARGIN).expand(shape)


def _spatial_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(range(2, len(shape)))


@functools.lru_cache(maxsize=8)
def _amplitudes(size: tuple[int, ...], decay: float, device: torch.device) -> Tensor:
    """Give the amplitude of each coefficient of a real Fourier transform: (H, W // 2 + 1, 2).

    Normal parameters of unit variance then give an image of unit variance: in the sum over frequencies, those that the
    real transform stores once for +f and -f count with both their halves, thus with amplitude 2.
    """
    frequencies = [torch.fft.fftfreq(n) for n in size[:-1]] + [torch.fft.rfftfreq(size[-1])]
    squares = torch.meshgrid([f.square() for f in frequencies], indexing="ij")
    radius = torch.stack(squares).sum(dim=0).sqrt()
    amplitudes = radius.clamp(min=1 / max(size)) ** -decay
    counts = torch.full((size[-1] // 2 + 1,), 4.0)
    counts[0] = 1.0
    if size[-1] % 2 == 0:
        counts[-1] = 1.0
    variance = (counts * amplitudes.square()).sum() / amplitudes[..., 0].numel() / size[-1]
    return (amplitudes / variance.sqrt())[..., None].repeat_interleave(2, dim=-1).to(device)


@functools.lru_cache(maxsize=8)
def _color_matrix(device: torch.device) -> Tensor:
    return natural_color_matrix().to(device)
