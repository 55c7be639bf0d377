"""Only phases vary: the magnitudes of every image are those that were wanted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from onnxvis.colors import Colors, natural_color_matrix, unmixed
from onnxvis.errors import InputError
from onnxvis.maco import Maco, transparency
from onnxvis.maximize import adam

SHAPES = [(2, 1, 8, 6), (1, 3, 7, 9), (1, 4, 6, 5), (2, 2, 9), (1, 1, 8), (1, 3, 4, 3, 6)]
SWAPPED: Colors = ((0.0, 0.5, 0.0), (0.0, 0.0, 0.3), (1.0, 0.0, 0.2))

each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


def coefficients_of(image: Tensor) -> np.ndarray:
    """Transform the logits of uncorrelated channels, all frequencies."""
    logits = torch.logit(image.double())
    if image.shape[1] == 3:
        logits = unmixed(natural_color_matrix().double(), logits)
    return np.fft.fftn(logits.numpy(), axes=tuple(range(2, image.ndim)), norm="ortho")


def are_real(size: tuple[int, ...]) -> np.ndarray:
    """Tell for each frequency whether it is its own mirror image."""
    tables = np.meshgrid(*((2 * np.arange(n)) % n == 0 for n in size), indexing="ij")
    return np.asarray(np.stack(tables).all(axis=0))


@each_shape
def test_images_have_the_wanted_magnitudes_whatever_the_phases(shape: tuple[int, ...]) -> None:
    phases, magnitudes = Maco().start(shape, generators(shape[0]))
    image = Maco().render((phases * 3, magnitudes), shape)
    kept = (..., slice(shape[-1] // 2 + 1))
    found, wanted = np.abs(coefficients_of(image))[kept], magnitudes.numpy()
    real = are_real(shape[2:])[kept]
    np.testing.assert_allclose(found[..., ~real], wanted[..., ~real], atol=1e-3)
    assert (found[..., real] <= wanted[..., real] + 1e-3).all()


@pytest.mark.parametrize("shape", [(4, 1, 64, 64), (4, 3, 63, 48), (4, 2, 500)], ids=str)
def test_images_start_with_the_contrast_of_photographs(shape: tuple[int, ...]) -> None:
    image = Maco().render(Maco().start(shape, generators(4)), shape)
    assert torch.logit(image).flatten(2).std(dim=2).square().mean().sqrt().item() == pytest.approx(1.0, abs=0.1)
    assert 0.15 < image.std().item() < 0.27


def test_phases_start_uniformly() -> None:
    phases, _ = Maco().start((2, 3, 64, 64), generators(2))
    image = Maco(decorrelate=False).render((phases, torch.ones_like(phases)), (2, 3, 64, 64))
    angles = np.angle(np.fft.fft2(torch.logit(image).numpy()))
    counts, _ = np.histogram(angles, bins=8, range=(-np.pi, np.pi))
    assert counts / counts.sum() == pytest.approx(np.full(8, 1 / 8), abs=0.01)


@each_shape
def test_a_seed_image_keeps_its_own_magnitudes_while_its_phases_move(shape: tuple[int, ...]) -> None:
    seed_image = torch.rand(shape, generator=generators(1)[0]) * 0.9 + 0.05
    parameters = tuple(p.requires_grad_() for p in Maco().start(shape, generators(shape[0]), seed_image=seed_image))
    before = parameters[1].detach().clone()
    optimizer = adam(list(parameters), 0.05)
    for _ in range(3):
        image = Maco().render(parameters, shape)
        loss = (image * torch.linspace(-1, 1, shape[-1])).sum()
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
    assert torch.equal(parameters[1], before)
    image = Maco().render(parameters, shape).detach()
    assert (image - seed_image).abs().max() > 0.01
    np.testing.assert_allclose(np.abs(coefficients_of(image)), np.abs(coefficients_of(seed_image)), atol=2e-3)


@pytest.mark.parametrize("for_each", [True, False])
@pytest.mark.parametrize("shape", [(3, 6, 5), (7, 31), (1, 4, 3, 4)], ids=str)
def test_a_file_gives_the_magnitudes_but_for_their_scale(
    shape: tuple[int, ...], for_each: bool, tmp_path: Path
) -> None:
    half = (*shape[:-1], shape[-1] // 2 + 1)
    table = np.random.default_rng(0).uniform(0, 5, half if for_each else half[1:])
    np.save(tmp_path / "spectrum.npy", table)
    magnitudes = Maco(spectrum=str(tmp_path / "spectrum.npy")).magnitudes(shape).numpy()
    ratio = magnitudes / np.broadcast_to(table, half)
    assert ratio == pytest.approx(np.full(half, ratio.mean()), rel=1e-5)
    rendered = Maco(spectrum=str(tmp_path / "spectrum.npy"))
    logits = torch.logit(rendered.render(rendered.start((64, *shape), generators(64)), (64, *shape)))
    assert logits.flatten(2).var(dim=2, correction=0).mean().item() == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_contrast_is_that_of_the_colors_not_of_the_uncorrelated_channels(channel: int, tmp_path: Path) -> None:
    table = np.zeros((3, 9, 5))
    table[channel] = 1.0
    np.save(tmp_path / "spectrum.npy", table)
    maco = Maco(spectrum=str(tmp_path / "spectrum.npy"))
    logits = torch.logit(maco.render(maco.start((4, 3, 9, 9), generators(4)), (4, 3, 9, 9)))
    assert logits.flatten(2).var(dim=2, correction=0).mean().item() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(
    "table",
    [np.ones((3, 6, 6)), -np.ones((6, 4)), np.full((6, 4), np.nan), np.zeros((6, 4)), np.ones((2, 6, 4)), np.ones(0)],
    ids=lambda table: f"{table.shape} {table.sum()}",
)
def test_a_file_of_something_else_is_refused(table: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "spectrum.npy", table)
    with pytest.raises(InputError, match="holds no spectrum of images"):
        Maco(spectrum=str(tmp_path / "spectrum.npy")).start((1, 3, 6, 6), generators(1))


def test_photos_of_one_color_have_no_spectrum(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "red.png")
    with pytest.raises(InputError, match="are of one color"):
        Maco(spectrum=str(tmp_path)).start((1, 3, 6, 6), generators(1))


@pytest.mark.parametrize("colors", [None, SWAPPED])
def test_photos_give_their_colors_and_spectrum_to_noise(colors: Colors | None, tmp_path: Path) -> None:
    # Stripes across, red against blue: there is nothing else in the photos.
    row = np.where(np.arange(16) % 4 < 2, 200, 60).astype(np.uint8)
    stripes = np.broadcast_to(np.stack([row, np.full_like(row, 128), 255 - row], axis=-1), (16, 16, 3))
    Image.fromarray(np.ascontiguousarray(stripes)).save(tmp_path / "stripes.png")
    maco = Maco(spectrum=str(tmp_path), colors=colors)
    (image,) = maco.render(maco.start((1, 3, 16, 16), generators(1)), (1, 3, 16, 16))
    torch.testing.assert_close(image, image[:, :1].expand_as(image), atol=1e-4, rtol=0)
    torch.testing.assert_close(image, image.roll(4, dims=2), atol=1e-4, rtol=0)
    assert image.std() > 0.05


@pytest.mark.parametrize("size", [(12, 9), (31,), (5, 6, 4), (1, 1)], ids=str)
def test_transparency_is_within_zero_and_one_and_knows_no_units(size: tuple[int, ...]) -> None:
    accumulated = torch.rand((2, 3, *size), generator=generators(1)[0])
    alpha = transparency(accumulated)
    assert alpha.shape == (2, *size)
    assert alpha.min() >= 0
    assert alpha.max().item() == 1.0
    torch.testing.assert_close(transparency(1e6 * accumulated), alpha)
    torch.testing.assert_close(transparency(accumulated[1:]), alpha[1:])
    torch.testing.assert_close(transparency(accumulated.flip(1)), alpha)


def test_a_fifth_of_the_pixels_is_fully_opaque() -> None:
    alpha = transparency(torch.rand((3, 2, 30, 31), generator=generators(1)[0]))
    assert (alpha == 1).float().mean(dim=(1, 2)).tolist() == pytest.approx([0.2] * 3, abs=0.01)


def test_what_the_network_looked_at_is_opaque_and_the_rest_transparent() -> None:
    accumulated = torch.full((1, 3, 40, 40), 1e-3)
    accumulated[..., 10:30, 10:30] = 1.0
    (alpha,) = transparency(accumulated)
    assert alpha[15:25, 15:25].min() > 0.95
    assert alpha[:5].max() < 0.05
    # Its edge is soft.
    assert 0.1 < alpha[20, 9] < alpha[20, 10] < 1.0


@pytest.mark.parametrize("value", [0.0, 2.0])
def test_without_differences_everything_is_opaque(value: float) -> None:
    assert torch.equal(transparency(torch.full((2, 3, 4, 5), value)).round(decimals=5), torch.ones(2, 4, 5))


def test_a_single_point_shows_though_nothing_else_does() -> None:
    accumulated = torch.zeros(1, 1, 50, 50)
    accumulated[..., 25, 25] = 1.0
    (alpha,) = transparency(accumulated)
    assert alpha[25, 25] == 1.0
    assert alpha.mean() < 0.01
