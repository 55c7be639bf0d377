from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from onnxvis.errors import SettingError
from onnxvis.image_input import ImageInput
from onnxvis.preprocess import Preprocess
from onnxvis.robustness import Disturbances, _turned, disturbed

Array = np.ndarray[Any, Any]
USUAL = Disturbances()


def item(*image_shape: int) -> ImageInput:
    channels, *size = image_shape
    return ImageInput("x", (1, *image_shape), Preprocess(), channels, tuple(size))


def eight_bit(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, generator=generator).float() / 255


def smooth(*shape: int) -> Tensor:
    grids = torch.meshgrid(*[torch.linspace(0, 3, size) for size in shape[1:]], indexing="ij")
    waves = 0.5 + 0.4 * torch.sin(sum(grids, torch.zeros(())))
    return (waves.expand(shape) * 255).round() / 255


@pytest.mark.parametrize(
    ("shape", "counts"),
    [
        ((3, 64, 64), {"shift": 4, "turn": 2, "blur": 1, "jpeg": 1}),
        ((1, 28, 20), {"shift": 4, "turn": 2, "blur": 1, "jpeg": 1}),
        ((2, 64, 64), {"shift": 4, "turn": 2, "blur": 1}),
        ((1, 256), {"shift": 2, "blur": 1}),
        ((1, 10, 12, 14), {"shift": 6, "turn": 2, "blur": 1}),
        ((7,), {}),
    ],
)
def test_each_kind_of_image_has_the_disturbances_that_it_knows(shape: tuple[int, ...], counts: dict[str, int]) -> None:
    found = disturbed(eight_bit(*shape), item(*shape), USUAL)
    assert {name: len(copies) for name, copies in found.items()} == counts
    for copies in found.values():
        for copy in copies:
            assert copy.shape == shape
            assert not torch.equal(copy, eight_bit(*shape))
            assert float(copy.min()) >= 0
            assert float(copy.max()) <= 1


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 28, 20), (2, 9, 9)])
def test_a_disturbed_picture_is_one_of_eight_bits(shape: tuple[int, ...]) -> None:
    for copies in disturbed(eight_bit(*shape), item(*shape), USUAL).values():
        for copy in copies:
            np.testing.assert_allclose(copy * 255, (copy * 255).round(), atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "step"), [((3, 224, 224), 8), ((1, 64, 64), 8), ((1, 32, 32), 4), ((1, 5, 5), 1), ((1, 16000), 571)]
)
def test_a_shift_is_eight_pixels_or_a_small_part_of_what_there_is(shape: tuple[int, ...], step: int) -> None:
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    image = (image * 255).round() / 255
    there = disturbed(image, item(*shape), USUAL)["shift"][0]
    torch.testing.assert_close(there[:, step:], image[:, :-step])


def test_a_shift_goes_to_both_sides_of_each_axis_and_mirrors_what_is_outside() -> None:
    image = eight_bit(1, 24, 32)
    wide = np.pad(image[0].numpy(), 4, mode="symmetric")
    down, up = wide[1:25, 4:36], wide[7:31, 4:36]
    right, left = wide[4:28, 0:32], wide[4:28, 8:40]
    for found, expected in zip(disturbed(image, item(1, 24, 32), USUAL)["shift"], (down, up, right, left), strict=True):
        np.testing.assert_allclose(found[0], expected, atol=1e-6)


def test_blurring_is_a_gaussian_filter() -> None:
    image, sigma = torch.zeros(1, 21, 21), 1.5
    image[0, 10, 10] = 1
    found = disturbed(image.repeat(2, 1, 1), item(2, 21, 21), Disturbances(blur=sigma))["blur"][0][0]
    rows, columns = np.mgrid[-10:11, -10:11]
    expected = np.exp(-(rows**2 + columns**2) / (2 * sigma**2))
    np.testing.assert_allclose(found, expected / expected.sum(), atol=0.51 / 255)


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 40), (1, 9, 9, 9), (1, 1, 3)])
def test_neither_shift_nor_turn_nor_blur_changes_a_constant_image(shape: tuple[int, ...]) -> None:
    image = torch.full(shape, 102 / 255)
    for copies in disturbed(image, item(*shape), USUAL).values():
        for copy in copies:
            torch.testing.assert_close(copy, image, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(33, 33), (32, 48)])
def test_turning_there_and_back_gives_the_middle_back(size: tuple[int, int]) -> None:
    image = smooth(2, *size)
    back = _turned(_turned(image, 5.0), -5.0)
    torch.testing.assert_close(back[:, 6:-6, 6:-6], image[:, 6:-6, 6:-6], atol=0.01, rtol=0)


def test_turning_by_a_right_angle_is_an_exact_rotation() -> None:
    image = eight_bit(3, 16, 16)
    torch.testing.assert_close(_turned(image, 90.0), torch.rot90(image, 1, (1, 2)), atol=1e-4, rtol=0)


def test_turning_an_oblong_keeps_distances() -> None:
    image = torch.zeros(1, 21, 41)
    image[0, 10, 30] = 1  # 10 to the right of the middle
    turned = _turned(image, 90.0)[0]
    assert divmod(int(turned.argmax()), 41) == (0, 20)


def test_a_volume_is_turned_slice_by_slice() -> None:
    image = eight_bit(2, 3, 11, 11)
    slices = torch.stack([_turned(image[:, depth], 5.0) for depth in range(3)], 1)
    torch.testing.assert_close(_turned(image, 5.0), slices)


@pytest.mark.parametrize("channels", [1, 3])
def test_compression_is_that_of_a_real_jpeg_file(channels: int) -> None:
    image = eight_bit(channels, 24, 16)
    levels = (image * 255).round().byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(levels if channels == 3 else levels[..., 0]).save(file, "JPEG", quality=75)
    read = np.asarray(Image.open(file)).reshape(24, 16, channels).transpose(2, 0, 1)
    (found,) = disturbed(image, item(channels, 24, 16), USUAL)["jpeg"]
    np.testing.assert_array_equal((found * 255).round(), read)


def test_a_better_jpeg_is_nearer() -> None:
    image = eight_bit(3, 32, 32)
    errors = [
        float((disturbed(image, item(3, 32, 32), Disturbances(quality=quality))["jpeg"][0] - image).abs().mean())
        for quality in (10, 75, 95)
    ]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("wrong", [{"shift": 0}, {"turn": 0}, {"turn": 200}, {"blur": 0}, {"quality": 96}])
def test_disturbances_that_disturb_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="Disturbances are at least"):
        Disturbances(**wrong)
