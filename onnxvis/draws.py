"""What random transforms share: a generator for each image, and settings that are plain numbers in range."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from onnxvis.errors import InputError, SettingError


def check_generators(images: Tensor, generators: Sequence[torch.Generator]) -> None:
    """Refuse any other number of generators than of images.

    Raises:
        ValueError: There are more or fewer.
    """
    if len(generators) != len(images):
        message = f"{len(images)} images need as many generators, got {len(generators)}"
        raise ValueError(message)


def uniform(generators: Sequence[torch.Generator], count: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Draw `count` numbers from low up to high by each image's own generator: (N, count), float64, on the CPU."""
    drawn = [torch.rand(count, generator=generator, dtype=torch.float64) for generator in generators]
    return low + (high - low) * torch.stack(drawn)


def spatial_size(images: Tensor, transform: Any, axes: tuple[int, ...] = (1, 2, 3)) -> tuple[int, ...]:
    """Return the spatial sizes of (N, C, *spatial) images.

    Args:
        images: The images.
        transform: Who asks; its type is named in the error.
        axes: How many spatial axes it can take.

    Raises:
        InputError: The images have another number of them.
    """
    size = tuple(images.shape[2:])
    if len(size) not in axes:
        kinds = {1: "signals (N, C, L)", 2: "images (N, C, H, W)", 3: "volumes (N, C, D, H, W)"}
        wanted = " or ".join(kinds[count] for count in axes)
        message = f"{type(transform).__name__} needs {wanted}, got shape {tuple(images.shape)}: leave it out."
        raise InputError(message, shape=tuple(images.shape))
    return size


def limit(settings: Any, most: float = math.inf, **values: float) -> None:
    """Keep settings of a frozen dataclass as Python's floats, if they are finite and from 0 to `most`.

    Raises:
        SettingError: One is not.
    """
    for name, value in values.items():
        if not (0 <= value <= most and math.isfinite(value)):
            reach = "0 or more" if most == math.inf else f"from 0 to {most:g}"
            message = f"{type(settings).__name__} takes {name} {reach}, not {value}."
            raise SettingError(message, **{name: value})
        object.__setattr__(settings, name, float(value))


def limit_range(settings: Any, *, zero: bool = False, most: float = math.inf) -> None:
    """Keep the settings `low` and `high` of a frozen dataclass as Python's floats, if they span a range.

    Args:
        settings: It has the two.
        zero: Whether `low` may be 0 and not only above.
        most: What `high` may be at most.

    Raises:
        SettingError: They do not, or are not finite.
    """
    low, high = settings.low, settings.high
    if not ((low >= 0 if zero else low > 0) and low <= high <= most and math.isfinite(high)):
        wanted = f"0 {'<=' if zero else '<'} low <= high{'' if most == math.inf else f' <= {most:g}'}"
        message = f"{type(settings).__name__} takes {wanted}, not low={low}, high={high}."
        raise SettingError(message, low=low, high=high)
    object.__setattr__(settings, "low", float(low))
    object.__setattr__(settings, "high", float(high))


def limit_pixels(settings: Any) -> None:
    """Keep the setting `pixels` of a frozen dataclass: a whole number, or a float below 1 for a fraction of the size.

    Raises:
        SettingError: It is neither.
    """
    pixels = settings.pixels
    is_whole = isinstance(pixels, numbers.Integral)
    if not (pixels >= 0 if is_whole else 0 <= pixels < 1):
        message = f"{type(settings).__name__} takes whole pixels or a fraction of the size below 1, not {pixels}."
        raise SettingError(message, pixels=pixels)
    object.__setattr__(settings, "pixels", int(pixels) if is_whole else float(pixels))


def in_pixels(pixels: float, size: int) -> int:
    """Return whole pixels as they are, a fraction of the size in pixels."""
    return pixels if isinstance(pixels, int) else round(pixels * size)
