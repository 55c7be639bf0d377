"""Make a picture again from the recipe in its file, and tell whether it came out the same."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from onnxvis.errors import InputError, OnnxvisError
from onnxvis.maximize import Callback, Step
from onnxvis.model import load
from onnxvis.prepare import prepare
from onnxvis.recipe import Recipe
from onnxvis.render import read_png
from onnxvis.result import Group, Result, VisualizationInterrupted, checksum, versions
from onnxvis.runs import Prepared
from onnxvis.seeds import HeldValue, SeedImage


@dataclass(frozen=True)
class Replay:
    """A picture made again.

    Attributes:
        result: What came out.
        same: Whether it is the same to the bit.
        model_changed: Whether the model, or its weights, are not those that the picture was made of.
        reasons: What is not as it was, a sentence each: the model, versions, the device.
    """

    result: Result
    same: bool
    model_changed: bool
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return "; ".join(("the same bits" if self.same else "not the same bits", *self.reasons))


def replay(
    picture: str | os.PathLike[str],
    model: Any,
    *,
    seed_image: SeedImage | None = None,
    inputs: Mapping[str, HeldValue] | None = None,
    device: str | None = None,
    callbacks: Sequence[Callback] = (),
) -> Replay:
    """Make a picture again from the recipe in its file.

    A picture that was made in a batch is made in that batch again, because rounding depends on it, and the number of
    threads is set as it was while this runs.

    Args:
        picture: A PNG that onnxvis wrote.
        model: A path, bytes, `ModelProto` or `Model`.
        seed_image: What the picture started from, where the recipe does not hold it: an array has no file.
        inputs: What inputs were held at, likewise.
        device: "auto", "cpu" or "cuda"; None: as it was.
        callbacks: Called after each step.

    Raises:
        InputError: The file holds no recipe, or one that needs what only Python can give.
        OnnxvisError: The model, or the recipe on it.
    """
    recorded = _recorded(picture)
    loaded = load(model)
    changed = loaded.sha256 != recorded.model_sha256
    where = device or _available(str(recorded.text.get("device", "cpu")))
    with _threads(recorded.text.get("threads")):
        try:
            prepared = prepare(
                loaded,
                recorded.recipe,
                pictures=None if recorded.group is None else recorded.group.filters,
                seeds=None if recorded.group is None else recorded.group.seeds or None,
                seed_image=seed_image,
                inputs=inputs,
                device=where,
            )
        except OnnxvisError as error:
            if not changed:
                raise
            name = recorded.text["model"].get("name")
            message = f"The picture was made of {name}, and {loaded.name} is another file: {error.message}"
            raise InputError(message, model=loaded.name) from error
        result = _run(prepared, recorded, callbacks)
    return _compared(recorded, result, changed=changed)


@dataclass(frozen=True)
class _Recorded:
    """What a picture's file says."""

    image: Image.Image
    text: Mapping[str, Any]
    recipe: Recipe
    model_sha256: str
    checksums: Mapping[str, str]
    group: Group | None
    stopped: int | None


def _recorded(picture: str | os.PathLike[str]) -> _Recorded:
    image, text = read_png(picture)
    _check_kind(picture, text)
    try:
        group = _group(text.get("group"))
        stopped = int(text["steps_done"]) if text.get("interrupted") else None if group is None else group.stopped
        recipe = Recipe.from_dict(text["recipe"])
        return _Recorded(
            image=image,
            text=text,
            # Without any step there is nothing to interrupt.
            recipe=dataclasses.replace(recipe, steps=0) if stopped == 0 else recipe,
            model_sha256=text["model"]["sha256"],
            checksums={name: values["sha256"] for name, values in text["inputs"].items()},
            group=group,
            stopped=stopped,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        message = f"{str(picture)!r} holds a recipe that is damaged, or of another version of onnxvis: {error}."
        raise InputError(message, path=picture) from error


def _run(prepared: Prepared, recorded: _Recorded, callbacks: Sequence[Callback]) -> Result:
    stop = _Stop(recorded.stopped)
    told: list[Callback] = [*callbacks, stop]
    try:
        return prepared.run(told) if recorded.group is None else prepared.run_group(recorded.group, told)
    except VisualizationInterrupted as interruption:
        if not stop.stopped:
            raise
        return interruption.result


def _compared(recorded: _Recorded, result: Result, *, changed: bool) -> Replay:
    same = recorded.checksums == {name: checksum(array) for name, array in result.arrays.items()}
    drawn = np.array_equal(np.asarray(recorded.image), np.asarray(result.image))
    edited = same and result.parts[0].is_picture and not drawn
    reasons = []
    if changed:
        reasons.append(f"the model has changed: {result.model_name} is not the file that the picture was made of")
    if edited:
        reasons.append("the picture's pixels have been changed since it was written")
    reasons += _differences(recorded.text, result)
    return Replay(result, same and not edited, changed, tuple(reasons))


class _Stop:
    """Interrupts a run where it was interrupted before: its schedule is that of all steps."""

    def __init__(self, at: int | None) -> None:
        self.at, self.stopped = at, False

    def __call__(self, step: Step) -> None:
        if step.number == self.at:
            self.stopped = True
            raise KeyboardInterrupt


def _group(given: Any) -> Group | None:
    if given is None:
        return None
    filters = tuple(tuple(of_picture) for of_picture in given["filters"])
    index, seeds = int(given["index"]), tuple(given.get("seeds", ()))
    if not 0 <= index < len(filters) or len(seeds) not in (0, len(filters)):
        message = f"picture {index} of a batch of {len(filters)} with {len(seeds)} seeds"
        raise ValueError(message)
    return Group(filters, index, given.get("stopped"), seeds)


def _check_kind(picture: str | os.PathLike[str], text: Mapping[str, Any]) -> None:
    if "sheet" in text:
        message = f"{str(picture)!r} is a sheet of pictures: replay one of them, such as {text['sheet'][0]!r}."
        raise InputError(message, path=picture)
    if not text:
        message = (
            f"{str(picture)!r} shows a second input of a run: replay the first one's picture, which has the recipe."
        )
        raise InputError(message, path=picture)


def _available(device: str) -> str:
    kind = device.partition(":")[0]
    return kind if kind == "cpu" or torch.cuda.is_available() else "cpu"


@contextlib.contextmanager
def _threads(count: Any) -> Iterator[None]:
    """Compute with as many threads as before: sums are added up in another order otherwise."""
    before = torch.get_num_threads()
    if isinstance(count, int) and before != count and 0 < count <= (os.cpu_count() or 1):
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def _differences(text: Mapping[str, Any], result: Result) -> Iterator[str]:
    before, now = text.get("versions", {}), versions()
    for name, version in now.items():
        if name in before and before[name] != version:
            yield f"{name} {before[name]} is now {version}"
    now = result.recipe.to_dict()
    for name in ("seed_image", "inputs"):
        if text["recipe"].get(name) != now[name]:
            yield f"{name.replace('_', ' ')} was {text['recipe'].get(name)}, and is now {now[name]}"
    for path, made_of in text.get("sources", {}).items():
        if result.sources.get(path) != made_of:
            yield f"the file {path} has changed"
    if str(text.get("device")) != result.device:
        yield f"it was made on {text.get('device')}, and now on {result.device}"
