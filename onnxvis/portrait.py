"""The picture of an optimized input, of whatever kind it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from onnxvis.figures import features_plot, signal_plot
from onnxvis.image_input import ImageInput
from onnxvis.render import to_image
from onnxvis.sheets import contact_sheet

Array = np.ndarray[Any, Any]

_PLAIN = (1, 3)
"""The numbers of channels of which a slice is one grey or RGB picture."""


def portrait(
    image_input: ImageInput, values: Array, *, start: Array | None = None, title: str = "", whole_range: bool = False
) -> Image.Image:
    """Draw an input: a picture as it is, a volume as its numbered slices, a signal as a line, features as bars.

    Args:
        image_input: What it is.
        values: (C, *spatial) in [0, 1].
        start: What it started from, shown faintly in plots of signals.
        title: Above all but a picture.
        whole_range: Whether plots show the whole range of the input: those of several steps can then be compared.
    """
    if image_input.kind == "picture":
        return to_image(torch.from_numpy(values))
    if image_input.kind == "volume":
        return _slices(values, title)
    low, high = image_input.preprocess.range
    scaled = low + values * (high - low)
    if image_input.kind == "features":
        return features_plot(scaled, low=low, high=high, title=title, whole_range=whole_range)
    before = None if start is None else low + start * (high - low)
    return signal_plot(scaled, low=low, high=high, title=title, start=before, whole_range=whole_range)


def _slices(values: Array, title: str) -> Image.Image:
    """Draw (C, D, H, W) slice by slice, each a picture or a grid of its channels."""
    channels, depth = values.shape[:2]
    pictures = [to_image(torch.from_numpy(np.ascontiguousarray(values[:, index]))) for index in range(depth)]
    inside = "" if channels in _PLAIN else f"\nchannels 0-{channels - 1}"
    return contact_sheet(pictures, [f"slice {index}{inside}" for index in range(depth)], title=title)
