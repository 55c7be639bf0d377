"""Presets: what is chosen for a picture where the recipe leaves it open.

A preset never overrules what is given. `auto` chooses by what the input and the target are, by settings that were found
by measurement: `docs/presets.md` has the tables.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from onnxvis.distortions import ColorShift
from onnxvis.errors import SettingError
from onnxvis.frames import Crop, Pad
from onnxvis.images import Fourier, Parameterization, Pixel
from onnxvis.maco import Maco
from onnxvis.transforms import Jitter, RandomAffine, Transform
from onnxvis.views import Rotate, Scale

Role = Literal["shallow", "deep", "class", "tokens"]
"""What a target is: filters whose positions lie dense, filters whose positions lie wide apart, one of several classes
that exclude each other, or the tokens of a transformer."""

SMALL_IMAGE = 96
"""The number of pixels below which an image is small."""
_DENSE = 9
"""Positions that stand for up to so many pixels along an axis are those of a shallow filter: strides of 8, whose maps
lose some at the edges."""
_IMAGE_AXES = 2
_NARROW = 8
"""What is narrower than so many pixels is no picture that could be turned."""
_LEAST_CLASSES = 3
_LAST = 0.25
"""The last part of the steps, in which a filter's picture is looked at straight, in ever smaller steps."""


@dataclass(frozen=True)
class Situation:
    """What a preset chooses by.

    Attributes:
        size: The spatial sizes of the input: (height, width) in pixels, (length,) in samples, (depth, height, width) in
            voxels, or () for features.
        role: What the target is.
        one_place: Whether it is one position of the target, which a view that is moved would miss.
        named: Whether filters of the target are named, instead of the whole tensor.
    """

    size: tuple[int, ...]
    role: Role = "deep"
    one_place: bool = False
    named: bool = False

    @property
    def is_picture(self) -> bool:
        """Whether the input is an image that can be turned and scaled."""
        return len(self.size) == _IMAGE_AXES and min(self.size) >= _NARROW

    @property
    def is_large(self) -> bool:
        """Whether it is a picture with room for objects and their surroundings."""
        return self.is_picture and min(self.size) >= SMALL_IMAGE


@dataclass(frozen=True)
class Settings:
    """What a preset sets; the fields are those of `Recipe`."""

    parameterization: Parameterization
    transforms: tuple[Transform, ...]
    steps: int = 256
    learning_rate: float = 0.05
    views: int = 1
    anneal: float = 0.0
    settle: float = 0.0
    objective: str = "activation"
    tv_weight: float = 0.0
    lp_weight: float = 0.0
    transparency: bool = False


def role_of(shape: Sequence[int], channel_axis: int | None, size: Sequence[int], *, decides: bool) -> Role:
    """Tell what a target is.

    Args:
        shape: Of its tensor, for one image.
        channel_axis: The axis of its channels.
        size: The spatial sizes of the input.
        decides: Whether the tensor is an output of the model, or the logits of one, whose classes exclude each other.
    """
    if channel_axis is None:
        return "deep"
    positions = [length for axis, length in enumerate(shape) if axis not in (0, channel_axis)]
    if decides and all(length == 1 for length in positions) and shape[channel_axis] >= _LEAST_CLASSES:
        return "class"
    if len(size) == _IMAGE_AXES and len(positions) == 1:
        return "tokens"
    dense = len(positions) == len(size) and all(
        length * _DENSE >= whole for length, whole in zip(positions, size, strict=True)
    )
    return "shallow" if dense and positions else "deep"


def settings_of(name: str, situation: Situation, given: Parameterization | None = None) -> Settings:
    """Return what a preset chooses in a situation.

    Args:
        name: Of the preset.
        situation: What it chooses by.
        given: The parameterization, where one is given: whoever takes MACO's phases wants its preset.

    Raises:
        SettingError: There is no such preset.
    """
    if name == "auto" and isinstance(given, Maco):
        name = "maco"
    if name not in PRESETS:
        message = f"No preset {name!r}. There are {', '.join(PRESETS)}."
        raise SettingError(message, preset=name)
    return PRESETS[name](situation)


def filled(recipe: Any, chosen: Settings) -> Any:
    """Return a recipe in which what was left open is what a preset has chosen."""
    changes = {
        item.name: getattr(chosen, item.name)
        for item in dataclasses.fields(chosen)
        if getattr(recipe, item.name) is None
    }
    if recipe.losses is not None:
        # The losses say all of it.
        changes |= {name: 0.0 for name in ("tv_weight", "lp_weight") if name in changes} | {"objective": None}
    return dataclasses.replace(recipe, **changes)


def _auto(situation: Situation) -> Settings:
    """Choose by what the input and the target are."""
    if situation.role == "class":
        if not situation.is_large:
            return Settings(_fourier(situation), _views(situation))
        # A class among many should be seen in many ways, and told from the others.
        return Settings(_fourier(situation), (*_views(situation), ColorShift(0.3, 0.2)), objective="margin")
    if situation.is_large and situation.role == "shallow":
        # Small receptive fields see fine detail: nothing may hold that back.
        rolls = () if situation.one_place else (Jitter(4),)
        return Settings(Fourier(decay=0.75), rolls, learning_rate=0.2, anneal=_LAST, settle=_LAST)
    # Small inputs have few parameters, and large steps drive them to black and white.
    rate = 0.15 if situation.is_large else 0.05
    return Settings(_fourier(situation), _views(situation), learning_rate=rate, anneal=_LAST, settle=_LAST)


def _fast(situation: Situation) -> Settings:
    """Take the same views in few large steps: good enough to see what a unit is about."""
    return dataclasses.replace(_auto(situation), steps=32, learning_rate=0.2, anneal=0.5)


def _keras_vis(situation: Situation) -> Settings:
    """Pixels, jitter, total variation and a norm, as keras-vis; `onnxvis.keras_vis` is keras-vis number for number."""
    transforms = (Jitter(0.05),) if situation.size else ()
    return Settings(Pixel(), transforms, steps=200, tv_weight=10.0, lp_weight=10.0)


def _lucid(situation: Situation) -> Settings:
    """Take lucid's parameterization, transforms and steps: Olah et al. 2017, https://distill.pub/2017/feature-visualization/."""
    if not situation.is_picture:
        return dataclasses.replace(_auto(situation), steps=512)
    transforms = (Pad(12, 0.5), Crop(8), Scale(0.9, 1.1, 11, 0.5), Rotate(10, 0.0), Crop(4))
    return Settings(Fourier(decay=1.0), transforms, steps=512)


def _maco(situation: Situation) -> Settings:
    """Optimize the phase alone, and show where the gradients were: Fel et al. 2023, https://arxiv.org/abs/2306.06805."""
    chosen = _auto(situation)
    if not situation.size:
        return chosen
    return dataclasses.replace(chosen, parameterization=Maco(), learning_rate=0.05, transparency=situation.is_picture)


def _deepdream(situation: Situation) -> Settings:
    """Strengthen whatever a layer answers to, in a photo: Mordvintsev, Olah and Tyka 2015."""
    transforms = (Jitter(0.1),) if situation.size else ()
    # With filters named, it is these that are strengthened.
    objective = "activation" if situation.named else "deepdream"
    return Settings(_fourier(situation), transforms, objective=objective, steps=64)


def _fourier(situation: Situation) -> Parameterization:
    """Choose a spectrum: features have no neighbors, thus none; signals are less smooth than pictures."""
    if not situation.size:
        return Pixel()
    if len(situation.size) == 1:
        return Fourier(decay=0.75)
    return Fourier() if situation.is_large else Fourier(decay=1.5)


def _views(situation: Situation) -> tuple[Transform, ...]:
    """Choose random views: windows of pictures, rolls of signals and volumes; features have none."""
    if not situation.is_picture:
        return (Jitter(0.05),) if situation.size and not situation.one_place else ()
    if situation.one_place:
        return (RandomAffine(scale=(0.9, 1.1), rotate=5, shift=0.02),)
    if not situation.is_large:
        return (RandomAffine(scale=(0.6, 1.2), rotate=15, shift=0.1),)
    if situation.role == "class":
        return (RandomAffine(scale=(0.35, 1.2), rotate=20, shift=0.2),)
    return (RandomAffine(scale=(0.6, 1.2), rotate=10, shift=0.1),)


PRESETS: Mapping[str, Callable[[Situation], Settings]] = {
    "auto": _auto,
    "keras-vis": _keras_vis,
    "lucid": _lucid,
    "maco": _maco,
    "deepdream": _deepdream,
    "fast": _fast,
}
"""By name."""
