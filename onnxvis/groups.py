"""Losses of a group of images that belong together: strips from one unit to another, tuning curves, variety.

They are the exception to the law that an image does not depend on its batch: the group must be one batch, in order.
`Interpolation` and `Tuning` look at an image's place in the group only; `Diversity` and `Alignment` at the others too,
and are zero for an image alone. An `Alignment` sees more where the images of the group share their random views.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from onnxvis.activations import Neuron, inverse_length
from onnxvis.algebra import Loss
from onnxvis.errors import SettingError
from onnxvis.losses import distance, read_filters, read_neuron, titled
from onnxvis.scene import Scene


@dataclass(frozen=True)
class Interpolation(Loss):
    """Minus the activation of two units, weighted from all of the first to all of the second over the group.

    Image i of N has the loss -((1 - t) first + t second), t = i / (N - 1). Olah et al., "Feature visualization" (2017),
    https://distill.pub/2017/feature-visualization/.

    Attributes:
        first: Filters of the first image, each the mean over positions or one neuron; summed over filters.
        second: Filters of the last.
        node: The layer; None: the target.
        channel_axis: The axis of the channels; filled in where the graph tells it.
        neuron: One position, in order of the spatial axes, or "center"; None: the mean over all.
    """

    first: tuple[int, ...]
    second: tuple[int, ...]
    node: str | None = None
    channel_axis: int | None = None
    neuron: Neuron = None
    coupled: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Read one number as several where several may be.

        Raises:
            SettingError: `neuron` is of another kind.
        """
        object.__setattr__(self, "first", read_filters(self.first))
        object.__setattr__(self, "second", read_filters(self.second))
        object.__setattr__(self, "neuron", read_neuron(self.neuron))

    @property
    def name(self) -> str:
        """What tables call it."""
        return titled("interpolation", self.node)

    def __call__(self, scene: Scene) -> Tensor:
        """Return the loss of each image, (N,).

        Raises:
            FilterError: The layer has no such filter.
        """
        first, second = (
            scene.unit(scene.filters_of(filters), self.node, self.channel_axis, self.neuron)
            for filters in (self.first, self.second)
        )
        shares = [index / (size - 1) if size > 1 else 0.0 for index, size in scene.all_places]
        return -torch.lerp(first, second, first.new_tensor(shares))


@dataclass(frozen=True)
class Tuning(Loss):
    """The distance of a unit from a value of its own for each image of the group: what it sees at each strength.

    The distance is that of `ActivationMaximization(goal=value)`: rounded off where it is less than a tenth of the value
    (or than 0.1 for zero).

    Attributes:
        values: What the activation should become in each image, in units of the activation.
        filters: Indices along the channel axis; None: those of the target.
        node: The layer; None: the target.
        channel_axis: The axis of the channels; filled in where the graph tells it.
        neuron: One position, in order of the spatial axes, or "center"; None: the mean over all.
    """

    values: tuple[float, ...]
    filters: tuple[int, ...] | None = None
    node: str | None = None
    channel_axis: int | None = None
    neuron: Neuron = None
    coupled: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Read one number as several where several may be.

        Raises:
            SettingError: `values` or `neuron` is of another kind.
        """
        object.__setattr__(self, "values", tuple(map(float, self.values)))
        object.__setattr__(self, "filters", read_filters(self.filters))
        object.__setattr__(self, "neuron", read_neuron(self.neuron))
        if not self.values or not all(map(math.isfinite, self.values)):
            message = f"A tuning curve needs finite values to reach, not {self.values}."
            raise SettingError(message, values=self.values)

    @property
    def name(self) -> str:
        """What tables call it."""
        return titled("tuning", self.node)

    def __call__(self, scene: Scene) -> Tensor:
        """Return the loss of each image, (N,).

        Raises:
            SettingError: There are fewer values than images.
        """
        size = max(size for _, size in scene.all_places)
        if size > len(self.values):
            message = f"The tuning curve has {len(self.values)} values for {size} images: give one for each."
            raise SettingError(message, values=self.values, images=size)
        activation = scene.unit(scene.filters_of(self.filters), self.node, self.channel_axis, self.neuron)
        goals = [self.values[index] for index, _ in scene.all_places]
        return torch.stack([distance(one, goal) for one, goal in zip(activation, goals, strict=True)])


@dataclass(frozen=True)
class Diversity(Loss):
    """How alike an image is to the others of its group, in style: different pictures of one unit have little of it.

    The mean, over the other images, of the cosine between their Gram matrices, G = sum over positions of a a^T for the
    channels' activation a; in [0, 1], and 0 for an image alone. Olah et al., "Feature visualization" (2017),
    https://distill.pub/2017/feature-visualization/.

    Attributes:
        node: The layer; None: the target, all of its channels.
        channel_axis: The axis of the channels; filled in where the graph tells it.
    """

    node: str | None = None
    channel_axis: int | None = None
    coupled: ClassVar[bool] = True
    distinct: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """What tables call it."""
        return titled("diversity", self.node)

    def __call__(self, scene: Scene) -> Tensor:
        """Return the loss of each image, (N,)."""
        if scene.count == 1:
            return scene.zeros
        activation = scene.channels(self.node, self.channel_axis)
        # Of one size first: the squares of a Gram matrix are fourth powers, which overflow early.
        scaled = activation * inverse_length(activation.square().sum((1, 2)))[:, None, None]
        grams = (scaled @ scaled.mT).flatten(1)
        directions = grams * inverse_length(grams.square().sum(1))[:, None]
        cosines = directions @ directions.mT
        return (cosines.sum(1) - cosines.diagonal()) / (scene.count - 1)


@dataclass(frozen=True)
class Alignment(Loss):
    """How unlike an image is to its neighbors in the group: a strip of aligned ones changes only where it must.

    The mean of 2 |a - b|^2 / (|a|^2 + |b|^2) over the neighbors at a distance of up to `reach`, with weights
    decay^-distance: 0 alike, 2 unrelated, 4 opposite; 0 for an image alone. After lucid's objective of this name, whose
    differences are not divided.

    Attributes:
        node: The layer; None: the target, all of it.
        decay: How much less the next but one counts, at least 1.
        reach: How far neighbors are looked for, at least 1.
    """

    node: str | None = None
    decay: float = 2.0
    reach: int = 4
    coupled: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse what is no neighborhood.

        Raises:
            SettingError: `decay` or `reach` is less than 1.
        """
        if not 1 <= self.decay < math.inf or self.reach < 1:
            message = f"decay and reach must be 1 or more, and finite, not {self.decay} and {self.reach}."
            raise SettingError(message, decay=self.decay, reach=self.reach)

    @property
    def name(self) -> str:
        """What tables call it."""
        return titled("alignment", self.node)

    def __call__(self, scene: Scene) -> Tensor:
        """Return the loss of each image, (N,)."""
        if scene.count == 1:
            return scene.zeros
        values = scene.values(self.node)
        total = weights = values.new_zeros(scene.count)
        for away in range(1, min(self.reach, scene.count - 1) + 1):
            unlike = _unlike(values[:-away], values[away:])
            weight = self.decay**-away
            total = total + weight * _to_both(unlike, away)
            weights = weights + weight * _to_both(torch.ones_like(unlike), away)
        return total / weights


def _unlike(first: Tensor, second: Tensor) -> Tensor:
    """Return 2 |a - b|^2 / (|a|^2 + |b|^2) of each pair of rows; 0 where both are zero."""
    scale = (first.square() + second.square()).sum(1) / 2
    return (first - second).square().sum(1) / torch.where(scale > 0, scale, 1)


def _to_both(pairs: Tensor, away: int) -> Tensor:
    """Add what each pair counts to its first image and to its second: (N - away,) -> (N,)."""
    return torch.nn.functional.pad(pairs, (0, away)) + torch.nn.functional.pad(pairs, (away, 0))
