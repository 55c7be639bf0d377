"""The main job: from a model and the name of a unit to a verified picture of what it looks for."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterable, Mapping
from typing import Any

from onnxvis.errors import SettingError
from onnxvis.losses import as_objective
from onnxvis.maximize import OnStep
from onnxvis.model import load
from onnxvis.prepare import prepare
from onnxvis.recipe import Recipe
from onnxvis.result import Result
from onnxvis.seeds import SeedImage
from onnxvis.target import Filters


def visualize(
    model: Any,
    node: str | None = None,
    filter: Filters = None,
    *,
    recipe: Recipe | None = None,
    seed_image: SeedImage | None = None,
    losses: Any = None,
    device: str = "auto",
    on_step: OnStep | None = None,
    **settings: Any,
) -> Result:
    """Make a picture of what a unit looks for, and measure it by onnxruntime.

    Args:
        model: A path, bytes, `ModelProto` or `Model`.
        node: The layer, by any name that finds it; None: the first output.
        filter: A filter's number or class name, or several that are maximized together; None: the whole tensor.
        recipe: Settings to start from; the other arguments change it.
        seed_image: What to start from: a picture's path, or an array (H, W), (H, W, C) or (C, H, W), uint8 in 0 to 255
            or floats in [0, 1]; None: noise.
        losses: A loss, a sum of losses, or a list of (loss, weight); None: the activation, and what `tv_weight` and
            `lp_weight` say.
        device: "auto", "cpu" or "cuda".
        on_step: Called after each step with its number and the value of each loss.
        **settings: Any field of `Recipe`.

    Raises:
        OnnxvisError: The model, the target or a setting is wrong; see `onnxvis.errors`.
        VisualizationInterrupted: Ctrl-C; its `result` is what there was.
    """
    loaded = load(model)
    prepared = prepare(loaded, _recipe(recipe, node, filter, losses, settings), seed_image=seed_image, device=device)
    return prepared.run(on_step)


def _recipe(
    recipe: Recipe | None, node: str | None, filters: Filters, losses: Any, settings: Mapping[str, Any]
) -> Recipe:
    known = {item.name for item in dataclasses.fields(Recipe)}
    unknown = sorted(settings.keys() - known)
    if unknown:
        message = f"visualize() has no setting {unknown[0]!r}. Settings: {', '.join(sorted(known))}."
        raise TypeError(message)
    changes: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()
    }
    if isinstance(changes.get("size"), int):
        changes["size"] = (changes["size"], changes["size"])
    for name in ("mean", "std"):
        if isinstance(changes.get(name), (int, float)):
            changes[name] = (float(changes[name]),)
    if callable(changes.get("transforms")):
        changes["transforms"] = (changes["transforms"],)
    if node is not None:
        changes["node"] = node
    if filters is not None:
        changes["filters"] = _filters(filters)
    if losses is not None:
        changes["losses"] = as_objective(losses)
    return dataclasses.replace(Recipe() if recipe is None else recipe, **changes)


def _filters(given: Any) -> tuple[int | str, ...]:
    """Read one filter or several, numpy's integers included."""
    items = [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    try:
        return tuple(item if isinstance(item, str) else operator.index(item) for item in items)
    except TypeError:
        message = f"filter is a number, a class name or a list of these, not {given!r}."
        raise SettingError(message, filter=given) from None
