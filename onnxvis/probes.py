"""The inputs that a model is looked at with: noise, the edges of its range, and a user's photos.

All of them are in the range that the input seems to be made for; the same seed gives the same probes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from onnxvis.baselines import natural_images
from onnxvis.config import CheckSettings
from onnxvis.errors import InputError, SettingError, UnknownSizeError
from onnxvis.image_input import ImageInput, find_image_input
from onnxvis.images import Fourier
from onnxvis.index_ranges import index_ranges
from onnxvis.model import Model
from onnxvis.seeds import held_values, seed_values
from onnxvis.sizes import image_shapes, input_shapes, laid_out_shapes

Array = np.ndarray[Any, Any]
Shapes = Mapping[str, tuple[int, ...]]

TRIED_SIZES = (224, 256, 320, 128)
"""Pixels at which a picture is tried whose size the file leaves open: most networks were trained at one of these."""
MOST_PHOTOS = 16
_PURE_NOISES = 2
_NATURAL_NOISES = 3
_STRIPE = 4
"""Pixels: stripes survive a pooling or two."""
_BYTES = 256
_PICTURE_AXES = (3, 4)
_HALVES = ("FLOAT16", "BFLOAT16")


@dataclass(frozen=True, eq=False)
class Probe:
    """One set of inputs.

    Attributes:
        name: What it is called in reports.
        feeds: Arrays by input name, in the model's own units.
        kind: "noise" within the range, "edge" for its ends and hard patterns, "photo" for what a user gave.
        essential: Whether it is fed also to a model at which every probe takes long.
    """

    name: str
    feeds: Mapping[str, Array] = field(repr=False)
    kind: Literal["noise", "edge", "photo"]
    essential: bool = False


def placements(
    model: Model, settings: CheckSettings, names: Sequence[str] | None = None
) -> Iterator[tuple[dict[str, tuple[int, ...]], str | None]]:
    """Yield the input shapes to try, in order, each with a note where a size was assumed.

    Args:
        model: The model.
        settings: Their `size` and `input_shapes` win; sizes that stay open are tried at `TRIED_SIZES`.
        names: The inputs that are needed; default: all.

    Raises:
        UnknownSizeError: Sizes are open that are none of a picture.
        InputError: A given shape or size does not fit.
    """
    needed = [spec.name for spec in model.inputs if names is None or spec.name in names]
    given = {name: tuple(shape) for name, shape in (settings.input_shapes or {}).items()}
    if settings.size is not None:
        given = _at(model, settings.size, settings.layout, needed) | given
    try:
        yield input_shapes(model, given, needed), None
    except UnknownSizeError:
        if settings.size is not None:
            raise
        yield from _tried(model, given, settings.layout, needed)


def _tried(
    model: Model, given: Shapes, layout: str | None, needed: Sequence[str]
) -> Iterator[tuple[dict[str, tuple[int, ...]], str]]:
    for size in TRIED_SIZES:
        try:
            shapes = input_shapes(model, _at(model, (size,), layout, needed) | dict(given), needed)
        except InputError:
            # Of what has no such size, only the user knows: this says which sizes are open.
            input_shapes(model, given, needed)
            raise
        names = ", ".join(repr(name) for name in input_names_of_open_size(model, given, needed))
        yield shapes, f"Sizes of {names} are open; checked at {shapes_text(shapes)}: --size changes it."


def _at(model: Model, size: tuple[int, ...], layout: str | None, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    return laid_out_shapes(model, size, names, layout) or image_shapes(model, size, names)


def input_names_of_open_size(model: Model, given: Shapes, names: Sequence[str]) -> list[str]:
    """Return the inputs whose sizes neither the file nor the given shapes tell.

    Args:
        model: The model.
        given: Shapes by input name.
        names: The inputs to look at.
    """
    try:
        input_shapes(model, given, names)
    except UnknownSizeError as error:
        return list(error.details["inputs"])
    return []


def shapes_text(shapes: Shapes) -> str:
    """Return shapes as a person writes them: 1x3x224x224, by input name where there are several."""
    written = {name: "x".join(map(str, shape)) or "one number" for name, shape in shapes.items()}
    if len(written) == 1:
        return next(iter(written.values()))
    return ", ".join(f"{name} {text}" for name, text in written.items())


def make_probes(model: Model, settings: CheckSettings, shapes: Shapes) -> tuple[Probe, ...]:
    """Return noise, edge values and photos for all inputs; a single probe where nothing can be varied.

    Args:
        model: The model.
        settings: The preprocessing, what other inputs are held at, the folder of photos, the seed.
        shapes: The shape of each input that is needed.

    Raises:
        InputError: A held value or a photo does not fit.
        SettingError: The preprocessing contradicts the input.
    """
    images, others = image_inputs(model, settings, shapes)
    varied = (*images, *others)
    held, _ = held_values(model, settings.inputs or {}, shapes, varied)
    maker = _Maker(images, others, {spec.name: spec.dtype for spec in model.inputs}, held, index_ranges(model))
    if not varied:
        return (Probe("the held inputs", held, "noise", essential=True),)
    return (*_noises(maker, settings.seed), *_edges(maker), *_photos(maker, settings.images))


def image_inputs(
    model: Model, settings: CheckSettings, shapes: Shapes
) -> tuple[dict[str, ImageInput], dict[str, tuple[int, ...]]]:
    """Return the inputs that hold images of whatever kind, and the shapes of others that can be varied: of indices too.

    Args:
        model: The model.
        settings: The preprocessing is that of the first picture; held inputs are not varied.
        shapes: The shape of each input that is needed.

    Raises:
        SettingError: The preprocessing contradicts the input.
        InputError: The layout does not fit the input.
    """
    given = settings.inputs or {}
    floats = [spec.name for spec in model.inputs if spec.is_float and spec.name in shapes.keys() - given.keys()]
    overrides = {key: getattr(settings, key) for key in ("range", "mean", "std", "bgr", "layout")}
    varied = {name: shapes[name] for name in floats}
    indices = index_ranges(model)
    images: dict[str, ImageInput] = {}
    if any(varied.values()):
        first = find_image_input(model, varied, preset=settings.preprocess, overrides=overrides)
        images[first.name] = first
    for name in floats:
        with contextlib.suppress(InputError, SettingError):
            images.setdefault(name, find_image_input(model, varied, wrt=name))
    others = {name: shape for name, shape in varied.items() if name not in images}
    others |= {
        spec.name: shapes[spec.name]
        for spec in model.inputs
        if spec.name in shapes.keys() - given.keys()
        and ((spec.dtype == "UINT8" and len(shapes[spec.name]) in _PICTURE_AXES) or spec.name in indices)
    }
    return images, others


@dataclass(frozen=True)
class _Maker:
    """Makes feeds of images: all images of a probe are of one pattern."""

    images: Mapping[str, ImageInput]
    others: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    held: Mapping[str, Array]
    rows: Mapping[str, int]

    def of(self, images: Mapping[str, Tensor]) -> dict[str, Array]:
        """Return the feeds for (copies, C, *spatial) images, and values in [0, 1] of the other inputs."""
        feeds = {
            name: _rounded(self.images[name].feed(image).contiguous().numpy(), self.dtypes[name])
            if name in self.images
            else self._other(name, image.numpy())
            for name, image in images.items()
        }
        return {**self.held, **feeds}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the images."""
        return {name: (item.copies, *item.image_shape) for name, item in self.images.items()} | dict(self.others)

    def _other(self, name: str, values: Array) -> Array:
        if name in self.rows:
            count = self.rows[name]
            places: Array = np.minimum(values.astype(np.float64) * count, count - 1).astype(self.dtypes[name].lower())
            return places
        if self.dtypes[name] == "UINT8":
            whole: Array = np.minimum(values * _BYTES, _BYTES - 1).astype(np.uint8)
            return whole
        return _rounded(values * 2 - 1, self.dtypes[name])


def _rounded(values: Array, dtype: str) -> Array:
    # Both sides must get the very same numbers.
    rounded: Array = values.astype(np.float16).astype(np.float32) if dtype in _HALVES else values
    return rounded


def _noises(maker: _Maker, seed: int) -> Iterator[Probe]:
    for number in range(_PURE_NOISES):
        generator = np.random.default_rng((seed, number))
        drawn = {
            name: torch.from_numpy(np.asarray(generator.random(shape, np.float32)))
            for name, shape in maker.shapes().items()
        }
        yield Probe(f"noise {number}", maker.of(drawn), "noise", essential=number == 0)
    for number in range(_NATURAL_NOISES):
        source = torch.Generator().manual_seed(seed + number)
        drawn = {name: _natural(shape, source) for name, shape in maker.shapes().items()}
        yield Probe(f"natural noise {number}", maker.of(drawn), "noise", essential=number == 0)


def _natural(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw noise with the spectrum and the colors of natural images; without spatial axes every number by itself."""
    if len(shape) < len("NC") or not 0 < len(shape) - len("NC") <= len("DHW"):
        return torch.sigmoid(torch.randn(shape, generator=generator))
    kind = Fourier(decay=1.0, std=1.0)
    generators = [torch.Generator().manual_seed(int(torch.randint(1 << 62, (), generator=generator)))] * shape[0]
    return kind.render(kind.start(shape, generators), shape)


def _edges(maker: _Maker) -> Iterator[Probe]:
    for name, value in (("lowest", 0.0), ("highest", 1.0), ("middle", 0.5)):
        flat = {key: torch.full(shape, value) for key, shape in maker.shapes().items()}
        yield Probe(name, maker.of(flat), "edge", essential=value == 1)
    checks = {key: _checkerboard(shape) for key, shape in maker.shapes().items()}
    yield Probe("checkerboard", maker.of(checks), "edge")
    stripes = {key: _stripes(shape) for key, shape in maker.shapes().items()}
    yield Probe("stripes", maker.of(stripes), "edge")


def _checkerboard(shape: tuple[int, ...]) -> Tensor:
    """Alternate between 0 and 1 along the spatial axes; without any, along all."""
    places = torch.zeros(shape, dtype=torch.int64)
    for axis in range(len("NC") if len(shape) > len("NC") else 0, len(shape)):
        steps = torch.arange(shape[axis])
        places = places + steps.reshape([-1 if axis == each else 1 for each in range(len(shape))])
    return (places % 2).float()


def _stripes(shape: tuple[int, ...]) -> Tensor:
    if not shape:
        return torch.zeros(shape)
    return (torch.arange(shape[-1]) // _STRIPE % 2).float().expand(shape).clone()


def _photos(maker: _Maker, folder: str | os.PathLike[str] | None) -> Iterator[Probe]:
    if folder is None or not maker.images:
        return
    first = next(iter(maker.images.values()))
    middle = {name: torch.full(shape, 0.5) for name, shape in maker.shapes().items()}
    for path in natural_images(folder, first)[:MOST_PHOTOS]:
        image, _ = seed_values(path, first)
        if image is not None:
            filled = image[None].expand(first.copies, *first.image_shape)
            yield Probe(
                path.relative_to(folder).as_posix(), maker.of({**middle, first.name: filled}), "photo", essential=True
            )
