"""The tables know which frequencies a real transform keeps, and what they weigh in an image."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from onnxvis.amplitudes import counts, decaying, mean_square, mirrored

SIZES = [(6, 8), (5, 7), (1, 4), (3, 1), (9,), (8,), (4, 3, 6)]

each_size = pytest.mark.parametrize("size", SIZES, ids=str)


@each_size
def test_counts_add_up_to_all_frequencies(size: tuple[int, ...]) -> None:
    table = counts(size)
    assert table.shape == np.fft.rfftn(np.zeros(size)).shape
    assert table.sum().item() == math.prod(size)


@each_size
def test_mean_square_is_the_variance_of_the_pixels(size: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).normal(1.0, 2.0, (3, *size))
    axes = tuple(range(1, 1 + len(size)))
    magnitudes = torch.from_numpy(np.abs(np.fft.rfftn(image, axes=axes, norm="ortho")))
    assert mean_square(magnitudes, size).numpy() == pytest.approx(image.var(axis=axes), rel=1e-6)


def test_of_a_single_pixel_the_mean_counts() -> None:
    assert mean_square(torch.tensor([[3.0]]), (1,)).tolist() == [9.0]


@each_size
@pytest.mark.parametrize("decay", [0.0, 1.0, 1.5])
def test_amplitudes_decay_with_the_distance_from_frequency_zero(size: tuple[int, ...], decay: float) -> None:
    table = decaying(size, decay)
    for place in itertools.product(*(range(n) for n in table.shape)):
        frequency = math.hypot(*(min(k, n - k) / n for k, n in zip(place, size, strict=True)))
        assert table[place].item() == pytest.approx(max(frequency, 1 / max(size)) ** -decay, rel=1e-5)


def test_mirrored_tables_hold_the_conjugates_of_a_real_image() -> None:
    whole = np.fft.fft2(np.random.default_rng(0).normal(size=(2, 4, 5)))
    np.testing.assert_allclose(mirrored(torch.from_numpy(whole), (1, 2)).numpy(), whole.conj(), atol=1e-12)
