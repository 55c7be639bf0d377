"""Everything that a picture depends on, in one place."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from onnxvis.cppn import Cppn
from onnxvis.distortions import Blur, ColorShift, Noise
from onnxvis.errors import SettingError
from onnxvis.frames import Crop, Pad
from onnxvis.groups import Alignment, Diversity, Interpolation, Tuning
from onnxvis.images import Fourier, Parameterization, Pixel
from onnxvis.laplacian import Laplacian
from onnxvis.losses import ActivationMaximization, Goal, Loss, LpNorm, Neuron, Objective, TotalVariation
from onnxvis.maco import Maco
from onnxvis.objectives import DeepDream, Direction, Head, Margin
from onnxvis.references import Caricature, Nearness, PixelDistance
from onnxvis.settings import check, settled
from onnxvis.tensors import Precision
from onnxvis.transforms import Jitter, RandomAffine, Transform
from onnxvis.views import Box, Flip, Rotate, Scale

_FLOAT = "float"
"""The key under which an infinite number is written."""
_BY_NAME = frozenset({"inputs", "input_shapes"})
"""Settings by the names of inputs, which may be any words."""
_TEXT = "python"
"""The key under which what JSON does not know is written as its text."""
_SERIALIZABLE: Mapping[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        *(Pixel, Fourier, Laplacian, Maco, Cppn),
        *(Jitter, RandomAffine, Pad, Crop, Scale, Box, Rotate, Flip, Blur, Noise, ColorShift),
        *(ActivationMaximization, TotalVariation, LpNorm, Margin, DeepDream, Direction, Head),
        *(Caricature, Nearness, PixelDistance, Diversity, Alignment, Interpolation, Tuning),
    )
}
_AIMS: Mapping[str, Callable[[Recipe], Loss]] = {
    "activation": lambda recipe: ActivationMaximization(neuron=recipe.neuron, goal=recipe.goal),
    "margin": lambda recipe: Margin(neuron=recipe.neuron, against="top"),
    "deepdream": lambda _: DeepDream(),
    "direction": lambda recipe: Direction(recipe.direction or (), neuron=recipe.neuron),
    "caricature": lambda _: Caricature(),
}


@dataclass(frozen=True)
class Recipe:
    """The settings of one picture, with their defaults. The command line's options are these.

    What is None by default and is not explained so is chosen by the preset, see `onnxvis.presets`; the recipe of a
    result says what was chosen.

    Attributes:
        preset: What chooses the rest: "auto", "keras-vis", "lucid", "maco", "deepdream" or "fast".
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
        objective: What is maximized: "activation"; "margin": a class above all others; "deepdream": whatever a layer
            answers to; "direction": a direction in a layer; "caricature": what a layer sees in the photo to start
            from.
        direction: The vector of "direction", along the layer's channels: numbers, or the path of a .npy file.
        parameterization: How the image is written as parameters.
        transforms: What is done to the image before each view, at random.
        views: Views of the image in each step, whose gradients are averaged.
        losses: A sum of losses, instead of the objective and the weights below.
        tv_weight: Weight of the total variation.
        tv_beta: Its exponent.
        lp_weight: Weight of the Lp norm.
        lp_p: Its exponent.
        near: A layer in which the picture stays near the photo that it starts from.
        near_weight: Weight of the distance there, in units of the photo's own activation.
        diversity_weight: Weight of the likeness between the pictures of one group, which are made to differ.
        backprop: A replaced backward pass of the rectifiers: "guided" or "deconvnet"; or functions by operator name.
        gradient_modifier: "negate", "absolute", "invert", "relu", "small_values", or a function of the gradient.
        steps: Number of steps.
        learning_rate: Size of a step, in units of the parameterization (Adam).
        anneal: The last part of the steps, from 0 to 1, in which they get ever smaller.
        settle: The last part of the steps in which the image is looked at straight, without transforms.
        patience: Stop when the loss has hardly fallen over so many steps; None: never.
        transparency: Whether the picture gets an alpha channel: opaque where its gradients were.
        seed: Of all random numbers.
        seed_image: The path of the picture to start from, or a description of the given array; None: noise.
        precision: What float16 and bfloat16 are computed in: "float32", where gradients do not vanish, or "declared".
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
    preset: str = "auto"
    objective: str | None = None
    direction: str | tuple[float, ...] | None = None
    parameterization: Parameterization | None = None
    transforms: tuple[Transform, ...] | None = None
    views: int | None = None
    losses: Objective | None = None
    tv_weight: float | None = None
    tv_beta: float = 2.0
    lp_weight: float | None = None
    lp_p: float = 6.0
    near: str | None = None
    near_weight: float = 1.0
    diversity_weight: float = 0.0
    backprop: str | Mapping[str, Callable[..., Any]] | None = None
    gradient_modifier: str | Callable[[Tensor], Tensor] | None = None
    steps: int | None = None
    learning_rate: float | None = None
    anneal: float | None = None
    settle: float | None = None
    transparency: bool | None = None
    patience: int | None = None
    seed: int = 0
    seed_image: str | None = None
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        """Read numpy's numbers as Python's, and refuse what no run can use.

        Raises:
            SettingError: A setting is of the wrong kind, out of its range, or contradicts another.
        """
        for item in dataclasses.fields(self):
            object.__setattr__(self, item.name, settled(item.name, getattr(self, item.name)))
        if self.direction is not None and self.objective is None:
            object.__setattr__(self, "objective", "direction")
        check(self)

    @property
    def loss(self) -> Objective:
        """The losses with their weights."""
        if self.losses is not None:
            return self.losses
        # Driven down where "minimize" is asked for; the activation itself knows its goal.
        down = (self.goal == "minimize") != (self.gradient_modifier == "negate")
        sign = -1.0 if down and self.objective not in (None, "activation") else 1.0
        weighted: list[tuple[Loss, float]] = [
            (_AIMS[self.objective or "activation"](self), sign),
            (TotalVariation(self.tv_beta), self.tv_weight or 0.0),
            (LpNorm(self.lp_p), self.lp_weight or 0.0),
            (Nearness(self.near), 0.0 if self.near is None else self.near_weight),
            (Diversity(), self.diversity_weight),
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


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        # JSON has no word for it.
        return {_FLOAT: repr(value)}
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    if isinstance(value, Mapping) and not any(callable(item) for item in value.values()):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    return _plain_object(value)


def _plain_object(value: Any) -> Any:
    if isinstance(value, Objective):
        return [{"weight": weight, "loss": _plain(loss)} for loss, weight in value.terms]
    kind = type(value).__name__
    if _SERIALIZABLE.get(kind) is type(value):
        return {kind: {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}}
    if isinstance(value, Mapping):
        return {_TEXT: ", ".join(f"{name}: {_named(function)}" for name, function in value.items())}
    return {_TEXT: _named(value)}


def _named(value: Any) -> str:
    """Return the text of what only Python can give; a function's own would hold its address."""
    name = getattr(value, "__qualname__", None)
    return repr(value) if name is None else f"{value.__module__}.{name}"


def _revived(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        # Names of inputs may be any words.
        return {key: _revived("", item) for key, item in value.items()} if name in _BY_NAME else _revived_object(value)
    if name == "losses" and isinstance(value, list):
        return Objective(tuple((_revived("", term["loss"]), term["weight"]) for term in value))
    return tuple(_revived("", item) for item in value) if isinstance(value, list) else value


def _revived_object(value: Mapping[str, Any]) -> Any:
    ((kind, content),) = value.items()
    if kind == _FLOAT:
        return float(content)
    if kind == _TEXT:
        message = f"The recipe uses {content}, which cannot be read back from a file. Run it from Python."
        raise SettingError(message, value=content)
    return _SERIALIZABLE[kind](**{key: _revived("", item) for key, item in content.items()})
