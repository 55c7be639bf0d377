"""What a written picture really does to the original model, by onnxruntime."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from onnxvis.image_input import ImageInput
from onnxvis.losses import Neuron, neuron_position
from onnxvis.model import Model
from onnxvis.oracle import Oracle
from onnxvis.target import Target

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Measurement:
    """How strongly a unit answers to one picture.

    Attributes:
        activation: Mean over positions, or one neuron; summed over the filters.
        by_filter: The same for each filter.
        output: Where the target has moved to the logits: what was asked for (probabilities), by filter; else ().
    """

    activation: float
    by_filter: tuple[float, ...]
    output: tuple[float, ...]


@dataclass(frozen=True)
class Meter:
    """Measures pictures through the original model.

    Attributes:
        inputs: How images become inputs, by name.
        held: The model's other inputs.
        oracle: A session that observes the target and what was asked for.
        asked_axis: The channel axis of what was asked for.
        neuron: The position that is looked at; None: the mean over all.
    """

    inputs: Mapping[str, ImageInput]
    held: Mapping[str, Array]
    oracle: Oracle
    asked_axis: int | None
    neuron: Neuron

    @classmethod
    def of(
        cls,
        model: Model,
        target: Target,
        inputs: Mapping[str, ImageInput],
        held: Mapping[str, Array],
        *,
        neuron: Neuron = None,
        extra: Sequence[str] = (),
    ) -> Meter:
        """Open a session on the original model; `extra` tensors are observed too."""
        tensors = list(dict.fromkeys([target.tensor, target.asked, *extra]))
        # A softmax keeps the axes: what holds the logits' classes holds those of its output too.
        same_rank = _rank(model, target.asked) == _rank(model, target.tensor)
        axis = model.channel_axes.get(target.asked, target.channel_axis if same_rank else None)
        return cls(inputs, held, Oracle(model, tensors), axis, neuron)

    def feeds(self, images: Mapping[str, Tensor]) -> dict[str, Array]:
        """Return the model's inputs for one image each, (C, *spatial) in [0, 1]; one image fills a fixed batch."""
        fed = {name: self.inputs[name].feed_one(image[None]) for name, image in images.items()}
        return {**self.held, **{name: tensor.detach().cpu().contiguous().numpy() for name, tensor in fed.items()}}

    def observe(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the original model on its inputs and return the observed tensors."""
        return self.oracle.run({**self.held, **feeds})

    def measure(self, found: Mapping[str, Array], target: Target) -> Measurement:
        """Read a unit's activation off what was observed."""
        by_filter = self._means(found[target.tensor], target.filters, target.channel_axis)
        asked = self._means(found[target.asked], target.filters, self.asked_axis) if target.moved else ()
        return Measurement(sum(by_filter), by_filter, asked)

    def answers(self, found: Mapping[str, Array], target: Target) -> Array:
        """Read the activations of all units of a layer off what was observed.

        Returns:
            Array: (units,) float64: of each filter the mean over positions, or one neuron; one number for the whole
            tensor where the channel axis is not known.
        """
        activation, axis = self._at_neuron(found[target.tensor], target.channel_axis), target.channel_axis
        units = 1 if axis is None else activation.shape[axis]
        rows = activation if axis is None else np.moveaxis(activation, axis, 0)
        return np.asarray(rows.reshape(units, -1).mean(axis=1, dtype=np.float64))

    def answers_to(self, images: Iterable[Mapping[str, Tensor]], target: Target) -> Array:
        """Return what all units of a layer answer to images, which go through the model one by one.

        A batch would be hardly faster: by a tenth or two, measured on classifiers of 64 and 224 pixels.

        Args:
            images: (C, *spatial) in [0, 1] by input name.
            target: A unit of the layer.

        Returns:
            Array: (images, units).
        """
        return np.stack([self.answers(self.observe(self.feeds(image)), target) for image in images])

    def _means(self, activation: Array, filters: tuple[int, ...], axis: int | None) -> tuple[float, ...]:
        activation = self._at_neuron(activation, axis)
        if not filters or axis is None:
            return (float(np.mean(activation, dtype=np.float64)),)
        return tuple(float(np.mean(np.take(activation, index, axis), dtype=np.float64)) for index in filters)

    def _at_neuron(self, activation: Array, axis: int | None) -> Array:
        """Keep the one position that is looked at, if it is one."""
        if self.neuron is None:
            return activation
        copies = next(iter(self.inputs.values())).copies
        for at, index in neuron_position(activation.shape, self.neuron, axis, copies).items():
            activation = np.take(activation, [index], at)
        return activation


def _rank(model: Model, tensor: str) -> int | None:
    shape = model.spec(model.values[tensor]).shape
    return None if shape is None else len(shape)
