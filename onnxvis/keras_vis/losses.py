"""keras-vis's losses, on the model's raw input values: each with the scale and the name that it has there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import SupportsIndex

from torch import Tensor

from onnxvis import losses
from onnxvis.losses import Loss, Scene


@dataclass(frozen=True)
class ActivationMaximization(Loss):
    """Minus the mean activation of each filter, summed over the filters.

    Attributes:
        layer: The layer: its Keras name, its index in `Model.nodes`, or any name of a node.
        filter_indices: One filter or several; None: minus the mean of the whole output.
    """

    layer: str | SupportsIndex
    filter_indices: SupportsIndex | str | Sequence[SupportsIndex | str] | None

    @property
    def name(self) -> str:
        """What keras-vis calls it."""
        return "ActivationMax Loss"

    def __call__(self, scene: Scene) -> Tensor:  # noqa: ARG002 - it is refused
        """Refuse to be computed: which tensor and axis is meant only a model tells, and only `Optimizer` asks it."""
        message = "ActivationMaximization of keras_vis is for keras_vis.Optimizer; elsewhere take onnxvis's own."
        raise TypeError(message)


@dataclass(frozen=True)
class LayerActivation(losses.ActivationMaximization):
    """`ActivationMaximization`, of a layer of a certain model."""

    @property
    def name(self) -> str:
        """What keras-vis calls it."""
        return "ActivationMax Loss"


@dataclass(frozen=True)
class TotalVariation(losses.TotalVariation):
    """The sum of (squared differences)^(beta / 2), divided by the number of all values.

    Attributes:
        beta: The exponent.
    """

    beta: float = 2.0

    def __post_init__(self) -> None:
        """Refuse what is no number, as keras-vis's first argument was not.

        Raises:
            TypeError: It is none.
        """
        _check_number("TotalVariation", "beta", self.beta)

    @property
    def name(self) -> str:
        """What keras-vis calls it."""
        return f"TV({self.beta}) Loss"

    def __call__(self, scene: Scene) -> Tensor:
        """Return the loss of each image, (N,)."""
        # Quirk: the sum has one value less along each axis than the number it is divided by.
        return losses.local_variation(scene.image, self.beta).sum(1) / scene.image[0].numel()


@dataclass(frozen=True)
class LPNorm(Loss):
    """(sum of |x|^p)^(1 / p), divided by the number of values.

    Attributes:
        p: The exponent, at least 1.
    """

    p: float = 6.0

    def __post_init__(self) -> None:
        """Refuse what is no norm.

        Raises:
            TypeError: p is no number.
            ValueError: It is less than 1.
        """
        _check_number("LPNorm", "p", self.p)
        if not self.p >= 1:
            message = f"p value should range between [1, inf), not {self.p}"
            raise ValueError(message)

    @property
    def name(self) -> str:
        """What keras-vis calls it."""
        return f"L-{self.p} Norm Loss"

    def __call__(self, scene: Scene) -> Tensor:
        """Return the loss of each image, (N,)."""
        values = scene.image.flatten(1)
        # Quirk: a norm of n values grows as n^(1 / p), not as n: the larger the image, the less it weighs.
        # Quirk: p = infinity means the largest value, not the largest absolute value.
        norm = values.amax(1) if math.isinf(self.p) else (values.abs() ** self.p).sum(1) ** (1 / self.p)
        return norm / values.shape[1]


def _check_number(loss: str, name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        message = f"{loss} takes {name}, a number, not {type(value).__name__}: unlike in keras-vis, no input tensor."
        raise TypeError(message)
