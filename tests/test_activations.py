from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from onnxvis.activations import by_channel, inverse_length, unit_activation
from onnxvis.errors import FilterError, TargetError


def random_images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_activation_follows_the_channel_axis() -> None:
    activation = random_images(1, 3, 5, 4)
    last = unit_activation(activation, [(2,)], 3)
    torch.testing.assert_close(last, activation[..., 2].mean((1, 2)))
    dense = unit_activation(random_images(2, 10), [(7,), (7,)], 1)
    torch.testing.assert_close(dense, random_images(2, 10)[:, 7])


def test_activation_without_filters_is_the_mean_of_everything() -> None:
    activation = random_images(2, 4, 3, 3)
    torch.testing.assert_close(unit_activation(activation, [(), ()], 1), activation.mean((1, 2, 3)))


def test_for_one_image_the_target_may_have_any_axes() -> None:
    channels_first = random_images(4, 3, 5)
    torch.testing.assert_close(unit_activation(channels_first, [(2,)], 0), channels_first[2].mean().reshape(1))
    torch.testing.assert_close(unit_activation(channels_first, [()], None), channels_first.mean().reshape(1))
    assert unit_activation(torch.tensor(3.0), [()], None).shape == (1,)


def test_several_images_need_the_batch_in_the_first_axis() -> None:
    with pytest.raises(TargetError, match="not the batch of 2 images"):
        unit_activation(random_images(4, 3, 5), [(2,), (2,)], 1)


@pytest.mark.parametrize("neuron", ["center", (0, 0), (-1, 2), (3, -4)])
def test_one_neuron_is_one_number_of_the_activation(neuron: Any) -> None:
    activation = random_images(2, 5, 4, 6)
    y, x = (2, 3) if neuron == "center" else neuron
    found = unit_activation(activation, [(1,), (3, 4)], 1, neuron)
    wanted = [activation[0, 1, y, x], activation[1, 3, y, x] + activation[1, 4, y, x]]
    torch.testing.assert_close(found, torch.stack(wanted))


def test_a_neuron_is_counted_along_the_spatial_axes_whatever_their_place() -> None:
    tokens = random_images(2, 7, 5)
    torch.testing.assert_close(unit_activation(tokens, [(1,), (1,)], 2, (6,)), tokens[:, 6, 1])
    volume = random_images(1, 3, 4, 5, 6)
    torch.testing.assert_close(unit_activation(volume, [(2,)], 1, (1, 2, 3)), volume[:, 2, 1, 2, 3])
    bare = random_images(4, 5)
    torch.testing.assert_close(unit_activation(bare, [(2,)], 0, (1,)), bare[2:3, 1])
    torch.testing.assert_close(unit_activation(volume, [()], None, (0, 1, 2, 3)), volume[:, 0, 1, 2, 3])


@pytest.mark.parametrize(
    ("shape", "neuron", "reason"),
    [
        ((1, 10), "center", "has no positions: leave --neuron out"),
        ((1, 10, 4, 5), (4, 0), "give 2 numbers below 4, 5, or center"),
        ((1, 10, 4, 5), (1,), "Neuron 1 is not one of the target's positions"),
        ((1, 10, 4, 5), (-5, 0), "below 4, 5"),
        ((1, 10, 7), (7,), "give 1 number below 7, or center"),
    ],
)
def test_a_position_that_is_not_there_is_refused(shape: tuple[int, ...], neuron: Any, reason: str) -> None:
    with pytest.raises(TargetError, match=reason):
        unit_activation(random_images(*shape), [(1,)], 1, neuron)


@pytest.mark.parametrize("filters", [[(5,)], [(0, -6)], [(0,), (7,)]])
def test_a_filter_that_is_not_there_is_refused(filters: Any) -> None:
    with pytest.raises(FilterError, match="is not one of the layer's 5: give 0 to 4"):
        unit_activation(random_images(len(filters), 5, 3, 3), filters, 1)


@pytest.mark.parametrize("order", ["nchw", "nhwc", "ncw", "ncdhw", "ntc", "nc", "hwc"])
def test_any_order_of_the_axes_becomes_channels_and_positions(order: str) -> None:
    sizes = {"n": 2, "c": 3, "h": 4, "w": 5, "d": 2, "t": 6}
    activation = random_images(*(sizes[axis] for axis in "n" + order))
    found = by_channel(activation, order.index("c"), None, 2)
    assert found.shape == (2, 3, activation[0].numel() // 3)
    for image, rows in zip(activation.numpy(), found.numpy(), strict=True):
        for channel in range(3):
            np.testing.assert_array_equal(
                np.sort(image.take(channel, order.index("c")).ravel()), np.sort(rows[channel])
            )


def test_a_channel_axis_may_be_counted_from_the_end() -> None:
    activation = random_images(2, 1, 4, 5, 3)
    torch.testing.assert_close(by_channel(activation, -1), by_channel(activation, 3))
    torch.testing.assert_close(by_channel(activation, -1, (1, 2)), by_channel(activation, 3, (1, 2)))


def test_one_position_is_one_column_and_the_copies_of_an_image_are_more() -> None:
    activation = random_images(2, 1, 3, 4, 5)
    torch.testing.assert_close(by_channel(activation, 1, (3, 0)), activation[:, 0, :, 3, 0, None])
    torch.testing.assert_close(by_channel(activation, 1, "center"), activation[:, 0, :, 2, 2, None])
    copied = random_images(2, 3, 4, 5)
    torch.testing.assert_close(by_channel(copied, 1, (4,), copies=3), copied[:, :, :, 4].mT)


def test_nothing_has_the_inverse_length_zero_without_a_slope() -> None:
    values = torch.tensor([[3.0, 4.0], [0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    found = inverse_length(values.square().sum(1))
    assert found.tolist() == pytest.approx([0.2, 0.0])
    (gradient,) = torch.autograd.grad(found.sum(), values)
    assert torch.isfinite(gradient).all()
    assert gradient[1].tolist() == [0, 0]
