"""What a written picture really does to the original model, by onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from onnxvis.image_input import ImageInput
from onnxvis.model import Model
from onnxvis.oracle import Oracle
from onnxvis.render import from_image
from onnxvis.target import Target

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Measurement:
    """How strongly a unit answers to one picture.

    Attributes:
        activation: Mean over positions, summed over the filters.
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
        target: The unit.
        image_input: How a picture becomes an input.
        held: The model's other inputs.
        oracle: A session that observes the target and what was asked for.
        asked_axis: The channel axis of what was asked for.
    """

    target: Target
    image_input: ImageInput
    held: Mapping[str, Array]
    oracle: Oracle
    asked_axis: int | None

    @classmethod
    def of(
        cls, model: Model, target: Target, image_input: ImageInput, held: Mapping[str, Array], extra: Sequence[str] = ()
    ) -> Meter:
        """Open a session on the original model; `extra` tensors are observed too."""
        tensors = list(dict.fromkeys([target.tensor, target.asked, *extra]))
        # A softmax keeps the axes: what holds the logits' classes holds those of its output too.
        same_rank = _rank(model, target.asked) == _rank(model, target.tensor)
        axis = model.channel_axes.get(target.asked, target.channel_axis if same_rank else None)
        return cls(target, image_input, held, Oracle(model, tensors), axis)

    def feeds(self, images: Tensor) -> dict[str, Array]:
        """Return the model's inputs for (N, C, H, W) pictures in [0, 1]; one picture fills a fixed batch."""
        fed = self.image_input.preprocess.to_input(images.expand(self.image_input.image_shape))
        return {**self.held, self.image_input.name: fed.detach().cpu().contiguous().numpy()}

    def image(self, picture: Image.Image) -> Measurement:
        """Measure an 8-bit picture."""
        return self.values(from_image(picture, self.image_input.channels)[None])

    def values(self, images: Tensor) -> Measurement:
        """Measure (1, C, H, W) values in [0, 1]."""
        found = self.oracle.run(self.feeds(images))
        by_filter = _means(found[self.target.tensor], self.target.filters, self.target.channel_axis)
        asked = _means(found[self.target.asked], self.target.filters, self.asked_axis) if self.target.moved else ()
        return Measurement(sum(by_filter), by_filter, asked)


def _rank(model: Model, tensor: str) -> int | None:
    shape = model.spec(model.values[tensor]).shape
    return None if shape is None else len(shape)


def _means(activation: Array, filters: tuple[int, ...], axis: int | None) -> tuple[float, ...]:
    if not filters or axis is None:
        return (float(np.mean(activation, dtype=np.float64)),)
    return tuple(float(np.mean(np.take(activation, index, axis), dtype=np.float64)) for index in filters)
