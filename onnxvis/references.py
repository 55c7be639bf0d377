"""Losses that compare an image with a photo: caricatures of it, and keeping near to it.

Each needs `scene.reference`, what the model makes of the photo seen through the same random view, and is scaled by it:
a weight means the same in every layer of every model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from onnxvis.activations import inverse_length
from onnxvis.algebra import Loss
from onnxvis.errors import SettingError
from onnxvis.losses import titled
from onnxvis.objectives import LEAST_COSINE
from onnxvis.scene import Scene


@dataclass(frozen=True)
class Caricature(Loss):
    """Minus how far a layer goes in the direction in which a photo sends it: its own features, exaggerated.

    With the layer's numbers a for the image and r for the photo: -(a . r / r . r) max(0.1, cos(a, r))^power, which is
    -1 for the photo itself. Carter et al., "Exploring neural networks with activation atlases" (2019),
    https://distill.pub/2019/activation-atlas/, and lucid's notebooks of caricatures.

    Attributes:
        node: The layer; None: the target, all of it.
        power: Exponent of the cosine, at least 0: how much what the photo does not have is held back.
    """

    node: str | None = None
    power: float = 1.0
    compares: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse what is no exponent.

        Raises:
            SettingError: It is negative or infinite.
        """
        if not 0 <= self.power < math.inf:
            message = f"power must be 0 or more, and finite, not {self.power}."
            raise SettingError(message, power=self.power)

    @property
    def name(self) -> str:
        """What tables call it."""
        return titled("caricature", self.node)

    def __call__(self, scene: Scene) -> Tensor:
        """Return the loss of each image, (N,).

        Raises:
            SettingError: There is no photo.
        """
        values, photo = scene.values(self.node), scene.reference_values(self.node)
        dot = (values * photo).sum(1)
        per_length = inverse_length(photo.square().sum(1))
        cosine = dot * inverse_length(values.square().sum(1)) * per_length
        return -dot * per_length.square() * cosine.clamp(min=LEAST_COSINE) ** self.power


@dataclass(frozen=True)
class Nearness(Loss):
    """How far a layer is from what it is for a photo: |a - r|^2 / |r|^2; without the divisor where r is zero.

    Keeps what is made of a photo recognizable while a unit is maximized: 0 for the photo, 1 for silence. Hamblin et
    al., "Feature accentuation" (2024), https://arxiv.org/abs/2402.10039.

    Attributes:
        node: The layer; None: the target, all of it.
    """

    node: str | None = None
    compares: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """What tables call it."""
        return titled("nearness", self.node)

    def __call__(self, scene: Scene) -> Tensor:
        """Return the loss of each image, (N,).

        Raises:
            SettingError: There is no photo.
        """
        photo = scene.reference_values(self.node)
        scale = photo.square().sum(1)
        apart = (scene.values(self.node) - photo).square().sum(1)
        return apart / torch.where(scale > 0, scale, 1)


@dataclass(frozen=True)
class PixelDistance(Loss):
    """How far the picture is from a photo: the mean squared difference of values in [0, 1]."""

    compares: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """What tables call it."""
        return "pixel distance"

    def __call__(self, scene: Scene) -> Tensor:
        """Return the loss of each image, (N,).

        Raises:
            SettingError: There is no photo.
        """
        if scene.reference_image is None:
            message = "There is no photo to compare with: give a seed image (--from)."
            raise SettingError(message)
        return (scene.image - scene.reference_image).square().flatten(1).mean(1)
