from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxvis.spectrum import FINE, _power, _radius, spectrum

Array = np.ndarray[Any, Any]


def noise_of_slope(slope: float, shape: tuple[int, ...], seed: int = 0) -> Array:
    """Return noise whose power falls as a power of frequency."""
    white = np.random.default_rng(seed).standard_normal(shape)
    axes = tuple(range(1, len(shape)))
    radius = _radius(shape[1:])
    radius[(0,) * len(axes)] = 1
    return np.fft.ifftn(np.fft.fftn(white, axes=axes) * radius ** (slope / 2), axes=axes).real


@pytest.mark.parametrize("slope", [0.0, -1.0, -2.0, -3.0])
@pytest.mark.parametrize("shape", [(3, 128, 128), (1, 64, 96), (2, 65, 63), (1, 32, 32, 32), (3, 4096)])
def test_noise_has_the_slope_that_it_was_made_with(slope: float, shape: tuple[int, ...]) -> None:
    found = spectrum(noise_of_slope(slope, shape))
    assert found is not None
    assert found.slope == pytest.approx(slope, abs=0.35)


def test_all_power_adds_up_to_the_variance_under_the_window() -> None:
    values = np.random.default_rng(0).random((3, 16, 24))
    slow = 0.0
    rows = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(16) / 16)
    columns = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(24) / 24)
    window = rows[:, None] * columns
    for channel in values:
        mean = (channel * window).sum() / window.sum()
        slow += ((channel - mean) ** 2 * window**2).sum() / (window**2).sum()
    assert _power(values).sum() == pytest.approx(slow)


@pytest.mark.parametrize(("frequency", "fine"), [(0.125, 0.0), (0.375, 1.0)])
def test_a_wave_is_fine_detail_if_it_is_short(frequency: float, fine: float) -> None:
    wave = 0.5 + 0.4 * np.sin(2 * np.pi * frequency * np.arange(64))
    found = spectrum(np.tile(wave, (1, 64, 1)))
    assert found is not None
    assert found.fine == pytest.approx(fine, abs=1e-6)


def test_white_noise_has_as_much_fine_detail_as_there_are_fine_frequencies() -> None:
    found = spectrum(np.random.default_rng(0).random((8, 64, 64)))
    assert found is not None
    assert found.fine == pytest.approx(1 - np.pi * FINE**2, abs=0.02)


def test_neither_brightness_nor_contrast_changes_anything() -> None:
    values = noise_of_slope(-2, (3, 32, 32))
    first, second = spectrum(values), spectrum(0.01 * values + 0.5)
    assert first is not None
    assert second is not None
    assert second.slope == pytest.approx(first.slope)
    assert second.fine == pytest.approx(first.fine)


def test_a_tilted_plane_is_no_fine_detail_for_all_its_edges() -> None:
    found = spectrum(np.linspace(0, 1, 64)[None, :, None] * np.ones((1, 64, 64)))
    assert found is not None
    assert found.fine < 1e-3


@pytest.mark.parametrize("shape", [(5,), (3, 7, 64), (1, 4)])
def test_features_and_tiny_images_have_no_spectrum(shape: tuple[int, ...]) -> None:
    assert spectrum(np.random.default_rng(0).random(shape)) is None


def test_an_image_of_one_value_has_no_spectrum() -> None:
    assert spectrum(np.full((3, 16, 16), 0.3, np.float32)) is None


def test_a_small_image_has_fine_detail_but_no_slope() -> None:
    found = spectrum(np.random.default_rng(0).random((1, 16, 16)))
    assert found is not None
    assert found.slope is None
    assert found.fine > 0.5
