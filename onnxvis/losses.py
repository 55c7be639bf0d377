"""What an image is optimized for: losses, made small. Their weighted sums: `ActivationMaximization() + 0.1 * LpNorm()`.

A loss gives one number for each image of the batch, never a mean over the batch, so that an image does not depend on
its neighbors; the few that compare the images of a group say so: they are `coupled`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, SupportsIndex

import torch
from torch import Tensor

from onnxvis.activations import Neuron, neuron_position, sum_of, unit_activation
from onnxvis.algebra import Loss, Objective, as_objective
from onnxvis.errors import SettingError
from onnxvis.scene import Activations, Scene

__all__ = [
    "REGULARIZERS",
    "ActivationMaximization",
    "Activations",
    "Goal",
    "Loss",
    "LpNorm",
    "Neuron",
    "Objective",
    "Scene",
    "TotalVariation",
    "as_objective",
    "distance",
    "local_variation",
    "neuron_position",
    "read_filters",
    "read_neuron",
    "sum_of",
    "titled",
    "unit_activation",
]

Goal = Literal["maximize", "minimize"] | float
"""What an activation should become: as large as possible, as small as possible, or a given value."""
_ROUNDING_OFF = 0.1


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
        """Read one number as several where several may be, and refuse goals that are none.

        Raises:
            SettingError: `goal` or `neuron` is of another kind.
        """
        object.__setattr__(self, "filters", read_filters(self.filters))
        object.__setattr__(self, "neuron", read_neuron(self.neuron))
        known = self.goal in ("maximize", "minimize") or (
            isinstance(self.goal, (int, float)) and math.isfinite(self.goal)
        )
        if not known or isinstance(self.goal, bool):
            message = f"goal is 'maximize', 'minimize' or a number to reach, not {self.goal!r}."
            raise SettingError(message, goal=self.goal)

    @property
    def name(self) -> str:
        """What tables call it."""
        return titled("activation", self.node)

    def __call__(self, scene: Scene) -> Tensor:
        """Return the loss of each image, (N,)."""
        activation = scene.unit(scene.filters_of(self.filters), self.node, self.channel_axis, self.neuron)
        if self.goal == "maximize":
            return -activation
        if self.goal == "minimize":
            return activation
        return distance(activation, float(self.goal))


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


REGULARIZERS = (TotalVariation, LpNorm)
"""What is asked of the image alone."""


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


def titled(kind: str, node: str | None) -> str:
    """Return what tables call a loss on a layer."""
    return kind if node is None else f"{kind} {node}"


def read_neuron(neuron: Any) -> Neuron:
    """Read one number as a position along one axis.

    Raises:
        SettingError: It is another word than "center".
    """
    if isinstance(neuron, str) and neuron != "center":
        message = f"neuron is 'center' or one number for each spatial axis, not {neuron!r}."
        raise SettingError(message, neuron=neuron)
    return (neuron,) if isinstance(neuron, int) else neuron


def read_filters(filters: Any) -> tuple[int, ...] | None:
    """Read one filter as several."""
    if filters is None:
        return None
    return tuple([filters] if isinstance(filters, (str, SupportsIndex)) else filters)


def distance(activation: Tensor, goal: float) -> Tensor:
    """Return |activation - goal|, rounded off where it is less than a tenth of |goal| (or than 0.1 for zero)."""
    wanted = torch.full_like(activation, goal)
    near = _ROUNDING_OFF * (abs(goal) or 1.0)
    return torch.nn.functional.smooth_l1_loss(activation, wanted, reduction="none", beta=near)


def _power(base: Tensor, exponent: float) -> Tensor:
    """Raise numbers from 0 on to a power, with slope 0 instead of infinity at 0."""
    if exponent == 1:
        return base
    positive = base > 0
    return torch.where(positive, torch.where(positive, base, 1) ** exponent, 0)


def _difference(image: Tensor, axis: int, axes: Sequence[int]) -> Tensor:
    """Subtract from each pixel's successor along an axis, on the grid that has a successor along every axis."""
    cropped = image
    for other in axes:
        if other != axis:
            cropped = cropped.narrow(other, 0, image.shape[other] - 1)
    return cropped.narrow(axis, 1, image.shape[axis] - 1) - cropped.narrow(axis, 0, image.shape[axis] - 1)
