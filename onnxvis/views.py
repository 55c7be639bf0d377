"""Random views of the images at their own size: scaled, turned, zoomed in, mirrored.

Each image by a draw from its own generator, differentiably, on the images' device, as `onnxvis.transforms` wants it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onnxvis.draws import check_generators, limit, limit_range, spatial_size, uniform
from onnxvis.errors import SettingError
from onnxvis.sampling import Fill, checked_fill, resample


@dataclass(frozen=True)
class Scale:
    """Make what each image shows smaller or larger about its center, by one factor along all axes.

    The images keep their size, so that several fit in a batch and a network sees another scale of the object: beyond
    1, the margin is lost; below, `fill` appears around. There is no antialiasing: `Blur` before factors below a half.
    For (N, C, L), (N, C, H, W) and (N, C, D, H, W).

    Attributes:
        low: Smallest factor; 2 shows everything twice as large.
        high: Largest factor.
        steps: How many evenly spaced factors from low to high there are; None: all of them.
        fill: What lies outside: "reflect", the reflection, or a constant, a value in [0, 1].

    Lucid's is `Scale(0.9, 1.1, steps=11)` (https://github.com/tensorflow/lucid).
    """

    low: float
    high: float
    steps: int | None = None
    fill: Fill = "reflect"

    def __post_init__(self) -> None:
        """Refuse empty and negative ranges."""
        limit_range(self)
        checked_fill(self)
        if self.steps is not None and self.steps < 2:  # noqa: PLR2004 - both ends
            message = f"Scale takes 2 steps or more, or None for any factor, not {self.steps}."
            raise SettingError(message, steps=self.steps)

    def __call__(self, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Scale (N, C, *spatial) images."""
        check_generators(images, generators)
        size = spatial_size(images, self)
        drawn = uniform(generators, 1)
        if self.steps is not None:
            drawn = (drawn * self.steps).floor() / (self.steps - 1)
        factors = self.low + (self.high - self.low) * drawn
        return resample(images, _boxes(1 / factors, torch.zeros(len(images), len(size))), self.fill)


@dataclass(frozen=True)
class Box:
    """Show a box of each image, somewhere within it, at the size of the image.

    For (N, C, L), (N, C, H, W) and (N, C, D, H, W). `RandomAffine` has boxes that may reach beyond the image.

    Attributes:
        low: Smallest size of the box as a fraction of the image's along each axis.
        high: Largest, at most 1.

    As in MACO (Fel et al. 2023, https://arxiv.org/abs/2306.06805), whose boxes shrink from 0.5 to 0.05 of the image
    in the course of the run, their centers near the image's.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        """Refuse what is no fraction."""
        limit_range(self, most=1)

    def __call__(self, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Look into (N, C, *spatial) images."""
        check_generators(images, generators)
        axes = len(spatial_size(images, self))
        drawn = uniform(generators, 1 + axes)
        sizes = self.low + (self.high - self.low) * drawn[:, :1]
        return resample(images, _boxes(sizes, (1 - sizes) * (2 * drawn[:, 1:] - 1)), "reflect")


@dataclass(frozen=True)
class Rotate:
    """Turn each image about its center, by an angle drawn uniformly to either side.

    For (N, C, H, W), and for (N, C, D, H, W), whose planes (H, W) are turned alike.

    Attributes:
        degrees: Largest angle.
        fill: What lies outside: "reflect", the reflection, or a constant, a value in [0, 1].
    """

    degrees: float
    fill: Fill = "reflect"

    def __post_init__(self) -> None:
        """Refuse negative angles."""
        limit(self, degrees=self.degrees)
        checked_fill(self)

    def __call__(self, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Turn (N, C, H, W) images or (N, C, D, H, W) volumes."""
        check_generators(images, generators)
        height, width = spatial_size(images, self, axes=(2, 3))[-2:]
        angles = uniform(generators, 1, -self.degrees, self.degrees)[:, 0].deg2rad()
        # The planes of a volume are like channels.
        planes = images.reshape(len(images), -1, height, width)
        return resample(planes, _rotations(angles, width / height), self.fill).reshape(images.shape)


@dataclass(frozen=True)
class Flip:
    """Mirror each image or leave it, by a coin for each axis.

    For any number of spatial axes.

    Attributes:
        axes: Which axes, counted from the last: -1 is left-right, -2 top-bottom, -3 front-back.
        probability: Of being mirrored along an axis, in [0, 1].
    """

    axes: tuple[int, ...] = (-1,)
    probability: float = 0.5

    def __post_init__(self) -> None:
        """Refuse axes that are not spatial or named twice."""
        axes = tuple(int(axis) for axis in self.axes)
        if not axes or len(set(axes)) < len(axes) or not -3 <= min(axes) <= max(axes) <= -1:  # noqa: PLR2004 - see above
            message = f"Flip takes different axes among -1, -2 and -3, counted from the last, not {self.axes}."
            raise SettingError(message, axes=self.axes)
        object.__setattr__(self, "axes", axes)
        limit(self, most=1, probability=self.probability)

    def __call__(self, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Mirror (N, C, *spatial) images."""
        check_generators(images, generators)
        spatial_size(images, self, axes=tuple(range(-min(self.axes), 4)))
        coins = (uniform(generators, len(self.axes)) < self.probability).tolist()
        flipped = [
            image.flip([axis for axis, is_flipped in zip(self.axes, own, strict=True) if is_flipped])
            for image, own in zip(images, coins, strict=True)
        ]
        return torch.stack(flipped)


def _boxes(sizes: Tensor, centers: Tensor) -> Tensor:
    """Return the maps onto boxes of sizes (N, 1) around centers (N, d), both in units of half the image."""
    axes = centers.shape[1]
    return torch.cat([sizes[:, :, None] * torch.eye(axes, dtype=sizes.dtype), centers[:, :, None].to(sizes)], dim=2)


def _rotations(angles: Tensor, aspect: float) -> Tensor:
    """Return the maps that turn by angles (N,) in radians; x is in units of half the width, y of half the height."""
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    entries = torch.stack([cos, -sin / aspect, zero, sin * aspect, cos, zero], dim=1)
    return entries.reshape(-1, 2, 3)
