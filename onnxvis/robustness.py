"""Slightly disturbed copies of an image, as a model meets them in life: moved, turned, blurred, compressed.

A picture that works only as it stands on the disk is no picture of what a unit looks for. What a disturbance brings in
from outside is the image's own reflection, and a disturbed picture is again one of 8 bits.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from PIL import Image
from torch import Tensor

from onnxvis.distortions import Blur
from onnxvis.errors import SettingError
from onnxvis.image_input import ImageInput
from onnxvis.render import from_image, to_image
from onnxvis.sampling import padded

Disturbance = Literal["shift", "turn", "blur", "jpeg"]

_LEVELS = 255
_SMALL_PART = 8
"""A shift is at most this part of a picture's side: eight pixels of 64."""
_SIGNAL_PART = 28
"""A signal is shifted by this part of its length, as a picture of 224 pixels by eight."""
_JPEG_CHANNELS = (1, 3)
_SLICED = 2
"""Turning needs two axes; a volume is turned slice by slice."""


@dataclass(frozen=True)
class Disturbances:
    """How strongly images are disturbed.

    Attributes:
        shift: Pixels, along each axis to both sides; at most an eighth of a picture's side. A signal is shifted by a
            28th of its length instead.
        turn: Degrees, to both sides; of a volume about its first axis.
        blur: Standard deviation of a Gaussian in pixels.
        quality: Of the JPEG file, 1 to 95.
    """

    shift: int = 8
    turn: float = 5.0
    blur: float = 1.0
    quality: int = 75

    def __post_init__(self) -> None:
        """Refuse what disturbs nothing, or cannot be.

        Raises:
            SettingError: A number is out of its range.
        """
        if self.shift < 1 or not 0 < self.turn <= 180 or not 0 < self.blur < math.inf or not 1 <= self.quality <= 95:  # noqa: PLR2004 - half a turn, and Pillow's own limit
            message = (
                f"Disturbances are at least 1 pixel, above 0 and up to 180 degrees, a blur above 0 and a quality from "
                f"1 to 95, not {self.shift}, {self.turn:g}, {self.blur:g} and {self.quality}."
            )
            raise SettingError(message, disturbances=self)


def disturbed(image: Tensor, item: ImageInput, how: Disturbances) -> dict[Disturbance, list[Tensor]]:
    """Return disturbed copies of an image; the disturbances that its kind does not know are left out.

    Args:
        image: (C, *spatial) in [0, 1].
        item: What kind of image it is: pictures know all disturbances (JPEG only in grey and RGB), volumes no JPEG,
            signals only shifts and blur, features none.
        how: How strongly.
    """
    if not item.size:
        return {}
    copies: dict[Disturbance, list[Tensor]] = {"shift": list(_shifts(image, _steps(item, how.shift)))}
    if len(item.size) >= _SLICED:
        copies["turn"] = [_turned(image, angle) for angle in (how.turn, -how.turn)]
    blur = Blur(how.blur, how.blur)
    # Of a fixed width: nothing is drawn that would matter.
    copies["blur"] = [blur(image[None], [torch.Generator()])[0]]
    if item.kind == "picture" and item.channels in _JPEG_CHANNELS:
        copies["jpeg"] = [_compressed(image, how.quality)]
    finish: Callable[[Tensor], Tensor] = _rounded if item.kind == "picture" else torch.Tensor.contiguous
    return {name: [finish(copy) for copy in some] for name, some in copies.items()}


def _steps(item: ImageInput, shift: int) -> tuple[int, ...]:
    """Return by how many pixels an image is shifted along each of its spatial axes."""
    if item.kind == "signal":
        return tuple(max(1, round(size / _SIGNAL_PART)) for size in item.size)
    return tuple(max(1, min(shift, size // _SMALL_PART)) for size in item.size)


def _shifts(image: Tensor, steps: tuple[int, ...]) -> Iterator[Tensor]:
    """Move an image along each axis to both sides."""
    for axis, step in enumerate(steps, start=1):
        wide, size = padded(image, axis, step, "reflect"), image.shape[axis]
        yield wide.narrow(axis, 0, size)
        yield wide.narrow(axis, 2 * step, size)


def _turned(image: Tensor, degrees: float) -> Tensor:
    """Turn an image counterclockwise about its middle, in its last two axes."""
    height, width = image.shape[-2:]
    radians = math.radians(degrees)
    cos, sin, aspect = math.cos(radians), math.sin(radians), width / height
    # x is in units of half the width, y of half the height.
    back = torch.tensor([[[cos, -sin / aspect, 0.0], [sin * aspect, cos, 0.0]]], device=image.device)
    slices = image.reshape(1, -1, height, width)
    grid = torch.nn.functional.affine_grid(back, list(slices.shape), align_corners=False)
    turned = torch.nn.functional.grid_sample(
        slices, grid, mode="bicubic", padding_mode="reflection", align_corners=False
    )
    return turned.reshape(image.shape).clamp(0, 1)


def _compressed(image: Tensor, quality: int) -> Tensor:
    """Write a picture as a JPEG file, and read it back."""
    file = io.BytesIO()
    to_image(image).save(file, "JPEG", quality=quality)
    with Image.open(file) as read:
        return from_image(read, len(image)).to(image.device)


def _rounded(image: Tensor) -> Tensor:
    return (image.clamp(0, 1) * _LEVELS).round() / _LEVELS
