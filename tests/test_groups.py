from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from onnxvis.algebra import Loss
from onnxvis.errors import FilterError, SettingError
from onnxvis.groups import Alignment, Diversity, Interpolation, Tuning
from onnxvis.losses import ActivationMaximization
from onnxvis.scene import Activations, Scene

ALL = [
    Interpolation((1,), (4, 0), channel_axis=1),
    Tuning((0.0, 2.0, -1.0), (3,), channel_axis=1),
    Diversity(channel_axis=1),
    Alignment(),
    Alignment(decay=1.0, reach=1),
]


def random_tensor(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def scene(activation: Tensor, *, stacked: bool = False, **given: Any) -> Scene:
    image = random_tensor(len(activation), 3, 4, 4)
    names = frozenset({""}) if stacked else frozenset()
    return Scene(image, image, Activations({"": activation}), stacked=names, **given)


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_gradients_agree_with_finite_differences(loss: Loss) -> None:
    activation = random_tensor(3, 5, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(scene(x)), activation)


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_nothing_leaves_the_device(loss: Loss) -> None:
    # Tensors without data mix with no other device, and have no numbers to wait for.
    activation = torch.zeros(3, 5, 2, 3, device="meta")
    image = torch.zeros(3, 3, 4, 4, device="meta")
    assert loss(Scene(image, image, Activations({"": activation}))).device.type == "meta"


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_they_say_that_their_images_belong_together(loss: Loss) -> None:
    assert loss.coupled
    assert loss.distinct == isinstance(loss, Diversity)


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_one_image_in_float32_has_a_number_and_a_gradient(loss: Loss) -> None:
    image = torch.rand(1, 3, 4, 4, requires_grad=True)
    activation = image.mean((2, 3)).repeat(1, 2)
    found = loss(Scene(image, image, Activations({"": activation})))
    assert found.shape == (1,)
    assert math.isfinite(found.item())
    (gradient,) = torch.autograd.grad(found.sum(), image)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_stacked_layers_give_the_same(loss: Any) -> None:
    activation = random_tensor(3, 5, 2, 3)
    alone = loss if isinstance(loss, Alignment) else dataclasses.replace(loss, channel_axis=0)
    torch.testing.assert_close(alone(scene(activation, stacked=True)), loss(scene(activation)))


def test_an_interpolation_goes_from_one_unit_to_the_other_in_equal_parts() -> None:
    activation = random_tensor(5, 6, 2, 3)
    found = Interpolation((1,), (4, 0), channel_axis=1)(scene(activation))
    wanted = []
    for i, image in enumerate(activation.numpy()):
        t = i / 4
        wanted.append(-((1 - t) * image[1].mean() + t * (image[4].mean() + image[0].mean())))
    np.testing.assert_allclose(found.numpy(), wanted)


def test_the_ends_of_an_interpolation_are_the_units() -> None:
    activation = random_tensor(3, 6, 4, 4)
    for neuron in (None, (1, 2)):
        found = Interpolation((2,), (5,), channel_axis=1, neuron=neuron)(scene(activation))
        for index, unit in ((0, 2), (2, 5)):
            alone = ActivationMaximization((unit,), channel_axis=1, neuron=neuron)(scene(activation))
            torch.testing.assert_close(found[index], alone[index])


@pytest.mark.parametrize(
    "loss", [Interpolation((1,), (4,), channel_axis=1), Tuning((0.0, 2.0, -1.0), (3,), channel_axis=1)], ids=repr
)
def test_an_image_alone_that_knows_its_place_has_the_loss_that_it_has_in_the_group(loss: Loss) -> None:
    activation = random_tensor(3, 5, 2, 2)
    together = loss(scene(activation))
    for index in range(3):
        alone = loss(scene(activation[index : index + 1], places=((index, 3),)))
        torch.testing.assert_close(alone, together[index : index + 1])


def test_an_interpolation_of_one_image_is_its_beginning() -> None:
    activation = random_tensor(1, 5, 3)
    wanted = ActivationMaximization((1,), channel_axis=1)(scene(activation))
    torch.testing.assert_close(Interpolation((1,), (4,), channel_axis=1)(scene(activation)), wanted)


def test_filters_of_an_interpolation_are_looked_up() -> None:
    assert Interpolation(1, 4) == Interpolation((1,), (4,))  # type: ignore[arg-type] # as a person would write it
    with pytest.raises(FilterError, match="Filter 9 is not one of the layer's 5"):
        Interpolation((1,), (9,), channel_axis=1)(scene(random_tensor(2, 5, 3)))


def test_each_image_of_a_tuning_curve_has_its_own_value_to_reach() -> None:
    activation, values = random_tensor(4, 5, 2, 2), (0.0, 0.5, 1.0, -2.0)
    found = Tuning(values, (3,), channel_axis=1)(scene(activation))
    for index, value in enumerate(values):
        alone = ActivationMaximization((3,), channel_axis=1, goal=value)(scene(activation[index : index + 1]))
        torch.testing.assert_close(found[index : index + 1], alone)


def test_a_tuning_curve_takes_the_filters_of_the_target() -> None:
    activation = random_tensor(2, 5, 2, 2)
    own = Tuning((1.0, 2.0), (3,), channel_axis=1)(scene(activation))
    torch.testing.assert_close(Tuning((1.0, 2.0), channel_axis=1)(scene(activation, filters=((3,), (3,)))), own)


def test_a_tuning_curve_needs_a_finite_value_for_each_image() -> None:
    with pytest.raises(SettingError, match="has 2 values for 3 images"):
        Tuning((1.0, 2.0), (3,), channel_axis=1)(scene(random_tensor(3, 5)))
    for values in ((), (1.0, math.nan)):
        with pytest.raises(SettingError, match="needs finite values"):
            Tuning(values)


def slow_diversity(activation: np.ndarray) -> list[float]:
    """The definition: (N, C, P)."""
    grams = []
    for image in activation:
        gram = np.zeros((len(image), len(image)))
        for position in image.T:
            gram += np.outer(position, position)
        grams.append(gram / np.linalg.norm(gram))
    count = len(grams)
    return [sum(np.sum(grams[i] * grams[j]) for j in range(count) if j != i) / (count - 1) for i in range(count)]


def test_diversity_agrees_with_its_definition() -> None:
    activation = random_tensor(4, 5, 3, 2)
    found = Diversity(channel_axis=1)(scene(activation)).numpy()
    np.testing.assert_allclose(found, slow_diversity(activation.flatten(2).numpy()))


def test_equal_images_have_all_the_likeness_and_images_of_other_channels_none() -> None:
    one = random_tensor(1, 4, 3, 3)
    assert Diversity(channel_axis=1)(scene(torch.cat([one, 7 * one]))).tolist() == pytest.approx([1, 1])
    # Where things are does not matter.
    assert Diversity(channel_axis=1)(scene(torch.cat([one, one.flip(2, 3)]))).tolist() == pytest.approx([1, 1])
    apart = torch.cat([torch.cat([one, 0 * one], 1), torch.cat([0 * one, one], 1)])
    assert Diversity(channel_axis=1)(scene(apart)).tolist() == pytest.approx([0, 0])


@pytest.mark.parametrize("scale", [0.0, 1e-8, 1e8])
def test_diversity_is_finite_at_every_scale(scale: float) -> None:
    activation = (random_tensor(3, 5, 4, 4).float() * scale).requires_grad_()
    found = Diversity(channel_axis=1)(scene(activation))
    (gradient,) = torch.autograd.grad(found.sum(), activation)
    assert torch.isfinite(found).all()
    assert torch.isfinite(gradient).all()
    if scale > 0:
        torch.testing.assert_close(found, Diversity(channel_axis=1)(scene(random_tensor(3, 5, 4, 4).float())))


def slow_alignment(activation: np.ndarray, decay: float, reach: int) -> list[float]:
    """The definition: (N, M)."""
    wanted = []
    for i, a in enumerate(activation):
        total = weights = 0.0
        for j, b in enumerate(activation):
            if 1 <= abs(i - j) <= reach:
                weight = decay ** -abs(i - j)
                total += weight * 2 * np.sum((a - b) ** 2) / (np.sum(a**2) + np.sum(b**2))
                weights += weight
        wanted.append(total / weights)
    return wanted


@pytest.mark.parametrize(("decay", "reach"), [(2.0, 4), (1.0, 1), (3.0, 99)])
def test_alignment_agrees_with_its_definition(decay: float, reach: int) -> None:
    activation = random_tensor(7, 4, 2, 2)
    found = Alignment(decay=decay, reach=reach)(scene(activation))
    np.testing.assert_allclose(found.numpy(), slow_alignment(activation.flatten(1).numpy(), decay, reach))


def test_alike_images_are_aligned_and_opposite_ones_are_not() -> None:
    one = random_tensor(1, 4, 3, 3)
    assert Alignment()(scene(one.repeat(4, 1, 1, 1))).tolist() == [0, 0, 0, 0]
    assert Alignment()(scene(torch.cat([one, -one]))).tolist() == pytest.approx([4, 4])
    assert Alignment()(scene(torch.zeros(3, 4))).tolist() == [0, 0, 0]


def test_images_beyond_reach_do_not_count() -> None:
    activation = random_tensor(5, 4)
    moved = activation.clone()
    moved[4] += 1
    before, after = (Alignment(reach=2)(scene(layer)) for layer in (activation, moved))
    torch.testing.assert_close(before[:2], after[:2])
    assert not torch.equal(before[2:], after[2:])


@pytest.mark.parametrize("settings", [{"decay": 0.5}, {"reach": 0}, {"decay": math.inf}])
def test_what_is_no_neighborhood_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="decay and reach must be 1 or more"):
        Alignment(**settings)


def test_losses_are_named_after_what_they_look_at() -> None:
    losses = (Interpolation((1,), (2,), "a"), Tuning((1.0,), node="b"), Diversity("c"), Alignment("d"))
    assert [loss.name for loss in losses] == ["interpolation a", "tuning b", "diversity c", "alignment d"]
