"""Baselines: what a model answered when it was good, and whether it still does.

A baseline is a regression test for models. It holds pictures of some units with their recipes, and statistics of all
tensors; it is compared with what the file computes, and not with how the file is written.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from onnxvis import fingerprints
from onnxvis.config import CheckSettings
from onnxvis.drift import TOLERANCES, Drift, Drifts, Statistics, arithmetic, drifts, statistics
from onnxvis.errors import InputError, OnnxvisError, SettingError, UnknownSizeError
from onnxvis.fingerprints import GAINS, LIKENESS, Unit, Units, chosen_units, named_units
from onnxvis.image_input import ImageInput, find_image_input
from onnxvis.images import Fourier, Pixel
from onnxvis.model import Model, load
from onnxvis.oracle import Arrays
from onnxvis.outcomes import Detail, Outcome, Picture, Status, worst
from onnxvis.preprocess import FLAT
from onnxvis.recipe import Recipe
from onnxvis.render import write_file
from onnxvis.result import versions
from onnxvis.seeds import held_values
from onnxvis.shapes import TensorSpec
from onnxvis.sizes import image_shapes, input_shapes
from onnxvis.visualize import visualize

FORMAT = "onnxvis-baseline-1"
_SIZES = (64, 128, 224, 1024)
"""What is tried where the file leaves sizes open and nobody gave them."""
_PREPROCESS = ("range", "mean", "std", "bgr", "layout")
_TINY = 1e-12
_DEFAULTS = CheckSettings()


@dataclass(frozen=True)
class RecordedInput:
    """How the probes became one input of the model.

    Attributes:
        name: The input's name.
        dtype: Its type, as ONNX calls it.
        shape: The shape that it was fed.
        image_shape: (C, *spatial) of what was drawn; (): it holds no floats, or nothing that has channels.
        preprocess: The fields of `Preprocess` that feed it, as settings of a recipe.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    image_shape: tuple[int, ...] = ()
    preprocess: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Baseline:
    """What a model answered.

    Attributes:
        model: The file: name, sha256, opset, producer, and what it computes in (`arithmetic`).
        versions: Of the programs that recorded it.
        seed: Of the probes.
        inputs: How the probes became the model's inputs, in the file's order.
        outputs: Name and type of each output, in the file's order.
        held: What inputs were held at, by name.
        units: The pictures.
        tensors: The statistics of all float tensors, in the order of computation.
    """

    model: Mapping[str, Any]
    versions: Mapping[str, str] = field(repr=False)
    seed: int
    inputs: tuple[RecordedInput, ...]
    outputs: tuple[tuple[str, str], ...]
    held: Mapping[str, str | float]
    units: tuple[Unit, ...]
    tensors: tuple[Statistics, ...] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "format": FORMAT,
            "model": dict(self.model),
            "versions": dict(self.versions),
            "seed": self.seed,
            "inputs": [dataclasses.asdict(item) for item in self.inputs],
            "outputs": [{"name": name, "dtype": dtype} for name, dtype in self.outputs],
            "held": dict(self.held),
            "units": [unit.to_dict() for unit in self.units],
            "tensors": [dataclasses.asdict(item) for item in self.tensors],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Baseline:
        """Read what `to_dict` wrote.

        Raises:
            OnnxvisError: Something is damaged, or of another version.
            AttributeError, KeyError, TypeError, ValueError: Something is missing, or of another kind.
        """
        return cls(
            model={name: values["model"][name] for name in ("name", "sha256", "opset", "producer", "arithmetic")},
            versions=dict(values["versions"]),
            seed=int(values["seed"]),
            inputs=tuple(_input(item) for item in values["inputs"]),
            outputs=tuple((str(item["name"]), str(item["dtype"])) for item in values["outputs"]),
            held=dict(values["held"]),
            units=tuple(Unit.from_dict(item) for item in values["units"]),
            tensors=tuple(Statistics.from_dict(item) for item in values["tensors"]),
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the baseline as JSON, whole or not at all.

        Raises:
            OutputError: The file cannot be written, or its name does not end in .json.
        """
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False)
        # Lists of numbers are read line by line; no text of JSON has a line break in it.
        numbers = re.sub(r"\[\n\s*([^\[\]{}\"]+?)\n\s*\]", lambda m: f"[{' '.join(m[1].split())}]", text)
        write_file(path, f"{numbers}\n".encode())
        return Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Baseline:
        """Read a baseline.

        Raises:
            InputError: The file is missing, no baseline, of another version, or damaged.
        """
        remedy = "Record it anew with 'onnxvis baseline'."
        try:
            values = json.loads(Path(path).read_bytes())
        except FileNotFoundError:
            message = f"No baseline {str(path)!r}. Check the path, or record one with 'onnxvis baseline'."
            raise InputError(message, path=Path(path)) from None
        except (OSError, ValueError, RecursionError) as error:
            message = f"Cannot read {str(path)!r} as a baseline: {' '.join(str(error).split())[:200]}. {remedy}"
            raise InputError(message, path=Path(path)) from error
        found = values.get("format") if isinstance(values, dict) else None
        if found != FORMAT:
            what = "no baseline" if not str(found).startswith("onnxvis-baseline") else f"of format {found}"
            message = f"{str(path)!r} is {what}, and not of format {FORMAT}. {remedy}"
            raise InputError(message, path=Path(path))
        try:
            return cls.from_dict(values)
        except (OnnxvisError, AttributeError, KeyError, TypeError, ValueError) as error:
            message = f"{str(path)!r} is a damaged baseline, or of another version: {error}. {remedy}"
            raise InputError(message, path=Path(path)) from error


def record(
    model: Any, units: Units = (), *, settings: CheckSettings = _DEFAULTS, recipe: Recipe | None = None
) -> Baseline:
    """Record what a model answers.

    Args:
        model: A path, bytes, `ModelProto` or `Model`.
        units: Layers and filters, each with a picture of its own; a layer that is None is the first output, a filter
            that is None the whole tensor. (): the strongest classes, and a filter each of layers at several depths.
        settings: The sizes, the preprocessing, and the values of held inputs.
        recipe: The settings of the pictures; None: `fingerprints.RECIPE`, which is quick and does not drift by itself.

    Raises:
        OnnxvisError: The model cannot be run, or a named unit has no picture.
    """
    loaded = load(model)
    shapes = _open_shapes(loaded, settings)
    inputs = _recorded_inputs(loaded, shapes, settings)
    found = statistics(loaded, _feeds(loaded, inputs, settings.inputs, settings.seed), _copies(inputs))
    base = _with_settings(fingerprints.RECIPE if recipe is None else recipe, shapes, settings)
    return Baseline(
        model=_described(loaded),
        versions=versions(),
        seed=settings.seed,
        inputs=inputs,
        outputs=tuple((spec.name, spec.dtype) for spec in loaded.outputs),
        held=settings.inputs or {},
        units=named_units(loaded, units, base) if units else chosen_units(loaded, found, base),
        tensors=found,
    )


def compare(path: str | os.PathLike[str], model: Model, settings: CheckSettings = _DEFAULTS) -> Outcome:
    """Measure a model again, and compare it with a baseline; whatever goes wrong is an outcome too.

    Args:
        path: The baseline.
        model: The model, which may be another export of the one that was recorded.
        settings: Tolerances, where they are looser than `drift.TOLERANCES`; values of held inputs.
    """
    started = time.perf_counter()
    try:
        outcome = _compared(Baseline.load(path), str(path), model, settings)
    except OnnxvisError as error:
        outcome = Outcome("baseline", "error", error.message)
    return dataclasses.replace(outcome, seconds=time.perf_counter() - started)


@dataclass(frozen=True)
class _Fit:
    """A model in the place of the one that was recorded.

    Attributes:
        model: The model.
        inputs: How the probes become its inputs.
        renamed: Its inputs by the recorded ones' names.
        outputs: Its outputs likewise.
        held: What its inputs are held at.
        kind: What the less exact one of the two files computes in.
    """

    model: Model
    inputs: tuple[RecordedInput, ...]
    renamed: Mapping[str, str]
    outputs: Mapping[str, str]
    held: Mapping[str, str | float]
    kind: str

    @classmethod
    def of(cls, baseline: Baseline, model: Model, settings: CheckSettings) -> _Fit:
        before = [(item.name, item.dtype) for item in baseline.inputs]
        specs = _ordered(before, model.inputs)
        renamed = {name: spec.name for (name, _), spec in zip(before, specs, strict=True)}
        ends = _ordered(baseline.outputs, model.outputs)
        held = {renamed.get(name, name): value for name, value in baseline.held.items()}
        return cls(
            model=model,
            inputs=tuple(
                _refitted(item, model, spec, settings) for item, spec in zip(baseline.inputs, specs, strict=True)
            ),
            renamed=renamed,
            outputs={name: spec.name for (name, _), spec in zip(baseline.outputs, ends, strict=True)},
            held=held | dict(settings.inputs or {}),
            kind=max(baseline.model["arithmetic"], arithmetic(model), key=lambda kind: TOLERANCES.get(kind, 0.0)),
        )

    def recipe(self, unit: Unit, tensor: str) -> Recipe:
        """Return a unit's recipe in the words of this model."""
        recipe = unit.recipe
        wrt = recipe.optimized
        names = tuple(self.renamed.get(name, name) for name in wrt if name is not None)
        picture = next((item for item in self.inputs if item.name in names), None)
        held = {self.renamed.get(name, name): value for name, value in (recipe.inputs or {}).items()}
        wanted = {name: value for name, value in {**held, **self.held}.items() if name not in names}
        return dataclasses.replace(
            recipe,
            node=self.model.names.short_name(self.model.values[tensor]),
            wrt=names[0] if len(names) == 1 else names or None,
            size=None,
            input_shapes={item.name: item.shape for item in self.inputs},
            inputs=wanted or None,
            layout=recipe.layout if picture is None else picture.preprocess["layout"],
        )


def _compared(baseline: Baseline, path: str, model: Model, settings: CheckSettings) -> Outcome:
    remedy = f"record it anew with 'onnxvis baseline {model.path or model.name} -o {path}'"
    mismatch = _mismatch(baseline, model)
    if mismatch is not None:
        return _stale(baseline, path, mismatch, remedy)
    fit = _Fit.of(baseline, model, settings)
    tolerance = max(TOLERANCES[fit.kind], settings.tolerances.get(fit.kind, 0.0))
    found = statistics(model, _feeds(model, fit.inputs, fit.held, baseline.seed), _copies(fit.inputs))
    measured = {item.tensor for item in baseline.tensors}
    outputs = {before: now for before, now in fit.outputs.items() if before in measured}
    drifted = drifts(baseline.tensors, found, outputs, tolerance)
    if drifted.tensors and not drifted.alike and _is_other(baseline, found):
        return _stale(baseline, path, "layers of which this file has none", remedy)
    details = list(_tensor_details(drifted, outputs, tolerance, remedy))
    for unit in baseline.units:
        details += _unit_details(unit, fit, drifted)
    status = worst(detail.status for detail in details)
    if status in ("skip", "pass"):
        return Outcome("baseline", "pass", _passed(baseline, model, drifted), tuple(details))
    return Outcome("baseline", status, next(item.text for item in details if item.status == status), tuple(details))


def _is_other(baseline: Baseline, found: Sequence[Statistics]) -> bool:
    """Whether the layers of two models have little in common but the model's inputs and outputs."""
    now = {(item.op_type, item.dims) for item in found}
    before = [(item.op_type, item.dims) for item in baseline.tensors]
    return sum(item in now for item in before) < len(before) / 2


def _stale(baseline: Baseline, path: str, mismatch: str, remedy: str) -> Outcome:
    text = f"{Path(path).name} was recorded from {baseline.model['name']} with {mismatch}; {remedy}"
    return Outcome("baseline", "fail", text, (Detail("fail", text),))


def _passed(baseline: Baseline, model: Model, drifted: Drifts) -> str:
    pictures = f"{len(baseline.units)} picture{'' if len(baseline.units) == 1 else 's'}"
    gone = f", {len(drifted.vanished)} fused away" if drifted.vanished else ""
    text = f"{pictures} and {len(baseline.tensors)} tensors are as recorded{gone}"
    if baseline.model["sha256"] == model.sha256:
        return text
    return f"the file has changed, its function has not: {text}"


def _tensor_details(drifted: Drifts, outputs: Mapping[str, str], tolerance: float, remedy: str) -> Iterator[Detail]:
    """Tell of the first tensor that has drifted, and of the outputs: what lies between follows from the first."""
    for number, drift in enumerate(drifted.tensors):
        if number > 0 and drift.recorded.tensor not in outputs:
            continue
        text = _told(drift, tolerance)
        if number == 0:
            count = len(drifted.tensors)
            others = f", the first of {count} tensors that do" if count > 1 else ""
            text = f"{text}{others}; find out why, or if it is meant, {remedy}"
        figures: dict[str, float | int | str] = {"tolerance": tolerance, "figure": drift.figure}
        if math.isfinite(drift.deviation):
            figures["deviation"] = drift.deviation
        layer = (drift.found or drift.recorded).name
        yield Detail("fail", text, layer, (drift.found or drift.recorded).tensor, figures)


def _told(drift: Drift, tolerance: float) -> str:
    before, now = drift.recorded, drift.found
    if now is None:
        return f"{before.name} ({before.op_type}) is gone, and nothing answers as it did"
    if drift.figure == "shape":
        return f"{now.name} ({now.op_type}) answers otherwise: shape {before.shape} is now {now.shape}"
    return (
        f"{now.name} ({now.op_type}) answers otherwise: {drift.figure} {_value(before, drift.figure):.4g} is now "
        f"{_value(now, drift.figure):.4g}, off by {drift.deviation:.2g} standard deviations (tolerance {tolerance:g})"
    )


def _value(item: Statistics, figure: str) -> float:
    words = figure.split()
    return item.channels[int(words[-1])] if len(words) > 1 else float(getattr(item, figure))


def _unit_details(unit: Unit, fit: _Fit, drifted: Drifts) -> Iterator[Detail]:
    """Make a unit's picture again, and tell what is not as it was."""
    tensor = fit.outputs.get(unit.tensor) or drifted.alike.get(unit.tensor)
    if tensor is None and unit.tensor in fit.model.values and unit.tensor not in drifted.vanished:
        tensor = unit.tensor
    if tensor is None:
        yield Detail("skip", f"{unit.name} is no tensor of this file: its picture cannot be compared")
        return
    layer = fit.model.names.short_name(fit.model.values[tensor])
    try:
        result = visualize(fit.model, recipe=fit.recipe(unit, tensor), device="cpu")
    except OnnxvisError as error:
        yield Detail("fail", f"{unit.name} has no picture any more: {error.message}", layer, tensor)
        return
    picture = fingerprints.fingerprint(result.parts[0])
    alike = fingerprints.likeness(unit.picture, picture)
    gain = max(abs(unit.activation - unit.seed_activation), _TINY)
    lost = abs(result.activation - unit.activation) / gain
    if alike >= LIKENESS[fit.kind] and lost <= GAINS[fit.kind]:
        return
    before, after = f"{unit.activation:.4g}", f"{result.activation:.4g}"
    # Small roundings can lead a run elsewhere: a picture alone is no proof where every tensor answers as it did.
    status: Status = "fail" if drifted.tensors or lost > GAINS[fit.kind] else "warn"
    text = (
        f"{unit.name} looks for something else: correlation of the pictures {alike:.3f} (at least "
        f"{LIKENESS[fit.kind]:g}), activation {before} is now {after}, off by {lost:.1%} of its gain (at most "
        f"{GAINS[fit.kind]:.0%})"
    )
    figures = {"likeness": alike, "activation": result.activation, "recorded_activation": unit.activation}
    yield Detail(status, text, layer, tensor, figures, _side_by_side(unit, picture, before, after))


def _side_by_side(unit: Unit, picture: Image.Image, before: str, after: str) -> tuple[Picture, ...]:
    change = fingerprints.difference(unit.picture, picture)
    return (
        Picture(f"recorded: {before}", fingerprints.enlarged(unit.picture)),
        Picture(f"now: {after}", fingerprints.enlarged(picture)),
        Picture("difference", fingerprints.enlarged(change)),
    )


def _input(values: Mapping[str, Any]) -> RecordedInput:
    image_shape = tuple(int(size) for size in values["image_shape"])
    given = {name: values["preprocess"][name] for name in (_PREPROCESS if image_shape else ())}
    return RecordedInput(
        name=str(values["name"]),
        dtype=str(values["dtype"]),
        shape=tuple(int(size) for size in values["shape"]),
        image_shape=image_shape,
        preprocess={name: tuple(value) if isinstance(value, list) else value for name, value in given.items()},
    )


def _open_shapes(model: Model, settings: CheckSettings) -> dict[str, tuple[int, ...]]:
    """Return a shape for each input; where sizes are left open and not given, the smallest that can be run."""
    given = dict(settings.input_shapes or {})
    names = [spec.name for spec in model.inputs]
    if settings.size is not None:
        return input_shapes(model, image_shapes(model, settings.size, names) | given)
    try:
        return input_shapes(model, given)
    except UnknownSizeError as error:
        for size in _SIZES:
            with contextlib.suppress(OnnxvisError):
                shapes = input_shapes(model, image_shapes(model, (size,), names) | given)
                statistics(model, _feeds(model, _recorded_inputs(model, shapes, settings), settings.inputs, 0)[:1])
                return shapes
        raise error from None


def _recorded_inputs(
    model: Model, shapes: Mapping[str, tuple[int, ...]], settings: CheckSettings
) -> tuple[RecordedInput, ...]:
    """Find out how each input is fed; what is given of the preprocessing is given of the picture."""
    overrides = {name: getattr(settings, name) for name in _PREPROCESS}
    picture: str | None = None
    # Without any input of floats there is none, and what is wrong with a setting is said when its input is looked at.
    with contextlib.suppress(InputError):
        picture = find_image_input(model, shapes, preset=settings.preprocess, overrides=overrides).name
    found = []
    for spec in model.inputs:
        given = (settings.preprocess, overrides) if spec.name == picture else (None, None)
        found.append(_recorded_input(model, spec, shapes, *given))
    return tuple(found)


def _recorded_input(
    model: Model,
    spec: TensorSpec,
    shapes: Mapping[str, tuple[int, ...]],
    preset: str | None,
    overrides: Mapping[str, Any] | None,
) -> RecordedInput:
    bare = RecordedInput(spec.name, spec.dtype, shapes[spec.name])
    if not spec.is_float or not shapes[spec.name]:
        return bare
    item = find_image_input(model, shapes, wrt=spec.name, preset=preset, overrides=overrides)
    fed = item.preprocess
    preprocess = {name: getattr(fed, name) for name in _PREPROCESS}
    return dataclasses.replace(bare, image_shape=item.image_shape, preprocess=preprocess)


def _feeds(
    model: Model, inputs: Sequence[RecordedInput], held: Mapping[str, str | float] | None, seed: int
) -> list[Arrays]:
    """Draw the probes, always the same: white noise, and noise with the spectrum of natural images."""
    shapes = {item.name: item.shape for item in inputs}
    given = dict(held or {})
    fixed, _ = held_values(model, given, shapes, ())
    drawn = [item for item in inputs if item.image_shape and item.name not in given]
    fed = {item.name: _image_input(model, item, shapes) for item in drawn}
    probes = []
    for natural in (False, True):
        images = {
            item.name: _noise(item.image_shape, seed + number, natural=natural) for number, item in enumerate(drawn)
        }
        arrays = {name: fed[name].feed_one(image).contiguous().numpy() for name, image in images.items()}
        probes.append({**fixed, **arrays})
    return probes


def _copies(inputs: Sequence[RecordedInput]) -> int:
    """Return the size of the batch that one image fills."""
    layouts = ((item.shape, item.preprocess["layout"]) for item in inputs if item.image_shape)
    return next((shape[layout.index("N")] for shape, layout in layouts if layout != FLAT and "N" in layout), 1)


def _image_input(model: Model, item: RecordedInput, shapes: Mapping[str, tuple[int, ...]]) -> ImageInput:
    return find_image_input(model, shapes, wrt=item.name, overrides=item.preprocess)


def _noise(image_shape: tuple[int, ...], seed: int, *, natural: bool) -> torch.Tensor:
    """Draw one image, (1, C, *spatial) in [0, 1]."""
    if not natural:
        return torch.from_numpy(np.random.default_rng(seed).random((1, *image_shape), np.float32))
    kind = Fourier(decay=1.0, std=1.0) if len(image_shape) > 1 else Pixel(std=1.0)
    shape = (1, *image_shape)
    return kind.render(kind.start(shape, [torch.Generator().manual_seed(seed)]), shape)


def _with_settings(recipe: Recipe, shapes: Mapping[str, tuple[int, ...]], settings: CheckSettings) -> Recipe:
    """Fill in what a recipe leaves open."""
    names = ("inputs", "preprocess", *_PREPROCESS)
    given = {name: getattr(settings, name) for name in names} | {"input_shapes": shapes}
    changes = {name: value for name, value in given.items() if getattr(recipe, name) is None}
    return dataclasses.replace(recipe, **changes)


def _described(model: Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "sha256": model.sha256,
        "opset": model.opset,
        "producer": " ".join(filter(None, [model.ir.producer_name, model.ir.producer_version])),
        "arithmetic": arithmetic(model),
    }


def _mismatch(baseline: Baseline, model: Model) -> str | None:
    """Return what the recorded model had and this one has not; None: its inputs and outputs are those."""
    for kind, before, now in (
        ("inputs", [(item.name, item.dtype) for item in baseline.inputs], model.inputs),
        ("outputs", list(baseline.outputs), model.outputs),
    ):
        listed = ", ".join(f"{name!r} {dtype.lower()}" for name, dtype in before)
        if [_is_float(dtype) for _, dtype in before] != [spec.is_float for spec in _ordered(before, now)]:
            return f"{kind} {listed}, and this file has {', '.join(map(str, now))}"
    for item, spec in zip(
        baseline.inputs, _ordered([(i.name, i.dtype) for i in baseline.inputs], model.inputs), strict=True
    ):
        if _refitted_shape(item, spec) is None:
            return f"an input {item.name!r} {item.shape}, and this file has {spec}"
    return None


def _ordered(before: Sequence[tuple[str, str]], now: Sequence[TensorSpec]) -> list[TensorSpec]:
    """Return this file's inputs or outputs in the recorded order: by name if all are there, else as they come."""
    specs = {spec.name: spec for spec in now}
    names = [name for name, _ in before]
    return [specs[name] for name in names] if set(names) == specs.keys() else list(now)


def _is_float(dtype: str) -> bool:
    return TensorSpec("", dtype, None).is_float


def _refitted_shape(item: RecordedInput, spec: TensorSpec) -> tuple[int, ...] | None:
    """Return the recorded shape as this file has it: axes may be moved, and the batch may be another."""
    dims = spec.shape
    if dims is None:
        return item.shape
    shape = item.shape
    # (N, C, *spatial) -> (N, *spatial, C), and the other way round
    for moved in (shape, (*shape[:1], *shape[2:], *shape[1:2]), (*shape[:1], *shape[-1:], *shape[1:-1])):
        if len(dims) == len(moved) and all(
            not isinstance(dim, int) or dim == size or (axis == 0 and len(moved) > 1)
            for axis, (dim, size) in enumerate(zip(dims, moved, strict=True))
        ):
            return tuple(dim if isinstance(dim, int) else size for dim, size in zip(dims, moved, strict=True))
    return None


def _refitted(item: RecordedInput, model: Model, spec: TensorSpec, settings: CheckSettings) -> RecordedInput:
    """Return how the recorded image becomes the input of this file, which may want its axes in another order."""
    shape = _refitted_shape(item, spec) or item.shape
    moved = dataclasses.replace(item, name=spec.name, dtype=spec.dtype, shape=shape)
    if not item.image_shape:
        return moved
    for layout in (item.preprocess["layout"], settings.layout, None):
        preprocess = {**item.preprocess, "layout": layout}
        with contextlib.suppress(InputError, SettingError):
            found = find_image_input(model, {spec.name: shape}, wrt=spec.name, overrides=preprocess)
            if found.image_shape == item.image_shape:
                return dataclasses.replace(moved, preprocess={**preprocess, "layout": found.preprocess.layout})
    message = (
        f"Input {spec.name!r} {shape} of {model.name} cannot hold the recorded {item.image_shape} image: say its axes "
        "with layout."
    )
    raise InputError(message, name=spec.name)
