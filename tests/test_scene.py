from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from onnxvis.errors import FilterError, SettingError, TargetError
from onnxvis.scene import Activations, Scene


def random_tensor(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def looked_at(activation: Tensor, count: int, *, stacked: bool = False, copies: int = 1) -> Scene:
    image = random_tensor(count, 3, 4, 4)
    names = frozenset({""}) if stacked else frozenset()
    return Scene(image, image, Activations({"": activation}), stacked=names, copies=copies)


def test_a_layer_is_the_same_in_every_layout() -> None:
    layer = random_tensor(3, 5, 2, 4)  # (N, C, H, W)
    wanted = layer.flatten(2)
    for scene, axis in (
        (looked_at(layer, 3), 1),
        (looked_at(layer.permute(0, 2, 3, 1), 3), 3),
        (looked_at(layer.permute(0, 2, 3, 1), 3), -1),
        (looked_at(layer, 3, stacked=True), 0),
        (looked_at(layer.permute(0, 2, 3, 1), 3, stacked=True), 2),
        (looked_at(layer.permute(0, 2, 3, 1)[:, :, None], 3, stacked=True), 3),
    ):
        torch.testing.assert_close(scene.channels(None, axis), wanted)
    for index in range(3):
        one = layer[index : index + 1]
        torch.testing.assert_close(looked_at(one, 1).channels(None, 1), wanted[index : index + 1])
        torch.testing.assert_close(looked_at(one[0], 1).channels(None, 0), wanted[index : index + 1])


@pytest.mark.parametrize("neuron", [(1, 3), (-1, 0), "center"])
def test_a_position_is_the_same_in_every_layout(neuron: tuple[int, ...]) -> None:
    layer = random_tensor(3, 5, 2, 4)
    wanted = looked_at(layer, 3).channels(None, 1, neuron)
    assert wanted.shape == (3, 5, 1)
    for scene, axis in (
        (looked_at(layer.permute(0, 2, 3, 1), 3), 3),
        (looked_at(layer, 3, stacked=True), 0),
        (looked_at(layer.permute(0, 2, 3, 1), 3, stacked=True), 2),
    ):
        torch.testing.assert_close(scene.channels(None, axis, neuron), wanted)
    torch.testing.assert_close(looked_at(layer[1], 1).channels(None, 0, neuron), wanted[1:2])
    torch.testing.assert_close(looked_at(layer[1:2], 1).channels(None, 1, neuron), wanted[1:2])


def test_the_copies_of_an_image_in_a_fixed_batch_count_as_positions() -> None:
    copied = random_tensor(1, 5, 2, 4).expand(6, -1, -1, -1)
    found = looked_at(copied, 1, copies=6).channels(None, 1, (0, 3))
    torch.testing.assert_close(found, copied[0, :, 0, 3, None].expand(5, 6)[None])
    stack = torch.stack([copied, copied * 2])
    found = looked_at(stack, 2, stacked=True, copies=6).channels(None, 1, (0, 3))
    torch.testing.assert_close(found[1], 2 * found[0])


def test_units_and_channels_agree() -> None:
    layer = random_tensor(3, 2, 4, 5)  # (N, H, W, C)
    filters = ((1,), (0, 4), (2,))
    for stacked, axis in ((False, 3), (True, 2)):
        scene = looked_at(layer, 3, stacked=stacked)
        channels = scene.channels(None, axis)
        wanted = torch.stack([rows[list(chosen)].mean(1).sum() for rows, chosen in zip(channels, filters, strict=True)])
        torch.testing.assert_close(scene.unit(filters, None, axis, None), wanted)


def test_an_unknown_channel_axis_is_asked_for() -> None:
    with pytest.raises(FilterError, match=r"the target, of shape \(2, 5\), .* give the loss a channel_axis"):
        looked_at(random_tensor(2, 5), 2).channels(None, None)


def test_images_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(TargetError, match="not the batch of 3 images"):
        looked_at(random_tensor(2, 5), 3).channels(None, 1)
    with pytest.raises(TargetError, match="not the batch of 3 images"):
        looked_at(random_tensor(2, 6), 3).values(None)


def test_without_a_photo_nothing_can_be_compared() -> None:
    scene = looked_at(random_tensor(2, 5), 2)
    with pytest.raises(SettingError, match="no photo to compare with"):
        scene.reference_values(None)
    seen = dataclasses.replace(scene, reference={"": random_tensor(2, 5)})
    torch.testing.assert_close(seen.reference_values(None), random_tensor(2, 5))


def test_an_activation_that_nobody_asked_for_says_how_to_ask() -> None:
    with pytest.raises(SettingError, match="give the loss an attribute node = 'conv1'"):
        looked_at(random_tensor(2, 5), 2).values("conv1")


def test_places_are_those_of_the_batch_unless_given() -> None:
    scene = looked_at(random_tensor(3, 5), 3)
    assert scene.all_places == ((0, 3), (1, 3), (2, 3))
    assert dataclasses.replace(scene, places=((4, 9),) * 3).all_places == ((4, 9),) * 3
