"""What is optimized, through what, for what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from onnxvis.engine import Engine
from onnxvis.gradients import Modifier, modified
from onnxvis.images import Parameterization
from onnxvis.losses import Activations, Objective, Scene
from onnxvis.sampling import fit
from onnxvis.tensors import widened
from onnxvis.transforms import Transform

Parameters = Mapping[str, tuple[Tensor, ...]]
"""The parameters of the images by input name."""


@dataclass(frozen=True)
class Variable:
    """One input that is optimized.

    Attributes:
        image_shape: (C, *spatial).
        parameterization: How images are written as parameters.
        transforms: What is done to them before each step.
    """

    image_shape: tuple[int, ...]
    parameterization: Parameterization
    transforms: tuple[Transform, ...] = ()


@dataclass(frozen=True)
class Problem:
    """What is optimized, through what, for what.

    Attributes:
        engine: The network for the images.
        variables: The optimized inputs by name; the first is the picture.
        objective: Losses and weights.
        filters: The target's filters for each image.
        gradient_modifier: What is done to the ascent gradient of each image, where it leaves the network.
        device: Where to compute.
        relaxed: Makes the same network with relaxed rectifiers, for units that have no gradient; None, or what makes
            None: there is none.
        references: (C, *spatial) in [0, 1] by input name: the photo that losses compare the images with.
    """

    engine: Engine = field(repr=False)
    variables: Mapping[str, Variable]
    objective: Objective
    filters: tuple[tuple[int, ...], ...]
    gradient_modifier: Modifier | None
    device: torch.device
    relaxed: Callable[[], Engine | None] | None = field(default=None, repr=False)
    references: Mapping[str, Tensor] | None = field(default=None, repr=False)

    @property
    def count(self) -> int:
        """The number of images."""
        return self.engine.count

    def scene(self, images: Mapping[str, Tensor], generators: Sequence[torch.Generator] | None) -> Scene:
        """Look at images through the network; without generators, without transforms."""
        reference = self._reference(generators)
        views = {name: self._view(name, image, generators) for name, image in images.items()}
        fed, activations = self.engine(views)
        first = next(iter(self.variables))
        several = images if len(images) > 1 else {}
        return Scene(
            image=images[first],
            input=fed[first],
            activations=_named(activations),
            reference=reference,
            reference_image=None if self.references is None else self.references[first].to(self.device)[None],
            images=several,
            filters=self.filters,
            stacked=self.engine.stacked,
            copies=self.engine.inputs[first].copies if self.engine.mode != "whole" or self.count == 1 else 1,
        )

    def _reference(self, generators: Sequence[torch.Generator] | None) -> Mapping[str, Tensor]:
        """Return what the network makes of the photo, in the views in which the images will be looked at."""
        if self.references is None or not self.objective.compares:
            return {}
        same = None if generators is None else [_copied(generator) for generator in generators]
        photos = {
            name: self.references[name].to(self.device).expand(self.count, *item.image_shape)
            for name, item in self.variables.items()
        }
        with torch.no_grad():
            views = {name: self._view(name, photo, same) for name, photo in photos.items()}
            _, activations = self.engine(views)
        return _named(activations)

    def _view(self, name: str, image: Tensor, generators: Sequence[torch.Generator] | None) -> Tensor:
        view = image if self.gradient_modifier is None else modified(image, self.gradient_modifier)
        for transform in () if generators is None else self.variables[name].transforms:
            view = transform(view, generators or ())
        return fit(view, image.shape[2:])

    def render(self, parameters: Parameters) -> dict[str, Tensor]:
        """Return the images that the parameters mean."""
        return {
            name: item.parameterization.render(parameters[name], (self.count, *item.image_shape))
            for name, item in self.variables.items()
        }


def _named(activations: Mapping[str, Tensor]) -> Activations:
    """Losses are added up in float32, also where the network computes in half precision."""
    return Activations({name: widened(activation) for name, activation in activations.items()})


def _copied(generator: torch.Generator) -> torch.Generator:
    return torch.Generator().set_state(generator.get_state())
