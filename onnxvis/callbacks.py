"""What can be called after each step of an optimization: any function of a `Step`, and these.

A callback that has a method `finish` is told when the run is over.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from PIL import Image

from onnxvis.animation import animation_bytes
from onnxvis.errors import SettingError
from onnxvis.maximize import Step
from onnxvis.portrait import portrait
from onnxvis.render import check_writable, write_file
from onnxvis.sheets import stitch

ANIMATIONS = (".gif", ".webp")
_FRAMES = 40


class Animation:
    """Show the images as they change: an animated GIF or WebP with the number of each step.

    Args:
        path: The file; its name ends in .gif or .webp.
        every: Steps from frame to frame; None: so many that there are about forty frames.
        seconds: How long all frames take.

    Raises:
        OutputError: The file cannot be written.
        SettingError: `every` is no step.
    """

    def __init__(self, path: str | os.PathLike[str], every: int | None = None, seconds: float = 4.0) -> None:
        if every is not None and every < 1:
            message = f"An animation shows every so many steps, at least 1, not {every}."
            raise SettingError(message, every=every)
        check_writable(path, ANIMATIONS)
        self.path, self.every, self.seconds = Path(path), every, seconds
        self.frames: list[Image.Image] = []
        self.labels: list[str] = []
        self._last: Step | None = None

    def __call__(self, step: Step) -> None:
        """Take a frame, if it is time."""
        every = self.every or max(1, round(step.steps / _FRAMES))
        self._last = step
        if (step.number - 1) % every == 0:
            self._take(step)

    def finish(self) -> None:
        """Write the file; without any step there is none."""
        if self._last is not None:
            self._take(self._last)
        if self.frames:
            content = animation_bytes(self.frames, self.labels, self.path.suffix.lower(), seconds=self.seconds)
            write_file(self.path, content)

    def _take(self, step: Step) -> None:
        label = f"step {step.number - 1}"
        if self.labels and self.labels[-1] == label:
            return
        name, images = next(iter(step.images.items()))
        arrays = images.detach().cpu().numpy()
        pictures = [portrait(step.inputs[name], array) for array in arrays]
        self.frames.append(pictures[0] if len(pictures) == 1 else stitch(pictures))
        self.labels.append(label)


class History:
    """Write the weighted losses before each step as JSON: lists by name, averaged over the images of a batch.

    Args:
        path: The file; its name ends in .json.

    Raises:
        OutputError: The file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        check_writable(path, (".json",))
        self.path = Path(path)
        self.losses: dict[str, list[float]] = {}

    def __call__(self, step: Step) -> None:
        """Remember the losses of a step."""
        for name, value in step.losses.items():
            self.losses.setdefault(name, []).append(value)

    def finish(self) -> None:
        """Write the file."""
        write_file(self.path, (json.dumps(self.losses, indent=1) + "\n").encode())
