from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from onnxvis.errors import SettingError
from onnxvis.gradients import GRADIENT_MODIFIERS, modified, modifier_of

EPSILON = 1e-7
TWINS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "negate": lambda g: -g,
    "absolute": np.abs,
    "invert": lambda g: 1 / (g + EPSILON),
    "relu": lambda g: np.where(g > 0, g, 0),
    "small_values": lambda g: np.abs(1 / (g + EPSILON)),
}


def gradient(modifier: Callable[[Tensor], Tensor], arriving: Tensor) -> Tensor:
    images = torch.rand(arriving.shape, requires_grad=True)
    return torch.autograd.grad(modified(images, modifier), images, arriving)[0]


def arriving(scale: float = 1.0) -> Tensor:
    return scale * torch.randn(3, 2, 4, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e-25])
@pytest.mark.parametrize("name", TWINS)
def test_modifiers_do_what_they_say_to_the_ascent_gradient_and_keep_its_length(name: str, scale: float) -> None:
    wanted = []
    for loss_gradient in arriving(scale).double().numpy():
        ascent = -loss_gradient
        changed = TWINS[name](ascent / np.sqrt(np.mean(ascent**2)))
        wanted.append(-changed * np.sqrt(np.sum(ascent**2)) / np.sqrt(np.sum(changed**2)))
    found = gradient(modifier_of(name), arriving(scale))
    np.testing.assert_allclose(found / scale, np.array(wanted) / scale, rtol=1e-4, atol=1e-6)


def test_every_modifier_has_a_twin() -> None:
    assert set(TWINS) == set(GRADIENT_MODIFIERS)


@pytest.mark.parametrize("name", GRADIENT_MODIFIERS)
def test_modifiers_alone_are_keras_viss(name: str) -> None:
    values = torch.tensor([-2.0, -1e-3, 0.0, 0.5, 3.0])
    np.testing.assert_allclose(modifier_of(name)(values), TWINS[name](values.double().numpy()), rtol=1e-3)


def test_the_images_pass_unchanged() -> None:
    images = torch.rand(2, 3, 4, 4)
    assert torch.equal(modified(images, modifier_of("invert")), images)


@pytest.mark.parametrize("name", GRADIENT_MODIFIERS)
def test_a_gradient_of_zero_stays_zero_and_does_not_touch_the_others(name: str) -> None:
    silent = arriving()
    silent[1] = 0
    found, whole = gradient(modifier_of(name), silent), gradient(modifier_of(name), arriving())
    assert float(found[1].abs().max()) == 0
    assert torch.equal(found[[0, 2]], whole[[0, 2]])


def test_a_modifier_that_leaves_nothing_gives_zero() -> None:
    # The gradient of the loss is positive, so the ascent gradient is negative.
    assert float(gradient(modifier_of("relu"), torch.ones(1, 1, 2, 2)).abs().max()) == 0


def test_a_function_sees_one_image_at_a_time_at_a_root_mean_square_of_one() -> None:
    seen: list[Tensor] = []

    def peak(ascent: Tensor) -> Tensor:
        seen.append(ascent.clone())
        return ascent / ascent.abs().max()

    found = gradient(peak, arriving(1e-3))
    torch.testing.assert_close(found, arriving(1e-3))
    assert [tuple(one.shape) for one in seen] == [(1, 2, 4, 5)] * 3
    for one in seen:
        assert float(one.square().mean()) == pytest.approx(1, rel=1e-5)


def test_a_function_may_return_another_float_type() -> None:
    torch.testing.assert_close(gradient(lambda ascent: ascent.double(), arriving()), arriving())


def test_what_a_function_returns_is_checked() -> None:
    def shortened(ascent: Tensor) -> Tensor:
        return ascent[:, :1]

    def number(ascent: Tensor) -> float:
        return float(ascent.sum())

    with pytest.raises(SettingError, match=r"shortened made \(1, 1, 4, 5\) of a gradient of shape \(1, 2, 4, 5\)"):
        gradient(shortened, arriving())
    with pytest.raises(SettingError, match="number returned float"):
        gradient(number, arriving())  # type: ignore[arg-type] # the mistake


def test_functions_are_modifiers_and_unknown_names_are_answered_by_the_known_ones() -> None:
    assert modifier_of(torch.sign) is torch.sign
    with pytest.raises(SettingError, match=r"'sharpen'.*negate, absolute, invert, relu, small_values"):
        modifier_of("sharpen")


@pytest.mark.parametrize("name", GRADIENT_MODIFIERS)
def test_mapped_over_the_batch_every_image_gets_the_same(name: str) -> None:
    images, weights = torch.rand(3, 2, 4, 5, requires_grad=True), arriving()
    modifier = modifier_of(name)
    mapped = torch.func.vmap(lambda image: modified(image, modifier))(images.unsqueeze(1)).squeeze(1)
    (found,) = torch.autograd.grad(mapped, images, weights)
    torch.testing.assert_close(found, gradient(modifier, weights))

    def loss(image: Tensor, weight: Tensor) -> Tensor:
        return (modified(image[None], modifier)[0] * weight).sum()

    torch.testing.assert_close(torch.func.vmap(torch.func.grad(loss))(images.detach(), weights), found)
