"""What an image is optimized for: losses, made small, and their weighted sums.

A loss gives one number for each image of the batch, never a mean over the batch, so that an image does not depend on
its neighbors. Losses add up and take weights: `ActivationMaximization() + 0.1 * TotalVariation()`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from onnxvis.errors import SettingError, TargetError


@dataclass(frozen=True)
class Scene:
    """What a loss looks at.

    Attributes:
        image: (N, C, *spatial) in [0, 1], as it would be written.
        input: What the model was fed: transformed, preprocessed, in the model's layout.
        activations: (N, ...) tensors by the names under which losses asked for them; "" is the target.
    """

    image: Tensor
    input: Tensor
    activations: Mapping[str, Tensor]


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

    def __add__(self, other: Loss | Objective) -> Objective:
        return self * 1.0 + other


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

    def __add__(self, other: Loss | Objective) -> Objective:
        return Objective(self.terms + as_objective(other).terms)

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
    """Minus the mean activation of some filters: of each over all positions, summed over the filters.

    Erhan, Bengio, Courville and Vincent, "Visualizing higher-layer features of a deep network" (2009).

    Attributes:
        filters: Indices along the channel axis; None: those of the target.
        node: The layer; None: the target.
        channel_axis: The axis of the channels; filled in where the graph tells it.
    """

    filters: tuple[int, ...] | None = None
    node: str | None = None
    channel_axis: int | None = None

    @property
    def name(self) -> str:
        """What tables call it."""
        return "activation" if self.node is None else f"activation {self.node}"

    def __call__(self, scene: Scene) -> Tensor:
        """Return minus the activation of each image, (N,)."""
        activation = scene.activations[self.node or ""]
        return -unit_activation(activation, self.filters or (), self.channel_axis, len(scene.image))


@dataclass(frozen=True)
class TotalVariation(Loss):
    """How much neighboring pixels differ: mean of (sum of squared differences along each axis)^(beta / 2).

    Mahendran and Vedaldi, "Understanding deep image representations by inverting them" (2015),
    https://arxiv.org/abs/1412.0035. On the image in [0, 1], averaged over pixels and channels: a weight means the same
    at every size and range. Zero for a constant image.

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
        image = scene.image
        axes = [axis for axis in range(2, image.ndim) if image.shape[axis] > 1]
        squares = [_difference(image, axis, axes).square() for axis in axes]
        if not squares:
            return image.flatten(1).sum(1) * 0
        return _power(sum_of(squares), self.beta / 2).flatten(1).mean(1)


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
        distance = (2 * scene.image - 1).abs().flatten(1)
        if math.isinf(self.p):
            return distance.amax(1)
        return _power((distance**self.p).mean(1), 1 / self.p)


def unit_activation(activation: Tensor, filters: Sequence[int], channel_axis: int | None, images: int) -> Tensor:
    """Return the mean activation of each filter over all positions, summed over the filters.

    Args:
        activation: (N, ...) for several images; of any shape for one.
        filters: Indices along the channel axis; empty: the mean of the whole tensor.
        channel_axis: The axis of the channels.
        images: N.

    Returns:
        Tensor: (N,).

    Raises:
        TargetError: There are several images, and the first axis does not tell them apart.
    """
    if images > 1 and (activation.ndim == 0 or len(activation) != images or (filters and channel_axis == 0)):
        message = (
            f"The target has shape {tuple(activation.shape)}: its first axis is not the batch of {images} images. "
            "Use a batch of 1, or take a target before the axes are moved."
        )
        raise TargetError(message, shape=tuple(activation.shape), images=images)
    if not filters or channel_axis is None:
        return _mean_by_image(activation, images)
    return sum_of([_mean_by_image(activation.select(channel_axis, index), images) for index in filters])


def _mean_by_image(activation: Tensor, images: int) -> Tensor:
    return activation.reshape(images, -1).mean(1)


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
