"""Blur against a slow twin, noise and colors by their statistics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from onnxvis.distortions import Blur, ColorShift, Noise
from onnxvis.errors import InputError, SettingError

SHAPES = [(2, 3, 15), (2, 3, 9, 14), (2, 1, 6, 7, 8)]

each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def random_images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(11))


def blurred(image: np.ndarray, sigma: float, radius: int) -> np.ndarray:
    """Convolve (C, *spatial) with a Gaussian, line by line."""
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    for axis in range(1, image.ndim):
        widths = [(radius, radius) if other == axis else (0, 0) for other in range(image.ndim)]
        wide = np.pad(image, widths, mode="symmetric")
        image = np.apply_along_axis(np.convolve, axis, wide, kernel / kernel.sum(), mode="valid")
    return image


@each_shape
def test_blur_is_a_gaussian_along_each_axis(shape: tuple[int, ...]) -> None:
    images = random_images(*shape)
    views = Blur(0.5, 2)(images, generators(0, 1))
    for seed, (view, image) in enumerate(zip(views, images.double().numpy(), strict=True)):
        drawn = torch.rand(1, generator=generators(seed)[0], dtype=torch.float64).item()
        np.testing.assert_allclose(view.numpy(), blurred(image, 0.5 + 1.5 * drawn, 8), atol=1e-6)


@each_shape
def test_blur_keeps_constants_and_the_mean(shape: tuple[int, ...]) -> None:
    blur = Blur(1, 3)
    torch.testing.assert_close(blur(torch.full(shape, 0.3), generators(0, 1)), torch.full(shape, 0.3))
    axes = tuple(range(2, len(shape)))
    images = random_images(*shape)
    views = blur(images, generators(0, 1))
    torch.testing.assert_close(views.mean(dim=axes), images.mean(dim=axes))
    assert bool((views.std(dim=axes) < 0.9 * images.std(dim=axes)).all())


def test_a_point_becomes_a_spot_as_wide_as_asked_for() -> None:
    point = torch.zeros(1, 1, 31, 31)
    point[..., 15, 15] = 1
    spot = Blur(1.5, 1.5)(point, generators(0))[0, 0]
    distances = torch.arange(31) - 15.0
    for profile in (spot.sum(dim=0), spot.sum(dim=1)):
        assert (profile * distances**2).sum().sqrt() == pytest.approx(1.5, rel=1e-2)


@pytest.mark.parametrize("high", [0.0, 1e-6])
def test_no_width_is_no_blur(high: float) -> None:
    images = random_images(2, 3, 7, 8)
    assert torch.equal(Blur(0, high)(images, generators(0, 1)), images)


@pytest.mark.parametrize("shape", [(2, 100_000), (2, 3, 30_000), (2, 3, 200, 200), (2, 1, 40, 50, 60)], ids=str)
def test_noise_has_mean_zero_and_the_deviation_asked_for(shape: tuple[int, ...]) -> None:
    images = random_images(*shape)
    noise = Noise(0.2)(images, generators(0, 1)) - images
    for own in noise:
        assert abs(own.mean()) < 0.003
        assert own.std() == pytest.approx(0.2, rel=0.02)
    assert abs(np.corrcoef(noise.flatten(1).numpy())[0, 1]) < 0.02


def test_noise_differs_between_pixels_channels_and_draws() -> None:
    images = torch.zeros(1, 3, 20, 20)
    stream = generators(0)
    first, second = (Noise(1)(images, stream).flatten(2)[0] for _ in range(2))
    correlations = np.corrcoef(torch.cat([first, second]).numpy())
    assert np.abs(correlations - np.eye(6)).max() < 0.2
    assert len(set(first[0].tolist())) == 400


def test_noise_leaves_the_gradient_alone() -> None:
    images = random_images(2, 3, 4, 4).requires_grad_()
    weights = random_images(2, 3, 4, 4)
    (gradient,) = torch.autograd.grad((Noise(0.5)(images, generators(0, 1)) * weights).sum(), images)
    assert torch.equal(gradient, weights)


@pytest.mark.parametrize("shape", [(2, 3), (2, 4, 9), (2, 5, 6, 7), (2, 2, 3, 4, 5)], ids=str)
def test_colors_are_shifted_by_a_gain_and_an_offset_for_each_channel(shape: tuple[int, ...]) -> None:
    images = random_images(*shape)
    views = ColorShift(gain=0.5, offset=0.25)(images, generators(7, 8))
    for seed, (view, image) in enumerate(zip(views, images, strict=True), 7):
        drawn = 2 * torch.rand(2 * shape[1], generator=generators(seed)[0], dtype=torch.float64) - 1
        for channel in range(shape[1]):
            expected = image[channel] * math.exp(0.5 * drawn[channel]) + 0.25 * drawn[shape[1] + channel]
            torch.testing.assert_close(view[channel], expected.float())


def test_gains_and_offsets_fill_their_ranges() -> None:
    count = 500
    black, white = torch.zeros(count, 1, 1), torch.ones(count, 1, 1)
    shift = ColorShift(gain=1, offset=0.5)
    offsets = shift(black, generators(*range(count)))
    logarithms = (shift(white, generators(*range(count))) - offsets).log()
    assert -0.5 <= offsets.min() < -0.49
    assert 0.49 < offsets.max() < 0.5
    assert -1.001 < logarithms.min() < -0.98
    assert 0.98 < logarithms.max() < 1.001


def test_no_shift_leaves_the_colors_alone() -> None:
    images = random_images(2, 3, 4, 4)
    assert torch.equal(ColorShift(gain=0, offset=0)(images, generators(0, 1)), images)


@pytest.mark.parametrize("shape", [(1, 3), (1, 1, 2, 2, 2, 2)], ids=str)
def test_what_has_no_neighbors_cannot_be_blurred(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"Blur needs .*: leave it out"):
        Blur(0, 1)(random_images(*shape), generators(0))


@pytest.mark.parametrize(
    ("kind", "settings", "reason"),
    [
        (Blur, {"low": -1, "high": 1}, "Blur takes 0 <= low <= high, not low=-1"),
        (Blur, {"low": 2, "high": 1}, "Blur takes 0 <= low <= high"),
        (Blur, {"low": 0, "high": math.inf}, "Blur takes 0 <= low <= high"),
        (Noise, {"std": -0.1}, "Noise takes std 0 or more, not -0.1"),
        (Noise, {"std": math.nan}, "Noise takes std 0 or more"),
        (ColorShift, {"gain": -1}, "ColorShift takes gain 0 or more"),
        (ColorShift, {"offset": math.inf}, "ColorShift takes offset 0 or more"),
    ],
)
def test_settings_out_of_range_are_refused(kind: Any, settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(SettingError, match=reason):
        kind(**settings)
