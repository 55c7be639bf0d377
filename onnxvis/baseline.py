"""Baselines: what a model answered when it was good.

A baseline holds pictures of some units with their recipes, and statistics of all tensors; it tells what the file
computes, and not how it is written.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import onnx_ir as ir

from onnxvis import fingerprints
from onnxvis.config import CheckSettings
from onnxvis.drift import TOLERANCES, arithmetic
from onnxvis.errors import InputError, OnnxvisError, innermost_reason
from onnxvis.fingerprints import Unit, Units, chosen_units, named_units
from onnxvis.globs import absolute
from onnxvis.kinds import ANY_TEXT, Reader, anything, checked, choice, either, mapping, number, several, whole
from onnxvis.model import Model, load
from onnxvis.ordinary import note_of
from onnxvis.recipe import Recipe
from onnxvis.recorded_inputs import PREPROCESS, RecordedInput, copies, feeds, open_shapes, recorded_inputs
from onnxvis.render import write_file
from onnxvis.result import versions
from onnxvis.tensor_statistics import Statistics, statistics

FORMAT = "onnxvis-baseline-1"

_DEFAULTS = CheckSettings()
_MODEL: Mapping[str, Reader] = {
    "name": ANY_TEXT,
    "sha256": ANY_TEXT,
    "opset": whole(0),
    "producer": ANY_TEXT,
    "arithmetic": choice(*TOLERANCES),
}
"""What is recorded of the file."""


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
            model={name: checked(reader, values["model"][name], f"model.{name}") for name, reader in _MODEL.items()},
            versions=checked(mapping(ANY_TEXT), values["versions"], "versions"),
            seed=checked(whole(0), values["seed"], "seed"),
            inputs=tuple(RecordedInput.from_dict(item) for item in _list(values, "inputs")),
            outputs=tuple(
                (checked(ANY_TEXT, item["name"], "outputs.name"), checked(ANY_TEXT, item["dtype"], "outputs.dtype"))
                for item in _list(values, "outputs")
            ),
            held=checked(mapping(either(str, ANY_TEXT, number())), values["held"], "held"),
            units=tuple(Unit.from_dict(item) for item in _list(values, "units")),
            tensors=tuple(Statistics.from_dict(item) for item in _list(values, "tensors")),
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the baseline as JSON, whole or not at all; the paths of held inputs are relative to its folder.

        Raises:
            OutputError: The file cannot be written, or its name does not end in .json.
        """
        folder = absolute(Path(path)).parent
        moved = _with_paths(self, lambda held: _relative(held, folder))
        text = json.dumps(moved.to_dict(), indent=1, allow_nan=False)
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
            values = json.loads(Path(path).read_bytes(), parse_constant=_refuse)
        except FileNotFoundError:
            message = f"No baseline {str(path)!r}. Check the path, or record one with 'onnxvis baseline'."
            raise InputError(message, path=Path(path)) from None
        except (OSError, ValueError, RecursionError) as error:
            message = f"Cannot read {str(path)!r} as a baseline: {' '.join(str(error).split())[:200]}. {remedy}"
            raise InputError(message, path=Path(path)) from error
        named = values.get("format") if isinstance(values, dict) else None
        if named != FORMAT:
            what = "no baseline" if not str(named).startswith("onnxvis-baseline") else f"of format {named}"
            message = f"{str(path)!r} is {what}, and not of format {FORMAT}. {remedy}"
            raise InputError(message, path=Path(path))
        try:
            found = cls.from_dict(values)
        except (OnnxvisError, AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            said = f"{error} is missing" if isinstance(error, KeyError) else innermost_reason(error)
            message = f"{str(path)!r} is a damaged baseline, or of another version: {said}. {remedy}"
            raise InputError(message, path=Path(path)) from error
        folder = absolute(Path(path)).parent
        return _with_paths(found, lambda held: str(folder / held))


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
    shapes = open_shapes(loaded, settings)
    inputs = recorded_inputs(loaded, shapes, settings)
    found = statistics(loaded, feeds(loaded, inputs, settings.inputs, settings.seed), copies(inputs))
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


def ordinary_note(model: Model, recorded: Baseline) -> str | None:
    """Return what an ordinary session on this processor computes otherwise of what was recorded; None: nothing.

    Args:
        model: The model.
        recorded: Its baseline.
    """
    outputs = [name for name, dtype in recorded.outputs if dtype in ir.DataType.__members__]
    try:
        return note_of(model, outputs, *feeds(model, recorded.inputs, recorded.held, recorded.seed))
    except OnnxvisError:
        return None


def _with_settings(recipe: Recipe, shapes: Mapping[str, tuple[int, ...]], settings: CheckSettings) -> Recipe:
    """Fill in what a recipe leaves open."""
    names = ("inputs", "preprocess", *PREPROCESS)
    given = {name: getattr(settings, name) for name in names} | {"input_shapes": shapes}
    changes = {name: value for name, value in given.items() if getattr(recipe, name) is None}
    return dataclasses.replace(recipe, **changes)


def _with_paths(baseline: Baseline, change: Callable[[str], str]) -> Baseline:
    """Write the paths of held inputs otherwise, wherever they are."""

    def changed(held: Mapping[str, str | float]) -> dict[str, str | float]:
        return {name: change(value) if isinstance(value, str) else value for name, value in held.items()}

    def of(unit: Unit) -> Unit:
        inputs = unit.recipe.inputs
        recipe = dataclasses.replace(unit.recipe, inputs=None if inputs is None else changed(inputs))
        return dataclasses.replace(unit, recipe=recipe)

    return dataclasses.replace(baseline, held=changed(baseline.held), units=tuple(map(of, baseline.units)))


def _relative(path: str, folder: Path) -> str:
    """Return a path as it reads from a folder: both go to other machines together."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        # On another drive there is no way from one to the other.
        return str(absolute(Path(path)))


def _list(values: Mapping[str, Any], name: str) -> tuple[Any, ...]:
    found: tuple[Any, ...] = checked(several(anything), values[name], name)
    return found


def _refuse(constant: str) -> NoReturn:
    message = f"{constant} is no number of JSON"
    raise ValueError(message)


def _described(model: Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "sha256": model.sha256,
        "opset": model.opset,
        "producer": " ".join(filter(None, [model.ir.producer_name, model.ir.producer_version])),
        "arithmetic": arithmetic(model),
    }
