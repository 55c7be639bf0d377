"""Between pictures and what a model is fed: value range, normalization, channel order, layout.

An image is (N, C, *spatial) in [0, 1]: RGB or grey pictures, signals (N, C, W), volumes (N, C, D, H, W), features
(N, C). The model's input is `(low + image * (high - low) - mean) / std`, in the model's channel order and layout. What
the file does not say is assumed, and the assumption is part of the result.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Preset = Literal["imagenet", "caffe", "tf", "unit", "raw255", "none"]

FLAT = "FLAT"
"""The layout of an input without axes that mean anything: every number is a feature of its own."""
LAYOUTS = ("NCHW", "NHWC", "CHW", "HWC", "NCW", "NWC", "CW", "NW", "NCDHW", "NDHWC", "NC", "C", FLAT)
"""The usual ones; any other order of the letters is understood too."""
_SPATIAL = {"", "W", "HW", "DHW"}
_RGB = 3


def is_layout(text: str) -> bool:
    """Tell whether a text names an input's axes: N and C at most once, and none of, or the last of, D, H, W."""
    if text == FLAT:
        return True
    spatial = "".join(letter for letter in "DHW" if letter in text)
    return len(text) == len(set(text)) > 0 and set(text) <= set("NCDHW") and spatial in _SPATIAL


def canonical(layout: str) -> str:
    """Return the axes of an image whose input has this layout: N, C, and the spatial ones in order."""
    return "NC" if layout == FLAT else "NC" + "".join(letter for letter in "DHW" if letter in layout)


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes an input.

    Attributes:
        name: The preset, or "custom".
        range: What black and white (0 and 255) become before normalization.
        mean: Subtracted, one for each channel in the model's order, or one for all; in units of `range`.
        std: Divided by, likewise.
        bgr: Whether the model takes blue, green, red (and then alpha, if it has four channels).
        layout: The input's axes.
        source: Where this was found: given, from the file's metadata, or what was assumed and why.
    """

    name: str = "unit"
    range: tuple[float, float] = (0.0, 1.0)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    bgr: bool = False
    layout: str = "NCHW"
    source: str = "given"

    def to_input(self, images: Tensor) -> Tensor:
        """Turn (N, C, *spatial) images in [0, 1] into the model's input, differentiably."""
        low, high = self.range
        ordered = torch.cat([images[:, :_RGB].flip(1), images[:, _RGB:]], 1) if self.bgr else images
        scale, offset = _affine(low, high, self.mean, self.std, images.ndim, images.device)
        if isinstance(scale, Tensor) and isinstance(offset, Tensor):
            values = torch.addcmul(offset.to(ordered), ordered, scale.to(ordered))
        else:
            values = ordered if (scale, offset) == (1, 0) else ordered * scale + offset
        return self._laid_out(values)

    def _laid_out(self, values: Tensor) -> Tensor:
        if self.layout == FLAT:
            return values
        axes = canonical(self.layout)
        dropped = [axes.index(axis) for axis in "NC" if axis not in self.layout]
        kept = [axis for axis in axes if axis in self.layout]
        # (N, C, H, W) -> (N, H, W, C), or (H, W) of the first image
        for axis in reversed(dropped):
            values = values.select(axis, 0)
        order = [kept.index(axis) for axis in self.layout]
        return values if order == sorted(order) else values.permute(order)

    def to_images(self, fed: Tensor, channels: int) -> Tensor:
        """Turn the model's input back into (N, C, *spatial) images: the inverse of `to_input`.

        Args:
            fed: The input, in the layout; values outside `range` give images outside [0, 1].
            channels: The number of channels.
        """
        if self.layout == FLAT:
            values = fed.reshape(1, -1)
        else:
            axes = canonical(self.layout)
            kept = [axis for axis in axes if axis in self.layout]
            values = fed.permute([self.layout.index(axis) for axis in kept])
            for axis in "NC":
                if axis not in self.layout:
                    values = values.unsqueeze(axes.index(axis))
        low, high = self.range
        scale, offset = _affine(low, high, self.mean, self.std, values.ndim, values.device)
        images = (values - offset) / scale
        return torch.cat([images[:, :_RGB].flip(1), images[:, _RGB:channels]], 1) if self.bgr else images

    def __str__(self) -> str:
        low, high = self.range
        parts = [f"range {low:g} to {high:g}"]
        if any(self.mean):
            parts.append(f"mean {_numbers(self.mean)}")
        if any(value != 1 for value in self.std):
            parts.append(f"std {_numbers(self.std)}")
        parts += ["BGR"] if self.bgr else []
        return f"{self.name}: {', '.join(parts)}, {self.layout} ({self.source})"


PRESETS: Mapping[str, Preprocess] = {
    "imagenet": Preprocess("imagenet", (0.0, 1.0), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "caffe": Preprocess("caffe", (0.0, 255.0), (103.939, 116.779, 123.68), (1.0,), bgr=True),
    "tf": Preprocess("tf", (-1.0, 1.0)),
    "unit": Preprocess("unit", (0.0, 1.0)),
    "raw255": Preprocess("raw255", (0.0, 255.0)),
    "none": Preprocess("none", (0.0, 1.0)),
}
"""Named conventions: torchvision's, Caffe's (and keras.applications' "caffe"), keras.applications' "tf", plain [0, 1],
plain [0, 255], and none: the model's values are the picture's, in [0, 1] unless a range is given."""


@functools.lru_cache(maxsize=8)
def _affine(
    low: float, high: float, mean: Sequence[float], std: Sequence[float], rank: int, device: torch.device
) -> tuple[float, float] | tuple[Tensor, Tensor]:
    """Write the whole normalization as one factor and one offset, for each channel or for all."""
    count = max(len(mean), len(std))
    means, stds = (tuple(values) * (count if len(values) == 1 else 1) for values in (mean, std))
    scales = [(high - low) / s for s in stds]
    offsets = [(low - m) / s for m, s in zip(means, stds, strict=True)]
    if count == 1:
        return scales[0], offsets[0]
    shape = (1, count, *[1] * (rank - 2))
    scale, offset = (torch.tensor(values, dtype=torch.float32, device=device) for values in (scales, offsets))
    return scale.view(shape), offset.view(shape)


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)
