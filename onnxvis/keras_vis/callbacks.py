"""keras-vis's callbacks: called before each step, with what it is about to be made from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from onnxvis.animation import animation_bytes
from onnxvis.figures import features_plot, signal_plot
from onnxvis.keras_vis.arrays import deprocess_input
from onnxvis.render import check_writable, to_image, write_file

Array = np.ndarray[Any, Any]
NamedLosses = Sequence[tuple[str, np.float32]]

_SUFFIX = ".gif"
_FRAMES_PER_SECOND = 10
_FEATURES, _SIGNAL = 1, 2


class OptimizerCallback:
    """A callback: an object with these methods, or any function of the same arguments as `callback`."""

    def callback(
        self, i: int, named_losses: NamedLosses, overall_loss: np.float32, grads: Array, wrt_value: Array
    ) -> None:
        """Look at an iteration.

        Args:
            i: Its number, from 0.
            named_losses: (name, weighted value) of each loss.
            overall_loss: Their sum.
            grads: (1, *spatial, channels): the gradient, normalized and modified, by which the step is made.
            wrt_value: (1, *spatial, channels): the input before the step.
        """
        raise NotImplementedError

    def on_end(self) -> None:
        """Be told that the run is over."""


class Print(OptimizerCallback):
    """Print the losses of each iteration."""

    def callback(
        self,
        i: int,
        named_losses: NamedLosses,
        overall_loss: np.float32,
        grads: Array,  # noqa: ARG002 - keras-vis's signature
        wrt_value: Array,  # noqa: ARG002 - likewise
    ) -> None:
        """Print a line."""
        listed = ", ".join(f"({name!r}, {value})" for name, value in named_losses)
        print(f"Iteration: {i + 1}, named_losses: [{listed}], overall loss: {overall_loss}")  # noqa: T201 - its purpose


class GifGenerator(OptimizerCallback):
    """Write the run as an animated GIF, each frame whitened as keras-vis shows pictures, with its number below.

    Args:
        path: The file; ".gif" is added where it is missing.

    Raises:
        OutputError: The file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        given = os.fspath(path)
        self.path = Path(given if given.endswith(_SUFFIX) else given + _SUFFIX)
        check_writable(self.path, (_SUFFIX,))
        self.frames: list[Image.Image] = []

    def callback(
        self,
        i: int,  # noqa: ARG002 - keras-vis's signature
        named_losses: NamedLosses,  # noqa: ARG002 - likewise
        overall_loss: np.float32,  # noqa: ARG002 - likewise
        grads: Array,  # noqa: ARG002 - likewise
        wrt_value: Array,
    ) -> None:
        """Take a frame."""
        self.frames.append(_drawn(deprocess_input(wrt_value[0], (0.0, 1.0))))

    def on_end(self) -> None:
        """Write the file."""
        if self.frames:
            labels = [f"Step {number}" for number in range(1, len(self.frames) + 1)]
            seconds = len(self.frames) / _FRAMES_PER_SECOND
            write_file(self.path, animation_bytes(self.frames, labels, _SUFFIX, seconds=seconds))


def _drawn(values: Array) -> Image.Image:
    """Draw (*spatial, channels) in [0, 1]: a picture, the slices of a volume, a plot of a signal or of features."""
    if values.ndim == _FEATURES:
        return features_plot(values, low=0, high=1)
    channels_first = np.ascontiguousarray(np.moveaxis(values, -1, 0))
    if values.ndim == _SIGNAL:
        return signal_plot(channels_first, low=0, high=1)
    return to_image(torch.from_numpy(channels_first))
