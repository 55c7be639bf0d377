"""Reading units off activations, whatever the order of their axes.

Nothing here mixes images: what is read of one depends on it alone.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from onnxvis.errors import FilterError, TargetError

Neuron = Literal["center"] | tuple[int, ...] | None
"""A position along the spatial axes of a tensor; None: the mean over all positions."""


def unit_activation(
    activation: Tensor,
    filters: Sequence[Sequence[int]],
    channel_axis: int | None,
    neuron: Neuron = None,
    copies: int = 1,
) -> Tensor:
    """Return the activation of each filter, summed over the filters of each image.

    Args:
        activation: (N, ...) for several images; of any shape for one.
        filters: For each image its indices along the channel axis; empty: the mean of the whole tensor.
        channel_axis: The axis of the channels.
        neuron: One position along the spatial axes, or "center"; None: the mean over all.
        copies: How often one image stands in the first axis, where that is a batch.

    Returns:
        Tensor: (N,).

    Raises:
        FilterError: There is no such filter.
        TargetError: There are several images, and the first axis does not tell them apart; or no such position.
    """
    images = len(filters)
    check_batch(activation, images, channel_axis)
    if neuron is not None:
        batch = copies if images == 1 else images
        activation, channel_axis = _at(activation, neuron, channel_axis, batch)
    if channel_axis is None or not any(filters):
        return activation.reshape(images, -1).mean(1)
    for chosen in filters:
        check_filters(chosen, activation.shape[channel_axis])
    if images == 1:
        # Of any shape: whatever axes there are besides, they are averaged.
        return sum_of([activation.select(channel_axis, index).mean() for index in filters[0]])[None]
    by_channel = activation.movedim(channel_axis, 1)
    if len({len(chosen) for chosen in filters}) == 1:
        rows = torch.arange(images, device=activation.device)[:, None]
        columns = torch.tensor(filters, device=activation.device)
        return by_channel[rows, columns].reshape(images, len(filters[0]), -1).mean(2).sum(1)
    return torch.stack(
        [
            sum_of([image[index].mean() for index in chosen]) if chosen else image.mean()
            for image, chosen in zip(by_channel, filters, strict=True)
        ]
    )


def by_channel(activation: Tensor, channel_axis: int, neuron: Neuron = None, copies: int = 1) -> Tensor:
    """Bring the activation of one image each into one order, whatever its axes are.

    Args:
        activation: (N, *shape), where shape is that of the tensor for one image.
        channel_axis: The axis of the channels, counted in shape.
        neuron: One position along the spatial axes, or "center"; None: all.
        copies: How often one image stands in the first axis of shape, where that is a batch.

    Returns:
        Tensor: (N, channels, positions); copies count as positions.

    Raises:
        TargetError: There is no such position.
    """
    shape = activation.shape[1:]
    channel_axis %= len(shape)
    if neuron is not None:
        found = neuron_position(shape, neuron, channel_axis, copies)
        for axis, index in found.items():
            activation = activation.narrow(axis + 1, index, 1)
    return activation.movedim(channel_axis + 1, 1).reshape(len(activation), shape[channel_axis], -1)


def check_batch(activation: Tensor, images: int, channel_axis: int | None) -> None:
    """Refuse a tensor whose first axis does not tell several images apart.

    Raises:
        TargetError: It does not.
    """
    if images > 1 and (activation.ndim == 0 or len(activation) != images or channel_axis == 0):
        message = (
            f"The target has shape {tuple(activation.shape)}: its first axis is not the batch of {images} images. "
            "Use a batch of 1, or take a target before the axes are moved."
        )
        raise TargetError(message, shape=tuple(activation.shape), images=images)


def check_filters(filters: Sequence[int], count: int) -> None:
    """Refuse filters that are not among the channels.

    Raises:
        FilterError: There is one.
    """
    for index in filters:
        if not -count <= index < count:
            message = f"Filter {index} is not one of the layer's {count}: give 0 to {count - 1}."
            raise FilterError(message, filter=index, count=count)


def neuron_position(shape: Sequence[int], neuron: Neuron, channel_axis: int | None, batch: int = 1) -> dict[int, int]:
    """Return the index along each spatial axis: all but the channels', and the first where it is the batch.

    Args:
        shape: Of the tensor.
        neuron: The position, or "center".
        channel_axis: The axis of the channels.
        batch: The size of the batch; a first axis of another size is none.

    Raises:
        TargetError: There are no spatial axes, more or fewer than the position names, or it lies outside.
    """
    axes = [axis for axis in range(len(shape)) if axis != channel_axis and (axis > 0 or shape[0] != batch)]
    if not axes:
        message = f"The target of shape {tuple(shape)} has no positions: leave --neuron out."
        raise TargetError(message, shape=tuple(shape))
    sizes = [shape[axis] for axis in axes]
    if neuron == "center":
        return {axis: size // 2 for axis, size in zip(axes, sizes, strict=True)}
    position = tuple(neuron or ())
    inside = len(position) == len(sizes) and all(
        -size <= index < size for index, size in zip(position, sizes, strict=True)
    )
    if not inside:
        written = ",".join(map(str, position))
        message = (
            f"Neuron {written} is not one of the target's positions: its shape is {tuple(shape)}, so give "
            f"{len(sizes)} number{'s' if len(sizes) != 1 else ''} below {', '.join(map(str, sizes))}, or center."
        )
        raise TargetError(message, neuron=position, shape=tuple(shape))
    return {axis: index % size for axis, index, size in zip(axes, position, sizes, strict=True)}


def _at(activation: Tensor, neuron: Neuron, channel_axis: int | None, batch: int) -> tuple[Tensor, int | None]:
    """Take one position; the channel axis moves up."""
    found = neuron_position(activation.shape, neuron, channel_axis, batch)
    for axis in sorted(found, reverse=True):
        activation = activation.select(axis, found[axis])
    return activation, None if channel_axis is None else channel_axis - sum(axis < channel_axis for axis in found)


def inverse_length(squares: Tensor) -> Tensor:
    """Return 1 / sqrt of sums of squares, and 0 without a slope where there is nothing: such a cosine is 0."""
    positive = squares > 0
    return torch.where(positive, torch.where(positive, squares, 1).rsqrt(), 0)


def sum_of(values: Sequence[Tensor]) -> Tensor:
    """Add up a few tensors of one shape."""
    return functools.reduce(torch.add, values)
