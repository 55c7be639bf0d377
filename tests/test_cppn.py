"""The network is what it says, one for each image, and learns photos."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from onnxvis import cppn
from onnxvis.cppn import RATE, Cppn
from onnxvis.errors import SettingError
from onnxvis.render import read_photo

BENDS: list[Callable[[Any], Any]] = [np.sin, np.tanh, np.tanh, lambda x: 1 / (1 + np.exp(-x))]


def generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


@pytest.mark.parametrize("size", [(6,), (5, 4), (3, 4, 2)], ids=str)
def test_each_pixel_is_a_small_network_of_its_coordinates(size: tuple[int, ...]) -> None:
    shape = (2, 2, *size)
    parameterization = Cppn(width=5, depth=3, waves=1.5)
    parameters = parameterization.start(shape, generators(2))
    image = parameterization.render(parameters, shape).numpy()
    for number in range(2):
        layers = [layer[number].double().numpy() * RATE / math.sqrt(layer.shape[-1]) for layer in parameters]
        for place in np.ndindex(size):
            units = np.array([(2 * k + 1 - n) / max(size) for k, n in zip(place, size, strict=True)])
            units = units * math.pi * 1.5 * math.sqrt(len(size) + 1) / 1.6
            for layer, bend in zip(layers, BENDS, strict=True):
                units = bend(layer[:, :-1] @ units + layer[:, -1])
            np.testing.assert_allclose(image[number, :, *place], units, atol=1e-5)


def test_waves_have_as_many_periods_as_wanted() -> None:
    (first, *_) = Cppn(width=2000, waves=3.0).start((1, 1, 8, 8), generators(1))
    # Periods over the length 2 of the coordinates, along each axis.
    stretched = math.pi * 3.0 * math.sqrt(3) / 1.6
    periods = first[0, :, :-1] * RATE / math.sqrt(3) * stretched / math.pi
    assert periods.std(dim=0).tolist() == pytest.approx([3.0, 3.0], rel=0.1)


def test_the_network_alone_comes_near_a_photo(shared: Path) -> None:
    photo = read_photo(shared / "images" / "goldfish.jpg", 3, (64, 64))
    shape = (1, *photo.shape)
    parameters = Cppn().start(shape, generators(1), seed_image=photo)
    learned = Cppn().render(parameters[:-1], shape)
    assert (learned - photo).abs().mean().item() < 0.05
    # Of the photo's variance, little is left.
    assert (learned - photo).var().item() < 0.15 * photo.var().item()


def test_what_the_network_cannot_learn_is_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cppn, "FIT_STEPS", 2)
    shape = (1, 3, 6, 5)
    parameters = tuple(
        p.requires_grad_() for p in Cppn().start(shape, generators(1), seed_image=torch.full(shape[1:], 0.4))
    )
    *learned, rest = torch.autograd.grad(
        Cppn().render(parameters, shape).sum(), parameters, allow_unused=True, materialize_grads=True
    )
    assert all(gradient.any() for gradient in learned)
    assert not rest.any()


def test_what_an_image_learns_does_not_depend_on_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cppn, "FIT_STEPS", 5)
    seed_image = torch.rand(3, 6, 7, generator=generators(1)[0])
    batch = Cppn().start((3, 3, 6, 7), generators(3), seed_image=seed_image)
    alone = Cppn().start((1, 3, 6, 7), generators(1), seed_image=seed_image)
    for several, one in zip(batch, alone, strict=True):
        torch.testing.assert_close(several[:1], one, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("width", "depth"), [(0, 4), (24, 0)])
def test_a_network_without_units_is_refused(width: int, depth: int) -> None:
    with pytest.raises(SettingError, match="needs hidden units and layers"):
        Cppn(width=width, depth=depth)
