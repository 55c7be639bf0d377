"""Which input of one file is which of the other, and at which sizes both are fed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxvis.errors import InputError, OnnxvisError, UnknownSizeError
from onnxvis.image_input import find_image_input
from onnxvis.layouts import COLORS
from onnxvis.model import Model
from onnxvis.shapes import TensorSpec

Array = np.ndarray[Any, Any]
Shapes = Mapping[str, tuple[int, ...]]
Dims = Sequence[int | str | None]

USUAL = ((224, 512), (256, 1024), (320, 16000), (128, 256))
"""What an open side of a picture, and an open length of anything else, are taken for: the first at which both run."""
_IMAGE_AXES = (3, 4, 5)


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
