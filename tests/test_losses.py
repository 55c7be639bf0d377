import math

import numpy as np
import pytest
import torch
from torch import Tensor

from onnxvis.activations import unit_activation
from onnxvis.errors import FilterError, SettingError
from onnxvis.losses import ActivationMaximization, LpNorm, TotalVariation
from onnxvis.scene import Scene


def scene(image: Tensor, activation: Tensor | None = None) -> Scene:
    return Scene(image, image, {"": torch.zeros(len(image), 1) if activation is None else activation})


def random_images(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


def slow_total_variation(image: np.ndarray, beta: float) -> float:
    """The definition, pixel by pixel: (C, H, W)."""
    channels, height, width = image.shape
    total = 0.0
    for c in range(channels):
        for y in range(height - 1):
            for x in range(width - 1):
                down, right = image[c, y + 1, x] - image[c, y, x], image[c, y, x + 1] - image[c, y, x]
                total += (down**2 + right**2) ** (beta / 2)
    return float(total / (channels * (height - 1) * (width - 1)))


@pytest.mark.parametrize("beta", [1.0, 1.5, 2.0, 3.0])
def test_total_variation_agrees_with_its_definition(beta: float) -> None:
    images = random_images(2, 3, 5, 7)
    found = TotalVariation(beta)(scene(images))
    wanted = [slow_total_variation(image, beta) for image in images.numpy()]
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4)


@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_total_variation_of_a_constant_image_is_zero_and_so_is_its_gradient(beta: float) -> None:
    image = torch.full((1, 3, 6, 6), 0.3, requires_grad=True)
    loss = TotalVariation(beta)(scene(image))
    (gradient,) = torch.autograd.grad(loss.sum(), image)
    assert loss.item() == pytest.approx(0, abs=1e-9)
    assert gradient.abs().max() == 0


def test_total_variation_works_on_signals_and_volumes_and_single_pixels() -> None:
    signal, volume, pixel = random_images(1, 2, 9), random_images(1, 2, 4, 5, 6), random_images(1, 3, 1, 1)
    assert TotalVariation()(scene(signal)).item() == pytest.approx(signal.diff(dim=2).square().mean().item())
    assert TotalVariation()(scene(volume)).item() > 0
    assert TotalVariation()(scene(pixel)).item() == 0


@pytest.mark.parametrize("p", [1.0, 2.0, 6.0, math.inf])
def test_lp_norm_agrees_with_its_definition(p: float) -> None:
    images = random_images(2, 3, 5, 7)
    found = LpNorm(p)(scene(images)).numpy()
    distance = np.abs(2 * images.numpy() - 1).reshape(2, -1)
    wanted = distance.max(1) if math.isinf(p) else np.mean(distance**p, axis=1) ** (1 / p)
    np.testing.assert_allclose(found, wanted, rtol=1e-10)


def test_lp_norm_is_zero_on_grey_and_one_on_black_and_white_with_finite_gradients() -> None:
    grey = torch.full((1, 1, 2, 2), 0.5, requires_grad=True)
    loss = LpNorm()(scene(grey))
    (gradient,) = torch.autograd.grad(loss.sum(), grey)
    assert loss.item() < 1e-6
    assert torch.isfinite(gradient).all()
    assert LpNorm()(scene(torch.tensor([0.0, 1.0]).view(1, 1, 1, 2))).item() == pytest.approx(1)


def test_lp_norm_refuses_exponents_below_one() -> None:
    with pytest.raises(ValueError, match="p >= 1"):
        LpNorm(0.5)


@pytest.mark.parametrize("loss", [TotalVariation(1.5), TotalVariation(2), LpNorm(2), LpNorm(6)])
def test_gradients_of_regularizers_agree_with_finite_differences(loss: TotalVariation | LpNorm) -> None:
    image = random_images(1, 2, 4, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(scene(x)), image)


def test_activation_is_the_mean_of_each_filter_summed_over_the_filters() -> None:
    activation = random_images(2, 4, 3, 5)
    loss = ActivationMaximization(filters=(1, 3), channel_axis=1)
    wanted = -(activation[:, 1].mean((1, 2)) + activation[:, 3].mean((1, 2)))
    torch.testing.assert_close(loss(scene(random_images(2, 3, 2, 2), activation)), wanted)


def test_another_image_in_the_batch_changes_no_loss() -> None:
    images, activation = random_images(3, 3, 6, 6), random_images(3, 4, 2, 2)
    objective = ActivationMaximization((1,), channel_axis=1) + 0.5 * TotalVariation() + 2 * LpNorm()
    together = objective(scene(images, activation))
    alone = objective(scene(images[1:2], activation[1:2]))
    for one, all_of_them in zip(alone, together, strict=True):
        torch.testing.assert_close(one, all_of_them[1:2])


def test_each_image_of_a_batch_has_its_own_filters() -> None:
    activation = random_images(3, 5, 2, 2)
    for filters in ([(1,), (4,), (0,)], [(1, 2), (4, 0), (3, 1)], [(1, 2), (4,), ()]):
        together = unit_activation(activation, filters, 1)
        alone = [unit_activation(activation[index : index + 1], [chosen], 1) for index, chosen in enumerate(filters)]
        torch.testing.assert_close(together, torch.cat(alone))
    scene_ = Scene(random_images(3, 1, 4, 4), random_images(3, 1, 4, 4), {"": activation}, filters=((0,), (1,), (2,)))
    found = ActivationMaximization(channel_axis=1)(scene_)
    torch.testing.assert_close(found, -torch.stack([activation[index, index].mean() for index in range(3)]))


def test_activations_with_an_axis_for_the_images_are_read_one_by_one() -> None:
    # Of each image (positions, channels), without a batch.
    activation = random_images(3, 7, 5)
    scene_ = Scene(
        random_images(3, 1, 4, 4),
        random_images(3, 1, 4, 4),
        {"": activation},
        filters=((0,), (1,), (2,)),
        stacked=frozenset({""}),
    )
    found = ActivationMaximization(channel_axis=1)(scene_)
    torch.testing.assert_close(found, -torch.stack([activation[index, :, index].mean() for index in range(3)]))


@pytest.mark.parametrize("goal", [2.0, -3.0, 0.0])
def test_a_value_to_reach_is_the_distance_from_it_rounded_off_near_by(goal: float) -> None:
    values = np.linspace(-6, 6, 41)
    near = 0.1 * (abs(goal) or 1)
    distance = np.abs(values - goal)
    wanted = np.where(distance < near, distance**2 / (2 * near), distance - near / 2)
    activation = torch.tensor(values, dtype=torch.float32)[:, None]
    scene_ = Scene(random_images(41, 1, 2, 2), random_images(41, 1, 2, 2), {"": activation})
    found = ActivationMaximization((0,), channel_axis=1, goal=goal)(scene_)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5, atol=1e-6)


def test_minimizing_turns_the_sign() -> None:
    activation = random_images(2, 5)
    scene_ = Scene(random_images(2, 1, 2, 2), random_images(2, 1, 2, 2), {"": activation})
    torch.testing.assert_close(ActivationMaximization((3,), channel_axis=1, goal="minimize")(scene_), activation[:, 3])


def test_regularizers_look_at_every_optimized_input() -> None:
    first, second = random_images(2, 3, 5, 5), random_images(2, 1, 8)
    both = Scene(first, first, {}, {"a": first, "b": second})
    for loss in (TotalVariation(), LpNorm()):
        torch.testing.assert_close(loss(both), loss(Scene(first, first, {})) + loss(Scene(second, second, {})))


def test_features_have_no_total_variation() -> None:
    features = random_images(3, 12).requires_grad_()
    variation = TotalVariation()(Scene(features, features, {}))
    assert variation.tolist() == [0, 0, 0]
    assert variation.requires_grad


def test_one_filter_and_one_position_may_be_given_as_numbers() -> None:
    loss = ActivationMaximization(3, neuron=2)  # type: ignore[arg-type] # as a person would write it
    assert (loss.filters, loss.neuron) == ((3,), (2,))


def test_a_filter_that_is_not_there_is_refused() -> None:
    with pytest.raises(FilterError, match="Filter 4 is not one of the layer's 4: give 0 to 3"):
        ActivationMaximization((4,), channel_axis=1)(scene(random_images(2, 3, 2, 2), random_images(2, 4, 3, 3)))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"neuron": "corner"}, "neuron is 'center' or one number for each spatial axis, not 'corner'"),
        ({"goal": "more"}, "goal is 'maximize', 'minimize' or a number to reach, not 'more'"),
        ({"goal": math.nan}, "goal is"),
        ({"goal": True}, "goal is"),
    ],
)
def test_settings_of_another_kind_are_refused(settings: dict[str, object], reason: str) -> None:
    with pytest.raises(SettingError, match=reason):
        ActivationMaximization(**settings)  # type: ignore[arg-type] # that is the point
