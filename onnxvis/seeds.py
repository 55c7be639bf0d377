"""What an optimization starts from: a photo or an array, as values of a picture."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onnxvis.errors import InputError
from onnxvis.image_input import ImageInput
from onnxvis.render import read_photo

SeedImage = str | os.PathLike[str] | np.ndarray[Any, Any]


def seed_values(given: SeedImage | None, image_input: ImageInput) -> tuple[Tensor | None, str | None]:
    """Return the (C, H, W) values in [0, 1] to start from, and how the recipe names them; None for noise.

    Args:
        given: A picture's path, or an array (H, W), (H, W, C) or (C, H, W): uint8 in 0 to 255, or floats in [0, 1].
        image_input: What the model takes.

    Raises:
        InputError: The picture cannot be read, or the array has another shape.
    """
    if given is None:
        return None, None
    if isinstance(given, (str, os.PathLike)):
        return read_photo(given, image_input.channels, image_input.size), str(given)
    array = np.asarray(given)
    values = array.astype(np.float32) / (255 if array.dtype == np.uint8 else 1)
    wanted = (image_input.channels, *image_input.size)
    if values.shape == image_input.size:
        values = values[None]
    elif values.shape == (*image_input.size, image_input.channels):
        values = values.transpose(2, 0, 1)
    if values.shape != wanted:
        message = f"The seed image has shape {array.shape}; the model needs {(*wanted[1:], wanted[0])} or {wanted}."
        raise InputError(message, shape=array.shape)
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
        message = (
            f"The seed image holds {array.dtype} values from {values.min():g} to {values.max():g} (of 1); give floats "
            "in [0, 1], or uint8."
        )
        raise InputError(message, dtype=str(array.dtype))
    contiguous = np.ascontiguousarray(values)
    digest = hashlib.sha256(contiguous.tobytes()).hexdigest()[:16]
    return torch.from_numpy(contiguous), f"<array {array.shape} {array.dtype}, sha256 {digest}>"
