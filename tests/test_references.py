from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from onnxvis.algebra import Loss
from onnxvis.errors import SettingError
from onnxvis.references import Caricature, Nearness, PixelDistance
from onnxvis.scene import Activations, Scene

ALL = [Caricature(), Caricature(power=0), Caricature(power=2.5), Nearness(), PixelDistance()]


def random_tensor(*shape: int, seed: int = 4) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scene(activation: Tensor, photo: Tensor, image: Tensor | None = None) -> Scene:
    looked_at = random_tensor(len(activation), 3, 4, 5) if image is None else image
    seen = random_tensor(len(activation), 3, 4, 5, seed=5)
    return Scene(looked_at, looked_at, Activations({"": activation}), reference={"": photo}, reference_image=seen)


def related() -> tuple[Tensor, Tensor]:
    """A layer for three images, and for a photo that they resemble."""
    photo = random_tensor(3, 6, 2, 3)
    return 2 * photo + random_tensor(3, 6, 2, 3, seed=6), photo


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_another_image_in_the_batch_changes_nothing(loss: Loss) -> None:
    together = scene(*related())
    found = loss(together)
    for index in range(3):
        chosen = slice(index, index + 1)
        alone = dataclasses.replace(
            together,
            image=together.image[chosen],
            activations=Activations({"": together.activations[""][chosen]}),
            reference={"": together.reference[""][chosen]},
            reference_image=None if together.reference_image is None else together.reference_image[chosen],
        )
        torch.testing.assert_close(loss(alone), found[chosen])


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_gradients_agree_with_finite_differences(loss: Loss) -> None:
    activation, photo = related()
    image = random_tensor(3, 3, 4, 5)
    inputs = (activation.requires_grad_(), image.requires_grad_())
    used = inputs[1:] if isinstance(loss, PixelDistance) else inputs[:1]

    def looked(tensor: Tensor) -> Tensor:
        return loss(scene(activation, photo, tensor) if tensor.shape == image.shape else scene(tensor, photo))

    assert torch.autograd.gradcheck(looked, used)


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_nothing_leaves_the_device(loss: Loss) -> None:
    # Tensors without data mix with no other device, and have no numbers to wait for.
    layer, image = torch.zeros(2, 6, 3, 4, device="meta"), torch.zeros(2, 3, 4, 4, device="meta")
    looked_at = Scene(image, image, Activations({"": layer}), reference={"": layer}, reference_image=image)
    assert loss(looked_at).device.type == "meta"


@pytest.mark.parametrize("power", [0.0, 1.0, 3.0])
def test_a_caricature_agrees_with_its_definition(power: float) -> None:
    activation, photo = related()
    found = Caricature(power=power)(scene(activation, photo))
    wanted = []
    for a, r in zip(activation.flatten(1).numpy(), photo.flatten(1).numpy(), strict=True):
        cosine = a @ r / math.sqrt((a @ a) * (r @ r))
        wanted.append(-(a @ r) / (r @ r) * max(0.1, cosine) ** power)
    np.testing.assert_allclose(found.numpy(), wanted)


def test_the_photo_is_its_own_caricature_of_strength_one_and_twice_as_much_of_strength_two() -> None:
    photo = random_tensor(2, 6, 3, 3)
    for factor in (1.0, 2.0, 0.5):
        found = Caricature()(scene(factor * photo, photo))
        torch.testing.assert_close(found, torch.full((2,), -factor, dtype=torch.float64))


def test_what_points_elsewhere_is_no_caricature_but_has_a_way_back() -> None:
    photo = random_tensor(1, 6, 2, 2)
    opposite = (-photo).requires_grad_()
    loss = Caricature()(scene(opposite, photo))
    (gradient,) = torch.autograd.grad(loss.sum(), opposite)
    assert loss.item() == pytest.approx(0.1)
    assert (gradient * photo).sum() < 0


def test_nearness_is_zero_for_the_photo_and_one_for_silence() -> None:
    photo = random_tensor(2, 6, 3, 3)
    assert Nearness()(scene(photo, photo)).tolist() == [0, 0]
    assert Nearness()(scene(0 * photo, photo)).tolist() == pytest.approx([1, 1])
    activation, photo = related()
    wanted = [np.sum((a - r) ** 2) / np.sum(r**2) for a, r in zip(activation.numpy(), photo.numpy(), strict=True)]
    np.testing.assert_allclose(Nearness()(scene(activation, photo)).numpy(), wanted)


def test_a_scale_of_the_layer_changes_nothing() -> None:
    activation, photo = related()
    for loss in (Caricature(), Nearness()):
        torch.testing.assert_close(
            loss(scene(1000 * activation, 1000 * photo)), loss(scene(activation, photo)), rtol=1e-9, atol=0
        )


@pytest.mark.parametrize("loss", [Caricature(), Nearness()], ids=repr)
def test_a_photo_that_a_layer_does_not_answer_to_gives_finite_numbers(loss: Loss) -> None:
    activation = random_tensor(2, 6, 3, 3).requires_grad_()
    found = loss(scene(activation, torch.zeros(2, 6, 3, 3, dtype=torch.float64)))
    (gradient,) = torch.autograd.grad(found.sum(), activation)
    assert torch.isfinite(found).all()
    assert torch.isfinite(gradient).all()


def test_pixel_distance_is_the_mean_squared_difference() -> None:
    looked_at = scene(*related())
    assert looked_at.reference_image is not None
    wanted = ((looked_at.image - looked_at.reference_image) ** 2).mean((1, 2, 3))
    torch.testing.assert_close(PixelDistance()(looked_at), wanted)
    # One photo for all.
    one = dataclasses.replace(looked_at, reference_image=looked_at.reference_image[:1])
    torch.testing.assert_close(PixelDistance()(one)[:1], wanted[:1])


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_without_a_photo_they_say_what_is_missing(loss: Loss) -> None:
    image = random_tensor(1, 3, 2, 2)
    with pytest.raises(SettingError, match=r"no photo to compare with: give a seed image \(--from\)"):
        loss(Scene(image, image, Activations({"": image})))
    assert loss.compares
    assert not loss.coupled


def test_powers_below_zero_are_refused() -> None:
    with pytest.raises(SettingError, match="power must be 0 or more"):
        Caricature(power=-1)


def test_losses_are_named_after_what_they_look_at() -> None:
    assert [loss.name for loss in (Caricature("mixed4c"), Nearness("conv1"), PixelDistance())] == [
        "caricature mixed4c",
        "nearness conv1",
        "pixel distance",
    ]


def test_layers_without_a_batch_are_compared_image_by_image() -> None:
    activation, photo = related()
    image = random_tensor(3, 3, 4, 5)
    stacked = Scene(
        image, image, Activations({"": activation}), reference={"": photo}, stacked=frozenset({""}), copies=6
    )
    for loss in (Caricature(), Nearness()):
        torch.testing.assert_close(loss(stacked), loss(scene(activation, photo)))
