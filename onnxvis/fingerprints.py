"""Small pictures of units, by which two runs are compared: the same network gives nearly the same ones.

What they are compared by is blurred, and in color: of a run that is rounded otherwise the finest detail differs first.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image

from onnxvis.errors import InputError, OnnxvisError
from onnxvis.images import Fourier
from onnxvis.kinds import ANY_TEXT, Reader, checked, either, flag, mapping, number
from onnxvis.model import Model
from onnxvis.recipe import Recipe
from onnxvis.render import to_image
from onnxvis.result import Part, Result
from onnxvis.target import resolve
from onnxvis.tensor_statistics import Statistics
from onnxvis.visualize import visualize

Array = np.ndarray[Any, Any]
Units = Sequence[tuple[str | None, int | str | None]]
"""Layers and filters: None is the first output, and the whole tensor."""

SIDE = 48
"""The largest side of a fingerprint in pixels."""
RECIPE = Recipe(
    preset="fast",
    objective="activation",
    parameterization=Fourier(decay=1.5, std=0.5),
    transforms=(),
    steps=32,
    learning_rate=0.1,
)
"""Few steps without random views, from a start of high contrast: runs that are rounded otherwise stay together. From
faint noise the first steps decide by the signs of tiny gradients, and the same network in float16 ends elsewhere."""
LIKENESS: Mapping[str, float] = {"float32": 0.9, "float16": 0.85, "bfloat16": 0.7, "quantized": 0.85}
"""The least correlation of two fingerprints of the same unit, by what the two files compute in."""
GAINS: Mapping[str, float] = {"float32": 0.1, "float16": 0.15, "bfloat16": 0.3, "quantized": 0.15}
"""How far an activation may move, as a share of the recorded gain over its start."""
_CLASSES = 2
_DEPTHS = (0.2, 0.5, 0.8)
"""Where in the order of computation the layers lie of which one filter each is recorded."""
_NEIGHBORS = 3
_LASTING = frozenset(
    {"Relu", "Clip", "LeakyRelu", "PRelu", "HardSwish", "Elu", "Gelu", "Add", "Concat", "MaxPool", "AveragePool", "Sum"}
)
"""What optimizers and exporters leave in a file: convolutions are fused with what follows them."""
_BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
"""A blur of one pixel: what two runs round otherwise is the finest detail."""
_MIDDLE = 0.5
_FLAT = 1e-3
"""A standard deviation below which a picture shows nothing: a quarter of a step of 8 bits."""
_SAME = 0.99
"""The correlation from which on two pictures show one unit: copies, and what is only scaled on the way."""
_SHOWN = 192
"""The largest side in pixels at which pictures are shown."""


@dataclass(frozen=True)
class Unit:
    """One unit, and what it looked for.

    Attributes:
        name: As a person would write it: "NODE filter 3".
        tensor: The tensor that was asked for, before it is moved to its logits.
        recipe: All settings of the picture.
        activation: What the unit answered to the picture, by onnxruntime.
        seed_activation: What it answered to the start.
        picture: A small copy of the picture, RGB.
    """

    name: str
    tensor: str
    recipe: Recipe = field(repr=False)
    activation: float
    seed_activation: float
    picture: Image.Image = field(repr=False)

    @classmethod
    def of(cls, result: Result) -> Unit:
        """Keep what a run has given; class names become numbers, which no metadata can move."""
        target = result.target
        return cls(
            name=str(target),
            tensor=target.asked,
            recipe=dataclasses.replace(result.recipe, filters=target.filters),
            activation=result.activation,
            seed_activation=result.seed_activation,
            picture=fingerprint(result.parts[0]),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "name": self.name,
            "tensor": self.tensor,
            "activation": self.activation,
            "seed_activation": self.seed_activation,
            "recipe": self.recipe.to_dict(),
            "picture": written(self.picture),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Unit:
        """Read what `to_dict` wrote.

        Raises:
            OnnxvisError: The recipe or the picture is damaged, or of another version.
            KeyError, TypeError, ValueError: Something is missing, or of another kind.
        """
        return cls(
            name=checked(ANY_TEXT, values["name"], "name"),
            tensor=checked(ANY_TEXT, values["tensor"], "tensor"),
            recipe=_sound(Recipe.from_dict(values["recipe"])),
            activation=checked(number(), values["activation"], "activation"),
            seed_activation=checked(number(), values["seed_activation"], "seed_activation"),
            picture=read(values["picture"]),
        )


def _sound(recipe: Recipe) -> Recipe:
    """Look into what a recipe is made of, which it takes as it is: a damaged one is refused before it runs.

    Raises:
        ValueError: A part is of another kind than it may be.
    """
    if recipe.inputs is not None:
        checked(mapping(either(str, ANY_TEXT, number())), recipe.inputs, "recipe.inputs")
    terms = () if recipe.losses is None else recipe.losses.terms
    if recipe.losses is not None and not terms:
        message = "recipe.losses is empty"
        raise ValueError(message)
    parts: list[Any] = [recipe.parameterization, *(recipe.transforms or ()), *(loss for loss, _ in terms)]
    for part in parts:
        for item in dataclasses.fields(part) if dataclasses.is_dataclass(part) else ():
            reader = _PARTS.get(type(item.default))
            if reader is not None:
                checked(reader, getattr(part, item.name), f"recipe.{type(part).__name__}.{item.name}")
    return recipe


_PARTS: Mapping[type, Reader] = {bool: flag, int: number(), float: number(), str: ANY_TEXT}
"""What the fields of a part may be, by the type of their default."""


def named_units(model: Model, units: Units, recipe: Recipe) -> tuple[Unit, ...]:
    """Make the pictures of some units, each by itself: a batch would be rounded otherwise.

    Raises:
        OnnxvisError: There is no such unit, or it has no picture.
    """
    return tuple(Unit.of(visualize(model, node, filter, recipe=recipe, device="cpu")) for node, filter in units)


def chosen_units(model: Model, tensors: Sequence[Statistics], recipe: Recipe) -> tuple[Unit, ...]:
    """Make pictures of the strongest classes on noise, and of a filter each of layers spread over the depth.

    Units without a picture, or with one that is there already, are passed over; there may be none in the end.

    Args:
        model: The model.
        tensors: What its tensors answer to noise, in the order of computation.
        recipe: The settings.
    """
    units = _pictured(model, _strongest(model, tensors), recipe, _CLASSES, ())
    taken = {unit.tensor for unit in units} | {spec.name for spec in model.outputs}
    for depth in _DEPTHS:
        nearest = [(name, filter) for name, filter in _around(tensors, depth) if name not in taken]
        units += _pictured(model, nearest[:_NEIGHBORS], recipe, 1, units)
        taken |= {unit.tensor for unit in units}
    return tuple(units)


def _pictured(model: Model, units: Units, recipe: Recipe, most: int, before: Sequence[Unit]) -> list[Unit]:
    """Make pictures until there are enough that are like no other one, nor like those before."""
    found: list[Unit] = []
    for node, filter in units:
        name = node if node is None else model.names.short_name(model.values[node])
        try:
            (unit,) = named_units(model, [(name, filter)], recipe)
        except OnnxvisError:
            # Dead, or out of the reach of gradients: another one stands for the model as well.
            continue
        if any(likeness(unit.picture, other.picture) >= _SAME for other in (*before, *found)):
            continue
        found.append(unit)
        if len(found) == most:
            break
    return found


def _strongest(model: Model, tensors: Sequence[Statistics]) -> Units:
    """Return the classes of the first output in order of their answer to noise, with some to fall back to."""
    try:
        logits = resolve(model).tensor
    except OnnxvisError:
        return ()
    means = next((item.channels for item in tensors if item.tensor == logits), ())
    order = np.argsort(means, kind="stable")[::-1][: _CLASSES + _NEIGHBORS]
    return tuple((None, int(index)) for index in order) if len(order) else ((None, None),)


def _around(tensors: Sequence[Statistics], depth: float) -> Iterator[tuple[str, int]]:
    """Yield layers with their strongest filters, the nearest to a depth in [0, 1] first; of copies only one."""
    filtered = _distinct(item for item in tensors if len(item.channels) > 1 and item.std > 0)
    lasting = [item for item in filtered if item.op_type in _LASTING]
    listed = lasting if len(lasting) >= len(_DEPTHS) else filtered
    for item in sorted(listed, key=lambda item: abs(listed.index(item) - depth * (len(listed) - 1))):
        yield item.tensor, int(np.argmax(item.channels))


def _distinct(tensors: Iterable[Statistics]) -> list[Statistics]:
    """Leave out what answers exactly as another one: identities, and what only moves the axes."""
    found: dict[tuple[Any, ...], Statistics] = {}
    for item in tensors:
        found.setdefault((item.dims, item.mean, item.std, item.min, item.max, item.channels), item)
    return list(found.values())


def fingerprint(part: Part) -> Image.Image:
    """Return a small picture of an optimized input, RGB, of at most 48x48 pixels; what is smaller keeps its size.

    Pictures keep their proportions. Of signals there is a row for each channel, of features one row for all; slices of
    volumes stand side by side. Their figures would show mostly axes, which are always alike.
    """
    values = torch.from_numpy(part.values)
    if part.is_picture or values.ndim == len("CDHW"):
        picture = to_image(values).convert("RGB")
        scale = min(1.0, SIDE / max(picture.size))
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    else:
        picture = to_image(values.reshape(1, -1, values.shape[-1])).convert("RGB")
        size = (min(SIDE, picture.width), min(SIDE, picture.height))
    return picture if size == picture.size else picture.resize(size, Image.Resampling.BOX)


def likeness(first: Image.Image, second: Image.Image) -> float:
    """Return the correlation of two blurred pictures over all pixels and colors, each color around its own mean.

    Returns:
        float: In [-1, 1]; 1 for the same, also where both show nothing; 0 where one of them does, or the sizes differ.
    """
    if first.size != second.size:
        return 0.0
    a, b = (_centered(_blurred(_values(image))) for image in (first, second))
    spread = float(a.std()), float(b.std())
    if min(spread) < _FLAT:
        return float(max(spread) < _FLAT)
    return float(np.clip((a * b).mean() / (spread[0] * spread[1]), -1, 1))


def difference(first: Image.Image, second: Image.Image) -> Image.Image:
    """Draw where two pictures differ: mid-grey where they do not, and the difference scaled to the whole range."""
    a, b = _values(first), _values(second.resize(first.size))
    change = b - a
    largest = float(np.abs(change).max())
    values = _MIDDLE + change * (_MIDDLE / largest if largest > 0 else 0.0)
    return Image.fromarray((values * 255).round().astype(np.uint8))


def enlarged(image: Image.Image) -> bytes:
    """Return a PNG in which each pixel of a fingerprint is a square, large enough to look at."""
    factor = max(1, _SHOWN // max(image.size))
    return png(image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST))


def png(image: Image.Image) -> bytes:
    """Encode a picture as PNG, without any text in it."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def written(image: Image.Image) -> str:
    """Return a picture as the base64 of its PNG."""
    return base64.b64encode(png(image)).decode()


def read(text: str) -> Image.Image:
    """Read what `written` wrote.

    Raises:
        InputError: It is no base64, or no picture of the size of a fingerprint.
    """
    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=("PNG",)) as image:
            if max(image.size) > SIDE:
                message = f"A fingerprint has at most {SIDE}x{SIDE} pixels, and not {image.width}x{image.height}."
                raise InputError(message, size=image.size)
            return image.convert("RGB")
    except (binascii.Error, OSError, SyntaxError, TypeError, ValueError) as error:
        message = f"A fingerprint cannot be read as a picture: {error}."
        raise InputError(message) from error


def _values(image: Image.Image) -> Array:
    return np.asarray(image, dtype=np.float64) / 255


def _blurred(values: Array) -> Array:
    """Blur (H, W, 3) along both axes; the edges are repeated outwards."""
    reach = len(_BINOMIAL) // 2
    for axis in (0, 1):
        margins = [(reach, reach) if at == axis else (0, 0) for at in range(values.ndim)]
        padded = np.pad(values, margins, mode="edge")
        length = values.shape[axis]
        values = sum(
            (weight * np.take(padded, range(start, start + length), axis) for start, weight in enumerate(_BINOMIAL)),
            start=np.zeros_like(values),
        )
    return values


def _centered(values: Array) -> Array:
    return np.asarray(values - values.mean(axis=(0, 1)))
