"""The sizes at which a model's inputs are used: what the file says, and what it leaves open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from onnxvis.budget import refuse_gigantic_inputs
from onnxvis.errors import InputError, UnknownSizeError
from onnxvis.model import Model
from onnxvis.shapes import TensorSpec

_COLORS = (1, 3, 4)

InputShapes = Mapping[str, Sequence[int]] | Sequence[int]


def input_shapes(
    model: Model, given: InputShapes | None = None, names: Iterable[str] | None = None
) -> dict[str, tuple[int, ...]]:
    """Return a size for each dimension of each input.

    An open leading dimension is the batch: 1, also where its name appears again. Other open dimensions are taken from
    `given`, also where they share their name with a dimension that is given.

    Args:
        model: The model.
        given: Shapes by input name; for a model of one input the shape itself.
        names: The inputs that are needed; default: all.

    Raises:
        UnknownSizeError: Dimensions stay open; all are named.
        InputError: A given shape is for no input, contradicts the file, or is larger than any machine.
    """
    specs = {spec.name: spec for spec in model.inputs}
    shapes = _by_name(model, given)
    _check_names(model, shapes, specs)
    bound = _batch(specs) | _bindings(specs, shapes)
    wanted = set(specs) if names is None else set(names)
    resolved = {name: _resolved(spec, shapes.get(name), bound) for name, spec in specs.items() if name in wanted}
    open_dims = {name: shape for name, shape in resolved.items() if any(dim is None for dim in shape)}
    if open_dims:
        listed = "; ".join(_described(specs[name], shape) for name, shape in open_dims.items())
        is_image = any(_takes_size(specs[name]) for name in open_dims)
        size = "--size 224 (or HEIGHTxWIDTH)" if is_image else "--size LENGTH (or DEPTHxHEIGHTxWIDTH)"
        remedy = f"Give them: {size}, or input_shapes= in Python."
        message = f"{model.name} leaves sizes open: {listed}. {remedy}"
        raise UnknownSizeError(message, inputs=sorted(open_dims))
    found = {name: tuple(dim for dim in shape if dim is not None) for name, shape in resolved.items()}
    refuse_gigantic_inputs(found)
    return found


def check_arrays(model: Model, arrays: Mapping[str, Any], specs: Iterable[TensorSpec] | None = None) -> None:
    """Refuse arrays that are for no input, or of a shape that the file excludes; a leading dimension may differ.

    Args:
        model: The model.
        arrays: Arrays by input name; what is no array is for an input that is no tensor, and has no shape.
        specs: The inputs that may be given; default: those that have to be.

    Raises:
        InputError: An array is for no input, or contradicts the file.
    """
    inputs = {spec.name: spec for spec in specs or model.inputs}
    _check_names(model, arrays, inputs)
    for name, array in arrays.items():
        if isinstance(array, np.ndarray) and not _fits(inputs[name], array.shape):
            _refuse_shape(inputs[name], array.shape)


def shapes_with_arrays(
    model: Model, given: InputShapes | None, arrays: Mapping[str, np.ndarray[Any, Any]]
) -> dict[str, tuple[int, ...]]:
    """Return the given shapes by input name, and those of given arrays; empty arrays have none that can be computed at.

    Args:
        model: The model.
        given: Shapes by input name; for a model of one input the shape itself.
        arrays: Arrays by input name.

    Raises:
        InputError: An array is for no input, or contradicts the file or the given shape.
    """
    check_arrays(model, arrays)
    shapes = _by_name(model, given)
    for name, array in arrays.items():
        shape = tuple(np.shape(array))
        if 0 not in shape and shapes.setdefault(name, shape) != shape:
            message = f"Input {name!r} is given as an array of shape {shape}, and its shape as {shapes[name]}."
            raise InputError(message, name=name, shape=shape)
    return shapes


def image_shapes(
    model: Model, size: tuple[int, ...], names: Iterable[str], wrt: Sequence[str] = ()
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the optimized inputs at some spatial size.

    Args:
        model: The model.
        size: (height, width) in pixels, (length,), (depth, height, width); one number for all of them.
        names: The inputs to look at.
        wrt: Those to give the size to; (): all pictures whose size is open, else the first; without any picture the
            inputs that have as many open dimensions.

    Raises:
        InputError: It fits none of them.
        UnknownSizeError: An input's number of channels is open too.
    """
    wanted = set(wrt or names)
    specs = [spec for spec in model.inputs if spec.name in wanted and spec.is_float and spec.shape is not None]
    images = [spec for spec in specs if _takes_size(spec)] if len(size) <= len("HW") else []
    if images:
        pair = (size[0], size[-1])
        is_open = [spec for spec in images if any(not isinstance(dim, int) for dim in (spec.shape or ())[1:])]
        return {spec.name: _sized(spec, pair) for spec in is_open or images[:1]}
    batches = _batch({spec.name: spec for spec in model.inputs})
    filled = {spec.name: shape for spec in specs if (shape := _filled(spec, size, batches)) is not None}
    if not filled:
        listed = ", ".join(map(str, specs)) or "none of floats"
        message = (
            f"Size {'x'.join(map(str, size))} fits no input of {model.name}: {listed}. Give input_shapes= in Python."
        )
        raise InputError(message, size=size)
    return filled


def laid_out_shapes(
    model: Model, size: tuple[int, ...], names: Iterable[str], layout: str | None
) -> dict[str, tuple[int, ...]]:
    """Return the shape of the first input that has the axes of a layout, at some spatial size; else nothing.

    Args:
        model: The model.
        size: The spatial sizes in order; one number for all of them.
        names: The inputs to look at.
        layout: The axes in order, such as WNC; None: nothing is known.
    """
    wanted = set(names)
    for spec in model.inputs if layout is not None else ():
        dims = spec.shape
        if spec.name not in wanted or not spec.is_float or dims is None or len(dims) != len(layout or ""):
            continue
        spatial = [letter for letter in "DHW" if letter in (layout or "")]
        if len(size) not in (1, len(spatial)):
            continue
        sizes = dict(zip(spatial, size if len(size) > 1 else size * len(spatial), strict=True)) | {"N": 1}
        shape = [
            dim if isinstance(dim, int) else sizes.get(letter) for letter, dim in zip(layout or "", dims, strict=True)
        ]
        if any(not isinstance(dim, int) for dim in dims) and None not in shape:
            return {spec.name: tuple(dim for dim in shape if dim is not None)}
    return {}


def _filled(spec: TensorSpec, size: tuple[int, ...], batches: Mapping[str, int]) -> tuple[int, ...] | None:
    """Put sizes in place of the open dimensions after the batch, if there are as many."""
    dims = list(spec.shape or ())
    is_open = [
        axis
        for axis, dim in enumerate(dims)
        if not isinstance(dim, int) and dim not in batches and (axis > 0 or len(dims) == 1)
    ]
    if not is_open or len(size) not in (1, len(is_open)):
        return None
    for axis, given in zip(is_open, size if len(size) > 1 else size * len(is_open), strict=True):
        dims[axis] = given
    return tuple(dim if isinstance(dim, int) else 1 for dim in dims)


def _takes_size(spec: TensorSpec) -> bool:
    return spec.is_float and spec.shape is not None and len(spec.shape) == len("NCHW")


def _sized(spec: TensorSpec, size: tuple[int, int]) -> tuple[int, ...]:
    dims = list(spec.shape or ())
    is_last = isinstance(dims[3], int) and (not isinstance(dims[1], int) or dims[1] not in _COLORS)
    first = 1 if is_last and (dims[3] in _COLORS or not isinstance(dims[1], int)) else 2
    dims[0] = dims[0] if isinstance(dims[0], int) else 1
    dims[first : first + 2] = size
    if not all(isinstance(dim, int) for dim in dims):
        example = f"input_shapes={{{spec.name!r}: (1, 3, {size[0]}, {size[1]})}}"
        message = f"Input {spec.name!r} leaves its number of channels open. Give {example} in Python."
        raise UnknownSizeError(message, inputs=[spec.name])
    return tuple(int(dim) for dim in dims if dim is not None)


def _by_name(model: Model, given: InputShapes | None) -> dict[str, tuple[int, ...]]:
    if given is None:
        return {}
    if isinstance(given, Mapping):
        return {name: tuple(shape) for name, shape in given.items()}
    if len(model.inputs) != 1:
        names = ", ".join(repr(spec.name) for spec in model.inputs)
        message = f"{model.name} has {len(model.inputs)} inputs ({names}); give their shapes by name."
        raise InputError(message)
    return {model.inputs[0].name: tuple(given)}


def _check_names(model: Model, given: Iterable[str], inputs: Iterable[str]) -> None:
    known = list(inputs)
    wrong = sorted(set(given) - set(known))
    if wrong:
        message = f"{model.name} has no input {wrong[0]!r}. Its inputs: {', '.join(map(repr, known))}."
        raise InputError(message, names=wrong)


def _fits(spec: TensorSpec, shape: tuple[int, ...]) -> bool:
    """Whether the file allows a shape: any size of the leading dimension, which is the batch."""
    if spec.shape is None:
        return True
    return len(spec.shape) == len(shape) and all(
        not isinstance(dim, int) or dim == size or position == 0
        for position, (dim, size) in enumerate(zip(spec.shape, shape, strict=True))
    )


def _refuse_shape(spec: TensorSpec, shape: tuple[int, ...]) -> NoReturn:
    message = f"Input {spec.name!r} cannot have shape {shape}: the file says {_described(spec, spec.shape or ())}."
    raise InputError(message, name=spec.name, shape=shape)


def _bindings(specs: Mapping[str, TensorSpec], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Collect what the given shapes say about dimensions that have a name; check them against the file."""
    bound: dict[str, int] = {}
    for name, shape in shapes.items():
        declared = specs[name].shape
        if declared is None and all(size > 0 for size in shape):
            continue
        if not _fits(specs[name], shape) or any(size < 1 for size in shape):
            _refuse_shape(specs[name], shape)
        for dim, size in zip(declared or (), shape, strict=True):
            if isinstance(dim, str) and bound.setdefault(dim, size) != size:
                message = f"Input {name!r} cannot have shape {shape}: dimension {dim!r} is {bound[dim]} elsewhere."
                raise InputError(message, name=name, shape=shape, dimension=dim)
    return bound


def _batch(specs: Mapping[str, TensorSpec]) -> dict[str, int]:
    """Name the dimensions that are a batch somewhere: they have one size everywhere, 1 unless it is given."""
    shapes = [spec.shape for spec in specs.values() if spec.shape is not None and len(spec.shape) > 1]
    return {shape[0]: 1 for shape in shapes if isinstance(shape[0], str)}


def _resolved(spec: TensorSpec, given: tuple[int, ...] | None, bound: Mapping[str, int]) -> tuple[int | None, ...]:
    if given is not None:
        return given
    if spec.shape is None:
        return (None,)
    sizes = tuple(dim if isinstance(dim, int) else bound.get(str(dim)) for dim in spec.shape)
    return (1, *sizes[1:]) if len(sizes) > 1 and sizes[0] is None else sizes


def _described(spec: TensorSpec, shape: Sequence[int | str | None]) -> str:
    if spec.shape is None:
        return f"input {spec.name!r} (unknown rank)"
    names = [dim if isinstance(dim, str) else f"dimension {axis}" for axis, dim in enumerate(spec.shape)]
    shown = [name if size is None else str(size) for name, size in zip(names, shape, strict=True)]
    return f"input {spec.name!r} ({', '.join(shown)})"
