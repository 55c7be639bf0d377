"""The picture of an optimized input, of whatever kind it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from onnxvis.figures import enlarged, features_plot, signal_plot
from onnxvis.image_input import ImageInput
from onnxvis.render import to_image

Array = np.ndarray[Any, Any]

_LEAST = 320
"""Pixels that the slices of a volume are enlarged to, by a whole factor."""


def portrait(image_input: ImageInput, values: Array, *, start: Array | None = None, title: str = "") -> Image.Image:
    """Draw an input: a picture as it is, a volume as its slices, a signal as a line, features as bars.

    Args:
        image_input: What it is.
        values: (C, *spatial) in [0, 1].
        start: What it started from, shown faintly in plots of signals.
        title: Above a plot.
    """
    if image_input.kind == "picture":
        return to_image(torch.from_numpy(values))
    if image_input.kind == "volume":
        # Its numbers are in the .npy file; this is for looking.
        return enlarged(to_image(torch.from_numpy(values)), _LEAST)
    low, high = image_input.preprocess.range
    scaled = low + values * (high - low)
    if image_input.kind == "features":
        return features_plot(scaled, low=low, high=high, title=title)
    before = None if start is None else low + start * (high - low)
    return signal_plot(scaled, low=low, high=high, title=title, start=before)
