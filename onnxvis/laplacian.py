"""A Laplacian pyramid: an image as the sum of ever smaller images, each enlarged to the next one's size.

Burt and Adelson, "The Laplacian Pyramid as a Compact Image Code" (1983), https://doi.org/10.1109/TCOM.1983.1095851.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onnxvis.colors import Colors, as_colors, color_matrix, mixed, unmixed
from onnxvis.errors import SettingError
from onnxvis.images import normal, seed_logits

_SMALLEST = 4
"""Images are halved until no side is longer than so many pixels."""


@dataclass(frozen=True)
class Laplacian:
    """The levels of a Laplacian pyramid of the logits, the full size first; enlarging interpolates linearly.

    Equal steps in all parameters make coarse shapes grow faster than fine ones, as with `Fourier`; but a parameter
    moves one place of the image, not a wave through all of it. The scale is such that independent normal parameters of
    unit variance give logits of unit variance, for every image size.

    Attributes:
        decay: Exponent of the amplitude spectrum that such parameters have, roughly: about 1 for natural images.
        levels: How many there are; None: until no side has more than 4 pixels.
        std: Standard deviation of the starting logits.
        decorrelate: Whether images of three channels are RGB and get the colors of natural images.
        colors: Their color matrix, as `onnxvis.colors` tells; None: that of natural images.
    """

    decay: float = 1.25
    levels: int | None = None
    std: float = 0.05
    decorrelate: bool = True
    colors: Colors | None = None

    def __post_init__(self) -> None:
        """Read the color matrix as plain numbers, and refuse a pyramid without levels."""
        object.__setattr__(self, "colors", as_colors(self.colors))
        if self.levels is not None and self.levels < 1:
            message = f"A Laplacian pyramid needs at least one level, not {self.levels}."
            raise SettingError(message, levels=self.levels)

    def start(
        self,
        shape: tuple[int, ...],
        generators: Sequence[torch.Generator],
        *,
        seed_image: Tensor | None = None,
        contrast: float = 1.0,
    ) -> tuple[Tensor, ...]:
        """Give the pyramid of the seed image, or of noise; see `Parameterization.start`."""
        sizes = _sizes(shape[2:], self.levels)
        if seed_image is None:
            return tuple(normal((*shape[:2], *size), generators) * self.std * contrast for size in sizes)
        logits = seed_logits(seed_image, shape) * contrast
        smaller = [unmixed(self._color_matrix(shape, logits.device), logits)]
        for size in sizes[1:]:
            smaller.append(_reduced(smaller[-1], size))
        details = [fine - _enlarged(coarse, tuple(fine.shape[2:])) for fine, coarse in itertools.pairwise(smaller)]
        scales = _scales(sizes, self.decay)
        return tuple(level / scale for level, scale in zip([*details, smaller[-1]], scales, strict=True))

    def render(self, parameters: tuple[Tensor, ...], shape: tuple[int, ...]) -> Tensor:
        """Compute the images, (N, C, H, W) in [0, 1]; see `Parameterization.render`."""
        sizes = _sizes(shape[2:], self.levels)
        scales = _scales(sizes, self.decay)
        channels = parameters[-1] * scales[-1]
        for level, size, scale in zip(parameters[-2::-1], sizes[-2::-1], scales[-2::-1], strict=True):
            channels = _enlarged(channels, size) + level * scale
        return torch.sigmoid(mixed(self._color_matrix(shape, channels.device), channels))

    def _color_matrix(self, shape: tuple[int, ...], device: torch.device) -> Tensor | None:
        return color_matrix(shape[1], device, decorrelate=self.decorrelate, colors=self.colors)


def _sizes(size: tuple[int, ...], levels: int | None) -> list[tuple[int, ...]]:
    """List the sizes of the levels, the image's own first, each half of the one before."""
    sizes = [size]
    while max(sizes[-1], default=0) > _SMALLEST if levels is None else len(sizes) < levels:
        sizes.append(tuple((length + 1) // 2 for length in sizes[-1]))
    return sizes


def _scales(sizes: Sequence[tuple[int, ...]], decay: float) -> list[float]:
    """Give what the parameters of each level are multiplied by.

    Level k holds the octave of frequencies around 2^-k, in which an amplitude spectrum of f^-decay over d axes has
    the energy 2^(k (2 decay - d)).
    """
    energies = [2.0 ** (number * (2 * decay - len(sizes[0]))) for number in range(len(sizes))]
    total = sum(energies)
    return [
        math.sqrt(energy / total / math.prod(_gain(lengths) for lengths in zip(*sizes[: number + 1], strict=True)))
        for number, energy in enumerate(energies)
    ]


@functools.lru_cache(maxsize=256)
def _gain(lengths: tuple[int, ...]) -> float:
    """Give the mean variance of white noise on the last of some lengths when it is enlarged to the first."""
    matrix = torch.eye(lengths[-1])
    for short, long in zip(lengths[:0:-1], lengths[-2::-1], strict=True):
        matrix = _interpolation(short, long, torch.device("cpu")) @ matrix
    return float(matrix.square().sum(dim=1).mean())


def _enlarged(images: Tensor, size: tuple[int, ...]) -> Tensor:
    for axis, length in enumerate(size, start=2):
        images = _along(images, axis, _interpolation(images.shape[axis], length, images.device))
    return images


def _reduced(images: Tensor, size: tuple[int, ...]) -> Tensor:
    """Average over the neighborhoods in which `_enlarged` spreads each pixel."""
    for axis, length in enumerate(size, start=2):
        spread = _interpolation(length, images.shape[axis], images.device).T
        images = _along(images, axis, spread / spread.sum(dim=1, keepdim=True))
    return images


def _along(images: Tensor, axis: int, matrix: Tensor) -> Tensor:
    """Multiply along one axis; the last two need no copy."""
    if axis == images.dim() - 1:
        return images @ matrix.T
    if axis == images.dim() - 2:
        return matrix @ images
    return (images.transpose(axis, -1) @ matrix.T).transpose(axis, -1)


@functools.lru_cache(maxsize=256)
def _interpolation(short: int, long: int, device: torch.device) -> Tensor:
    """Give the matrix that enlarges rows of numbers, (long, short), linearly between the pixels' centers."""
    centers = ((torch.arange(long) + 0.5) * short / long - 0.5).clamp(0, short - 1)
    distances = (centers[:, None] - torch.arange(short)).abs()
    return (1 - distances).clamp(min=0).to(device)
