"""keras-vis's input modifiers: what is done to the input itself before and after each step.

They take and give (1, *spatial, channels) arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxvis.errors import SettingError

Array = np.ndarray[Any, Any]


class InputModifier:
    """An input modifier. `pre` of all is called in the list's order, `post` in the reverse order."""

    def pre(self, inp: Array) -> Array:
        """Return what the input becomes before a step."""
        return inp

    def post(self, inp: Array) -> Array:
        """Return what it becomes after a step."""
        return inp


class Jitter(InputModifier):
    """Roll the input by a random offset along each spatial axis before each step, by numpy's global generator.

    Quirk: nothing rolls it back. The image wanders, away from the optimizer's memory of its gradients too.
    keras-vis shifts by `scipy.ndimage.shift(mode="wrap")`, which loses a row each time; this is a roll.

    Args:
        jitter: The largest offset, in pixels; below 1, a fraction of the size. One for all axes, or one for each.

    Raises:
        ValueError: It is negative.
    """

    def __init__(self, jitter: float | Sequence[float] = 0.05) -> None:
        self.jitter = np.atleast_1d(np.asarray(jitter, dtype=np.float64))
        if not bool((self.jitter >= 0).all()):
            message = f"Jitter value should be positive, not {jitter}"
            raise ValueError(message)

    def pre(self, inp: Array) -> Array:
        """Roll (1, *spatial, channels)."""
        sizes = inp.shape[1:-1]
        if len(self.jitter) not in (1, len(sizes)):
            message = f"Jitter has {len(self.jitter)} offsets, and the input {len(sizes)} spatial axes: give 1 or that."
            raise SettingError(message, jitter=tuple(self.jitter), sizes=sizes)
        # Fractions are truncated to whole pixels: 0.05 of less than 20 pixels is no jitter at all.
        limits = [int(size * each if each < 1 else each) for each, size in zip(self._each(sizes), sizes, strict=True)]
        offsets = [np.random.randint(-limit, limit + 1) for limit in limits]  # noqa: NPY002 - as in keras-vis
        return np.roll(inp, offsets, tuple(range(1, inp.ndim - 1)))

    def _each(self, sizes: Sequence[int]) -> Array:
        return np.broadcast_to(self.jitter, len(sizes))
