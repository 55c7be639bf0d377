"""keras-vis's helpers for arrays of pictures: channels last, (height, width, channels)."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from onnxvis.errors import InputError
from onnxvis.gradients import EPSILON

Array = np.ndarray[Any, Any]

_CONTRAST = 0.1
"""The standard deviation, as a part of the range, that keras-vis gives to every picture."""
_GREY_RANK, _CHANNELS = 2, (1, 3)


def deprocess_input(input_array: Array, input_range: tuple[float, float] = (0, 255)) -> Array:
    """Whiten an array to mid-grey, as keras-vis shows it: mean 1/2 and standard deviation 1/10 of the range, clipped.

    Args:
        input_array: Of any shape.
        input_range: What 0 and 1 become.

    Returns:
        float32, of the same shape.
    """
    values = np.array(input_array, dtype=np.float32)
    values -= values.mean()
    values /= values.std() + EPSILON
    low, high = input_range
    scaled: Array = (high - low) * np.clip(values * _CONTRAST + 0.5, 0, 1) + low
    return scaled


def random_array(shape: Sequence[int], mean: float = 128.0, std: float = 20.0) -> Array:
    """Draw uniform noise with exactly this mean and standard deviation.

    From numpy's global generator, as in keras-vis: `numpy.random.seed` makes it, and what starts from it, repeatable.

    Args:
        shape: The array's shape.
        mean: Its mean.
        std: Its standard deviation.
    """
    noise: Array = np.random.random(tuple(shape))  # noqa: NPY002 - the same seed gives the same noise as in keras-vis
    scaled: Array = (noise - noise.mean()) / (noise.std() + EPSILON) * std + mean
    return scaled


def stitch_images(images: Sequence[Array], margin: int = 5, cols: int = 5) -> Array | None:
    """Lay pictures out row by row on black.

    Args:
        images: (height, width, channels) each, all of one shape.
        margin: Pixels between neighbors.
        cols: Pictures in a row, at most.

    Returns:
        One picture of the same type; None if there is none to show, as in keras-vis.
    """
    if len(images) == 0:
        return None
    height, width, channels = images[0].shape
    columns, rows = min(len(images), cols), math.ceil(len(images) / cols)
    sheet_shape = (rows * (height + margin) - margin, columns * (width + margin) - margin, channels)
    sheet = np.zeros(sheet_shape, images[0].dtype)
    for index, image in enumerate(images):
        row, column = divmod(index, cols)
        top, left = row * (height + margin), column * (width + margin)
        sheet[top : top + height, left : left + width] = image
    return sheet


def draw_text(
    img: Array,
    text: str,
    position: tuple[int, int] = (10, 10),
    font_size: int = 14,
    color: tuple[int, int, int] = (0, 0, 0),
) -> Array:
    """Write a text onto a picture.

    Args:
        img: (height, width, 1 or 3) or (height, width), 0 to 255; it is not changed.
        text: One line.
        position: (x, y) of its upper left corner, in pixels.
        font_size: Pixels.
        color: Red, green, blue.

    Returns:
        (height, width, 3) uint8.

    Raises:
        InputError: The array is no picture.
    """
    if img.ndim != _GREY_RANK and (img.ndim != _GREY_RANK + 1 or img.shape[-1] not in _CHANNELS):
        message = f"An array of shape {img.shape} is no picture: give (height, width, 1 or 3)."
        raise InputError(message, shape=img.shape)
    levels = img.astype(np.uint8)
    grey = levels.ndim == _GREY_RANK or levels.shape[-1] == 1
    picture = Image.fromarray(levels.reshape(levels.shape[:2]) if grey else levels).convert("RGB")
    ImageDraw.Draw(picture).text(position, text, fill=color, font=ImageFont.load_default(font_size))
    return np.asarray(picture)


def load_img(
    path: str | os.PathLike[str],
    grayscale: bool = False,  # noqa: FBT001, FBT002 - keras-vis's signature
    target_size: tuple[int, int] | None = None,
) -> Array:
    """Read a picture.

    Args:
        path: The file.
        grayscale: Whether to make it grey.
        target_size: (height, width) to resize it to, without regard to its proportions.

    Returns:
        uint8, (height, width, 3), or (height, width) if grey.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        with Image.open(Path(path)) as picture:
            converted = picture.convert("L" if grayscale else "RGB")
    except OSError as error:
        message = f"Cannot read {str(path)!r} as a picture: {error}. Give a PNG or JPEG file."
        raise InputError(message, path=path) from error
    if target_size is not None:
        height, width = target_size
        converted = converted.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(converted)
