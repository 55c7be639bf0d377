"""Draws are per image and on the CPU; settings are kept as plain numbers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from onnxvis.distortions import Blur, Noise
from onnxvis.draws import in_pixels, uniform
from onnxvis.errors import SettingError
from onnxvis.frames import Crop, Pad
from onnxvis.transforms import Jitter
from onnxvis.views import Scale


def test_each_image_draws_from_its_own_generator_within_the_range() -> None:
    generators = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    drawn = uniform(generators, 500, -2, 5)
    assert drawn.shape == (2, 500)
    assert drawn.dtype == torch.float64
    assert -2 <= drawn.min() < -1.9
    assert 4.9 < drawn.max() < 5
    assert torch.equal(drawn[1:], uniform([torch.Generator().manual_seed(4)], 500, -2, 5))
    # The next draw is another.
    assert not torch.equal(drawn, uniform(generators, 500, -2, 5))


@pytest.mark.parametrize(("pixels", "size", "wanted"), [(3, 50, 3), (0.1, 50, 5), (0.5, 7, 4), (0, 9, 0), (0.0, 9, 0)])
def test_numbers_below_one_are_fractions_of_the_size(pixels: float, size: int, wanted: int) -> None:
    assert in_pixels(pixels, size) == wanted


def test_numbers_of_numpy_are_kept_as_those_of_python() -> None:
    one: Any = np.float32(1)
    two: Any = np.int64(2)
    half: Any = np.float32(0.5)
    kept = [
        Jitter(two).pixels,
        Crop(half).pixels,
        Pad(1, fill=one).fill,
        Noise(one).std,
        Blur(one, one).high,
        Scale(one, two).low,
    ]
    assert json.dumps(kept) == "[2, 0.5, 1.0, 1.0, 1.0, 1.0]"


@pytest.mark.parametrize("pixels", [-1, -0.1, 1.0, 8.5, float("nan")])
@pytest.mark.parametrize("kind", [Jitter, Pad, Crop])
def test_widths_that_are_neither_pixels_nor_a_fraction_are_refused(kind: type[Pad], pixels: float) -> None:
    with pytest.raises(SettingError, match=f"{kind.__name__} takes whole pixels or a fraction of the size below 1"):
        kind(pixels)
