"""What a layer's units answer to images that nobody has optimized: noise, and a folder of natural images.

One pass over the images answers for all units of the layer: it is made once in a run, for however many pictures.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onnxvis.errors import InputError, innermost_reason
from onnxvis.image_input import ImageInput
from onnxvis.images import Fourier, Pixel
from onnxvis.measure import Meter
from onnxvis.photos import photo_files
from onnxvis.seeds import seed_values
from onnxvis.target import Target

Array = np.ndarray[Any, Any]

NOISES = 16
"""How many images of noise a baseline has: the spread of a unit's answers is then known to a sixth."""
_PHOTOGRAPHED = (1, 3)
"""The channels of photos: in grey or in color."""
_MIDDLE = 0.5


@dataclass(frozen=True)
class Answers:
    """What all units of a layer answer to some images.

    Attributes:
        names: What the images are called.
        values: (images, units): mean over positions, or one neuron.
    """

    names: tuple[str, ...] = field(repr=False)
    values: Array = field(repr=False)

    def __len__(self) -> int:
        return len(self.names)


def answers_to_noise(meter: Meter, target: Target, count: int = NOISES, seed: int = 0) -> Answers:
    """Ask a layer about noise of full contrast, with the spectrum and the colors of natural images.

    Args:
        meter: Measures images through the model.
        target: A unit of the layer.
        count: The number of images; each has a seed of its own, counted up.
        seed: Of the first.
    """
    seeds = range(seed, seed + count)
    images = ({name: _noise(item, each) for name, item in meter.inputs.items()} for each in seeds)
    return Answers(tuple(f"noise {each}" for each in seeds), meter.answers_to(images, target))


def answers_to_folder(meter: Meter, target: Target, folder: str | os.PathLike[str]) -> Answers:
    """Ask a layer about the natural images in a folder and the folders in it.

    Pictures are cropped to the middle and resized like a seed image; signals, volumes, features and pictures of other
    than one or three channels are .npy files. Of several optimized inputs the natural image is the first; the others
    are held in the middle of their range.

    Args:
        meter: Measures images through the model.
        target: A unit of the layer.
        folder: The folder.

    Raises:
        InputError: There is no such folder, nothing in it fits the input, or a file cannot be read.
    """
    first = next(iter(meter.inputs.values()))
    paths = natural_images(folder, first)
    names = tuple(path.relative_to(folder).as_posix() for path in paths)
    return Answers(names, meter.answers_to(_read(meter, first, paths, Path(folder)), target))


def natural_images(folder: str | os.PathLike[str], item: ImageInput) -> list[Path]:
    """Return the files in a folder, and in the folders in it, that may be images of an input's kind, in order.

    Raises:
        InputError: There is no such folder, or no such file in it.
    """
    if item.kind == "picture" and item.channels in _PHOTOGRAPHED:
        return photo_files(folder)
    root = Path(folder)
    found = sorted(root.rglob("*.npy"))
    if not found:
        message = (
            f"No .npy file in the folder {str(folder)!r}: put one there for each natural {item.kind}, of the shape "
            f"{item.shape} of input {item.name!r}."
        )
        raise InputError(message, path=root)
    return found


def _noise(item: ImageInput, seed: int) -> Tensor:
    """Draw an image, (C, *spatial)."""
    kind = Fourier(decay=1.0, std=1.0) if item.size else Pixel(std=1.0)
    shape = (1, *item.image_shape)
    return kind.render(kind.start(shape, [torch.Generator().manual_seed(seed)]), shape)[0]


def _read(meter: Meter, first: ImageInput, paths: Sequence[Path], root: Path) -> Iterator[Mapping[str, Tensor]]:
    middle = {name: torch.full(item.image_shape, _MIDDLE) for name, item in meter.inputs.items()}
    for path in paths:
        try:
            image, _ = seed_values(path, first)
        except InputError as error:
            message = (
                f"Cannot use {path.relative_to(root).as_posix()!r} in the folder {str(root)!r}: "
                f"{innermost_reason(error)}. Repair it, or take it out."
            )
            raise InputError(message, path=path) from error
        if image is not None:
            yield {**middle, first.name: image}
