"""What can be called after each step of an optimization: any function of a `Step`, and these.

A callback that has a method `final` is given the images that are returned, and one that has a method `finish` is told
when the run is over.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from onnxvis.animation import SUFFIXES, animation_bytes
from onnxvis.errors import SettingError
from onnxvis.figures import history_plot
from onnxvis.image_input import ImageInput
from onnxvis.maximize import Step
from onnxvis.portrait import portrait
from onnxvis.render import check_writable, png_bytes, write_file
from onnxvis.sheets import stitch
from onnxvis.strips import steps_shown, strip

ANIMATIONS = SUFFIXES
HISTORIES = (".json", ".png")
_FRAMES = 40
_GREY = 0.5
_LEAST_OF_STRIP = 2


class Animation:
    """Show the images as they change, and in the end the result: an animated GIF, WebP or PNG.

    Args:
        path: The file; its name ends in .gif, .webp, .png or .apng.
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
            self._take(step.images, step.inputs, _step_label(step.number - 1))

    def final(self, images: Mapping[str, Tensor], done: int) -> None:
        """Take the result as a frame.

        Args:
            images: By input name, as in a `Step`.
            done: The number of steps.
        """
        if self._last is not None:
            self._take(images, self._last.inputs, _result_label(done))
            self._last = None

    def finish(self) -> None:
        """Write the file; without any step there is none, and without a result it ends before the last step."""
        if self._last is not None:
            label = _step_label(self._last.number - 1)
            if self.labels[-1:] != [label]:
                self._take(self._last.images, self._last.inputs, label)
        if self.frames:
            frames = _on_one_size(self.frames)
            content = animation_bytes(frames, self.labels, self.path.suffix.lower(), seconds=self.seconds)
            write_file(self.path, content)

    def _take(self, images: Mapping[str, Tensor], inputs: Mapping[str, ImageInput], label: str) -> None:
        pictures = _pictures(images, inputs)
        self.frames.append(pictures[0] if len(pictures) == 1 else stitch(pictures))
        self.labels.append(label)


class Strip:
    """Show the images at a few steps (1, 2, 4, 8, ...) and the result, in one labelled row: a PNG.

    Several images have one row each.

    Args:
        path: The file; its name ends in .png.
        frames: How many pictures are in a row, at most.

    Raises:
        OutputError: The file cannot be written.
        SettingError: There are fewer than two frames.
    """

    def __init__(self, path: str | os.PathLike[str], frames: int = 8) -> None:
        if frames < _LEAST_OF_STRIP:
            message = f"A strip shows at least {_LEAST_OF_STRIP} steps, not {frames}."
            raise SettingError(message, frames=frames)
        check_writable(path)
        self.path, self.frames = Path(path), frames
        self._columns: list[tuple[str, list[Image.Image]]] = []
        self._rows: list[list[tuple[str, Image.Image]]] = []
        self._last: Step | None = None

    def __call__(self, step: Step) -> None:
        """Take a picture, if it is time."""
        if step.number == 1:
            self._end_batch()
        self._last = step
        if step.number - 1 in steps_shown(step.steps, self.frames):
            self._take(step.images, step.inputs, _step_label(step.number - 1))

    def final(self, images: Mapping[str, Tensor], done: int) -> None:
        """Take the result; see `Animation.final`."""
        if self._last is not None:
            self._take(images, self._last.inputs, _result_label(done))
            self._last = None

    def finish(self) -> None:
        """Write the file; without any step there is none."""
        self._end_batch()
        if not self._rows:
            return
        most = max(map(len, self._rows))
        blank = ("", Image.new("L", self._rows[0][0][1].size, "white"))
        # A batch that came to a plateau has fewer pictures than the others.
        tiles = [tile for row in self._rows for tile in (*row, *[blank] * (most - len(row)))]
        labels = [label for label, _ in tiles]
        picture = strip([picture for _, picture in tiles], labels, rows=len(self._rows))
        write_file(self.path, png_bytes(picture, {"strip": labels}))

    def _end_batch(self) -> None:
        """Turn the pictures of a batch, step by step, into rows, image by image."""
        if self._last is not None:
            label = _step_label(self._last.number - 1)
            if label not in [taken for taken, _ in self._columns]:
                self._take(self._last.images, self._last.inputs, label)
        self._last = None
        by_step = [[(label, picture) for picture in pictures] for label, pictures in self._columns]
        self._rows += [list(row) for row in zip(*by_step, strict=True)]
        self._columns = []

    def _take(self, images: Mapping[str, Tensor], inputs: Mapping[str, ImageInput], label: str) -> None:
        self._columns.append((label, _pictures(images, inputs)))


class History:
    """Write the weighted losses before each step, averaged over the images of a batch: lists by name, or their curves.

    Args:
        path: The file; its name ends in .json, or in .png for a figure.

    Raises:
        OutputError: The file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        check_writable(path, HISTORIES)
        self.path = Path(path)
        self.losses: dict[str, list[float]] = {}

    def __call__(self, step: Step) -> None:
        """Remember the losses of a step."""
        for name, value in step.losses.items():
            self.losses.setdefault(name, []).append(value)

    def finish(self) -> None:
        """Write the file; without any step there is no figure."""
        if self.path.suffix.lower() == ".json":
            write_file(self.path, (json.dumps(self.losses, indent=1) + "\n").encode())
        elif self.losses:
            write_file(self.path, png_bytes(history_plot(self.losses), {"history": self.losses}))


def _pictures(images: Mapping[str, Tensor], inputs: Mapping[str, ImageInput]) -> list[Image.Image]:
    """Draw the images of the first input; an image that came to NaN is grey, and the others go on."""
    name, first = next(iter(images.items()))
    arrays = torch.nan_to_num(first.detach(), nan=_GREY, posinf=1.0, neginf=0.0).cpu().numpy()
    return [portrait(inputs[name], array, whole_range=True) for array in arrays]


def _on_one_size(pictures: list[Image.Image]) -> list[Image.Image]:
    """Lay pictures on white sheets of the size of the largest: a run's last batch may be smaller than the others."""
    width, height = max(picture.width for picture in pictures), max(picture.height for picture in pictures)
    sheets = []
    for picture in pictures:
        sheet = Image.new("RGB", (width, height), "white")
        sheet.paste(picture, (0, 0))
        sheets.append(sheet)
    return sheets


def _step_label(done: int) -> str:
    return f"step {done}"


def _result_label(done: int) -> str:
    return f"result ({done} step{'' if done == 1 else 's'})"
