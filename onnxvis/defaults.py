"""What is chosen for an image where nothing else is asked for.

Chosen by letting one ImageNet classifier judge pictures that were made for another, and by looking: at 224 pixels wide
views made classes that one can name; at 28 to 64 pixels, narrower views and a steeper spectrum made cleaner shapes.
Signals are less smooth: of exponents from 0 to 1.5, 0.75 drove a classifier of wave forms highest.
"""

from __future__ import annotations

from onnxvis.images import Fourier, Parameterization, Pixel
from onnxvis.transforms import Jitter, RandomAffine, Transform

SMALL_IMAGE = 96
"""The number of pixels below which an image is small."""
WIDE_VIEWS = RandomAffine(scale=(0.35, 1.2), rotate=20, shift=0.2)
NARROW_VIEWS = RandomAffine(scale=(0.6, 1.2), rotate=15, shift=0.1)
_IMAGE_AXES = 2
_NARROW = 8
"""What is narrower than so many pixels is no picture that could be turned."""


def default_parameterization(size: tuple[int, ...]) -> Parameterization:
    """Choose how to write an image of these spatial sizes as parameters; features have no neighbors, thus no spectrum.

    Args:
        size: (height, width) in pixels, (length,) in samples, (depth, height, width) in voxels, or ().
    """
    if not size:
        return Pixel()
    if len(size) == 1:
        return Fourier(decay=0.75)
    return Fourier(decay=1.5) if min(size) < SMALL_IMAGE else Fourier()


def default_transforms(size: tuple[int, ...]) -> tuple[Transform, ...]:
    """Choose the transforms for images of these spatial sizes: signals and volumes are only rolled, features not."""
    if not size:
        return ()
    if len(size) != _IMAGE_AXES or min(size) < _NARROW:
        return (Jitter(0.05),)
    return (NARROW_VIEWS,) if min(size) < SMALL_IMAGE else (WIDE_VIEWS,)
