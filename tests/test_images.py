"""Laws of the image parameterizations: bounded, able to show any image, independent within a batch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from onnxvis.colors import natural_color_matrix
from onnxvis.errors import InputError
from onnxvis.images import Fourier, Parameterization, Pixel

PARAMETERIZATIONS = [Pixel(), Fourier(), Fourier(decay=1.5, decorrelate=False)]
SHAPES = [(1, 3, 16, 16), (2, 1, 7, 9), (1, 5, 8, 5), (2, 3, 9, 12), (1, 3, 1, 6), (1, 2, 31), (1, 1, 5, 4, 6)]

each_parameterization = pytest.mark.parametrize("parameterization", PARAMETERIZATIONS, ids=str)
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def started(parameterization: Parameterization, shape: tuple[int, ...], contrast: float = 1.0) -> tuple[Tensor, ...]:
    return parameterization.start(shape, generators(*range(shape[0])), contrast=contrast)


@each_parameterization
@each_shape
def test_noise_starts_as_an_image_around_mid_grey(parameterization: Parameterization, shape: tuple[int, ...]) -> None:
    parameters = started(parameterization, shape)
    image = parameterization.render(parameters, shape)
    assert image.shape == shape
    assert image.dtype == torch.float32
    assert all(p.dtype == torch.float32 and p.is_leaf and len(p) == shape[0] for p in parameters)
    assert 0 < (image - 0.5).abs().max() < 0.5


@each_parameterization
@each_shape
def test_any_image_can_be_the_seed_image(parameterization: Parameterization, shape: tuple[int, ...]) -> None:
    seed_image = torch.rand(shape, generator=generators(7)[0])
    seed_image.view(-1)[:2] = torch.tensor([0.0, 1.0])
    parameters = parameterization.start(shape, generators(*range(shape[0])), seed_image=seed_image)
    difference = (parameterization.render(parameters, shape) - seed_image).abs().max().item()
    assert difference < 1 / 255


@each_parameterization
def test_one_seed_image_serves_the_whole_batch(parameterization: Parameterization) -> None:
    seed_image = torch.rand(3, 6, 7, generator=generators(7)[0])
    parameters = parameterization.start((2, 3, 6, 7), generators(0, 1), seed_image=seed_image)
    for image in parameterization.render(parameters, (2, 3, 6, 7)):
        torch.testing.assert_close(image, seed_image, atol=1 / 255, rtol=0)


@each_parameterization
@each_shape
def test_values_stay_in_the_unit_range_whatever_the_parameters(
    parameterization: Parameterization, shape: tuple[int, ...]
) -> None:
    image = parameterization.render(tuple(1e4 * p for p in started(parameterization, shape)), shape)
    assert bool(torch.isfinite(image).all())
    assert image.min() >= 0
    assert image.max() <= 1
    assert image.max() - image.min() > 0.5


@each_parameterization
def test_an_image_does_not_depend_on_its_batch(parameterization: Parameterization) -> None:
    batch_shape, single_shape = (3, 3, 10, 11), (1, 3, 10, 11)
    batch = parameterization.render(parameterization.start(batch_shape, generators(4, 5, 6)), batch_shape)
    alone = parameterization.render(parameterization.start(single_shape, generators(5)), single_shape)
    torch.testing.assert_close(batch[1:2], alone, atol=1e-6, rtol=0)
    assert not torch.allclose(batch[0], batch[1])


@each_parameterization
def test_same_seed_gives_same_bits(parameterization: Parameterization) -> None:
    shape = (2, 3, 12, 13)
    first, second = (parameterization.render(started(parameterization, shape), shape) for _ in range(2))
    assert torch.equal(first, second)


@each_parameterization
@each_shape
def test_gradient_reaches_all_parameters(parameterization: Parameterization, shape: tuple[int, ...]) -> None:
    parameters = tuple(p.requires_grad_() for p in started(parameterization, shape))
    weights = torch.randn(shape, generator=generators(3)[0])
    torch.autograd.backward((parameterization.render(parameters, shape) * weights).sum())
    for parameter in parameters:
        assert parameter.grad is not None
        # The imaginary parts of the mean and of the highest frequency mean nothing in a real image.
        assert (parameter.grad != 0).float().mean() > 0.25
        assert bool((parameter.grad.flatten(1) != 0).any(dim=1).all())


@each_parameterization
def test_contrast_scales_the_distance_from_mid_grey_in_logits(parameterization: Parameterization) -> None:
    shape = (1, 3, 8, 9)
    once, thrice = (
        torch.logit(parameterization.render(started(parameterization, shape, contrast), shape))
        for contrast in (1.0, 3.0)
    )
    torch.testing.assert_close(thrice, 3 * once, atol=1e-4, rtol=1e-4)


@each_parameterization
def test_gradient_descent_fits_a_given_image(parameterization: Parameterization) -> None:
    shape = (1, 3, 8, 8)
    wanted = torch.rand(shape, generator=generators(9)[0]) * 0.8 + 0.1
    parameters = tuple(p.requires_grad_() for p in started(parameterization, shape))
    optimizer = torch.optim.Adam(parameters, lr=0.5)
    for _ in range(300):
        optimizer.zero_grad()
        error = (parameterization.render(parameters, shape) - wanted).square().sum()
        torch.autograd.backward(error)
        optimizer.step()
    assert error.item() / wanted.numel() < (1 / 255) ** 2


def test_pixel_is_the_sigmoid_of_its_parameters() -> None:
    (logits,) = started(Pixel(std=2.0), (2, 3, 4, 5))
    expected = 1 / (1 + np.exp(-logits.numpy()))
    np.testing.assert_allclose(Pixel().render((logits,), (2, 3, 4, 5)).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("size", [(6, 8), (5, 7), (4, 5), (1, 4)])
@pytest.mark.parametrize("decay", [0.0, 1.0, 1.5])
def test_fourier_is_a_sum_of_waves_with_decaying_amplitudes(size: tuple[int, int], decay: float) -> None:
    (height, width), shape = size, (1, 1, *size)
    (coefficients,) = started(Fourier(decay=decay, std=1.0), shape)
    logits = np.zeros(size)
    variance = 0.0
    rows, columns = np.mgrid[:height, :width]
    for v in range(height):
        for u in range(width // 2 + 1):
            down, right = min(v, height - v) / height, u / width
            amplitude = max(math.hypot(down, right), 1 / max(size)) ** -decay
            # Each wave stands for itself and for its mirror image at -u, unless that is the wave itself.
            halves = 1 if u == 0 or 2 * u == width else 2
            real, imaginary = coefficients[0, 0, v, u].tolist()
            phase = 2 * math.pi * (v * rows / height + u * columns / width)
            logits += halves * amplitude * (real * np.cos(phase) - imaginary * np.sin(phase))
            variance += (halves * amplitude) ** 2
    expected = 1 / (1 + np.exp(-logits / math.sqrt(variance)))
    np.testing.assert_allclose(Fourier(decay=decay).render((coefficients,), shape)[0, 0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("size", [(28, 28), (64, 96), (33, 47)])
def test_normal_fourier_parameters_give_logits_of_unit_variance_at_every_size(size: tuple[int, int]) -> None:
    shape = (64, 3, *size)
    image = Fourier(std=1.0).render(started(Fourier(std=1.0), shape), shape)
    assert torch.logit(image.double()).var().item() == pytest.approx(1.0, abs=0.1)


def test_three_channels_get_natural_colors_only_when_asked_for() -> None:
    shape = (64, 3, 12, 12)
    natural = natural_color_matrix()
    for parameterization, expected in (
        (Fourier(std=1.0), natural @ natural.T),
        (Fourier(std=1.0, decorrelate=False), torch.eye(3)),
    ):
        logits = torch.logit(parameterization.render(started(parameterization, shape), shape))
        covariance = torch.cov(logits.transpose(0, 1).flatten(1))
        torch.testing.assert_close(covariance, expected, atol=0.12, rtol=0)


@each_parameterization
@pytest.mark.parametrize(
    ("seed_image", "problem"),
    [
        (torch.rand(3, 5, 4), "resize it first"),
        (torch.rand(1, 3, 4, 4) * 255, "scale them to"),
        (torch.full((3, 4, 4), float("nan")), "scale them to"),
    ],
)
def test_an_unfit_seed_image_is_refused(parameterization: Parameterization, seed_image: Tensor, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        parameterization.start((1, 3, 4, 4), generators(0), seed_image=seed_image)


@each_parameterization
def test_each_image_needs_its_generator(parameterization: Parameterization) -> None:
    with pytest.raises(ValueError, match="as many generators"):
        parameterization.start((2, 3, 4, 4), generators(0))
