"""Everything that a picture depends on, in one place."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from onnxvis.errors import SettingError
from onnxvis.images import Fourier, Parameterization, Pixel
from onnxvis.losses import ActivationMaximization, Goal, LpNorm, Neuron, Objective, TotalVariation
from onnxvis.transforms import Jitter, RandomAffine, Transform

MOST_STEPS = 10_000_000
"""Beyond any use, and within what the history of the losses fits in memory."""
_TEXT = "python"
"""The key under which what JSON does not know is written as its text."""
_SERIALIZABLE: Mapping[str, type[Any]] = {
    kind.__name__: kind
    for kind in (Fourier, Pixel, Jitter, RandomAffine, ActivationMaximization, TotalVariation, LpNorm)
}


@dataclass(frozen=True)
class Recipe:
    """The settings of one picture, with their defaults. The command line's options are these.

    Attributes:
        node: The layer, by any name that finds it; None: the first output.
        filters: Filters (numbers or class names) that are maximized together; (): the whole tensor.
        channel_axis: Where the layer's filters are, if the graph does not tell.
        neuron: One position of the filters, in order of the spatial axes, or "center"; None: the mean over all.
        goal: "maximize", "minimize", or the value that the activation should reach.
        logits: Whether a softmax or sigmoid output is replaced by its input.
        wrt: The input to optimize, or several; None: the first image.
        inputs: What the others are held at, by name: a number, the path of a .npy file, or a description of the given
            array; what is not named is zero.
        size: The spatial sizes where the file leaves them open: (height, width) in pixels, (length,), (depth, height,
            width); one number for all of them.
        input_shapes: Shapes by input name, where the file leaves them open.
        preprocess: A preset: imagenet, caffe, tf, unit, raw255, none; None: by the file's metadata.
        range: What black and white become before normalization.
        mean: Subtracted, by channel in the model's order.
        std: Divided by, likewise.
        bgr: Whether the model takes blue, green, red.
        layout: The input's axes in order: NCHW, NHWC, CHW, NCW, NCDHW, NC, ...
        parameterization: How the image is written as parameters; None: `Fourier`, as fits its size.
        transforms: What is done to the image before each step, at random; None: views that fit its size.
        losses: A sum of losses; None: the activation, and the two below where they have a weight.
        tv_weight: Weight of the total variation.
        tv_beta: Its exponent.
        lp_weight: Weight of the Lp norm.
        lp_p: Its exponent.
        backprop: A replaced backward pass of the rectifiers: "guided" or "deconvnet"; or functions by operator name.
        gradient_modifier: "negate", "absolute", "invert", "relu", "small_values", or a function of the gradient.
        steps: Number of steps.
        learning_rate: Size of a step, in units of the parameterization (Adam).
        patience: Stop when the loss has hardly fallen over so many steps; None: never.
        seed: Of all random numbers.
        seed_image: The path of the picture to start from, or a description of the given array; None: noise.
    """

    node: str | None = None
    filters: tuple[int | str, ...] = ()
    channel_axis: int | None = None
    neuron: Neuron = None
    goal: Goal = "maximize"
    logits: bool = True
    wrt: str | tuple[str, ...] | None = None
    inputs: Mapping[str, str | float] | None = None
    size: tuple[int, ...] | None = None
    input_shapes: Mapping[str, tuple[int, ...]] | None = None
    preprocess: str | None = None
    range: tuple[float, float] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    bgr: bool | None = None
    layout: str | None = None
    parameterization: Parameterization | None = None
    transforms: tuple[Transform, ...] | None = None
    losses: Objective | None = None
    tv_weight: float = 0.0
    tv_beta: float = 2.0
    lp_weight: float = 0.0
    lp_p: float = 6.0
    backprop: str | Mapping[str, Callable[..., Any]] | None = None
    gradient_modifier: str | Callable[[Tensor], Tensor] | None = None
    steps: int = 256
    learning_rate: float = 0.05
    patience: int | None = None
    seed: int = 0
    seed_image: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no run can use.

        Raises:
            SettingError: A number is out of its range.
        """
        _check_types(self)
        if not 0 <= self.steps <= MOST_STEPS:
            message = f"steps must be 0 to {MOST_STEPS:,}, not {self.steps:,}."
            raise SettingError(message, steps=self.steps)
        if not self.learning_rate > 0:
            message = f"learning_rate must be positive, not {self.learning_rate:g}."
            raise SettingError(message, learning_rate=self.learning_rate)
        if self.seed < 0:
            message = f"seed must be 0 or more, not {self.seed}."
            raise SettingError(message, seed=self.seed)
        if not self.lp_p >= 1:
            message = f"lp_p must be at least 1, not {self.lp_p:g}."
            raise SettingError(message, lp_p=self.lp_p)
        if not self.tv_beta > 0:
            message = f"tv_beta must be positive, not {self.tv_beta:g}."
            raise SettingError(message, tv_beta=self.tv_beta)
        if self.patience is not None and self.patience < 1:
            message = f"patience must be at least 1, not {self.patience}."
            raise SettingError(message, patience=self.patience)
        _check_goal(self.goal)
        if self.size is not None and min(self.size) < 1:
            message = f"size must be positive, not {'x'.join(map(str, self.size))}."
            raise SettingError(message, size=self.size)

    @property
    def objective(self) -> Objective:
        """The losses with their weights."""
        if self.losses is not None:
            return self.losses
        weighted = [
            (ActivationMaximization(neuron=self.neuron, goal=self.goal), 1.0),
            (TotalVariation(self.tv_beta), self.tv_weight),
            (LpNorm(self.lp_p), self.lp_weight),
        ]
        return Objective(tuple((loss, weight) for loss, weight in weighted if weight != 0))

    @property
    def optimized(self) -> tuple[str | None, ...]:
        """The names of the inputs to optimize; None stands for the first image."""
        return (self.wrt,) if self.wrt is None or isinstance(self.wrt, str) else self.wrt

    @property
    def preprocess_overrides(self) -> dict[str, Any]:
        """The parts of the preprocessing that are given one by one."""
        return {"range": self.range, "mean": self.mean, "std": self.std, "bgr": self.bgr, "layout": self.layout}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; a user's own losses and transforms appear as their text."""
        return {item.name: _plain(getattr(self, item.name)) for item in dataclasses.fields(self)}

    def to_json(self) -> str:
        """Return the recipe as JSON."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Read what `to_dict` wrote.

        Raises:
            SettingError: A setting is unknown, or was a user's own function.
        """
        known = {item.name for item in dataclasses.fields(cls)}
        unknown = sorted(values.keys() - known)
        if unknown:
            message = f"The recipe has an unknown setting {unknown[0]!r}: it is of another version of onnxvis."
            raise SettingError(message, settings=unknown)
        try:
            return cls(**{name: _revived(name, value) for name, value in values.items()})
        except (KeyError, TypeError, ValueError) as error:
            message = f"The recipe cannot be read: {error}. It is damaged, or of another version of onnxvis."
            raise SettingError(message) from error


def _check_types(recipe: Recipe) -> None:
    """Refuse values of the wrong type by the setting's name."""
    expected: dict[str, type | tuple[type, ...]] = {
        **dict.fromkeys(("steps", "seed"), int),
        **dict.fromkeys(("learning_rate", "tv_weight", "tv_beta", "lp_weight", "lp_p"), (int, float)),
        **dict.fromkeys(("node", "preprocess", "layout"), (str, type(None))),
        "wrt": (str, tuple, type(None)),
        "patience": (int, type(None)),
        "neuron": (str, tuple, type(None)),
        **dict.fromkeys(("mean", "std", "range", "size", "transforms"), (tuple, type(None))),
    }
    for name, kinds in expected.items():
        value = getattr(recipe, name)
        if not isinstance(value, kinds) or isinstance(value, bool):
            message = f"{name} cannot be {value!r}: it is a {type(value).__name__}."
            raise SettingError(message, **{name: value})
    for name, counts in (("range", (2,)), ("size", (1, 2, 3))):
        value = getattr(recipe, name)
        if value is not None and len(value) not in counts:
            message = f"{name} takes {'two numbers' if name == 'range' else 'one to three numbers'}, not {value!r}."
            raise SettingError(message, **{name: value})
    if isinstance(recipe.neuron, str) and recipe.neuron != "center":
        message = f"neuron is 'center' or one number for each spatial axis, not {recipe.neuron!r}."
        raise SettingError(message, neuron=recipe.neuron)
    finite = [recipe.learning_rate, recipe.tv_weight, recipe.tv_beta, recipe.lp_weight]
    if not all(math.isfinite(value) for value in finite) or min(recipe.tv_weight, recipe.lp_weight) < 0:
        message = "learning_rate, tv_weight, tv_beta and lp_weight must be finite, and weights not negative."
        raise SettingError(message)


def _check_goal(goal: Any) -> None:
    if goal in ("maximize", "minimize"):
        return
    if isinstance(goal, bool) or not isinstance(goal, (int, float)) or not math.isfinite(goal):
        message = f"goal is 'maximize', 'minimize' or a number to reach, not {goal!r}."
        raise SettingError(message, goal=goal)


def _plain(value: Any) -> Any:
    if isinstance(value, Objective):
        return [{"weight": weight, "loss": _plain(loss)} for loss, weight in value.terms]
    kind = type(value).__name__
    if kind in _SERIALIZABLE and dataclasses.is_dataclass(value):
        return {kind: {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, (str, int, float, bool)) or value is None else {_TEXT: repr(value)}


def _revived(name: str, value: Any) -> Any:
    if name == "losses" and isinstance(value, list):
        return Objective(tuple((_revived("", term["loss"]), term["weight"]) for term in value))
    if isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in _SERIALIZABLE:
        kind, settings = next(iter(value.items()))
        return _SERIALIZABLE[kind](**{key: _revived("", item) for key, item in settings.items()})
    if isinstance(value, Mapping):
        if _TEXT in value:
            message = f"The recipe uses {value[_TEXT]}, which cannot be read back from a file. Run it from Python."
            raise SettingError(message, value=value[_TEXT])
        return {key: _revived("", item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_revived("", item) for item in value)
    return value
