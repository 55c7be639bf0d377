"""What two files are fed, so that both see the same."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxvis.comparison.pairing import Array, Pairing, Shapes
from onnxvis.comparison.relations import Relation, image_of, orders
from onnxvis.errors import OnnxvisError
from onnxvis.image_input import ImageInput, find_image_input
from onnxvis.model import Model
from onnxvis.seeds import seed_values

_MIDDLE, _SPREAD, _HARSH = 0.5, 0.2, 3.0


@dataclass(frozen=True)
class Feeds:
    """What both files are fed.

    Attributes:
        pairing: Which input is which.
        relation: Between the first pair.
        first: What the first file is fed, by input name, for each probe.
        second: What the second is.
        held: The inputs that are held at something given.
        overrides: What is given of the preprocessing of each file.
        contradicted: Whether both files say how they want pictures, and what they say does not fit.
    """

    pairing: Pairing
    relation: Relation
    first: Sequence[Mapping[str, Array]] = field(repr=False)
    second: Sequence[Mapping[str, Array]] = field(repr=False)
    held: frozenset[str] = frozenset()
    overrides: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {})
    contradicted: bool = False


def probes(
    model: Model,
    pairing: Pairing,
    *,
    overrides: Mapping[str, Any],
    held: Mapping[str, Array],
    photos: Sequence[str] = (),
    rounded: bool = False,
    seed: int = 0,
) -> list[dict[str, Array]]:
    """Return what the first file is fed: noise, then pictures of ever higher contrast, then photos.

    Args:
        model: The first file.
        pairing: Its inputs and their shapes.
        overrides: What is given of its preprocessing, "preset" too.
        held: What some inputs are held at.
        photos: Paths of photos.
        rounded: Whether all numbers are ones of half precision.
        seed: Of all noise.
    """
    shapes = pairing.shapes[0]
    kinds: list[str] = ["noise", "smooth", "contrasty", "harsh"]
    found = []
    for number, kind in enumerate([*kinds, *photos]):
        generator = np.random.default_rng([seed, number])
        fed = {}
        for place, (name, _) in enumerate(pairing.names):
            # What is said of the preprocessing is said of the picture.
            given = overrides if place == 0 else {}
            array = held[name] if name in held else _array(model, name, shapes, given, kind, generator)
            # Both files must get the very same numbers, also where one of them takes them in half precision.
            fed[name] = array.astype(np.float16).astype(np.float32) if rounded and array.dtype.kind == "f" else array
        fed.update({name: held[name] for name in pairing.missing[0] if name in held})
        found.append(fed)
    return found


def _array(
    model: Model, name: str, shapes: Shapes, overrides: Mapping[str, Any], kind: str, generator: np.random.Generator
) -> Array:
    spec = next(spec for spec in model.inputs if spec.name == name)
    if not spec.is_float:
        # One number is a rate or a length, of which zero is the safest; rows are tokens and masks.
        rows = generator.integers(0, 2, shapes[name]) if len(shapes[name]) > 1 else np.zeros(shapes[name])
        return np.asarray(rows, np.int64)
    rest = dict(overrides)
    preset = rest.pop("preset", None)
    try:
        item = find_image_input(model, shapes, wrt=name, preset=preset, overrides=rest)
    except OnnxvisError:
        if overrides:
            raise
        return generator.standard_normal(shapes[name]).astype(np.float32)
    return image_of(item, _image(item, kind, generator))


def _image(item: ImageInput, kind: str, generator: np.random.Generator) -> Array:
    if kind == "noise" or (not item.size and kind in ("smooth", "contrasty", "harsh")):
        return generator.random(item.image_shape, np.float32)
    if kind in ("smooth", "contrasty", "harsh"):
        contrast = {"smooth": 1.0, "contrasty": 2.0}.get(kind, _HARSH)
        return smooth(item.image_shape, generator, contrast)
    if item.kind != "picture":
        return generator.random(item.image_shape, np.float32)
    return np.asarray(seed_values(kind, item)[0], np.float32)


def smooth(shape: Sequence[int], generator: np.random.Generator, contrast: float) -> Array:
    """Return noise with the spectrum of natural images, amplitudes as one over the frequency, in [0, 1].

    Args:
        shape: (C, *spatial).
        generator: Of the noise.
        contrast: 1 for that of a photo; more is clipped.
    """
    axes = tuple(range(1, len(shape)))
    spectrum = np.fft.fftn(generator.standard_normal(shape), axes=axes)
    grids = np.meshgrid(*(np.fft.fftfreq(size) for size in shape[1:]), indexing="ij")
    frequency = np.sqrt(sum(grid**2 for grid in grids))
    frequency[(0,) * len(axes)] = math.inf
    noise = np.fft.ifftn(spectrum / np.maximum(frequency, 1 / max(shape[1:])), axes=axes).real
    noise /= max(float(noise.std()), 1e-12)
    # Channels share most of what natural images show.
    noise = 0.7 * noise.mean(axis=0, keepdims=True) * math.sqrt(len(noise)) + 0.7 * noise
    return np.asarray(np.clip(_MIDDLE + _SPREAD * contrast * noise, 0, 1), np.float32)


def related(
    pairing: Pairing, relation: Relation, first: Sequence[Mapping[str, Array]], held: Mapping[str, Array] | None = None
) -> Feeds:
    """Return what both files are fed under a relation between their first inputs."""
    alone = {name: array for name, array in (held or {}).items() if name in pairing.missing[1]}
    second = []
    for fed in first:
        other = dict(alone)
        for number, (one, name) in enumerate(pairing.names):
            plain = relation if number == 0 else Relation(orders(np.shape(fed[one]), pairing.shapes[1][name])[0])
            other[name] = plain(fed[one])
        second.append(other)
    return Feeds(pairing, relation, first, second, frozenset(held or {}))
