"""The main job: from a model and the name of a unit to a verified picture of what it looks for."""

from __future__ import annotations

import dataclasses
import operator
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from onnxvis.errors import SettingError
from onnxvis.judges import Judge
from onnxvis.losses import as_objective
from onnxvis.maximize import Callback
from onnxvis.model import load
from onnxvis.prepare import prepare
from onnxvis.recipe import Recipe
from onnxvis.result import Result, VisualizationInterrupted
from onnxvis.runs import Prepared
from onnxvis.seeds import HeldValue, SeedImage
from onnxvis.target import Filters
from onnxvis.units import Pictures
from onnxvis.variations import Variation, prepare_variation, with_agreement

_MOST_FILTERS = 1_000_000


def visualize(
    model: Any,
    node: str | None = None,
    filter: Filters = None,
    *,
    recipe: Recipe | None = None,
    seed_image: SeedImage | None = None,
    inputs: Mapping[str, HeldValue] | None = None,
    losses: Any = None,
    device: str = "auto",
    images: str | os.PathLike[str] | None = None,
    judge: Judge | str | os.PathLike[str] | None = None,
    callbacks: Sequence[Callback] | Callback = (),
    **settings: Any,
) -> Result:
    """Make a picture of what a unit looks for, and measure it by onnxruntime.

    Args:
        model: A path, bytes, `ModelProto` or `Model`.
        node: The layer, by any name that finds it; None: the first output.
        filter: A filter's number or class name, or several that are maximized together; None: the whole tensor.
        recipe: Settings to start from; the other arguments change it.
        seed_image: What to start from: the path of a picture or a .npy file, or an array. Pictures are (H, W),
            (H, W, C) or (C, H, W), uint8 in 0 to 255 or floats in [0, 1]; signals, volumes and features are arrays as
            the model takes them. None: noise.
        inputs: What the inputs that are not optimized are held at, by name: numbers, paths of .npy files, arrays.
        losses: A loss, a sum of losses, or a list of (loss, weight); None: the activation, and what `tv_weight` and
            `lp_weight` say.
        device: "auto", "cpu" or "cuda".
        images: A folder of photos to compare the activation with.
        judge: Another classifier, or its file, that says what it calls the picture.
        callbacks: Called after each step with a `Step`.
        **settings: Any field of `Recipe`.

    Raises:
        OnnxvisError: The model, the target or a setting is wrong; see `onnxvis.errors`.
        VisualizationInterrupted: Ctrl-C; its `result` is what there was.
    """
    wanted = _recipe(recipe, node, filter, losses, settings)
    prepared = prepare(
        load(model), wanted, seed_image=seed_image, inputs=inputs, device=device, images=images, judge=judge
    )
    return prepared.run(_called(callbacks))


def visualize_filters(
    model: Any,
    node: str | None = None,
    filters: Iterable[Any] | str = "all",
    *,
    recipe: Recipe | None = None,
    seed_image: SeedImage | None = None,
    inputs: Mapping[str, HeldValue] | None = None,
    losses: Any = None,
    device: str = "auto",
    images: str | os.PathLike[str] | None = None,
    judge: Judge | str | os.PathLike[str] | None = None,
    batch: int | None = None,
    callbacks: Sequence[Callback] | Callback = (),
    **settings: Any,
) -> list[Result | None]:
    """Make one picture for each filter of a layer, some at once; each is what it would be alone, but for rounding.

    Args:
        model: A path, bytes, `ModelProto` or `Model`.
        node: The layer, by any name that finds it; None: the first output.
        filters: Numbers or class names, one for each picture (a list of several: maximized together in one picture),
            a text such as "0-15,20", or "all".
        recipe: Settings to start from; the other arguments change it.
        seed_image: What all start from; see `visualize`.
        inputs: What the inputs that are not optimized are held at.
        losses: As for `visualize`.
        device: "auto", "cpu" or "cuda".
        images: A folder of photos to compare the activations with.
        judge: Another classifier, or its file, that says what it calls the pictures.
        batch: How many pictures are optimized at once; None: as many as fit into memory, at most 8 on a CPU.
        callbacks: Called after each step of each batch with a `Step`.
        **settings: Any field of `Recipe`.

    Returns:
        list: The results in order; None for a unit that is dead at every start, or whose loss becomes NaN.

    Raises:
        OnnxvisError: The model, the target or a setting is wrong; see `onnxvis.errors`.
        VisualizationInterrupted: Ctrl-C; its `results` are what there was.
    """
    wanted = _recipe(recipe, node, None, losses, settings)
    if batch is not None and batch < 1:
        message = f"batch must be at least 1, not {batch}."
        raise SettingError(message, batch=batch)
    if isinstance(filters, str):
        pictures: Pictures = pictures_of(filters) or ((filters,),)
    elif isinstance(filters, Iterable):
        pictures = tuple(_filters(item) for item in filters)
    else:
        pictures = (_filters(filters),)
    if not pictures:
        message = "filters is empty: name some, or say 'all'."
        raise SettingError(message, filters=filters)
    prepared = prepare(
        load(model),
        wanted,
        pictures=pictures,
        seed_image=seed_image,
        inputs=inputs,
        device=device,
        images=images,
        judge=judge,
    )
    return _all(prepared, batch, _called(callbacks))


def visualize_variations(
    model: Any,
    variation: Variation,
    node: str | None = None,
    filter: Filters = None,
    *,
    recipe: Recipe | None = None,
    seed_image: SeedImage | None = None,
    inputs: Mapping[str, HeldValue] | None = None,
    losses: Any = None,
    device: str = "auto",
    images: str | os.PathLike[str] | None = None,
    judge: Judge | str | os.PathLike[str] | None = None,
    callbacks: Sequence[Callback] | Callback = (),
    **settings: Any,
) -> list[Result | None]:
    """Make several pictures of one unit: of other seeds, made to differ, on the way to a second unit, or for values.

    Args:
        model: A path, bytes, `ModelProto` or `Model`.
        variation: How the pictures vary, such as `Variation("diversity", 4)`.
        node: The layer, by any name that finds it; None: the first output.
        filter: A filter's number or class name; two for an interpolation.
        recipe: Settings to start from; the other arguments change it.
        seed_image: What all start from; see `visualize`.
        inputs: What the inputs that are not optimized are held at.
        losses: As for `visualize`.
        device: "auto", "cpu" or "cuda".
        images: A folder of photos to compare the activations with.
        judge: Another classifier, or its file, that says what it calls the pictures.
        callbacks: Called after each step with a `Step`.
        **settings: Any field of `Recipe`.

    Returns:
        list: The results in order; None for one that is dead at every start, or whose loss becomes NaN. Those of
        several seeds say how much they agree.

    Raises:
        OnnxvisError: The model, the target or a setting is wrong; see `onnxvis.errors`.
        VisualizationInterrupted: Ctrl-C; its `results` are what there was.
    """
    prepared = prepare_variation(
        load(model),
        _recipe(recipe, node, filter, losses, settings),
        variation,
        seed_image=seed_image,
        inputs=inputs,
        device=device,
        images=images,
        judge=judge,
    )
    try:
        return with_agreement(prepared, _all(prepared, None, _called(callbacks)))
    except VisualizationInterrupted as interruption:
        interruption.results = tuple(with_agreement(prepared, interruption.results))
        raise


def _all(prepared: Prepared, batch: int | None, callbacks: Sequence[Callback]) -> list[Result | None]:
    """Make all pictures, and hand out what there is if that is interrupted."""
    results: list[Result | None] = []
    try:
        for some in prepared.run_all(batch, callbacks):
            results += some
    except KeyboardInterrupt as interruption:
        raise VisualizationInterrupted(*results) from interruption
    return results


def _called(callbacks: Sequence[Callback] | Callback) -> list[Callback]:
    called = [callbacks] if callable(callbacks) else list(callbacks)
    for callback in called:
        if isinstance(callback, type) or not callable(callback):
            message = f"callbacks are functions of a Step, or objects such as History(path), not {callback!r}."
            raise TypeError(message)
    return called


def pictures_of(text: str) -> tuple[tuple[int | str, ...], ...] | Literal["all"] | None:
    """Read "all", or numbers and ranges such as "0-15,20": one picture for each; None: it is none of these."""
    words = text.replace(" ", "")
    if words == "all":
        return "all"
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", words) or not re.search("[-,]", words):
        return None
    found: list[int] = []
    for part in words.split(","):
        first, _, last = part.partition("-")
        if last and int(last) < int(first):
            message = f"The range {part!r} of filters is empty: write the lower number first."
            raise SettingError(message, filters=text)
        if int(last or first) >= _MOST_FILTERS:
            message = f"No layer has so many filters as {part!r} names: write all for every one."
            raise SettingError(message, filters=text)
        found += range(int(first), int(last or first) + 1)
    return tuple((index,) for index in dict.fromkeys(found))


def _recipe(
    recipe: Recipe | None, node: str | None, filters: Filters, losses: Any, settings: Mapping[str, Any]
) -> Recipe:
    known = {item.name for item in dataclasses.fields(Recipe)}
    unknown = sorted(settings.keys() - known)
    if unknown:
        message = f"visualize() has no setting {unknown[0]!r}. Settings: {', '.join(sorted(known))}."
        raise TypeError(message)
    changes = dict(settings)
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
