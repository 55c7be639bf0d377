"""Arrays that a user gives: what an optimization starts from, and what the other inputs are held at."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onnxvis.errors import InputError
from onnxvis.image_input import ImageInput
from onnxvis.model import Model
from onnxvis.render import read_array, read_photo
from onnxvis.shapes import TensorSpec
from onnxvis.tensors import zeros

Array = np.ndarray[Any, Any]
SeedImage = str | os.PathLike[str] | Array
HeldValue = str | os.PathLike[str] | float | Array

_ROUNDING = 1e-4
"""Values so little outside their range are in it but for rounding."""
_SHOWN = "<array"


def seed_values(given: SeedImage | None, image_input: ImageInput) -> tuple[Tensor | None, str | None]:
    """Return the (C, *spatial) values in [0, 1] to start from, and how the recipe names them; None for noise.

    Args:
        given: The path of a picture or of a .npy file, or an array. For pictures (H, W), (H, W, C) or (C, H, W): uint8
            in 0 to 255, or floats in [0, 1]. For anything, the model's whole input in its own units; signals, volumes
            and features also without the batch.
        image_input: What the model takes.

    Raises:
        InputError: The file cannot be read, or the array has another shape or range.
    """
    if given is None:
        return None, None
    if isinstance(given, str) and given.startswith(_SHOWN):
        message = f"The recipe starts from {given}, which is not in it: give that array, or its file, as seed image."
        raise InputError(message, seed_image=given)
    if isinstance(given, (str, os.PathLike)):
        path = Path(given)
        if path.suffix.lower() != ".npy":
            if image_input.kind != "picture":
                message = (
                    f"A picture cannot seed the {image_input.kind} of input {image_input.name!r} {image_input.shape}: "
                    "give a .npy file of that shape."
                )
                raise InputError(message, path=path)
            return read_photo(given, image_input.channels, _pair(image_input.size)), str(given)
        return _from_array(read_array(path), image_input), str(given)
    array = np.asarray(given)
    return _from_array(array, image_input), described(array)


def held_values(
    model: Model, given: Mapping[str, HeldValue], shapes: Mapping[str, tuple[int, ...]], optimized: tuple[str, ...]
) -> tuple[dict[str, Array], dict[str, str | float]]:
    """Return the values of the inputs that are not optimized, and how the recipe names those that are given.

    Args:
        model: The model.
        given: Numbers, paths of .npy files or arrays by input name; a number fills the input. Others are zero, masks
            one.
        shapes: The shapes of the inputs that the target depends on.
        optimized: The names of those that are optimized.

    Raises:
        InputError: There is no such input, it is optimized, the file cannot be read, or its shape does not fit.
    """
    specs = {spec.name: spec for spec in model.inputs}
    wrong = sorted(set(given) - set(specs))
    if wrong:
        message = f"{model.name} has no input {wrong[0]!r}. Its inputs: {', '.join(map(repr, specs))}."
        raise InputError(message, names=wrong)
    both = sorted(set(given) & set(optimized))
    if both:
        message = f"Input {both[0]!r} is optimized: it cannot be held at a value too. Name another with --wrt."
        raise InputError(message, name=both[0])
    held = {
        name: _held(name, given[name], shape, specs[name].dtype)
        if name in given
        else zeros(specs[name].dtype, shape) + is_mask(specs[name])
        for name, shape in shapes.items()
        if name not in optimized
    }
    return held, {name: _named(value) for name, value in given.items()}


def is_mask(spec: TensorSpec) -> bool:
    """Tell whether an input looks like a mask: of zeros it would hide everything, so it is held at one."""
    return "mask" in spec.name.lower() and not spec.is_float


def loaded(given: Mapping[str, HeldValue]) -> dict[str, HeldValue]:
    """Read the files among some values.

    Raises:
        InputError: A file cannot be read, or only the description of an array is given.
    """
    return {name: _loaded(name, value) for name, value in given.items()}


def _loaded(name: str, value: HeldValue) -> HeldValue:
    if isinstance(value, str) and value.startswith(_SHOWN):
        message = f"The recipe holds input {name!r} at {value}, which is not in it: give that array, or its file."
        raise InputError(message, name=name)
    return read_array(value) if isinstance(value, (str, os.PathLike)) else value


def _held(name: str, value: HeldValue, shape: tuple[int, ...], dtype: str) -> Array:
    array = np.asarray(_loaded(name, value))
    empty = zeros(dtype, shape)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        message = f"Input {name!r} was given NaN or infinity: give finite numbers."
        raise InputError(message, name=name)
    if array.shape == shape or array.ndim == 0:
        kind = empty.dtype.kind
        if kind in "iub" and array.dtype.kind == "f" and not np.array_equal(array, np.round(array)):
            message = f"Input {name!r} holds integers, and was given {array.dtype} values."
            raise InputError(message, name=name)
        return np.broadcast_to(array, shape).astype(empty.dtype)
    message = f"Input {name!r} has shape {shape}, and was given an array of shape {array.shape}."
    raise InputError(message, name=name, shape=array.shape)


def _named(value: HeldValue) -> str | float:
    if isinstance(value, (str, os.PathLike)):
        return str(value)
    array = np.asarray(value)
    return array.item() if array.ndim == 0 else described(array)


def checksums(names: Iterable[str | float | None]) -> dict[str, str]:
    """Return the SHA-256 of the files among what a recipe names."""
    return {
        name: hashlib.sha256(Path(name).read_bytes()).hexdigest()
        for name in names
        if isinstance(name, str) and not name.startswith(_SHOWN)
    }


def described(array: Array) -> str:
    """Return what a recipe says of an array that has no file."""
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
    return f"{_SHOWN} {array.shape} {array.dtype}, sha256 {digest}>"


def _from_array(array: Array, image_input: ImageInput) -> Tensor:
    if array.dtype.kind not in "fiub" or array.size == 0 or not np.isfinite(array).all():
        message = (
            f"The seed image holds {array.dtype} values that are empty, NaN, infinite or no numbers; give floats in "
            "[0, 1], or uint8."
        )
        raise InputError(message, dtype=str(array.dtype))
    if array.shape == image_input.shape and not _is_pixels(array, image_input):
        return _from_input(array, image_input)
    if image_input.kind == "picture":
        return _from_pixels(array, image_input)
    without_batch = tuple(
        size for axis, size in zip(image_input.preprocess.layout, image_input.shape, strict=False) if axis != "N"
    )
    if array.shape in (without_batch, image_input.size):
        return _from_input(array.reshape(image_input.shape), image_input)
    message = f"The seed has shape {array.shape}; input {image_input.name!r} needs {image_input.shape}."
    raise InputError(message, shape=array.shape)


def _is_pixels(array: Array, image_input: ImageInput) -> bool:
    """Whether an array of the input's own shape is a picture: in layouts without a batch only the numbers can tell."""
    if image_input.kind != "picture" or "N" in image_input.preprocess.layout:
        return False
    return array.dtype == np.uint8 or bool(array.min() >= 0 and array.max() <= 1)


def _from_input(array: Array, image_input: ImageInput) -> Tensor:
    """Read the model's own input, in its units."""
    fed = torch.from_numpy(array.astype(np.float32))
    several = image_input.preprocess.to_images(fed, image_input.channels)
    if bool((several != several[:1]).any()):
        message = (
            f"The seed holds {len(several)} different images for input {image_input.name!r}: give one, which all "
            "entries of the batch start from."
        )
        raise InputError(message, shape=array.shape)
    images = several[0]
    least, most = float(images.min()), float(images.max())
    if least < -_ROUNDING or most > 1 + _ROUNDING:
        low, high = image_input.preprocess.range
        message = (
            f"The seed holds values from {low + least * (high - low):g} to {low + most * (high - low):g} before "
            f"normalization, outside the range {low:g} to {high:g} of input {image_input.name!r}: give --range."
        )
        raise InputError(message, least=least, most=most)
    return images.clamp(0, 1).contiguous()


def _from_pixels(array: Array, image_input: ImageInput) -> Tensor:
    values = array.astype(np.float32) / (255 if array.dtype == np.uint8 else 1)
    wanted = image_input.image_shape
    if values.shape == image_input.size:
        values = values[None]
    elif values.shape == (*image_input.size, image_input.channels):
        values = values.transpose(2, 0, 1)
    if values.shape != wanted:
        message = f"The seed image has shape {array.shape}; the model needs {(*wanted[1:], wanted[0])} or {wanted}."
        raise InputError(message, shape=array.shape)
    if not (values.min() >= 0 and values.max() <= 1):
        message = (
            f"The seed image holds {array.dtype} values from {values.min():g} to {values.max():g} (of 1); give floats "
            "in [0, 1], or uint8."
        )
        raise InputError(message, dtype=str(array.dtype))
    return torch.from_numpy(np.ascontiguousarray(values))


def _pair(size: tuple[int, ...]) -> tuple[int, int]:
    height, width = size
    return height, width
