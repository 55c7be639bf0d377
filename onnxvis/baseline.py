"""Baselines: what a model answered when it was good.

A baseline holds pictures of some units with their recipes, and statistics of all tensors; it tells what the file
computes, and not how it is written.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnxvis import fingerprints
from onnxvis.config import CheckSettings
from onnxvis.drift import arithmetic
from onnxvis.errors import InputError, OnnxvisError
from onnxvis.fingerprints import Unit, Units, chosen_units, named_units
from onnxvis.model import Model, load
from onnxvis.recipe import Recipe
from onnxvis.recorded_inputs import PREPROCESS, RecordedInput, copies, feeds, open_shapes, recorded_inputs
from onnxvis.render import write_file
from onnxvis.result import versions
from onnxvis.tensor_statistics import Statistics, statistics

FORMAT = "onnxvis-baseline-1"

_DEFAULTS = CheckSettings()


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
            inputs=tuple(RecordedInput.from_dict(item) for item in values["inputs"]),
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


def _with_settings(recipe: Recipe, shapes: Mapping[str, tuple[int, ...]], settings: CheckSettings) -> Recipe:
    """Fill in what a recipe leaves open."""
    names = ("inputs", "preprocess", *PREPROCESS)
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
