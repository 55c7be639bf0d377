"""How an image spreads its energy over frequencies: numbers that tell noise from what natural images hold.

Power is that of the deviations from the mean under a Hann window, added up over the channels. Frequencies are in cycles
per pixel, from 0 to 0.5 along each axis; an image may have any number of axes.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

FITTED = (0.03, 0.4)
"""The frequencies over which the slope is fitted: below lie too few, above the filters of cameras and codecs."""
FINE = 0.25
"""Frequencies above count as fine detail: waves of less than four pixels."""
_LEAST_CYCLES = 3
"""What makes fewer waves than this in the whole image is smeared by the window."""
_LEAST_SPAN = 3
"""A slope over less than so large a ratio of frequencies says nothing: images need 23 pixels."""
_BANDS = 12
_LEAST_BANDS = 4
_MANY = 64
"""Bands of so many frequencies are known well enough to weigh as much as those of more."""
_SHORTEST = 8
"""Along fewer pixels there are too few frequencies to speak of."""
_NOTHING = 1e-10
"""Power relative to the square of the range below which an image is constant, but for rounding."""


@dataclass(frozen=True)
class Spectrum:
    """How an image spreads its energy over frequencies.

    Attributes:
        slope: Exponent of power as a function of frequency: about -2 for natural images, 0 for white noise. Field,
            "Relations between the statistics of natural images and the response properties of cortical cells" (1987),
            https://doi.org/10.1364/JOSAA.4.002379. None where an image is too small for it.
        fine: The share of the energy at frequencies above `FINE`, in [0, 1].
    """

    slope: float | None
    fine: float


def spectrum(values: Array) -> Spectrum | None:
    """Analyze an image.

    Args:
        values: (C, *spatial), in units of the range.

    Returns:
        Spectrum | None: None for features, for an image of one value, and where an axis is shorter than eight pixels.
    """
    sizes = values.shape[1:]
    if not sizes or min(sizes) < _SHORTEST:
        return None
    power = _power(values.astype(np.float64))
    total = float(power.sum())
    if total <= _NOTHING:
        return None
    radius = _radius(sizes)
    return Spectrum(_slope(power, radius, min(sizes)), float(power[radius > FINE].sum()) / total)


def _power(values: Array) -> Array:
    """Return the power at each frequency, (*spatial), so that all of it adds up to the windowed variance."""
    window = np.ones(values.shape[1:])
    for axis, size in enumerate(values.shape[1:]):
        # The periodic window: its own transform vanishes beyond the first frequency.
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
        window = window * hann.reshape([-1 if other == axis else 1 for other in range(window.ndim)])
    axes = tuple(range(1, values.ndim))
    mean = (values * window).sum(axis=axes, keepdims=True) / window.sum()
    transformed = np.fft.fftn((values - mean) * window, axes=axes)
    power: Array = np.square(np.abs(transformed)).sum(axis=0) / window.size / np.square(window).sum()
    return power


def _radius(sizes: tuple[int, ...]) -> Array:
    """Return how far each frequency lies from zero, (*spatial)."""
    squares = np.meshgrid(*[np.square(np.fft.fftfreq(size)) for size in sizes], indexing="ij")
    radius: Array = np.sqrt(np.sum(squares, axis=0))
    return radius


def _slope(power: Array, radius: Array, shortest: int) -> float | None:
    """Fit a line to the logarithms of the mean power in bands whose widths are in proportion to their frequency."""
    low, high = max(FITTED[0], _LEAST_CYCLES / shortest), FITTED[1]
    if high < _LEAST_SPAN * low:
        return None
    rows = []
    for begin, end in itertools.pairwise(np.geomspace(low, high, _BANDS + 1).tolist()):
        inside = (radius >= begin) & (radius < end)
        count = int(inside.sum())
        if count > 0 and (level := float(power[inside].mean())) > 0:
            # The logarithm of a mean of so many powers varies as the inverse of their number.
            rows.append((np.log(radius[inside]).mean(), np.log(level), np.sqrt(min(count, _MANY))))
    if len(rows) < _LEAST_BANDS:
        return None
    frequencies, levels, weights = np.transpose(rows)
    return float(np.polyfit(frequencies, levels, 1, w=weights)[0])
