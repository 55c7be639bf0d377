"""Which frequencies a real Fourier transform keeps, how often each counts, and how strong they are in natural images.

Tables have the shape of `torch.fft.rfftn` over all spatial axes, (H, W // 2 + 1): along the last axis the transform
keeps only half of the frequencies, because the others are their mirror images.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def decaying(size: tuple[int, ...], decay: float) -> Tensor:
    """Give amplitudes that fall with frequency as f^-decay, as those of natural images do with a decay of about 1.

    Args:
        size: The spatial sizes of the images.
        decay: The exponent.

    Returns:
        Tensor: The amplitudes in units of one wave per pixel; that of the mean is as that of the longest wave.
    """
    frequencies = [torch.fft.fftfreq(n) for n in size[:-1]] + [torch.fft.rfftfreq(size[-1])]
    squares = torch.meshgrid([f.square() for f in frequencies], indexing="ij")
    radius = torch.stack(squares).sum(dim=0).sqrt()
    return radius.clamp(min=1 / max(size)) ** -decay


def counts(size: tuple[int, ...]) -> Tensor:
    """Give how many coefficients of the whole transform each one stands for: 2, or 1 where its mirror is kept too."""
    table = torch.full((*size[:-1], size[-1] // 2 + 1), 2.0)
    table[..., 0] = 1.0
    if size[-1] % 2 == 0:
        table[..., -1] = 1.0
    return table


def mean_square(magnitudes: Tensor, size: tuple[int, ...]) -> Tensor:
    """Give the variance over the pixels of images whose orthonormal transforms have these magnitudes.

    Args:
        magnitudes: (..., H, W // 2 + 1). The first, the mean's, does not count, unless the images are single pixels.
        size: The spatial sizes of the images.

    Returns:
        Tensor: (...).
    """
    energies = (counts(size) * magnitudes.square()).flatten(-len(size))
    return energies[..., min(1, energies.shape[-1] - 1) :].sum(dim=-1) / math.prod(size)


def mirrored(tables: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Reorder tables of whole transforms such that each frequency f finds the value of -f."""
    # Frequencies along an axis of 4: (0, 1, 2, -1) -> flipped (-1, 2, 1, 0) -> rolled (0, -1, 2, 1)
    return tables.flip(axes).roll([1] * len(axes), axes) if axes else tables
