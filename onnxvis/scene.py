"""What a loss looks at: images, and what the model makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from onnxvis.activations import Neuron, by_channel, check_batch, unit_activation
from onnxvis.errors import FilterError, SettingError

Filters = Sequence[tuple[int, ...]]
"""For each image its indices along the channel axis; () means the whole tensor."""


class Activations(dict[str, Tensor]):
    """Activations by name; one that nobody has asked for is an error that says how to ask."""

    def __missing__(self, name: str) -> Tensor:
        message = (
            f"No activation {name!r} was asked for: give the loss an attribute node = {name!r}. "
            f"There are {', '.join(map(repr, self))}."
        )
        raise SettingError(message, name=name)


@dataclass(frozen=True)
class Scene:
    """What a loss looks at: N images, and what the model makes of them.

    Attributes:
        image: (N, C, *spatial) in [0, 1], as it would be written.
        input: What the model was fed: transformed, preprocessed, in the model's layout; N of them.
        activations: (N, ...) tensors by the names under which losses asked for them; "" is the target. Tensors whose
            first axis is no batch in the file have the images before it, if there are several: they are `stacked`.
        images: All optimized inputs by name, where there are several; `image` is the first.
        filters: The filters of the target for each image; () means the whole tensor.
        stacked: Names of the activations that have one more axis, for the images, than in the file.
        copies: How often each image stands in the model's batch, where that is fixed.
        reference: What the model makes of a photo, by the names of `activations` and in their shapes, each seen
            through the same random view as the image; without gradient. Empty: there is no photo.
        reference_image: The photo itself, (N, C, *spatial) or (1, C, *spatial) in [0, 1].
        places: For each image its number in its group and the size of that; (): the images are one group, in order.
    """

    image: Tensor
    input: Tensor
    activations: Mapping[str, Tensor]
    images: Mapping[str, Tensor] = field(default_factory=dict)
    filters: tuple[tuple[int, ...], ...] = ()
    stacked: frozenset[str] = frozenset()
    copies: int = 1
    reference: Mapping[str, Tensor] = field(default_factory=dict)
    reference_image: Tensor | None = None
    places: tuple[tuple[int, int], ...] = ()

    @property
    def count(self) -> int:
        """The number of images, N."""
        return len(self.image)

    @property
    def all_images(self) -> tuple[Tensor, ...]:
        """Every optimized input, (N, C, *spatial) each."""
        return tuple(self.images.values()) or (self.image,)

    @property
    def all_places(self) -> tuple[tuple[int, int], ...]:
        """The number of each image in its group, and the size of that."""
        return self.places or tuple((index, self.count) for index in range(self.count))

    @property
    def zeros(self) -> Tensor:
        """(N,) zeros that depend on the images, as every loss does."""
        return self.image.flatten(1).sum(1) * 0

    def filters_of(self, own: tuple[int, ...] | None) -> Filters:
        """Return the filters of each image: a loss's own, else those of the target."""
        return (own,) * self.count if own is not None else self.filters or ((),) * self.count

    def unit(self, filters: Filters, node: str | None, channel_axis: int | None, neuron: Neuron) -> Tensor:
        """Return the activation of some filters of each image, summed over them, (N,); see `unit_activation`.

        Args:
            filters: For each image its indices along the channel axis; (): the mean of the whole tensor.
            node: The layer; None: the target.
            channel_axis: The axis of the channels in the file's tensor.
            neuron: One position, or "center"; None: the mean over all.

        Raises:
            FilterError: There is no such filter.
            TargetError: The images cannot be told apart, or there is no such position.
        """
        name = node or ""
        activation = self.activations[name]
        if name not in self.stacked:
            return unit_activation(activation, filters, channel_axis, neuron, self.copies)
        alone = [
            unit_activation(image, [chosen], channel_axis, neuron, self.copies)
            for image, chosen in zip(activation, filters, strict=True)
        ]
        return torch.cat(alone)

    def channels(self, node: str | None, channel_axis: int | None, neuron: Neuron = None) -> Tensor:
        """Return a layer as (N, channels, positions), whatever the order of its axes in the file.

        Args:
            node: The layer; None: the target.
            channel_axis: The axis of the channels in the file's tensor.
            neuron: One position, or "center"; None: all.

        Raises:
            FilterError: The channel axis is not known.
            TargetError: The images cannot be told apart, or there is no such position.
        """
        name = node or ""
        activation = self.activations[name]
        stacked = name in self.stacked
        if channel_axis is None:
            layer = repr(node) if name else "the target"
            message = f"Which axis of {layer}, of shape {tuple(activation.shape)}, holds the channels is not known: "
            raise FilterError(message + "give the loss a channel_axis.", node=name)
        if self.count == 1 and not stacked:
            return by_channel(activation[None], channel_axis, neuron, self.copies)
        if stacked:
            return by_channel(activation, channel_axis, neuron, self.copies)
        check_batch(activation, self.count, channel_axis)
        return by_channel(activation[:, None], channel_axis, neuron)

    def values(self, node: str | None) -> Tensor:
        """Return all numbers of a layer, (N, M); of the target, if node is None."""
        return self._flat(self.activations[node or ""])

    def reference_values(self, node: str | None) -> Tensor:
        """Return what `values` returns for the images, for the photo: (N, M).

        Raises:
            SettingError: There is no photo.
        """
        if (node or "") not in self.reference:
            message = "There is no photo to compare with: give a seed image (--from)."
            raise SettingError(message, node=node)
        return self._flat(self.reference[node or ""])

    def _flat(self, activation: Tensor) -> Tensor:
        if self.count > 1:
            check_batch(activation, self.count, None)
        return activation.reshape(self.count, -1)
