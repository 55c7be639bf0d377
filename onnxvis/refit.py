"""A model in the place of another one that was recorded: which input, output and layout is which."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnxvis.baseline import Baseline
from onnxvis.config import CheckSettings
from onnxvis.drift import TOLERANCES, arithmetic
from onnxvis.errors import InputError, SettingError
from onnxvis.fingerprints import Unit
from onnxvis.image_input import find_image_input
from onnxvis.model import Model
from onnxvis.preprocess import LAYOUTS
from onnxvis.recipe import Recipe
from onnxvis.recorded_inputs import RecordedInput
from onnxvis.shapes import TensorSpec


@dataclass(frozen=True)
class Fit:
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
    def of(cls, baseline: Baseline, model: Model, settings: CheckSettings) -> Fit:
        """Put a model into the place of the one that was recorded, with which it has no `mismatch`.

        Raises:
            InputError: One of its inputs cannot hold the recorded image.
        """
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


def mismatch(baseline: Baseline, model: Model) -> str | None:
    """Return what the recorded model had and this one has not; None: its inputs and outputs are those."""
    recorded = [(item.name, item.dtype) for item in baseline.inputs]
    for kind, before, now in (("inputs", recorded, model.inputs), ("outputs", baseline.outputs, model.outputs)):
        listed = ", ".join(f"{name!r} {dtype.lower()}" for name, dtype in before)
        if [_is_float(dtype) for _, dtype in before] != [spec.is_float for spec in _ordered(before, now)]:
            return f"{kind} {listed}, and this file has {', '.join(map(str, now))}"
    for item, spec in zip(baseline.inputs, _ordered(recorded, model.inputs), strict=True):
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


def _moved(layout: str) -> list[str]:
    """Return the layouts that have the channels elsewhere."""
    rest = layout.replace("C", "")
    batch = rest[: rest.startswith("N")]
    return [moved for moved in (f"{rest}C", f"{batch}C{rest[len(batch) :]}") if moved != layout and moved in LAYOUTS]


def _refitted(item: RecordedInput, model: Model, spec: TensorSpec, settings: CheckSettings) -> RecordedInput:
    """Return how the recorded image becomes the input of this file, which may want its axes in another order."""
    fitting = _refitted_shape(item, spec)
    shape = item.shape if fitting is None else fitting
    moved = dataclasses.replace(item, name=spec.name, dtype=spec.dtype, shape=shape)
    if not item.image_shape:
        return moved
    recorded = item.preprocess["layout"]
    # What a file's metadata say of its layout is not always converted together with the file.
    for layout in (recorded, settings.layout, None, *_moved(recorded)):
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
