"""What one unit looks for, by both files: the same recipe, the same start, side by side."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxvis.comparison.compare import Comparison
from onnxvis.comparison.likeness import cosine
from onnxvis.errors import FilterError, OnnxvisError
from onnxvis.image_input import ImageInput, find_image_input
from onnxvis.model import Model
from onnxvis.outcomes import Picture
from onnxvis.recipe import Recipe
from onnxvis.result import Result
from onnxvis.target import Target, resolve
from onnxvis.visualize import visualize

QUICK = Recipe(steps=96)
"""Pictures to compare, and not to print."""


@dataclass(frozen=True)
class Portrait:
    """One unit, by both files.

    Attributes:
        unit: What was asked for.
        layers: The short name of the layer in each.
        filters: The filter in each.
        activations: How strongly it answers to its own picture, by onnxruntime.
        likeness: The correlation of the two pictures, in [-1, 1].
        pictures: Of each.
    """

    unit: str
    layers: tuple[str, str]
    filters: tuple[int, int]
    activations: tuple[float, float]
    likeness: float
    pictures: tuple[Picture, ...] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "unit": self.unit,
            "layers": list(self.layers),
            "filters": list(self.filters),
            "activations": [value if np.isfinite(value) else None for value in self.activations],
            "likeness": self.likeness if np.isfinite(self.likeness) else None,
        }


def portraits(
    compared: Comparison, units: Sequence[tuple[str, int | str]], recipe: Recipe | None = None
) -> tuple[Portrait, ...]:
    """Make the pictures of some units by both files.

    Args:
        compared: The comparison of the files.
        units: Layers of the first file, and filters.
        recipe: Settings; None: a quick one.

    Raises:
        TargetError: There is no such unit, or the second file has no counterpart of its layer.
    """
    return tuple(_portrait(compared, node, filter_, recipe or QUICK) for node, filter_ in units)


def _portrait(compared: Comparison, node: str, filter_: int | str, recipe: Recipe) -> Portrait:
    one, other = (side.model for side in compared.sides)
    target = resolve(one.at(compared.sides[0].shapes), node, filter_, logits=recipe.logits)
    pair = compared.pairs.get(target.tensor)
    if pair is None or pair.alignment is None:
        message = f"Layer {target.name!r} of {one.name} has no counterpart in {other.name}: take another unit."
        raise FilterError(message, node=node)
    index = target.filters[0]
    partner = index if pair.permutation is None else pair.permutation[index]
    given = _fed(compared)
    second = dataclasses.replace(recipe, channel_axis=_axis(compared, target, pair.second))
    results = (
        _made(one, target.tensor, index, recipe, given[0]),
        _made(other, pair.second, partner, second, given[1]),
    )
    names = compared.sides[0].name(target.tensor), compared.sides[1].name(pair.second)
    return Portrait(
        unit=f"{node}:{filter_}",
        layers=names,
        filters=(index, partner),
        activations=tuple(float("nan") if result is None else result.activation for result in results),  # type: ignore[arg-type] # two of them
        likeness=_likeness(*results),
        pictures=tuple(
            Picture(f"{model.name}: {name} filter {number}", b"" if result is None else _png(result))
            for model, name, number, result in zip((one, other), names, (index, partner), results, strict=True)
        ),
    )


def _axis(compared: Comparison, target: Target, second: str) -> int | None:
    """Return the channel axis in the second file, as its graph tells, else as the first file's."""
    known = compared.sides[1].model.at(compared.sides[1].shapes).channel_axes.get(second)
    return target.channel_axis if known is None else known


def _made(model: Any, tensor: str, index: int, recipe: Recipe, given: Mapping[str, Any]) -> Result | None:
    """Make one picture; None: the unit has none."""
    try:
        return visualize(model, tensor, index, recipe=dataclasses.replace(recipe, logits=False, **given))
    except OnnxvisError:
        return None


def _fed(compared: Comparison) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return how both files are to be fed, so that one image means the same to both."""
    pairing, relation = compared.feeds.pairing, compared.feeds.relation
    names = pairing.names[0]
    first, second = (
        _input(side.model, shapes, name, given)
        for side, shapes, name, given in zip(
            compared.sides, pairing.shapes, names, compared.feeds.overrides, strict=True
        )
    )
    scale, offset = _affine(first)
    given = [_settings(names[0], pairing.shapes[0], first, scale, offset, bgr=first.preprocess.bgr)]
    spread = [np.resize(np.asarray(values), first.channels) for values in (relation.scale, relation.offset)]
    scale, offset = scale * spread[0], offset * spread[0] + spread[1]
    if relation.reversed:
        scale, offset = scale[::-1], offset[::-1]
    bgr = first.preprocess.bgr != relation.reversed
    return given[0], _settings(names[1], pairing.shapes[1], second, scale, offset, bgr=bgr)


def _input(model: Model, shapes: Mapping[str, tuple[int, ...]], name: str, given: Mapping[str, Any]) -> ImageInput:
    rest = dict(given)
    preset = rest.pop("preset", None)
    return find_image_input(model, shapes, wrt=name, preset=preset, overrides=rest)


def _affine(item: ImageInput) -> tuple[Any, Any]:
    """Return what the model is fed for an image, by channel: scale and offset."""
    low, high = item.preprocess.range
    mean, std = (
        np.resize(np.asarray(values, np.float64), item.channels)
        for values in (item.preprocess.mean, item.preprocess.std)
    )
    return (high - low) / std, (low - mean) / std


def _settings(
    name: str, shapes: Mapping[str, tuple[int, ...]], item: ImageInput, scale: Any, offset: Any, *, bgr: bool
) -> dict[str, Any]:
    # x = scale * u + offset = (u - mean) / std
    return {
        "wrt": name,
        "input_shapes": dict(shapes),
        "range": (0.0, 1.0),
        "mean": tuple(float(value) for value in -offset / scale),
        "std": tuple(float(value) for value in 1 / scale),
        "layout": item.preprocess.layout,
        **({"bgr": bgr} if item.channels in (3, 4) else {}),
    }


def _likeness(one: Result | None, other: Result | None) -> float:
    if one is None or other is None:
        return float("nan")
    images = [np.asarray(result.parts[0].values, np.float64) for result in (one, other)]
    if images[0].shape != images[1].shape:
        return float("nan")
    return cosine(*(image - image.mean() for image in images))


def _png(result: Result) -> bytes:
    written = io.BytesIO()
    result.image.convert("RGB").save(written, "PNG")
    return written.getvalue()
