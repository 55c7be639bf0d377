"""Laws of the image parameterizations: bounded, able to show any image, independent within a batch."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from onnxvis import cppn
from onnxvis.colors import Colors, as_colors, natural_color_matrix
from onnxvis.cppn import Cppn
from onnxvis.errors import InputError
from onnxvis.images import Fourier, Parameterization, Pixel
from onnxvis.laplacian import Laplacian
from onnxvis.maco import Maco
from onnxvis.render import read_photo

SWAPPED: Colors = ((0.0, 0.5, 0.0), (0.0, 0.0, 0.3), (1.0, 0.0, 0.2))
FREE: list[Parameterization] = [
    Pixel(),
    Fourier(),
    Fourier(decay=1.5, decorrelate=False),
    Laplacian(),
    Laplacian(decay=1.0, levels=2),
]
PARAMETERIZATIONS: list[Parameterization] = [
    *FREE,
    Fourier(colors=SWAPPED),
    Maco(),
    Maco(decay=1.0, decorrelate=False),
    Cppn(),
    Cppn(width=5, depth=2, decorrelate=False),
]
SHAPES = [
    (1, 3, 16, 16),
    (2, 1, 7, 9),
    (1, 5, 8, 5),
    (2, 3, 9, 12),
    (1, 3, 1, 6),
    (1, 7, 3, 1),
    (1, 2, 31),
    (2, 4, 12),
    (1, 1, 5, 4, 6),
    (1, 3, 4, 3, 5),
]

each_parameterization = pytest.mark.parametrize("parameterization", PARAMETERIZATIONS, ids=str)
each_free_parameterization = pytest.mark.parametrize("parameterization", FREE, ids=str)
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


@pytest.fixture(autouse=True)
def _learns_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cppn, "FIT_STEPS", 5)


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
@pytest.mark.parametrize("seed_image", [None, torch.full((3, 6, 7), 0.3)], ids=["noise", "seed image"])
def test_the_same_generators_give_the_same_bits(parameterization: Parameterization, seed_image: Tensor | None) -> None:
    once, again = (parameterization.start((2, 3, 6, 7), generators(4, 5), seed_image=seed_image) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))


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
    # Maco's magnitudes are no variables.
    for parameter in parameters[:1] if isinstance(parameterization, Maco) else parameters:
        assert parameter.grad is not None
        # The imaginary parts of the mean and of the highest frequency mean nothing in a real image.
        assert (parameter.grad != 0).float().mean() > 0.25
        assert bool((parameter.grad.flatten(1) != 0).any(dim=1).all())


@each_parameterization
@pytest.mark.parametrize("shape", [(1, 3, 8, 9), (1, 2, 9), (1, 1, 3, 4, 5)], ids=str)
def test_gradients_are_those_of_finite_differences(parameterization: Parameterization, shape: tuple[int, ...]) -> None:
    parameters = tuple(p.requires_grad_() for p in started(parameterization, shape))
    weights = torch.randn(shape, generator=generators(3)[0], dtype=torch.float64)
    gradients = torch.autograd.grad(
        (parameterization.render(parameters, shape) * weights).sum(),
        parameters,
        allow_unused=True,
        materialize_grads=True,
    )
    # Along the gradient itself, of which nothing cancels; Maco's magnitudes do not move.
    step = 1e-2 / math.sqrt(sum(g.square().sum().item() for g in gradients))
    with torch.no_grad():
        ahead, behind = (
            (parameterization.render(moved, shape) * weights).sum()
            for sign in (1, -1)
            for moved in [tuple(p + sign * step * g for p, g in zip(parameters, gradients, strict=True))]
        )
    slope = sum(g.double().square().sum().item() for g in gradients)
    assert ((ahead - behind) / (2 * step)).item() == pytest.approx(slope, rel=1e-2)


@each_parameterization
@pytest.mark.parametrize("shape", [(2, 3, 8, 9), (1, 2, 9), (1, 1, 3, 4, 5)], ids=str)
def test_renders_where_the_parameters_are(parameterization: Parameterization, shape: tuple[int, ...]) -> None:
    seed_image = torch.full(shape, 0.3)
    parameters = parameterization.start(shape, generators(*range(shape[0])), seed_image=seed_image)
    moved = tuple(p.to("meta").requires_grad_() for p in parameters)
    image = parameterization.render(moved, shape)
    assert image.device.type == "meta"
    assert image.shape == shape
    (gradient,) = torch.autograd.grad(image.sum(), moved[:1])
    assert gradient.device.type == "meta"


@each_parameterization
def test_any_photo_can_be_the_seed_image(parameterization: Parameterization, shared: Path) -> None:
    photo = read_photo(shared / "images" / "goldfish.jpg", 3, (65, 48))
    parameters = parameterization.start((1, *photo.shape), generators(0), seed_image=photo)
    (image,) = parameterization.render(parameters, (1, *photo.shape))
    assert (image - photo).abs().max().item() < 1 / 255


@each_parameterization
def test_contrast_scales_the_distance_from_mid_grey_in_logits(parameterization: Parameterization) -> None:
    shape = (1, 3, 8, 9)
    once, thrice = (
        torch.logit(parameterization.render(started(parameterization, shape, contrast), shape))
        for contrast in (1.0, 3.0)
    )
    torch.testing.assert_close(thrice, 3 * once, atol=1e-4, rtol=1e-4)


@each_free_parameterization
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


@pytest.mark.parametrize("kind", [Fourier, Laplacian, Maco, Cppn])
def test_three_channels_get_the_colors_that_are_asked_for(kind: type[Fourier | Laplacian | Maco | Cppn]) -> None:
    shape = (64, 3, 12, 12)
    natural, swapped = natural_color_matrix(), torch.tensor(as_colors(SWAPPED))
    # The channels of a small network have much in common.
    tolerance = 0.25 if kind is Cppn else 0.12
    for parameterization, expected in (
        (kind(std=1.0), natural @ natural.T),
        (kind(std=1.0, decorrelate=False), torch.eye(3)),
        (kind(std=1.0, colors=SWAPPED), swapped @ swapped.T),
    ):
        logits = torch.logit(parameterization.render(started(parameterization, shape), shape))
        covariance = torch.cov(logits.transpose(0, 1).flatten(1))
        torch.testing.assert_close(covariance / covariance.trace() * 3, expected, atol=tolerance, rtol=0)


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
