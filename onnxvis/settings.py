"""What values the settings of a recipe may have."""

from __future__ import annotations

import math
import numbers
import operator
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from onnxvis.errors import SettingError
from onnxvis.losses import as_objective

MOST_STEPS = 10_000_000
"""Beyond any use, and within what the history of the losses fits in memory."""
MOST_VIEWS = 1024
OBJECTIVES = ("activation", "margin", "deepdream", "direction", "caricature")
"""What `Recipe.objective` may be."""
_WHOLE = frozenset({"seed"})
_REAL = frozenset({"tv_beta", "lp_p", "near_weight", "diversity_weight"})
_OPTIONAL_REAL = frozenset({"learning_rate", "tv_weight", "lp_weight", "anneal", "settle"})
_TEXTS = frozenset({"node", "preprocess", "layout", "seed_image", "precision", "preset", "objective", "near"})
_PRECISIONS = ("float32", "declared")
_NUMBERS = frozenset({"mean", "std", "range"})
_GOALS = ("maximize", "minimize")


def settled(name: str, value: Any) -> Any:
    """Return a setting as the recipe holds it: numpy's numbers as Python's, one number as several where several may be.

    Raises:
        SettingError: It is of the wrong kind.
    """
    read = _READERS.get(name)
    if read is None or (value is None and name not in _REQUIRED):
        return value
    try:
        return read(value)
    except (TypeError, ValueError) as error:
        wanted = _WANTED.get(name, f"it is a {type(value).__name__}")
        message = f"{name} cannot be {value!r}: {wanted}."
        raise SettingError(message, **{name: value}) from error


def check(recipe: Any) -> None:
    """Refuse numbers out of their range, and settings that contradict each other.

    Args:
        recipe: A `Recipe`, each of whose settings is of the right kind.

    Raises:
        SettingError: There is one.
    """
    rules: tuple[tuple[str, bool, str], ...] = (
        ("steps", 0 <= (recipe.steps or 0) <= MOST_STEPS, f"0 to {MOST_STEPS:,}"),
        ("learning_rate", recipe.learning_rate is None or 0 < recipe.learning_rate < math.inf, "positive"),
        ("objective", recipe.objective in (*OBJECTIVES, None), " or ".join(OBJECTIVES)),
        ("views", recipe.views is None or 1 <= recipe.views <= MOST_VIEWS, f"1 to {MOST_VIEWS}"),
        ("anneal", 0 <= (recipe.anneal or 0) <= 1, "from 0 to 1"),
        ("settle", 0 <= (recipe.settle or 0) <= 1, "from 0 to 1"),
        ("precision", recipe.precision in _PRECISIONS, " or ".join(_PRECISIONS)),
        ("patience", recipe.patience is None or recipe.patience >= 1, "at least 1"),
        ("seed", recipe.seed >= 0, "0 or more"),
        ("lp_p", recipe.lp_p >= 1, "at least 1"),
        ("tv_beta", 0 < recipe.tv_beta < math.inf, "positive"),
        ("tv_weight", 0 <= (recipe.tv_weight or 0) < math.inf, "finite and not negative"),
        ("lp_weight", 0 <= (recipe.lp_weight or 0) < math.inf, "finite and not negative"),
        ("near_weight", 0 <= recipe.near_weight < math.inf, "finite and not negative"),
        ("diversity_weight", 0 <= recipe.diversity_weight < math.inf, "finite and not negative"),
        (
            "size",
            recipe.size is None or (len(recipe.size) in (1, 2, 3) and min(recipe.size, default=0) > 0),
            "positive sizes",
        ),
        ("range", recipe.range is None or len(recipe.range) == 2, "two numbers"),  # noqa: PLR2004 - (low, high)
    )
    for name, holds, wanted in rules:
        if not holds:
            value = getattr(recipe, name)
            shown = f"{value:g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else f"{value}"
            message = f"{name} must be {wanted}, not {shown}."
            raise SettingError(message, **{name: value})
    _check_objective(recipe)
    _check_losses(recipe)


def _check_objective(recipe: Any) -> None:
    """Refuse an objective that lacks what it needs, or is told what it does not know."""
    if (recipe.objective == "direction") != (recipe.direction is not None):
        message = (
            "The objective 'direction' needs a vector: give --direction vector.npy."
            if recipe.direction is None
            else f"A direction is given, and the objective is {recipe.objective!r}: leave one of them out."
        )
        raise SettingError(message, objective=recipe.objective)
    other = recipe.objective not in (None, "activation")
    if other and recipe.goal not in _GOALS:
        message = f"Only an activation can reach a value, not the objective {recipe.objective!r}: leave --reach out."
        raise SettingError(message, goal=recipe.goal)


def _check_losses(recipe: Any) -> None:
    """Refuse what says the same as `losses`, and would not be heard."""
    if recipe.losses is None:
        return
    given = {
        "neuron": recipe.neuron is not None,
        "goal": recipe.goal != "maximize",
        "objective": recipe.objective not in (None, "activation"),
        "tv_weight": bool(recipe.tv_weight),
        "lp_weight": bool(recipe.lp_weight),
        "near": recipe.near is not None,
        "diversity_weight": recipe.diversity_weight != 0,
    }
    doubled = [name for name, is_given in given.items() if is_given]
    if doubled:
        message = (
            f"losses and {doubled[0]} are given, and only losses would count: say it there, as in "
            "losses=ActivationMaximization(neuron=..., goal=...) + 0.1 * TotalVariation()."
        )
        raise SettingError(message, settings=doubled)


def _whole(value: Any) -> int:
    return operator.index(_no_flag(value))


def _real(value: Any) -> float:
    if not isinstance(_no_flag(value), numbers.Real):
        raise TypeError
    return float(value)


def _no_flag(value: Any) -> Any:
    if isinstance(value, bool):
        raise TypeError
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _several(read: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    def several(value: Any) -> tuple[Any, ...]:
        items = [value] if isinstance(value, (str, numbers.Number)) or not hasattr(value, "__iter__") else value
        return tuple(read(item) for item in items)

    return several


def _filter(value: Any) -> int | str:
    return value if isinstance(value, str) else _whole(value)


def _neuron(value: Any) -> str | tuple[int, ...]:
    return "center" if value == "center" else _several(_whole)(value)


def _goal(value: Any) -> str | float:
    if isinstance(value, str):
        if value not in _GOALS:
            raise ValueError
        return value
    if not math.isfinite(_real(value)):
        raise ValueError
    return _real(value)


def _wrt(value: Any) -> str | tuple[str, ...]:
    names = _several(_text)(value)
    if not names:
        raise ValueError
    return value if isinstance(value, str) else names


def _function(value: Any) -> Any:
    if not callable(value):
        raise TypeError
    return value


def _transforms(value: Any) -> tuple[Any, ...]:
    return tuple(_function(item) for item in ([value] if callable(value) else value))


def _parameterization(value: Any) -> Any:
    if isinstance(value, type) or not (hasattr(value, "start") and hasattr(value, "render")):
        raise TypeError
    return value


def _direction(value: Any) -> str | tuple[float, ...]:
    if isinstance(value, (str, os.PathLike)):
        return str(value)
    # One row of numbers, (1, C), is a vector too.
    return _several(_real)(np.asarray(value).ravel().tolist() if hasattr(value, "shape") else value)


def _modifier(value: Any) -> Any:
    return value if isinstance(value, str) else _function(value)


def _backprop(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if not isinstance(value, Mapping) or not value:
        raise TypeError
    return {_text(name): _function(function) for name, function in value.items()}


_READERS: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(_WHOLE, _whole),
    **dict.fromkeys(_REAL | _OPTIONAL_REAL, _real),
    **dict.fromkeys(_TEXTS, _text),
    **dict.fromkeys(_NUMBERS, _several(_real)),
    "patience": _whole,
    "steps": _whole,
    "views": _whole,
    "transparency": _flag,
    "direction": _direction,
    "channel_axis": _whole,
    "filters": _several(_filter),
    "size": _several(_whole),
    "neuron": _neuron,
    "goal": _goal,
    "wrt": _wrt,
    "bgr": _flag,
    "logits": _flag,
    "losses": as_objective,
    "parameterization": _parameterization,
    "transforms": _transforms,
    "gradient_modifier": _modifier,
    "backprop": _backprop,
}
_WANTED: Mapping[str, str] = {
    "direction": "it is the path of a .npy file, or one number for each filter",
    "goal": "it is 'maximize', 'minimize' or a finite number to reach",
    "neuron": "it is 'center' or one number for each spatial axis",
    "parameterization": "it is one such as Pixel() or Fourier()",
    "transforms": "they are functions of images and generators, such as Jitter(8)",
    "backprop": "it is 'guided', 'deconvnet', or functions by operator name",
    "gradient_modifier": "it is a name or a function of the gradient",
}
_REQUIRED = _WHOLE | _REAL | {"filters", "goal", "logits", "precision", "preset"}
"""Settings that are never None."""
