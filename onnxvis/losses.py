"""What an image is optimized for: losses, made small, and their weighted sums.

A loss gives one number for each image of the batch, never a mean over the batch, so that an image does not depend on
its neighbors. Losses add up and take weights: `ActivationMaximization() + 0.1 * TotalVariation()`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from onnxvis.errors import SettingError, TargetError

Goal = Literal["maximize", "minimize"] | float
"""What an activation should become: as large as possible, as small as possible, or a given value."""
Neuron = Literal["center"] | tuple[int, ...] | None
"""A position along the spatial axes of a tensor; None: the mean over all positions."""
_ROUNDING_OFF = 0.1


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
    """

    image: Tensor
    input: Tensor
    activations: Mapping[str, Tensor]
    images: Mapping[str, Tensor] = field(default_factory=dict)
    filters: tuple[tuple[int, ...], ...] = ()
    stacked: frozenset[str] = frozenset()
    copies: int = 1

    @property
    def all_images(self) -> tuple[Tensor, ...]:
        """Every optimized input, (N, C, *spatial) each."""
        return tuple(self.images.values()) or (self.image,)


class Loss:
    """A loss: `loss(scene)` gives (N,) numbers. Subclass it, or pass any such function.

    A subclass may have an attribute `node`, any name that `--node` takes: `scene.activations[node]` is then its tensor.
    """

    @property
    def name(self) -> str:
        """What tables call it."""
        return type(self).__name__

    def __call__(self, scene: Scene) -> Tensor:
        """Return the loss of each image, (N,)."""
        raise NotImplementedError

    def __mul__(self, weight: float) -> Objective:
        return Objective(((self, float(weight)),))

    __rmul__ = __mul__

    def __neg__(self) -> Objective:
        return self * -1.0

    def __truediv__(self, divisor: float) -> Objective:
        return self * (1 / divisor)

    def __add__(self, other: Loss | Objective) -> Objective:
        return self * 1.0 + other

    def __sub__(self, other: Loss | Objective) -> Objective:
        return self * 1.0 + -other

    def __radd__(self, other: object) -> Objective:
        return _summed(self * 1.0, other)


def _summed(objective: Objective, other: object) -> Objective:
    """Let sum() begin at its 0."""
    if other != 0:
        message = f"a loss can be added to losses, not to {other!r}"
        raise TypeError(message)
    return objective


@dataclass(frozen=True)
class Objective:
    """A weighted sum of losses.

    Attributes:
        terms: Losses with their weights.
    """

    terms: tuple[tuple[Callable[[Scene], Tensor], float], ...]

    def __mul__(self, factor: float) -> Objective:
        return Objective(tuple((loss, weight * factor) for loss, weight in self.terms))

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Objective:
        return self * (1 / divisor)

    def __neg__(self) -> Objective:
        return self * -1.0

    def __add__(self, other: Loss | Objective) -> Objective:
        return Objective(self.terms + as_objective(other).terms)

    def __sub__(self, other: Loss | Objective) -> Objective:
        return self + -other

    def __radd__(self, other: object) -> Objective:
        return _summed(self, other)

    def __call__(self, scene: Scene) -> list[Tensor]:
        """Return the weighted loss of each term, (N,) each.

        Raises:
            SettingError: A loss returns something else than one number for each image.
        """
        # A user's function may return anything.
        values: list[Any] = [loss(scene) for loss, _ in self.terms]
        wanted = (len(scene.image),)
        for name, value in zip(self.names, values, strict=True):
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            if found != wanted:
                message = f"The loss {name!r} must return one number for each image, shape {wanted}, not {found}."
                raise SettingError(message, loss=name, shape=found)
        return [weight * value for value, (_, weight) in zip(values, self.terms, strict=True)]

    @property
    def names(self) -> list[str]:
        """The names of the terms; those of one name are numbered."""
        plain = [str(getattr(loss, "name", None) or getattr(loss, "__name__", "loss")) for loss, _ in self.terms]
        return [
            name if plain.count(name) == 1 else f"{name} {plain[: index + 1].count(name)}"
            for index, name in enumerate(plain)
        ]


@dataclass(frozen=True)
class ActivationMaximization(Loss):
    """Minus the activation of some filters: of each the mean over all positions, or one neuron; summed over filters.

    Erhan, Bengio, Courville and Vincent, "Visualizing higher-layer features of a deep network" (2009).

    Attributes:
        filters: Indices along the channel axis; None: those of the target, and of another node the whole tensor.
        node: The layer; None: the target.
        channel_axis: The axis of the channels; filled in where the graph tells it.
        neuron: One position, in order of the spatial axes, or "center"; None: the mean over all.
        goal: "maximize"; "minimize": the activation itself is the loss; a number: the distance from it, in units of the
            activation, rounded off where it is less than a tenth of that number (or than 0.1 for zero).
    """

    filters: tuple[int, ...] | None = None
    node: str | None = None
    channel_axis: int | None = None
    neuron: Neuron = None
    goal: Goal = "maximize"

    def __post_init__(self) -> None:
        """Read one number as a position, and refuse goals that are none.

        Raises:
            SettingError: `goal` or `neuron` is of another kind.
        """
        if isinstance(self.neuron, int):
            object.__setattr__(self, "neuron", (self.neuron,))
        known = self.goal in ("maximize", "minimize") or (
            isinstance(self.goal, (int, float)) and math.isfinite(self.goal)
        )
        if not known or isinstance(self.goal, bool):
            message = f"goal is 'maximize', 'minimize' or a number to reach, not {self.goal!r}."
            raise SettingError(message, goal=self.goal)
        if isinstance(self.neuron, str) and self.neuron != "center":
            message = f"neuron is 'center' or one number for each spatial axis, not {self.neuron!r}."
            raise SettingError(message, neuron=self.neuron)

    @property
    def name(self) -> str:
        """What tables call it."""
        return "activation" if self.node is None else f"activation {self.node}"

    def __call__(self, scene: Scene) -> Tensor:
        """Return the loss of each image, (N,)."""
        count = len(scene.image)
        own = (self.filters,) * count if self.filters is not None else scene.filters or ((),) * count
        activation = self._activation(scene, own)
        if self.goal == "maximize":
            return -activation
        if self.goal == "minimize":
            return activation
        goal = float(self.goal)
        wanted = torch.full_like(activation, goal)
        near = _ROUNDING_OFF * (abs(goal) or 1.0)
        return torch.nn.functional.smooth_l1_loss(activation, wanted, reduction="none", beta=near)

    def _activation(self, scene: Scene, filters: Sequence[tuple[int, ...]]) -> Tensor:
        name = self.node or ""
        activation = scene.activations[name]
        if name not in scene.stacked:
            return unit_activation(activation, filters, self.channel_axis, self.neuron, scene.copies)
        alone = [
            unit_activation(image, [chosen], self.channel_axis, self.neuron, scene.copies)
            for image, chosen in zip(activation, filters, strict=True)
        ]
        return torch.cat(alone)


@dataclass(frozen=True)
class TotalVariation(Loss):
    """How much neighboring pixels differ: mean of (sum of squared differences along each axis)^(beta / 2).

    Mahendran and Vedaldi, "Understanding deep image representations by inverting them" (2015),
    https://arxiv.org/abs/1412.0035. On the image in [0, 1], averaged over pixels and channels: a weight means the same
    at every size and range. Zero for a constant image, and where there is nothing beside: features have no neighbors.

    Attributes:
        beta: The exponent; 2 punishes edges, 1 keeps them.
    """

    beta: float = 2.0

    @property
    def name(self) -> str:
        """What tables call it."""
        return "total variation"

    def __call__(self, scene: Scene) -> Tensor:
        """Return the total variation of each image, (N,)."""
        return sum_of([local_variation(image, self.beta).mean(1) for image in scene.all_images])


@dataclass(frozen=True)
class LpNorm(Loss):
    """How far pixels are from mid-grey: the p-mean of |2 x - 1|, in [0, 1].

    Attributes:
        p: The exponent, at least 1; infinity: the largest distance.
    """

    p: float = 6.0

    def __post_init__(self) -> None:
        if not self.p >= 1:
            message = f"LpNorm needs p >= 1, not {self.p}"
            raise ValueError(message)

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"L{self.p:g} norm"

    def __call__(self, scene: Scene) -> Tensor:
        """Return the norm of each image, (N,)."""
        return sum_of([self._of(image) for image in scene.all_images])

    def _of(self, image: Tensor) -> Tensor:
        distance = (2 * image - 1).abs().flatten(1)
        if math.isinf(self.p):
            return distance.amax(1)
        return _power((distance**self.p).mean(1), 1 / self.p)


def local_variation(image: Tensor, beta: float) -> Tensor:
    """Return (sum of squared differences along each spatial axis)^(beta / 2) for each pixel with such neighbors.

    Args:
        image: (N, C, *spatial).
        beta: The exponent.

    Returns:
        Tensor: (N, pixels and channels); zeros where there is nothing beside.
    """
    axes = [axis for axis in range(2, image.ndim) if image.shape[axis] > 1]
    squares = [_difference(image, axis, axes).square() for axis in axes]
    if not squares:
        return image.flatten(1) * 0
    return _power(sum_of(squares), beta / 2).flatten(1)


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
        TargetError: There are several images, and the first axis does not tell them apart; or no such position.
    """
    images = len(filters)
    _check_batch(activation, images, channel_axis)
    if neuron is not None:
        batch = copies if images == 1 else images
        activation, channel_axis = _at(activation, neuron, channel_axis, batch)
    if channel_axis is None or not any(filters):
        return activation.reshape(images, -1).mean(1)
    if images == 1:
        # Of any shape: whatever axes there are besides, they are averaged.
        return sum_of([activation.select(channel_axis, index).mean() for index in filters[0]])[None]
    by_channel = activation.movedim(channel_axis, 1)
    if len({len(chosen) for chosen in filters}) == 1:
        rows = torch.arange(images, device=activation.device)[:, None]
        chosen = torch.tensor(filters, device=activation.device)
        return by_channel[rows, chosen].reshape(images, len(filters[0]), -1).mean(2).sum(1)
    return torch.stack(
        [
            sum_of([image[index].mean() for index in chosen]) if chosen else image.mean()
            for image, chosen in zip(by_channel, filters, strict=True)
        ]
    )


def _check_batch(activation: Tensor, images: int, channel_axis: int | None) -> None:
    if images > 1 and (activation.ndim == 0 or len(activation) != images or channel_axis == 0):
        message = (
            f"The target has shape {tuple(activation.shape)}: its first axis is not the batch of {images} images. "
            "Use a batch of 1, or take a target before the axes are moved."
        )
        raise TargetError(message, shape=tuple(activation.shape), images=images)


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


def _power(base: Tensor, exponent: float) -> Tensor:
    """Raise numbers from 0 on to a power, with slope 0 instead of infinity at 0."""
    if exponent == 1:
        return base
    positive = base > 0
    return torch.where(positive, torch.where(positive, base, 1) ** exponent, 0)


def sum_of(values: Sequence[Tensor]) -> Tensor:
    """Add up a few tensors of one shape."""
    return functools.reduce(torch.add, values)


def as_objective(losses: Any) -> Objective:
    """Read what a user may give: an `Objective`, a loss, or a list of losses or (loss, weight) pairs.

    Raises:
        TypeError: Something else.
    """
    if isinstance(losses, Objective):
        return losses
    if isinstance(losses, Loss) or (callable(losses) and not isinstance(losses, type)):
        return Objective(((losses, 1.0),))
    if isinstance(losses, Iterable) and not isinstance(losses, str):
        terms = tuple(term for item in losses for term in _terms(item))
        if not terms:
            message = "losses is empty: there is nothing to optimize. Leave it out for the activation."
            raise SettingError(message)
        return Objective(terms)
    message = f"losses must be a loss, a sum of losses, or a list of (loss, weight), not {losses!r}"
    raise TypeError(message)


def _terms(item: Any) -> tuple[tuple[Callable[[Scene], Tensor], float], ...]:
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], (int, float)):  # noqa: PLR2004 - (loss, weight)
        return (as_objective(item[0]) * float(item[1])).terms
    return as_objective(item).terms


def _difference(image: Tensor, axis: int, axes: Sequence[int]) -> Tensor:
    """Subtract from each pixel's successor along an axis, on the grid that has a successor along every axis."""
    cropped = image
    for other in axes:
        if other != axis:
            cropped = cropped.narrow(other, 0, image.shape[other] - 1)
    return cropped.narrow(axis, 1, image.shape[axis] - 1) - cropped.narrow(axis, 0, image.shape[axis] - 1)
