"""Resizing against Pillow and torch's own, grids against torch's, reflections against numpy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from onnxvis.errors import InputError
from onnxvis.sampling import Fill, fit, padded, resample, sampling_grid


def random_images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(11))


@pytest.mark.parametrize("size", [(10, 13), (40, 31), (7, 50), (20, 9), (1, 1)])
def test_images_are_resized_as_by_pillow(size: tuple[int, int]) -> None:
    images = random_images(2, 3, 20, 31)
    resized = fit(images, size)
    for image, expected in zip(resized.flatten(0, 1), images.flatten(0, 1), strict=True):
        wanted = Image.fromarray(expected.numpy()).resize(size[::-1], Image.Resampling.BILINEAR)
        np.testing.assert_allclose(image.numpy(), np.asarray(wanted), atol=1e-6)


@pytest.mark.parametrize("size", [(12, 14, 16), (6, 7, 20), (9, 7, 8)])
def test_volumes_grow_as_by_torch(size: tuple[int, int, int]) -> None:
    volumes = random_images(2, 2, 6, 7, 8)
    expected = functional.interpolate(volumes, size=size, mode="trilinear", align_corners=False)
    torch.testing.assert_close(fit(volumes, size), expected)


@pytest.mark.parametrize("size", [3, 11, 40])
def test_signals_are_resized_as_the_rows_of_an_image(size: int) -> None:
    signals = random_images(2, 3, 11)
    rows = fit(signals[:, :, None].expand(-1, -1, 5, -1), (5, size))
    torch.testing.assert_close(fit(signals, (size,)), rows[:, :, 2])


def test_volumes_shrink_axis_by_axis_as_signals_do() -> None:
    volumes = random_images(2, 3, 8, 9, 10)
    expected = volumes
    for axis, length in ((2, 4), (3, 5), (4, 3)):
        last = expected.movedim(axis, -1)
        expected = fit(last.flatten(1, -2), (length,)).reshape(*last.shape[:-1], length).movedim(-1, axis)
    torch.testing.assert_close(fit(volumes, (4, 5, 3)), expected)


@pytest.mark.parametrize("size", [(3,), (3, 4), (3, 4, 2)], ids=str)
def test_every_pixel_counts_where_images_shrink(size: tuple[int, ...]) -> None:
    images = random_images(1, 2, *(3 * length for length in size)).requires_grad_()
    (gradient,) = torch.autograd.grad(fit(images, size).sum(), images)
    assert gradient.min() > 0


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 5), (2, 3, 5, 4), (1, 2, 3, 4, 5), (1, 1, 2, 2, 2, 2)], ids=str)
def test_images_of_the_wanted_size_are_left_alone(shape: tuple[int, ...]) -> None:
    images = random_images(*shape)
    assert fit(images, shape[2:]) is images


@pytest.mark.parametrize(
    ("shape", "size"), [((1, 3, 4, 4), (4,)), ((1, 3, 4), (4, 4)), ((1, 1, 2, 2, 2, 2), (3, 3, 3, 3))]
)
def test_another_number_of_axes_is_refused(shape: tuple[int, ...], size: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="leave out what changed it"):
        fit(random_images(*shape), size)


@pytest.mark.parametrize("size", [(5, 8), (3, 4, 6)], ids=str)
def test_the_grid_is_that_of_torch(size: tuple[int, ...]) -> None:
    axes = len(size)
    maps = random_images(3, axes, axes + 1) - 0.5
    expected = functional.affine_grid(maps, [3, 1, *size], align_corners=False)
    torch.testing.assert_close(sampling_grid(maps, size), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("fill", ["reflect", 0.25])
@pytest.mark.parametrize("shape", [(2, 3, 9), (2, 3, 9, 6), (2, 1, 4, 5, 6)], ids=str)
def test_looking_straight_shows_the_image_and_far_beside_it_the_fill(shape: tuple[int, ...], fill: Fill) -> None:
    images = random_images(*shape)
    axes = len(shape) - 2
    straight = torch.eye(axes, axes + 1, dtype=torch.float64).expand(2, -1, -1)
    torch.testing.assert_close(resample(images, straight, fill), images, atol=1e-5, rtol=0)
    beside = straight.clone()
    beside[:, :, -1] = 2
    expected = images.flip(list(range(2, len(shape)))) if fill == "reflect" else torch.full(shape, 0.25)
    torch.testing.assert_close(resample(images, beside, fill), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("width", [0, 1, 4, 5, 13])
@pytest.mark.parametrize("axis", [2, 3])
def test_margins_are_those_of_numpy(axis: int, width: int) -> None:
    images = random_images(2, 3, 4, 6)
    widths = [(width, width) if other == axis else (0, 0) for other in range(4)]
    reflected = np.pad(images.numpy(), widths, mode="symmetric")
    np.testing.assert_array_equal(padded(images, axis, width, "reflect").numpy(), reflected)
    constant = np.pad(images.numpy(), widths, constant_values=0.5)
    np.testing.assert_array_equal(padded(images, axis, width, 0.5).numpy(), constant)
