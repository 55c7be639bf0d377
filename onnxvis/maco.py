"""Magnitude-constrained Fourier: only the phases of an image are free, how strong each wave is stays as in nature.

Fel et al., "Unlocking Feature Visualization for Deeper Networks with MAgnitude Constrained Optimization" (2023),
https://arxiv.org/abs/2306.06805. The optimizer cannot make the fine, strong patterns that only the network sees,
because no natural image holds as much of them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onnxvis.amplitudes import decaying, mean_square, mirrored
from onnxvis.colors import RGB_CHANNELS, Colors, as_colors, color_matrix, mixed, unmixed
from onnxvis.errors import InputError
from onnxvis.images import seed_logits, spatial_axes, uniform
from onnxvis.photos import magnitudes_from

_RADIANS = 2.0
"""How far a phase turns when its parameter grows by 1, such that phases and other parameters share a learning rate."""
_OPAQUE = 0.8
"""The share of pixels below the one from which an image is fully opaque, as in the authors' code."""
_BLUR = 0.01
"""Width of the Gaussian that smooths the transparency, as a part of the image's size."""


@dataclass(frozen=True)
class Maco:
    """The phases of the Fourier coefficients of the logits; the magnitudes are constant.

    The parameters are the phases and, held constant, the magnitudes: both (N, C, H, W // 2 + 1). With a given seed
    image, both are that image's own, and its mean stays as it is; else the phases are random and the magnitudes those
    of natural images. Coefficients that are their own mirror image (the mean, and at even sizes the highest
    frequencies) are real: there the magnitude is the most that they can reach, to either side.

    Attributes:
        decay: Exponent with which the magnitude falls with frequency, where no spectrum is given.
        spectrum: The magnitudes: the path of a folder of photos, whose mean is taken, or of a .npy file of such a
            table, (H, W // 2 + 1) for all channels or (C, H, W // 2 + 1), in any unit; None: those of the decay.
        std: Standard deviation of the logits of an image that starts from noise; about that of photographs.
        decorrelate: Whether images of three channels are RGB and get the colors of natural images.
        colors: Their color matrix, as `onnxvis.colors` tells; None: that of natural images.
    """

    decay: float = 1.2
    spectrum: str | None = None
    std: float = 1.0
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
        """Give phases and magnitudes of the seed image, or random phases; see `Parameterization.start`.

        Raises:
            InputError: The seed image or the spectrum does not fit, or there is none at its path.
        """
        if seed_image is not None:
            logits = seed_logits(seed_image, shape) * contrast
            return _polar(unmixed(self._color_matrix(shape[1], logits.device), logits))
        magnitudes = self.magnitudes(shape[1:]) * contrast
        phases = (2 * uniform((shape[0], *magnitudes.shape), generators) - 1) * (math.pi / _RADIANS)
        return phases, magnitudes.expand(phases.shape)

    def render(self, parameters: tuple[Tensor, ...], shape: tuple[int, ...]) -> Tensor:
        """Compute the images, (N, C, H, W) in [0, 1]; see `Parameterization.render`."""
        phases, magnitudes = parameters[0], parameters[1].detach()
        angles = _antisymmetric(phases, shape[2:]) * _RADIANS
        spectrum = torch.complex(magnitudes * angles.cos(), magnitudes * angles.sin())
        channels = torch.fft.irfftn(spectrum, s=shape[2:], dim=spatial_axes(shape), norm="ortho")
        return torch.sigmoid(mixed(self._color_matrix(shape[1], channels.device), channels))

    def magnitudes(self, image_shape: tuple[int, ...]) -> Tensor:
        """Give the magnitudes of images that start from noise, of an orthonormal transform of uncorrelated channels.

        Args:
            image_shape: (C, H, W).

        Returns:
            Tensor: (C, H, W // 2 + 1).

        Raises:
            InputError: The spectrum is missing or does not fit.
        """
        channels, *size = image_shape
        if self.spectrum is None:
            table = decaying(tuple(size), self.decay).repeat(channels, *[1] * len(size))
        else:
            table = magnitudes_from(self.spectrum, image_shape, decorrelate=self.decorrelate, colors=self.colors)
        matrix = self._color_matrix(channels, table.device)
        # A channel's share in the variance of the colors, on average.
        shares = torch.full((channels,), 1 / channels) if matrix is None else matrix.square().sum(0) / RGB_CHANNELS
        variance = float(shares @ mean_square(table, tuple(size)))
        if not variance > 0:
            message = f"All images of the spectrum {self.spectrum!r} are of one color: give photos that show something."
            raise InputError(message, spectrum=self.spectrum)
        return table * (self.std / math.sqrt(variance))

    def _color_matrix(self, channels: int, device: torch.device) -> Tensor | None:
        return color_matrix(channels, device, decorrelate=self.decorrelate, colors=self.colors)


def transparency(accumulated: Tensor) -> Tensor:
    """Tell which parts of images the network cared about: their opacity.

    Args:
        accumulated: (N, C, *spatial): absolute gradients of the images, added up over the steps.

    Returns:
        Tensor: (N, *spatial) in [0, 1]: the mean over the channels, a little smoothed, as a part of what
        all but the strongest fifth of the pixels stay below. Where there is no gradient at all, 1.
    """
    blurred = accumulated.abs().mean(dim=1) if accumulated.ndim > 1 else accumulated.abs()
    for axis, length in enumerate(blurred.shape[1:], start=1):
        blurred = (blurred.transpose(axis, -1) @ _gaussian(length, blurred.device)).transpose(axis, -1)
    pixels = blurred.flatten(1)
    rank = min(pixels.shape[1], 1 + math.floor(_OPAQUE * pixels.shape[1]))
    opaque = pixels.kthvalue(rank, dim=1).values
    opaque = torch.where(opaque > 0, opaque, pixels.amax(dim=1))
    alpha = (pixels / opaque[:, None]).clamp(max=1).nan_to_num(nan=1)
    return alpha.view(blurred.shape)


def _polar(channels: Tensor) -> tuple[Tensor, Tensor]:
    """Split the transform of given channels into phases and magnitudes; those of real coefficients have a sign."""
    coefficients = torch.fft.rfftn(channels, dim=spatial_axes(channels.shape), norm="ortho")
    is_real = _kinds(tuple(channels.shape[2:]), channels.device)[0]
    magnitudes = torch.where(is_real, coefficients.real, coefficients.abs())
    return torch.where(is_real, 0.0, coefficients.angle()) / _RADIANS, magnitudes


def _antisymmetric(phases: Tensor, size: tuple[int, ...]) -> Tensor:
    """Make phases those of real images: where both f and -f are kept, that of -f becomes minus that of f."""
    follows = _kinds(size, phases.device)[1]
    axes = tuple(range(2, phases.dim() - 1))
    # The mean's plane, the frequencies whose mirror images are not kept, and at even sizes the highest one's plane.
    last = (size[-1] + 1) // 2
    mean, middle, highest = phases[..., :1], phases[..., 1:last], phases[..., last:]
    mean, highest = (torch.where(follows, -mirrored(plane, axes), plane) for plane in (mean, highest))
    return torch.cat([mean, middle, highest], dim=-1)


@functools.lru_cache(maxsize=8)
def _kinds(size: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Tell which coefficients are their own mirror image, (H, W // 2 + 1), and which of a plane only follow theirs."""
    numbers = torch.arange(math.prod(size[:-1])).view(*size[:-1], 1)
    mirrors = mirrored(numbers, tuple(range(len(size) - 1)))
    is_real = torch.zeros(*size[:-1], size[-1] // 2 + 1, dtype=torch.bool)
    is_real[..., :1] = numbers == mirrors
    if size[-1] % 2 == 0:
        is_real[..., -1:] = numbers == mirrors
    return is_real.to(device), (numbers > mirrors).to(device)


@functools.lru_cache(maxsize=8)
def _gaussian(length: int, device: torch.device) -> Tensor:
    """Give the matrix that smooths rows of numbers, which keeps constants."""
    places = torch.arange(length, device=device)
    distances = (places - places[:, None]) / max(_BLUR * length, 0.5)
    kernel = torch.exp(-distances.square() / 2)
    return kernel / kernel.sum(dim=0)
