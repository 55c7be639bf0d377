"""Views at the image's own size against numpy's interpolation and Pillow's rotation, and by what they keep."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from onnxvis.errors import InputError, SettingError
from onnxvis.views import Box, Flip, Rotate, Scale

SHAPES = [(2, 3, 15), (2, 3, 9, 14), (2, 1, 6, 7, 8)]

each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def random_images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(11))


def draws(count: int, seed: int) -> list[float]:
    drawn: list[float] = torch.rand(count, generator=generators(seed)[0], dtype=torch.float64).tolist()
    return drawn


def interpolated(image: np.ndarray, sizes: float, centers: list[float], fill: float | None) -> np.ndarray:
    """Look at the box of a (C, *spatial) image, axis by axis; sizes and centers in units of half the image."""
    for axis, center in enumerate(centers, 1):
        length = image.shape[axis]
        positions = (sizes * ((np.arange(length) * 2 + 1) / length - 1) + center + 1) * length / 2 - 0.5
        widths = [(2 * length, 2 * length) if other == axis else (0, 0) for other in range(image.ndim)]
        wide = np.pad(image, widths, mode="symmetric") if fill is None else np.pad(image, widths, constant_values=fill)
        known = np.arange(-2 * length, 3 * length)
        image = np.apply_along_axis(lambda line, at, xs: np.interp(at, xs, line), axis, wide, positions, known)
    return image


@each_shape
@pytest.mark.parametrize("fill", ["reflect", 0.5])
@pytest.mark.parametrize("factor", [0.6, 1.0, 2.3])
def test_scaling_is_interpolation_along_each_axis(shape: tuple[int, ...], fill: Any, factor: float) -> None:
    images = random_images(*shape)
    views = Scale(factor, factor, fill=fill)(images, generators(0, 1))
    for view, image in zip(views, images.double().numpy(), strict=True):
        expected = interpolated(image, 1 / factor, [0.0] * (len(shape) - 2), None if fill == "reflect" else fill)
        np.testing.assert_allclose(view.numpy(), expected, atol=1e-5)


def factors(scale: Scale, draws: int) -> Tensor:
    """Read the factors from how steep a slope becomes."""
    slope = torch.arange(32.0).expand(draws, 1, 32)
    views = scale(slope, generators(*range(draws)))
    return 1 / (views[:, 0, 16] - views[:, 0, 15])


def test_factors_are_evenly_spaced_where_steps_are_given() -> None:
    found = {round(float(factor), 3) for factor in factors(Scale(0.9, 1.1, steps=11), 300)}
    assert found == {round(0.9 + 0.02 * k, 3) for k in range(11)}


def test_factors_fill_the_range_where_no_steps_are_given() -> None:
    found = factors(Scale(0.5, 1.5), 400)
    assert 0.499 < found.min() < 0.51
    assert 1.49 < found.max() < 1.501
    assert abs(found.mean() - 1) < 0.05


@each_shape
@pytest.mark.parametrize("seed", [0, 1])
def test_a_box_is_seen_as_by_interpolation_along_each_axis(shape: tuple[int, ...], seed: int) -> None:
    image = random_images(1, *shape[1:])
    drawn, *places = draws(1 + len(shape) - 2, seed)
    size = 0.2 + 0.6 * drawn
    # x is drawn first.
    centers = [(1 - size) * (2 * place - 1) for place in reversed(places)]
    expected = interpolated(image[0].double().numpy(), size, centers, None)
    np.testing.assert_allclose(Box(0.2, 0.8)(image, generators(seed))[0].numpy(), expected, atol=1e-5)


def test_boxes_lie_within_the_image_and_reach_its_edges() -> None:
    count, length = 400, 200
    slope = ((torch.arange(length) * 2 + 1.0) / length - 1).expand(count, 1, length)
    views = Box(0.1, 0.6)(slope, generators(*range(count)))[:, 0]
    centers = (views[:, length // 2] + views[:, length // 2 - 1]) / 2
    sizes = (views[:, length // 2] - views[:, length // 2 - 1]) * length / 2
    assert 0.099 < sizes.min() < 0.11
    assert 0.59 < sizes.max() < 0.601
    assert 0.99 < (centers.abs() + sizes).max() < 1.001


def test_the_whole_image_is_a_box() -> None:
    images = random_images(2, 3, 8, 9)
    torch.testing.assert_close(Box(1, 1)(images, generators(0, 1)), images, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(20, 31), (24, 24)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_turning_is_that_of_pillow(size: tuple[int, int], seed: int) -> None:
    image = random_images(1, 1, *size)
    degrees = 30 * (2 * draws(1, seed)[0] - 1)
    expected = np.asarray(Image.fromarray(image[0, 0].numpy()).rotate(degrees, Image.Resampling.BILINEAR))
    # At the image's edge Pillow does not interpolate between inside and outside.
    inner = (slice(7, -7), slice(7, -7))
    np.testing.assert_allclose(Rotate(30)(image, generators(seed))[0, 0].numpy()[inner], expected[inner], atol=1e-5)
    assert abs(degrees) > 1


def test_a_round_spot_stays_the_same_however_turned() -> None:
    y, x = torch.meshgrid(torch.arange(41) - 20.0, torch.arange(61) - 30.0, indexing="ij")
    spot = torch.exp(-(x**2 + y**2) / 72).expand(6, 2, -1, -1)
    torch.testing.assert_close(Rotate(180, fill=0)(spot, generators(*range(6))), spot, atol=8e-3, rtol=0)


def test_the_planes_of_a_volume_are_turned_alike() -> None:
    volumes = random_images(2, 3, 4, 8, 9)
    turned = Rotate(45)(volumes, generators(0, 1))
    for plane in range(4):
        torch.testing.assert_close(turned[:, :, plane], Rotate(45)(volumes[:, :, plane], generators(0, 1)))


def test_beyond_a_turned_image_lies_the_fill() -> None:
    degrees = 45 * (2 * draws(1, 0)[0] - 1)
    turned = Rotate(45, fill=0.25)(torch.ones(1, 1, 40, 40), generators(0))
    assert abs(degrees) > 20
    assert turned[0, 0, 0, 0] == 0.25
    assert turned[0, 0, 20, 20] == 1


def test_no_angle_is_the_identity() -> None:
    images = random_images(2, 3, 7, 9)
    torch.testing.assert_close(Rotate(0)(images, generators(0, 1)), images, atol=1e-5, rtol=0)


@each_shape
def test_a_certain_flip_mirrors_and_twice_is_none(shape: tuple[int, ...]) -> None:
    images = random_images(*shape)
    flip = Flip(probability=1)
    mirrored = flip(images, generators(0, 1))
    assert torch.equal(mirrored, images.flip(-1))
    assert torch.equal(flip(mirrored, generators(0, 1)), images)
    assert torch.equal(Flip(probability=0)(images, generators(0, 1)), images)


def test_axes_are_flipped_by_coins_of_their_own() -> None:
    images = random_images(1, 1, 3, 4).expand(400, -1, -1, -1)
    views = Flip(axes=(-1, -2), probability=0.25)(images, generators(*range(400)))
    shares = {
        axes: sum(torch.equal(view, images[0].flip(axes)) for view in views) / 400
        for axes in ((), (-1,), (-2,), (-1, -2))
    }
    assert sum(shares.values()) == 1
    for axes, share in shares.items():
        assert abs(share - 0.25 ** len(axes) * 0.75 ** (2 - len(axes))) < 0.07


@pytest.mark.parametrize("axes", [(), (0,), (-4,), (-1, -1), (1,)], ids=str)
def test_axes_that_are_not_spatial_are_refused(axes: tuple[int, ...]) -> None:
    with pytest.raises(SettingError, match="Flip takes different axes"):
        Flip(axes)


@pytest.mark.parametrize(
    ("kind", "settings", "reason"),
    [
        (Scale, {"low": 0, "high": 1}, "Scale takes 0 < low <= high, not low=0, high=1"),
        (Scale, {"low": 1.2, "high": 0.8}, "Scale takes 0 < low"),
        (Scale, {"low": math.nan, "high": 1}, "Scale takes 0 < low"),
        (Scale, {"low": 1, "high": math.inf}, "Scale takes 0 < low"),
        (Scale, {"low": 0.9, "high": 1.1, "steps": 1}, "2 steps or more"),
        (Scale, {"low": 0.9, "high": 1.1, "fill": "edge"}, "Scale takes fill="),
        (Box, {"low": 0.5, "high": 1.5}, "Box takes 0 < low <= high <= 1"),
        (Box, {"low": 0.0, "high": 0.5}, "Box takes 0 < low"),
        (Rotate, {"degrees": -5}, "Rotate takes degrees 0 or more"),
        (Rotate, {"degrees": math.inf}, "Rotate takes degrees 0 or more"),
        (Rotate, {"degrees": 5, "fill": math.nan}, "Rotate takes fill="),
        (Flip, {"probability": 1.5}, "Flip takes probability from 0 to 1, not 1.5"),
    ],
)
def test_settings_out_of_range_are_refused(kind: Any, settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(SettingError, match=reason):
        kind(**settings)


@pytest.mark.parametrize("transform", [Scale(1, 1), Box(0.5, 1), Rotate(5), Flip()], ids=str)
@pytest.mark.parametrize("shape", [(1, 3), (1, 1, 2, 2, 2, 2)], ids=str)
def test_features_have_no_views(transform: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=f"{type(transform).__name__} needs .*: leave it out"):
        transform(random_images(*shape), generators(0))
