"""Margins against numpy's, crops against every window that there is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from onnxvis.errors import SettingError
from onnxvis.frames import Crop, Pad


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def random_images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(11))


@pytest.mark.parametrize("shape", [(2, 3, 7), (2, 3, 7, 5), (1, 2, 3, 4, 5), (2, 3)], ids=str)
@pytest.mark.parametrize("pixels", [0, 2, 6])
def test_a_margin_is_around_every_spatial_axis(shape: tuple[int, ...], pixels: int) -> None:
    images = random_images(*shape)
    seeds = generators(*range(shape[0]))
    widths = [(0, 0), (0, 0), *[(pixels, pixels)] * (len(shape) - 2)]
    reflected = np.pad(images.numpy(), widths, mode="symmetric")
    np.testing.assert_array_equal(Pad(pixels)(images, seeds).numpy(), reflected)
    constant = np.pad(images.numpy(), widths, constant_values=0.5)
    np.testing.assert_array_equal(Pad(pixels, fill=0.5)(images, seeds).numpy(), constant)


def test_a_margin_may_be_a_fraction_of_each_size() -> None:
    assert Pad(0.25)(random_images(1, 1, 8, 20), generators(0)).shape == (1, 1, 12, 30)


@pytest.mark.parametrize("shape", [(1, 2, 7), (1, 3, 6, 5), (1, 1, 4, 5, 6)], ids=str)
def test_a_crop_is_one_of_all_windows_and_each_comes(shape: tuple[int, ...]) -> None:
    images = random_images(*shape)
    size = [length - 2 for length in shape[2:]]
    stream = generators(0)
    views = {Crop(2)(images, stream).numpy().tobytes() for _ in range(400)}
    windows = set()
    for starts in np.ndindex(*[3] * len(size)):
        window = (slice(None), slice(None), *(slice(at, at + length) for at, length in zip(starts, size, strict=True)))
        windows.add(images[window].numpy().tobytes())
    assert views == windows


def test_a_crop_may_be_a_fraction_of_each_size() -> None:
    assert Crop(0.5)(random_images(2, 3, 8, 20), generators(0, 1)).shape == (2, 3, 4, 10)


def test_the_images_of_a_batch_are_cut_at_places_of_their_own() -> None:
    same = torch.arange(40.0).expand(12, 1, 40)
    firsts = Crop(20)(same, generators(*range(12)))[:, 0, 0]
    assert len(set(firsts.tolist())) > 6


def test_nothing_to_cut_leaves_the_images_alone() -> None:
    images = random_images(2, 3, 5, 5)
    assert torch.equal(Crop(0)(images, generators(0, 1)), images)
    assert torch.equal(Crop(4)(random_images(2, 3), generators(0, 1)), random_images(2, 3))


@pytest.mark.parametrize("pixels", [5, 6])
def test_a_crop_that_leaves_nothing_is_refused(pixels: int) -> None:
    with pytest.raises(SettingError, match=r"leaves nothing of images of size \(9, 5\): cut less"):
        Crop(pixels)(random_images(1, 3, 9, 5), generators(0))


@pytest.mark.parametrize("fill", ["zeros", "", math.nan, math.inf])
def test_a_margin_of_unknown_kind_is_refused(fill: Any) -> None:
    with pytest.raises(SettingError, match="Pad takes fill='reflect' or a number"):
        Pad(2, fill=fill)
