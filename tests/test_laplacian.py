"""The pyramid adds up its levels, and its parameters have the scale and the spectrum that it says."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from torch import Tensor

from onnxvis.errors import SettingError
from onnxvis.laplacian import Laplacian


def generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


def logits_of(parameterization: Laplacian, parameters: tuple[Tensor, ...], shape: tuple[int, ...]) -> Tensor:
    return torch.logit(parameterization.render(parameters, shape).double())


def resized(level: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Interpolate linearly between the pixels' centers, one row after the other."""
    for axis, length in enumerate(size):
        old = (np.arange(level.shape[axis]) + 0.5) / level.shape[axis]
        new = (np.arange(length) + 0.5) / length
        level = np.apply_along_axis(functools.partial(np.interp, new, old), axis, level)
    return level


def test_levels_halve_down_to_four_pixels() -> None:
    levels = Laplacian().start((2, 1, 21, 9), generators(2))
    assert [tuple(level.shape) for level in levels] == [(2, 1, 21, 9), (2, 1, 11, 5), (2, 1, 6, 3), (2, 1, 3, 2)]
    assert len(Laplacian(levels=2).start((1, 1, 21, 9), generators(1))) == 2
    assert len(Laplacian().start((1, 7, 3), generators(1))) == 1


@pytest.mark.parametrize("size", [(11,), (12, 9), (5, 6, 7)], ids=str)
def test_each_level_is_enlarged_linearly_to_the_next(size: tuple[int, ...]) -> None:
    shape = (1, 1, *size)
    parameterization = Laplacian(std=1.0)
    levels = parameterization.start(shape, generators(1))
    alone = [
        logits_of(parameterization, tuple(level * (k == number) for k, level in enumerate(levels)), shape)[0, 0].numpy()
        for number in range(len(levels))
    ]
    for number, level in enumerate(levels):
        expected = level[0, 0].double().numpy()
        for larger in reversed(levels[:number]):
            expected = resized(expected, tuple(larger.shape[2:]))
        scale = (alone[number] * expected).sum() / np.square(expected).sum()
        np.testing.assert_allclose(alone[number], scale * expected, atol=1e-4)
    np.testing.assert_allclose(logits_of(parameterization, levels, shape)[0, 0].numpy(), sum(alone), atol=1e-4)


@pytest.mark.parametrize("size", [(28, 28), (64, 33), (100,), (9, 12, 10)], ids=str)
@pytest.mark.parametrize("decay", [1.0, 1.5])
def test_normal_parameters_give_logits_of_unit_variance(size: tuple[int, ...], decay: float) -> None:
    shape = (64, 3, *size)
    parameterization = Laplacian(std=1.0, decay=decay)
    variance = logits_of(parameterization, parameterization.start(shape, generators(64)), shape).var().item()
    assert variance == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("decay", [1.0, 1.5])
def test_amplitudes_decay_with_frequency(decay: float) -> None:
    shape = (16, 1, 128, 128)
    parameterization = Laplacian(std=1.0, decay=decay)
    logits = logits_of(parameterization, parameterization.start(shape, generators(16)), shape)[:, 0]
    amplitudes = torch.fft.fft2(logits).abs().mean(0).numpy()
    frequencies = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128))
    chosen = (frequencies > 0.02) & (frequencies < 0.4)
    slope, _ = np.polyfit(np.log(frequencies[chosen]), np.log(amplitudes[chosen]), 1)
    assert slope == pytest.approx(-decay, abs=0.3)


def test_a_pyramid_without_levels_is_refused() -> None:
    with pytest.raises(SettingError, match="at least one level, not 0"):
        Laplacian(levels=0)
