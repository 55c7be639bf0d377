"""Transforms that change the size of the images, all of a batch alike: a margin more, or a random margin less.

Each image by a draw from its own generator, differentiably, on the images' device, as `onnxvis.transforms` wants it.
`onnxvis.sampling.fit` brings what comes out of the last transform back to the size that the network takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onnxvis.draws import check_generators, in_pixels, limit_pixels
from onnxvis.errors import SettingError
from onnxvis.sampling import Fill, checked_fill, padded


@dataclass(frozen=True)
class Pad:
    """Put a margin around each image, which makes it larger; nothing is drawn.

    For any number of spatial axes; features, (N, C), stay as they are.

    Attributes:
        pixels: Width of the margin on each side in pixels; below 1, a fraction of the size.
        fill: What the margin shows: "reflect", the reflection, or a constant, a value in [0, 1].
    """

    pixels: int | float
    fill: Fill = "reflect"

    def __post_init__(self) -> None:
        """Refuse widths that mean neither pixels nor a fraction."""
        limit_pixels(self)
        checked_fill(self)

    def __call__(self, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Enlarge (N, C, *spatial) images."""
        check_generators(images, generators)
        for axis in range(2, images.dim()):
            images = padded(images, axis, in_pixels(self.pixels, images.shape[axis]), self.fill)
        return images


@dataclass(frozen=True)
class Crop:
    """Cut so many pixels off each image along each axis, at a random place: what lucid calls jitter.

    Unlike `Jitter`, which rolls, nothing enters on the other side, and the image gets smaller by exactly so much; `Pad`
    before makes up for it. For any number of spatial axes; features, (N, C), stay as they are.

    Attributes:
        pixels: How many pixels less there are along each axis, on both sides together; below 1, a fraction of the size.
    """

    pixels: int | float

    def __post_init__(self) -> None:
        """Refuse widths that mean neither pixels nor a fraction."""
        limit_pixels(self)

    def __call__(self, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Cut (N, C, *spatial) images.

        Raises:
            SettingError: Nothing would be left.
        """
        check_generators(images, generators)
        widths = [in_pixels(self.pixels, size) for size in images.shape[2:]]
        if any(width >= size for width, size in zip(widths, images.shape[2:], strict=True)):
            message = f"Crop({self.pixels}) leaves nothing of images of size {tuple(images.shape[2:])}: cut less."
            raise SettingError(message, pixels=self.pixels, size=tuple(images.shape[2:]))
        return torch.stack([_cut(*pair, widths) for pair in zip(images, generators, strict=True)])


def _cut(image: Tensor, generator: torch.Generator, widths: Sequence[int]) -> Tensor:
    for axis, width in enumerate(widths, 1):
        start = int(torch.randint(width + 1, (), generator=generator))
        image = image.narrow(axis, start, image.shape[axis] - width)
    return image
