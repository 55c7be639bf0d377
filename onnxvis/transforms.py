"""Random transforms of the images between the parameters and the network, so that a picture works from every view.

Every transform draws for each image of the batch from that image's own CPU generator, so that an image does not depend
on its neighbors nor on the device, and takes and gives (N, C, H, W), differentiably, on the images' device. One after
another they make a view; where that has another size than the image, `onnxvis.sampling.fit` brings it back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from onnxvis.draws import check_generators, in_pixels, limit_pixels
from onnxvis.errors import InputError, SettingError
from onnxvis.sampling import sampling_grid

IMAGE_RANK = 4


class Transform(Protocol):
    """A random transform of a batch of images."""

    def __call__(self, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Transform (N, C, H, W) images, each by a draw from its own generator."""


@dataclass(frozen=True)
class Jitter:
    """Roll each image by a random offset along each spatial axis: what leaves on one side enters on the other.

    Attributes:
        pixels: Largest offset in pixels, drawn uniformly from -pixels to pixels; below 1, a fraction of the size.
    """

    pixels: int | float

    def __post_init__(self) -> None:
        """Refuse offsets that mean neither pixels nor a fraction."""
        limit_pixels(self)

    def __call__(self, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Roll (N, C, ...) images of any number of spatial axes."""
        check_generators(images, generators)
        axes = tuple(range(1, images.dim() - 1))
        if not axes:
            # Features have no neighbors to roll onto.
            return images
        limits = [in_pixels(self.pixels, size) for size in images.shape[2:]]
        rolled = [
            torch.roll(image, [_offset(limit, generator) for limit in limits], axes)
            for image, generator in zip(images, generators, strict=True)
        ]
        return torch.stack(rolled)


@dataclass(frozen=True)
class RandomAffine:
    """View each image through a random window: scaled, rotated and shifted, in one bilinear sampling.

    What lies outside the image is its reflection.

    Attributes:
        scale: Smallest and largest size of the window as a fraction of the image; below 1 enlarges the image.
        rotate: Largest angle in degrees, to either side.
        shift: Largest distance of the window's center from the image's, as a fraction of the size, along each axis.
    """

    scale: tuple[float, float] = (1.0, 1.0)
    rotate: float = 0.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        """Refuse empty and negative ranges."""
        low, high = self.scale
        if not 0 < low <= high:
            message = f"RandomAffine takes a scale (low, high) with 0 < low <= high, not {self.scale}."
            raise SettingError(message, scale=self.scale)
        if self.rotate < 0 or self.shift < 0:
            message = f"RandomAffine takes the largest angle and shift, not rotate={self.rotate}, shift={self.shift}."
            raise SettingError(message, rotate=self.rotate, shift=self.shift)

    def __call__(self, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Resample (N, C, H, W) images."""
        check_generators(images, generators)
        if images.dim() != IMAGE_RANK:
            message = f"RandomAffine needs images (N, C, H, W), got shape {tuple(images.shape)}: use Jitter alone."
            raise InputError(message, shape=tuple(images.shape))
        height, width = images.shape[2:]
        windows = torch.stack([self._window(generator, width / height) for generator in generators])
        grid = sampling_grid(windows.to(images.device), (height, width))
        return torch.nn.functional.grid_sample(
            images, grid, mode="bilinear", padding_mode="reflection", align_corners=False
        )

    def _window(self, generator: torch.Generator, aspect: float) -> Tensor:
        """Draw the (2, 3) map from window to image coordinates, both from -1 to 1 between the image's edges."""
        scale, angle, right, down = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
        low, high = self.scale
        factor = low + (high - low) * scale
        radians = math.radians(self.rotate) * (2 * angle - 1)
        cos, sin = factor * math.cos(radians), factor * math.sin(radians)
        # x is in units of half the width, y of half the height; so a shift by the whole size is 2.
        across = [cos, -sin / aspect, 2 * self.shift * (2 * right - 1)]
        along = [sin * aspect, cos, 2 * self.shift * (2 * down - 1)]
        return torch.tensor([across, along])


@dataclass(frozen=True)
class Invertible:
    """Change each image by any function before the step, and its gradient back by the inverse: an input modifier.

    The function need not be differentiable; it gets and gives one image, (1, C, *spatial), without gradient history.
    What it does must be linear and keep lengths for the step to be exact: rolling, flipping, permuting.

    Attributes:
        forward: Changes an image.
        inverse: Undoes that.
    """

    forward: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]

    def __call__(self, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Change (N, C, *spatial) images one by one.

        Raises:
            SettingError: A function does not return a tensor, or the inverse another shape.
        """
        check_generators(images, generators)
        changed: Tensor = _Changed.apply(images, self)  # type: ignore[no-untyped-call] # torch's own
        return changed


class _Changed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, change: Invertible) -> Tensor:
        ctx.change, ctx.shape = change, images.shape
        return _one_by_one(change.forward, images)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        back = _one_by_one(ctx.change.inverse, gradient)
        if back.shape != ctx.shape:
            message = f"The inverse of a transform gives shape {tuple(back.shape)}; the images have {tuple(ctx.shape)}."
            raise SettingError(message, shape=tuple(back.shape))
        return back, None


def _one_by_one(function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    changed: list[Any] = [function(image[None].clone()) for image in images]
    for image in changed:
        if not isinstance(image, Tensor) or len(image) != 1:
            found = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
            message = f"A transform must return one image, (1, C, ...), not {found}."
            raise SettingError(message, found=found)
    return torch.cat(changed)


def _offset(limit: int, generator: torch.Generator) -> int:
    return int(torch.randint(-limit, limit + 1, (), generator=generator))
