"""Laws of the random transforms: each image by its own draw, nothing lost, the identity where nothing is drawn."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from onnxvis.distortions import Blur, ColorShift, Noise
from onnxvis.errors import InputError, SettingError
from onnxvis.frames import Crop, Pad
from onnxvis.sampling import fit
from onnxvis.transforms import Invertible, Jitter, RandomAffine, Transform
from onnxvis.views import Box, Flip, Rotate, Scale

AVERAGING: list[Transform] = [
    Jitter(3),
    Jitter(0.25),
    RandomAffine(scale=(0.5, 1.2), rotate=20, shift=0.2),
    Scale(0.8, 1.25),
    Scale(0.9, 1.1, steps=11),
    Box(0.2, 0.9),
    Rotate(30),
    Flip(axes=(-1, -2)),
    Blur(0.2, 1.5),
]
"""Those whose every pixel is a weighted mean of the image's, at the image's size."""
RANDOM = [*AVERAGING, Crop(3), Crop(0.4), Scale(0.5, 0.9, fill=0.5), Rotate(30, fill=0.0), Noise(0.1), ColorShift()]
TRANSFORMS = [*RANDOM, Pad(2), Pad(0.25, fill=0.5)]
SHAPES = [(1, 3, 16, 16), (2, 1, 7, 9), (1, 5, 8, 5)]
LUCID = (Pad(12, fill=0.5), Crop(8), Scale(0.9, 1.1, steps=11, fill=0.5), Rotate(10, fill=0.0), Crop(4))

each_transform = pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
each_random = pytest.mark.parametrize("transform", RANDOM, ids=str)
each_average = pytest.mark.parametrize("transform", AVERAGING, ids=str)
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def random_images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(11))


@each_average
@each_shape
def test_shape_dtype_and_range_are_kept(transform: Transform, shape: tuple[int, ...]) -> None:
    views = transform(random_images(*shape), generators(*range(shape[0])))
    assert views.shape == shape
    assert views.dtype == torch.float32
    assert views.min() >= 0
    assert views.max() <= 1


@each_transform
def test_an_image_does_not_depend_on_its_batch(transform: Transform) -> None:
    images = random_images(3, 3, 10, 12)
    batch = transform(images, generators(4, 5, 6))
    alone = transform(images[1:2], generators(5))
    torch.testing.assert_close(batch[1:2], alone, atol=1e-6, rtol=0)


@each_random
def test_each_image_gets_its_own_draw(transform: Transform) -> None:
    same = random_images(1, 3, 10, 12).expand(4, -1, -1, -1)
    views = transform(same, generators(0, 1, 2, 3))
    assert len({tuple(view.flatten().tolist()) for view in views}) > 1


@each_random
def test_same_seed_gives_same_bits_and_the_next_draw_another_view(transform: Transform) -> None:
    images = random_images(1, 3, 16, 16)
    first, second = (transform(images, generators(2)) for _ in range(2))
    assert torch.equal(first, second)
    stream = generators(2)
    views = [transform(images, stream) for _ in range(4)]
    assert any(not torch.equal(views[0], view) for view in views[1:])


@each_average
def test_gradient_flows_to_the_images(transform: Transform) -> None:
    images = random_images(2, 3, 9, 9).requires_grad_()
    torch.autograd.backward(transform(images, generators(0, 1)).sum())
    assert images.grad is not None
    assert bool((images.grad.flatten(1) > 0).any(dim=1).all())
    # Each view is made of 81 pixels whose weights sum to one.
    torch.testing.assert_close(images.grad.sum(dim=(2, 3)), torch.full((2, 3), 81.0), atol=1e-3, rtol=0)


@each_transform
def test_every_image_gets_a_gradient(transform: Transform) -> None:
    images = random_images(2, 3, 9, 9).requires_grad_()
    (gradient,) = torch.autograd.grad(transform(images, generators(0, 1)).square().sum(), images)
    assert bool((gradient.flatten(1) != 0).any(dim=1).all())


@pytest.mark.parametrize("transform", [item for item in TRANSFORMS if not isinstance(item, Noise)], ids=str)
def test_everything_happens_on_the_device_of_the_images(transform: Transform) -> None:
    # Tensors on the device "meta" have shapes alone: to read a value, or to mix in a tensor of the CPU, is an error.
    view = transform(torch.empty(2, 3, 16, 12, device="meta"), generators(0, 1))
    assert view.device.type == "meta"


@pytest.mark.parametrize("transform", [item for item in TRANSFORMS if not isinstance(item, RandomAffine)], ids=str)
@pytest.mark.parametrize("shape", [(2, 2, 15), (2, 1, 6, 7, 8)], ids=str)
def test_signals_and_volumes_have_views_too(transform: Transform, shape: tuple[int, ...]) -> None:
    images = random_images(*shape)
    if len(shape) == 3 and (isinstance(transform, Rotate) or transform == Flip(axes=(-1, -2))):
        with pytest.raises(InputError, match=r"needs .*images .* or volumes .*: leave it out"):
            transform(images, generators(0, 1))
        return
    views = transform(images, generators(0, 1))
    torch.testing.assert_close(views[1:], transform(images[1:], generators(1)))
    assert fit(views, shape[2:]).shape == shape


@each_transform
def test_settings_are_plain_values_from_which_the_same_transform_can_be_made(transform: Any) -> None:
    settings = json.loads(json.dumps(dataclasses.asdict(transform)))
    again = type(transform)(**{name: tuple(it) if isinstance(it, list) else it for name, it in settings.items()})
    assert again == transform


@pytest.mark.parametrize("size", [(48, 48), (33, 50)])
def test_the_transforms_of_lucid_one_after_another_come_back_to_the_size_of_the_image(size: tuple[int, int]) -> None:
    images = random_images(2, 3, *size).requires_grad_()
    view: Tensor = images
    for transform in LUCID:
        view = transform(view, generators(0, 1))
    assert view.shape[2:] == (size[0] + 12, size[1] + 12)
    view = fit(view, size)
    assert view.shape == images.shape
    (gradient,) = torch.autograd.grad(view.sum(), images)
    # Twelve pixels of margin are more than crops, scale and angle can lose but in the corners.
    assert (gradient > 0).float().mean() > 0.95


@each_transform
def test_each_image_needs_its_generator(transform: Transform) -> None:
    with pytest.raises(ValueError, match="as many generators"):
        transform(random_images(2, 3, 4, 4), generators(0))


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (2, 1, 7, 5), (1, 2, 9), (1, 1, 4, 5, 6)])
def test_jitter_is_a_roll_that_loses_nothing(shape: tuple[int, ...]) -> None:
    images = random_images(*shape)
    axes = tuple(range(2, len(shape)))
    rolls = torch.stack([torch.roll(images, offsets, axes) for offsets in np.ndindex(*shape[2:])])
    rolled = Jitter(2)(images, generators(*range(shape[0])))
    for k in range(shape[0]):
        assert any(torch.equal(rolled[k], candidate) for candidate in rolls[:, k])


def jitter_offsets(jitter: Jitter, size: int, draws: int) -> set[tuple[int, int]]:
    """Read the offsets from where a single bright pixel goes."""
    image = torch.zeros(1, 1, size, size)
    image[..., size // 2, size // 2] = 1
    stream = generators(0)
    found = set()
    for _ in range(draws):
        _, _, row, column = jitter(image, stream).nonzero()[0].tolist()
        found.add((row - size // 2, column - size // 2))
    return found


@pytest.mark.parametrize(("jitter", "largest"), [(Jitter(2), 2), (Jitter(0), 0), (Jitter(0.1), 3), (Jitter(0.0), 0)])
def test_jitter_offsets_are_all_whole_numbers_up_to_the_largest_on_both_sides(jitter: Jitter, largest: int) -> None:
    span = range(-largest, largest + 1)
    assert jitter_offsets(jitter, size=31, draws=600) == {(row, column) for row in span for column in span}


@each_shape
def test_affine_without_range_is_the_identity(shape: tuple[int, ...]) -> None:
    images = random_images(*shape)
    views = RandomAffine()(images, generators(*range(shape[0])))
    torch.testing.assert_close(views, images, atol=1e-5, rtol=0)


def test_affine_at_half_scale_enlarges_the_center_twofold() -> None:
    image = torch.zeros(1, 1, 16, 16)
    image[..., 6:10, 4:12] = 1
    view = RandomAffine(scale=(0.5, 0.5))(image, generators(0))
    # Edges of 2 and 4 pixels from the center come to lie at 4 and 8, softened over one pixel on each side.
    assert view[0, 0, 5:11, 1:15].min() > 0.7
    assert view[0, 0, :3].max() < 1e-5
    assert view[0, 0, 13:].max() < 1e-5


def bilinear_view(image: np.ndarray, locate: Callable[[float, float], tuple[float, float]]) -> np.ndarray:
    """Sample (H, W) at located positions, in pixels from the image's center, one pixel after the other."""
    height, width = image.shape
    view = np.zeros_like(image)
    for row in range(height):
        for column in range(width):
            down, right = locate(row - (height - 1) / 2, column - (width - 1) / 2)
            y, x = down + (height - 1) / 2, right + (width - 1) / 2
            top, left = math.floor(y), math.floor(x)
            for j, i in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
                weight = (1 - abs(y - j)) * (1 - abs(x - i))
                view[row, column] += weight * image[mirrored(j, height), mirrored(i, width)]
    return view


def mirrored(index: int, size: int) -> int:
    index %= 2 * size
    return min(index, 2 * size - 1 - index)


@pytest.mark.parametrize("size", [(9, 14), (12, 12), (15, 8)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_affine_turns_scales_and_shifts_as_the_slow_definition(size: tuple[int, int], seed: int) -> None:
    affine = RandomAffine(scale=(0.5, 1.3), rotate=40, shift=0.15)
    image = random_images(1, 1, *size)
    scale, angle, right, down = torch.rand(4, generator=generators(seed)[0], dtype=torch.float64).tolist()
    factor, radians = 0.5 + 0.8 * scale, math.radians(40) * (2 * angle - 1)
    center = (0.15 * (2 * down - 1) * size[0], 0.15 * (2 * right - 1) * size[1])

    def locate(y: float, x: float) -> tuple[float, float]:
        return (
            factor * (math.sin(radians) * x + math.cos(radians) * y) + center[0],
            factor * (math.cos(radians) * x - math.sin(radians) * y) + center[1],
        )

    expected = bilinear_view(image[0, 0].double().numpy(), locate)
    np.testing.assert_allclose(affine(image, generators(seed))[0, 0].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("pixels", [-1, -0.1, 1.0, 8.5, math.nan, math.inf])
def test_jitter_outside_its_range_is_refused(pixels: float) -> None:
    with pytest.raises(SettingError, match="Jitter takes whole pixels"):
        Jitter(pixels)


@pytest.mark.parametrize("settings", [{"scale": (0.0, 1.0)}, {"scale": (1.2, 0.8)}, {"rotate": -5}, {"shift": -0.1}])
def test_affine_outside_its_range_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(SettingError, match="RandomAffine takes"):
        RandomAffine(**settings)  # type: ignore[arg-type]


def test_affine_of_a_signal_is_refused() -> None:
    with pytest.raises(InputError, match="use Jitter alone"):
        RandomAffine()(random_images(1, 1, 9), generators(0))


def test_an_invertible_change_sees_each_image_alone_and_its_gradient_comes_back_unchanged() -> None:
    images = torch.rand(2, 3, 4, 5, requires_grad=True)
    seen: list[tuple[int, ...]] = []

    def rolled(image: Tensor) -> Tensor:
        seen.append(tuple(image.shape))
        # By way of numpy, through which no gradient passes.
        return torch.from_numpy(np.roll(image.numpy(), 2, 3))

    def back(image: Tensor) -> Tensor:
        return torch.from_numpy(np.roll(image.numpy(), -2, 3))

    view = Invertible(rolled, back)(images, generators(0, 1))
    assert torch.equal(view, torch.roll(images, 2, 3))
    assert seen == [(1, 3, 4, 5)] * 2
    weights = torch.rand(2, 3, 4, 5)
    (gradient,) = torch.autograd.grad((view * weights).sum(), images)
    assert torch.equal(gradient, torch.roll(weights, -2, 3))


@pytest.mark.parametrize(
    ("forward", "inverse", "reason"),
    [
        (lambda image: image.numpy(), lambda image: image, "not ndarray"),
        (lambda image: image.expand(2, -1, -1, -1), lambda image: image, r"not \(2, 3, 4, 5\)"),
        (lambda image: image[..., :3], lambda image: image, r"inverse of a transform gives shape \(1, 3, 4, 3\)"),
    ],
)
def test_changes_that_are_none_are_refused(forward: Any, inverse: Any, reason: str) -> None:
    images = torch.rand(1, 3, 4, 5, requires_grad=True)
    with pytest.raises(SettingError, match=reason):
        Invertible(forward, inverse)(images, generators(1)).sum().backward()  # type: ignore[no-untyped-call] # torch's
