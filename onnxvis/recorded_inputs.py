"""How the probes of a baseline become the inputs of a model.

They are always the same: white noise, and noise with the spectrum of natural images.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from onnxvis.config import PREPROCESS as READERS
from onnxvis.config import CheckSettings
from onnxvis.errors import InputError, OnnxvisError, UnknownSizeError
from onnxvis.image_input import ImageInput, find_image_input
from onnxvis.images import Fourier, Pixel
from onnxvis.kinds import ANY_TEXT, checked, several, whole
from onnxvis.model import Model
from onnxvis.oracle import Arrays
from onnxvis.preprocess import FLAT
from onnxvis.seeds import held_values
from onnxvis.shapes import TensorSpec
from onnxvis.sizes import image_shapes, input_shapes
from onnxvis.tensor_statistics import statistics

_SIZES = (64, 128, 224, 1024)
"""What is tried where the file leaves sizes open and nobody gave them."""

PREPROCESS = ("range", "mean", "std", "bgr", "layout")
"""The fields of `Preprocess` by which an image becomes an input."""


@dataclass(frozen=True)
class RecordedInput:
    """How the probes became one input of the model.

    Attributes:
        name: The input's name.
        dtype: Its type, as ONNX calls it.
        shape: The shape that it was fed.
        image_shape: (C, *spatial) of what was drawn; (): it holds no floats, or nothing that has channels.
        preprocess: The fields of `Preprocess` that feed it, as settings of a recipe.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    image_shape: tuple[int, ...] = ()
    preprocess: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RecordedInput:
        """Read what `dataclasses.asdict` gave, through JSON.

        Raises:
            KeyError, TypeError, ValueError: Something is missing, or of another kind.
        """
        image_shape = checked(several(whole(1)), values["image_shape"], "image_shape")
        fed = PREPROCESS if image_shape else ()
        dtype = checked(ANY_TEXT, values["dtype"], "dtype")
        shape = checked(several(whole(0)), values["shape"], "shape")
        if bool(image_shape) != _is_drawn(dtype, shape):
            message = f"image_shape is {list(image_shape)}, and cannot be that of {dtype} {list(shape)}"
            raise ValueError(message)
        return cls(
            name=checked(ANY_TEXT, values["name"], "name"),
            dtype=dtype,
            shape=shape,
            image_shape=image_shape,
            preprocess={name: checked(READERS[name], values["preprocess"][name], name) for name in fed},
        )


def open_shapes(model: Model, settings: CheckSettings) -> dict[str, tuple[int, ...]]:
    """Return a shape for each input; where sizes are left open and not given, the smallest that can be run.

    Raises:
        OnnxvisError: A size that is given does not fit, or none that is tried can be run.
    """
    given = dict(settings.input_shapes or {})
    names = [spec.name for spec in model.inputs]
    if settings.size is not None:
        return input_shapes(model, image_shapes(model, settings.size, names) | given)
    try:
        return input_shapes(model, given)
    except UnknownSizeError as error:
        for size in _SIZES:
            with contextlib.suppress(OnnxvisError):
                shapes = input_shapes(model, image_shapes(model, (size,), names) | given)
                statistics(model, feeds(model, recorded_inputs(model, shapes, settings), settings.inputs, 0)[:1])
                return shapes
        raise error from None


def recorded_inputs(
    model: Model, shapes: Mapping[str, tuple[int, ...]], settings: CheckSettings
) -> tuple[RecordedInput, ...]:
    """Find out how each input is fed; what is given of the preprocessing is given of the picture.

    Raises:
        OnnxvisError: What is given does not fit an input.
    """
    overrides = {name: getattr(settings, name) for name in PREPROCESS}
    picture: str | None = None
    # Without any input of floats there is none, and what is wrong with a setting is said when its input is looked at.
    with contextlib.suppress(InputError):
        picture = find_image_input(model, shapes, preset=settings.preprocess, overrides=overrides).name
    found = []
    for spec in model.inputs:
        given = (settings.preprocess, overrides) if spec.name == picture else (None, None)
        found.append(_recorded_input(model, spec, shapes, *given))
    return tuple(found)


def _recorded_input(
    model: Model,
    spec: TensorSpec,
    shapes: Mapping[str, tuple[int, ...]],
    preset: str | None,
    overrides: Mapping[str, Any] | None,
) -> RecordedInput:
    bare = RecordedInput(spec.name, spec.dtype, shapes[spec.name])
    if not _is_drawn(spec.dtype, bare.shape):
        return bare
    item = find_image_input(model, shapes, wrt=spec.name, preset=preset, overrides=overrides)
    fed = item.preprocess
    preprocess = {name: getattr(fed, name) for name in PREPROCESS}
    return dataclasses.replace(bare, image_shape=item.image_shape, preprocess=preprocess)


def _is_drawn(dtype: str, shape: tuple[int, ...]) -> bool:
    """Whether noise can fill an input; others are held."""
    return TensorSpec("", dtype, None).is_float and bool(shape)


def feeds(
    model: Model, inputs: Sequence[RecordedInput], held: Mapping[str, str | float] | None, seed: int
) -> list[Arrays]:
    """Draw the probes, one after the other, as arrays by input name.

    Args:
        model: The model.
        inputs: How they are fed, of all of its inputs.
        held: Inputs that are held at a number or at the array in a file, by name.
        seed: Of the noise; the same one draws the same.

    Raises:
        OnnxvisError: An input cannot be held at its value, or neither drawn nor held.
    """
    shapes = {item.name: item.shape for item in inputs}
    given = dict(held or {})
    fixed, _ = held_values(model, given, shapes, ())
    drawn = [item for item in inputs if item.image_shape and item.name not in given]
    fed = {item.name: _image_input(model, item, shapes) for item in drawn}
    probes = []
    for natural in (False, True):
        images = {
            item.name: _noise(item.image_shape, seed + number, natural=natural) for number, item in enumerate(drawn)
        }
        arrays = {name: fed[name].feed_one(image).contiguous().numpy() for name, image in images.items()}
        probes.append({**fixed, **arrays})
    return probes


def copies(inputs: Sequence[RecordedInput]) -> int:
    """Return the size of the batch that one image fills."""
    layouts = ((item.shape, item.preprocess["layout"]) for item in inputs if item.image_shape)
    return next((shape[layout.index("N")] for shape, layout in layouts if layout != FLAT and "N" in layout), 1)


def _image_input(model: Model, item: RecordedInput, shapes: Mapping[str, tuple[int, ...]]) -> ImageInput:
    return find_image_input(model, shapes, wrt=item.name, overrides=item.preprocess)


def _noise(image_shape: tuple[int, ...], seed: int, *, natural: bool) -> torch.Tensor:
    """Draw one image, (1, C, *spatial) in [0, 1]."""
    if not natural:
        return torch.from_numpy(np.random.default_rng(seed).random((1, *image_shape), np.float32))
    kind = Fourier(decay=1.0, std=1.0) if len(image_shape) > 1 else Pixel(std=1.0)
    shape = (1, *image_shape)
    return kind.render(kind.start(shape, [torch.Generator().manual_seed(seed)]), shape)
