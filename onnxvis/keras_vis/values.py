"""The input of a model as keras-vis sees it: its raw values, free and unbounded, channels last in arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onnxvis.errors import InputError, SettingError
from onnxvis.image_input import ImageInput
from onnxvis.keras_vis.arrays import random_array
from onnxvis.preprocess import FLAT

Array = np.ndarray[Any, Any]

_SEED_CONTRAST = 0.05
"""The standard deviation of the noise that is started from, as a part of the range."""


@dataclass(frozen=True)
class Values:
    """A parameterization whose parameters are the input's values themselves.

    Quirk: nothing keeps them in the input's range.
    """

    def start(
        self,
        shape: tuple[int, ...],
        generators: Sequence[torch.Generator],  # noqa: ARG002 - the noise is drawn beforehand, by numpy
        *,
        seed_image: Tensor | None = None,
        contrast: float = 1.0,  # noqa: ARG002 - no other start is tried
    ) -> tuple[Tensor, ...]:
        """Give the values that are started from, which must be given; see `Parameterization.start`."""
        if seed_image is None:
            message = "raw values start from given values"
            raise ValueError(message)
        return (seed_image.expand(shape),)

    def render(self, parameters: tuple[Tensor, ...], shape: tuple[int, ...]) -> Tensor:
        """Return the values; see `Parameterization.render`."""
        (values,) = parameters
        return values.view(shape)


def array_of(item: ImageInput, values: Tensor) -> Array:
    """Return (1, C, *spatial) values of an input as a new (1, *spatial, C) array."""
    array: Array = values.detach().cpu().movedim(1, -1).clone(memory_format=torch.contiguous_format).numpy()
    return array.reshape(array_shape(item))


def values_of(item: ImageInput, array: Array) -> Tensor:
    """Return a (1, *spatial, C) array as (1, C, *spatial) values: the inverse of `array_of`."""
    values = torch.from_numpy(np.array(array, dtype=np.float32))
    return values.reshape(1, *item.size, item.channels).movedim(-1, 1).contiguous()


def array_shape(item: ImageInput) -> tuple[int, ...]:
    """Return the shape of an input's arrays: (1, *spatial, C)."""
    return item.shape if item.preprocess.layout == FLAT else (1, *item.size, item.channels)


def seed_values(item: ImageInput, seed_input: Array | None, input_range: tuple[float, float]) -> Tensor:
    """Return the (1, C, *spatial) values to start from.

    Args:
        item: The input.
        seed_input: (*spatial, C), with or without a batch of 1, or with the channels first where these are not the
            same; None: noise around the middle of the range, by numpy's global generator.
        input_range: What the values lie between.

    Raises:
        InputError: The array has another shape.
    """
    wanted = array_shape(item)
    if seed_input is None:
        low, high = input_range
        return values_of(item, random_array(wanted, mean=(low + high) / 2, std=_SEED_CONTRAST * (high - low)))
    given = np.asarray(seed_input)
    array = given if given.ndim == len(wanted) else given[None]
    if array.shape != wanted and array.ndim > 1:
        array = np.moveaxis(array, 1, -1)
    if array.shape != wanted:
        message = f"seed_input has shape {given.shape}; input {item.name!r} needs {wanted[1:]}, channels last."
        raise InputError(message, shape=given.shape, expected=wanted[1:])
    return values_of(item, array)


def on_arrays(item: ImageInput, functions: Sequence[Callable[[Array], Array]], what: str) -> Callable[[Tensor], Tensor]:
    """Return a function of (1, C, *spatial) values that calls functions of (1, *spatial, C) arrays, one by one.

    Args:
        item: The input.
        functions: To be called.
        what: What they are, for the error.
    """

    def changed(values: Tensor) -> Tensor:
        array = array_of(item, values)
        for function in functions:
            array = np.asarray(function(array))
            if array.shape != array_shape(item):
                message = f"A {what} made {array.shape} of an array of shape {array_shape(item)}: it must keep it."
                raise SettingError(message, shape=array.shape)
        return values_of(item, array).to(values.device)

    return changed
