"""What another classifier calls a picture: whether it shows the class, or only what one network takes for it.

A judge never takes part in the optimization, so a picture cannot please it by accident.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from onnxvis.errors import InputError, OnnxvisError, SettingError, UnknownSizeError
from onnxvis.graph import inputs_of
from onnxvis.image_input import ImageInput, find_image_input
from onnxvis.measure import Meter
from onnxvis.model import Model, load
from onnxvis.render import from_image, to_image
from onnxvis.seeds import held_values
from onnxvis.sizes import image_shapes, input_shapes
from onnxvis.target import Target, resolve

Array = np.ndarray[Any, Any]

SHOWN = 5
"""How many classes a verdict names."""
_COLORS = frozenset({1, 3})
"""The channels of pictures that can be turned into each other: grey and color."""
_SIGMOIDS = frozenset({"Sigmoid", "HardSigmoid", "QLinearSigmoid"})
_SUMMED = 1e-3
"""How far from 1 probabilities may add up, of files in half precision too."""
_SEVERAL = 2


@dataclass(frozen=True)
class Guess:
    """One class that a judge sees.

    Attributes:
        index: Of the class.
        label: Its name; "" where nobody has one.
        probability: In [0, 1].
    """

    index: int
    label: str
    probability: float

    def __str__(self) -> str:
        return f"{self.label or self.index} {100 * self.probability:.3g} %"


@dataclass(frozen=True)
class Verdict:
    """What a judge says of a picture.

    Attributes:
        judge: The judge's name.
        classes: How many classes it knows.
        wanted: The class that the picture was made for; None where it was made for none, or for several.
        rank: Of that class: 1 and the number of classes that are more probable.
        probability: Of that class, in [0, 1].
        top: The most probable classes.
    """

    judge: str
    classes: int
    wanted: int | None
    rank: int | None
    probability: float | None
    top: tuple[Guess, ...]

    def __str__(self) -> str:
        seen = ", ".join(map(str, self.top[:3]))
        if self.rank is None or self.probability is None:
            return f"{self.judge} says {seen}"
        return (
            f"{self.judge} ranks it {self.rank} of {self.classes} with {100 * self.probability:.3g} %; it says {seen}"
        )


@dataclass(frozen=True)
class Judge:
    """A classifier that is asked about pictures made for another.

    Attributes:
        model: The classifier.
        meter: Runs it.
        target: Its classes: the logits where the file has them.
        labels: The names of its classes, or ().
        named: Whether the names are the judge's own: classes are then found by name.
    """

    model: Model = field(repr=False)
    meter: Meter = field(repr=False)
    target: Target
    labels: tuple[str, ...] = field(repr=False)
    named: bool

    @classmethod
    def of(
        cls,
        source: Any,
        *,
        preprocess: str | None = None,
        size: tuple[int, ...] | None = None,
        output: str | None = None,
        labels: Sequence[str] = (),
        overrides: Mapping[str, Any] | None = None,
    ) -> Judge:
        """Load a judge.

        Args:
            source: A path, bytes, `ModelProto` or `Model`.
            preprocess: How it wants pictures: a preset's name; None: what its file says, else an assumption.
            size: (height, width) of its input where the file leaves that open.
            output: The name of the classes' output; None: the first of floats that has a known axis of several.
            labels: Class names in order, where the file has none.
            overrides: `range`, `mean`, `std`, `bgr`, `layout` where they are given.

        Raises:
            SettingError: It has no output of classes.
            OnnxvisError: It cannot be loaded, or its input is none for pictures.
        """
        model = load(source)
        names = [output] if output is not None else [spec.name for spec in model.outputs if spec.is_float]
        found = [target for name in names if (target := _classes(model, name)) is not None]
        if not found:
            listed = ", ".join(str(spec) for spec in model.outputs)
            message = f"The judge {model.name} has no output of classes: {listed}. Name one, or take another judge."
            raise SettingError(message, judge=model.name)
        target = found[0]
        shapes = _shapes(model, target, size)
        item = find_image_input(model, shapes, preset=preprocess, overrides=overrides)
        held, _ = held_values(model, {}, shapes, (item.name,))
        meter = Meter.of(model, target, {item.name: item}, held)
        own = model.labels
        return cls(model, meter, target, own or tuple(labels), bool(own))

    @property
    def image_input(self) -> ImageInput:
        """What it takes."""
        return next(iter(self.meter.inputs.values()))

    @functools.cached_property
    def classes(self) -> int:
        """The number of its classes."""
        return len(self._answers(torch.full(self.image_input.image_shape, 0.5)))

    def index_of(self, target: Target, classes: int) -> int | None:
        """Find the class that a picture was made for: by name where both models have names, else by number.

        Args:
            target: What the picture was made for.
            classes: How many units its layer has.

        Returns:
            int | None: None where it was made for none or several: the judge then says only what it sees.

        Raises:
            SettingError: The judge has no class of that name, or another number of classes.
        """
        if target.labels and self.named:
            return self._by_name(target.labels[0]) if len(target.labels) == 1 else None
        if classes != self.classes:
            message = (
                f"The judge {self.model.name} has {self.classes} classes, and {target.name!r} has {classes}: there is "
                "no telling which is which. Take a judge of the same classes, or files with onnxvis.labels in both."
            )
            raise SettingError(message, judge=self.model.name, classes=self.classes)
        return target.filters[0] if len(target.filters) == 1 else None

    def judge(self, image: Tensor, wanted: int | None = None) -> Verdict:
        """Say what a picture shows.

        Args:
            image: (C, H, W) in [0, 1] of any size, as written; or values of the judge's own shape.
            wanted: The class that it should show.

        Raises:
            InputError: The judge cannot take such an image.
        """
        probabilities = self._probabilities(self._answers(self._fitted(image)))
        order = np.argsort(-probabilities, kind="stable")
        names = self.labels if len(self.labels) == len(probabilities) else ("",) * len(probabilities)
        return Verdict(
            judge=self.model.name,
            classes=len(probabilities),
            wanted=wanted,
            rank=None if wanted is None else 1 + int((probabilities > probabilities[wanted]).sum()),
            probability=None if wanted is None else float(probabilities[wanted]),
            top=tuple(Guess(int(at), names[at], float(probabilities[at])) for at in order[:SHOWN]),
        )

    def _by_name(self, label: str) -> int:
        folded = [name.casefold() for name in self.labels]
        if label.casefold() not in folded:
            message = f"The judge {self.model.name} knows no class {label!r}. Take a judge of the same classes."
            raise SettingError(message, judge=self.model.name, label=label)
        return folded.index(label.casefold())

    def _answers(self, image: Tensor) -> Array:
        answers: Array = self.meter.answers_to([{self.image_input.name: image}], self.target)[0]
        return answers

    def _probabilities(self, answers: Array) -> Array:
        if self.target.asked_op in _SIGMOIDS:
            return np.asarray(1 / (1 + np.exp(-answers)))
        if not self.target.moved and answers.min() >= 0 and abs(answers.sum() - 1) < _SUMMED:
            return answers
        powers = np.exp(answers - answers.max())
        return np.asarray(powers / powers.sum())

    def check(self, image: Tensor) -> None:
        """Make sure that the judge can be shown such images.

        Raises:
            InputError: It cannot.
        """
        self._fitted(image)

    def _fitted(self, image: Tensor) -> Tensor:
        """Resize a picture to what the judge takes, grey or in color."""
        item = self.image_input
        if tuple(image.shape) == item.image_shape:
            return image
        if image.ndim != len("CHW") or item.kind != "picture" or not {len(image), item.channels} <= _COLORS:
            message = (
                f"The judge {self.model.name} takes {item.image_shape} (channels, size), and cannot be shown "
                f"{tuple(image.shape)}. Take another judge."
            )
            raise InputError(message, judge=self.model.name, shape=tuple(image.shape))
        height, width = item.size
        # Pillow's bilinear filter widens when it shrinks, so that nothing is skipped.
        return from_image(to_image(image).resize((width, height), Image.Resampling.BILINEAR), item.channels)


def _classes(model: Model, name: str) -> Target | None:
    """Return the classes that an output holds, if it holds any."""
    try:
        target = resolve(model, name)
    except OnnxvisError:
        return None
    axis, shape = target.channel_axis, target.shape
    if axis is None or shape is None:
        return None
    count = shape[axis]
    return target if not isinstance(count, int) or count >= _SEVERAL else None


def _shapes(model: Model, target: Target, size: tuple[int, ...] | None) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the inputs; a size is needed only where the file leaves it open."""
    needed = [str(value.name) for value in inputs_of(model.ir.graph, [model.values[target.asked]])]
    try:
        return input_shapes(model, None, needed)
    except UnknownSizeError:
        if size is None:
            raise
        return input_shapes(model, image_shapes(model, size, needed), needed)
