"""What two files are fed, so that both see the same."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxvis.comparison.relations import Relation, image_of, orders
from onnxvis.errors import InputError, OnnxvisError, UnknownSizeError
from onnxvis.image_input import ImageInput, find_image_input
from onnxvis.layouts import COLORS
from onnxvis.model import Model
from onnxvis.seeds import seed_values
from onnxvis.shapes import TensorSpec

Array = np.ndarray[Any, Any]
Shapes = Mapping[str, tuple[int, ...]]
Dims = Sequence[int | str | None]

USUAL = ((224, 512), (256, 1024), (320, 16000), (128, 256))
"""What an open side of a picture, and an open length of anything else, are taken for: the first at which both run."""
_IMAGE_AXES = (3, 4, 5)
_MIDDLE, _SPREAD, _HARSH = 0.5, 0.2, 3.0


@dataclass(frozen=True)
class Pairing:
    """Which input of one file is which of the other, and at which shapes.

    Attributes:
        names: Pairs of names; the first is the one whose preprocessing may differ.
        shapes: The shapes of the inputs of each file.
        missing: Inputs that have no partner: of the first file, of the second.
        notes: What was assumed.
    """

    names: tuple[tuple[str, str], ...]
    shapes: tuple[Shapes, Shapes]
    missing: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    notes: tuple[str, ...] = ()


def pair_inputs(
    first: Model,
    second: Model,
    *,
    size: tuple[int, ...] | None = None,
    given: Shapes | None = None,
    usual: tuple[int, int] = USUAL[0],
) -> Pairing:
    """Pair the inputs of two files by name, else by kind and shape, and settle the sizes that both leave open.

    Args:
        first: The one file.
        second: The other.
        size: The spatial sizes where they are open.
        given: Whole shapes by input name, of either file.
        usual: The side of a picture, and the length of anything else, where nothing tells.

    Raises:
        InputError: No input of one file fits one of the other.
        UnknownSizeError: A size stays open that nothing tells.
    """
    given = given or {}
    specs = tuple([_given(spec, given) for spec in _without_batches(model)] for model in (first, second))
    pairs = list(_named(*specs))
    taken = {name for pair in pairs for name in ((0, pair[0].name), (1, pair[1].name))}
    rest = [[spec for spec in side if (number, spec.name) not in taken] for number, side in enumerate(specs)]
    for spec in list(rest[0]):
        fitting = next((other for other in rest[1] if _fits(spec, other)), None)
        if fitting is not None:
            pairs.append((spec, fitting))
            rest[0].remove(spec)
            rest[1].remove(fitting)
    if not pairs:
        listed = [", ".join(map(str, side)) or "none" for side in specs]
        message = f"No input of {first.name} ({listed[0]}) fits one of {second.name} ({listed[1]})."
        raise InputError(message)
    notes: list[str] = []
    settled = {(one.name, other.name): _settled(first, (one, other), size, usual, notes) for one, other in pairs}
    shapes = {one.name: settled[one.name, other.name][0] for one, other in pairs}
    picture = _picture(first, shapes)
    ordered = sorted(pairs, key=lambda pair: (pair[0].name != picture, not pair[0].is_float))
    return Pairing(
        names=tuple((one.name, other.name) for one, other in ordered),
        shapes=(
            shapes,
            {other.name: settled[one.name, other.name][1] for one, other in ordered},
        ),
        missing=(tuple(spec.name for spec in rest[0]), tuple(spec.name for spec in rest[1])),
        notes=tuple(dict.fromkeys(notes)),
    )


def _without_batches(model: Model) -> list[TensorSpec]:
    """Return the inputs of a file; what is the batch of one of them is 1 everywhere."""
    batches = {
        spec.shape[0] for spec in model.inputs if spec.shape and len(spec.shape) > 1 and not _is_bare(spec.shape)
    }
    open_batches = {dim for dim in batches if isinstance(dim, str)}
    return [
        spec
        if spec.shape is None
        else TensorSpec(
            spec.name, spec.dtype, (*spec.shape[:1], *(1 if dim in open_batches else dim for dim in spec.shape[1:]))
        )
        for spec in model.inputs
    ]


def _is_bare(dims: Dims) -> bool:
    """Whether a shape is that of a picture without a batch."""
    return len(dims) == len("HWC") and dims[-1] in COLORS and not isinstance(dims[1], int)


def _picture(model: Model, shapes: Shapes) -> str | None:
    """Return the input that is optimized where pictures are made: its preprocessing may differ."""
    try:
        return find_image_input(model, shapes).name
    except OnnxvisError:
        return None


def _given(spec: TensorSpec, given: Shapes) -> TensorSpec:
    return TensorSpec(spec.name, spec.dtype, given[spec.name]) if spec.name in given else spec


def _named(first: Sequence[TensorSpec], second: Sequence[TensorSpec]) -> Iterator[tuple[TensorSpec, TensorSpec]]:
    by_name = {spec.name: spec for spec in second}
    for spec in first:
        other = by_name.get(spec.name)
        if other is not None and _fits(spec, other):
            yield spec, other


def _fits(first: TensorSpec, second: TensorSpec) -> bool:
    """Whether two inputs may be the same: both floats or both integers, with sizes that can agree."""
    if first.is_float != second.is_float:
        return False
    return first.shape is None or second.shape is None or next(_unified(first.shape, second.shape), None) is not None


def _unified(first: Dims, second: Dims) -> Iterator[tuple[Dims, Dims]]:
    """Yield the shapes that two inputs can both have: as they are, then with the channels at the other end."""
    rank = len(first)
    if rank != len(second):
        known = [[dim for dim in dims if dim != 1] for dims in (first, second)]
        if all(isinstance(dim, int) for dims in known for dim in dims) and math.prod(known[0]) == math.prod(known[1]):  # type: ignore[arg-type] # integers by now
            yield first, second
        return
    usual = [tuple(range(rank))]
    if rank in _IMAGE_AXES:
        # (N, C, H, W) -> (N, H, W, C), and back
        usual += [(0, *range(2, rank), 1), (0, rank - 1, *range(1, rank - 1))]
    if rank == _IMAGE_AXES[0]:
        usual += [(1, 2, 0), (2, 0, 1)]
    same = [
        sum(isinstance(first[axis], int) and first[axis] == dim for axis, dim in zip(order, second, strict=True))
        for order in usual
    ]
    # The order in which most of the known sizes are the same; of those the first.
    for place in sorted(range(len(usual)), key=lambda place: -same[place]):
        order = usual[place]
        moved = [first[axis] for axis in order]
        joined = [_joined(one, other) for one, other in zip(moved, second, strict=True)]
        if _CONFLICT not in joined:
            back = list(np.argsort(order))
            yield [joined[axis] for axis in back], joined


_CONFLICT = "conflict"


def _joined(one: int | str | None, other: int | str | None) -> int | str | None:
    if isinstance(one, int) and isinstance(other, int):
        return one if one == other else _CONFLICT
    return one if isinstance(one, int) else other


def _settled(
    model: Model,
    pair: tuple[TensorSpec, TensorSpec],
    size: tuple[int, ...] | None,
    usual: tuple[int, int],
    notes: list[str],
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    one, other = pair
    shapes = (one.shape, other.shape)
    known = next((dims for dims in shapes if dims is not None), None)
    if known is None:
        message = f"Input {one.name!r} of {model.name} has no known rank: give its shape as input_shapes."
        raise UnknownSizeError(message, inputs=[one.name])
    first, second = shapes[0] or known, shapes[1] or known
    joined = next(_unified(first, second), None)
    if joined is None:
        message = f"Input {one.name!r} {tuple(first)} cannot be {other.name!r} {tuple(second)}: their sizes differ."
        raise InputError(message, inputs=[one.name, other.name])
    filled = _filled(one, joined[0], size, usual, notes)
    if len(joined[0]) != len(joined[1]):
        return filled, _filled(other, joined[1], size, usual, notes)
    # What was open in one is, in the other, the dimension of the same place.
    for order in itertools.permutations(range(len(filled))):
        if [joined[0][axis] for axis in order] == list(joined[1]):
            return filled, tuple(filled[axis] for axis in order)
    return filled, _filled(other, joined[1], size, usual, notes)


def _filled(
    spec: TensorSpec, dims: Dims, size: tuple[int, ...] | None, usual: tuple[int, int], notes: list[str]
) -> tuple[int, ...]:
    bare = _is_bare(dims)
    first = 0 if bare or len(dims) == 1 else 1
    is_open = [axis for axis, dim in enumerate(dims) if not isinstance(dim, int) and axis >= first]
    picture = len(is_open) == len("HW") and (bare or len(dims) == len("NCHW"))
    if len(is_open) > 1 and size is None and not picture:
        message = f"{spec} leaves several sizes open: give them, input_shapes= in Python, input-shapes in onnxvis.toml."
        raise UnknownSizeError(message, inputs=[spec.name])
    assumed = usual[0] if picture else usual[1]
    if is_open and size is None:
        shown = f"{assumed}x{assumed}" if picture else str(assumed)
        notes.append(f"the size of {spec.name!r} is open: compared at {shown} (--size changes it)")
    wanted = (assumed,) if size is None else size
    sizes = dict(zip(is_open, itertools.chain(wanted, itertools.repeat(wanted[-1])), strict=False))
    return tuple(dim if isinstance(dim, int) else sizes.get(axis, 1) for axis, dim in enumerate(dims))


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


def held_arrays(models: tuple[Model, Model], pairing: Pairing, given: Mapping[str, Array]) -> dict[str, Array]:
    """Return what inputs are held at, at their full shapes; inputs that only one file has may be held too.

    Args:
        models: The two files.
        pairing: Their inputs.
        given: Arrays by input name; a number fills its input.

    Raises:
        InputError: There is no such input, or it has another shape.
    """
    specs = {spec.name: spec for model in reversed(models) for spec in model.inputs}
    unknown = sorted(set(given) - set(specs))
    if unknown:
        message = f"No file has an input {unknown[0]!r} that could be held. Inputs: {', '.join(map(repr, specs))}."
        raise InputError(message, names=unknown)
    found = {}
    for name, array in given.items():
        declared = pairing.shapes[0].get(name) or pairing.shapes[1].get(name) or _alone(specs[name])
        values = np.asarray(array)
        if values.ndim == 0:
            values = np.full(declared, values)
        if values.shape != tuple(declared):
            message = f"Input {name!r} cannot be held at an array of shape {values.shape}: it takes {tuple(declared)}."
            raise InputError(message, name=name, shape=values.shape)
        found[name] = values
    return found


def _alone(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(dim if isinstance(dim, int) else 1 for dim in spec.shape or ())


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
