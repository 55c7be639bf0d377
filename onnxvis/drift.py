"""Where a second file parts from the statistics that were recorded.

A tensor is told by what it answers: names change with exporters, and fusion takes tensors away. What is lost in between
is no drift, as long as something behind it still answers alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxvis.graph import quantized_values
from onnxvis.model import Model
from onnxvis.tensor_statistics import Statistics
from onnxvis.verify import is_half

TOLERANCES: Mapping[str, float] = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 1e-1, "quantized": 5e-2}
"""How far a figure may move, in standard deviations of its tensor, by what the two files compute in. What re-exports
come to is in docs/baselines.md."""

_SHARES = 10.0
"""Shares of zeros and of finite numbers may move by so many tolerances: single elements jump."""


@dataclass(frozen=True)
class Drift:
    """A tensor that does not answer as it was recorded.

    Attributes:
        recorded: What it was.
        found: What the tensor of its name answers now; None: there is none.
        figure: The figure that has moved farthest.
        deviation: How far, in standard deviations of the tensor; infinite where the two cannot be compared.
    """

    recorded: Statistics
    found: Statistics | None
    figure: str
    deviation: float


@dataclass(frozen=True)
class Drifts:
    """Where a model parts from what was recorded.

    Attributes:
        tensors: What has drifted, in the order of computation.
        alike: The tensor of the model that answers like a recorded one, by the latter's name.
        vanished: The recorded tensors that are gone, although what is computed from them is not.
    """

    tensors: tuple[Drift, ...]
    alike: Mapping[str, str]
    vanished: tuple[str, ...]


def arithmetic(model: Model) -> str:
    """Tell what a file computes in, as far as tolerances go: a key of `TOLERANCES`."""
    types = {spec.dtype for spec in model.tensors.values()}
    if "BFLOAT16" in types:
        return "bfloat16"
    if is_half(model):
        return "float16"
    return "quantized" if quantized_values(model.ir.graph) else "float32"


def deviation(recorded: Statistics, found: Statistics) -> tuple[float, str]:
    """Return how far a tensor's answers have moved, and the figure that has moved farthest.

    Where a number lies halfway between two steps of a quantized tensor, runs that round otherwise part by one step:
    extremes may move so far, and means of n such numbers by a step / sqrt(n), as if a coin was tossed for each.

    Returns:
        tuple: In standard deviations of the recorded tensor; infinite if the two have other sizes. Shares of zeros and
        of finite numbers count a tenth.
    """
    if recorded.dims != found.dims:
        return math.inf, "shape"
    size = max(1, math.prod(recorded.dims))
    free = recorded.step / math.sqrt(size)
    moved = {
        name: max(0.0, abs(getattr(found, name) - getattr(recorded, name)) - allowed) / recorded.spread
        for name, allowed in (("mean", free), ("std", free), ("min", recorded.step), ("max", recorded.step))
    }
    moved |= {name: abs(getattr(found, name) - getattr(recorded, name)) / _SHARES for name in ("zeros", "finite")}
    if recorded.channels and len(recorded.channels) == len(found.channels):
        free *= math.sqrt(len(recorded.channels))
        apart = np.abs(np.subtract(found.channels, recorded.channels))
        by_channel = np.maximum(0.0, apart - free) / recorded.spread
        moved[f"mean of filter {int(by_channel.argmax())}"] = float(by_channel.max())
    figure = max(moved, key=lambda name: moved[name])
    return moved[figure], figure


def drifts(
    recorded: Sequence[Statistics], found: Sequence[Statistics], outputs: Mapping[str, str], tolerance: float
) -> Drifts:
    """Find the recorded tensors again, by name or by what they answer, and say which have drifted.

    Args:
        recorded: The statistics as they were, in the order of computation.
        found: The statistics of the model.
        outputs: The model's outputs by the recorded ones' names: these are compared with one another, whatever else
            answers alike.
        tolerance: See `deviation`.
    """
    named = {item.tensor: item for item in found}
    own = {item.tensor: named.get(outputs.get(item.tensor, item.tensor)) for item in recorded}
    alike = {
        item.tensor: same.tensor
        for item in recorded
        if (same := own[item.tensor]) is not None and deviation(item, same)[0] <= tolerance
    }
    alike |= _renamed([item for item in recorded if item.tensor not in {**alike, **outputs}], found, alike, tolerance)
    lost = _lost(recorded, set(alike), outputs)
    claimed = set(alike.values())
    tensors, vanished = [], []
    for item in recorded:
        if item.tensor in alike:
            continue
        same = own[item.tensor]
        is_own = item.tensor in outputs or (same is not None and same.tensor not in claimed and same.dims == item.dims)
        # Exporters number their tensors anew: another operator's is another one, unless all is lost anyway.
        if item.tensor in lost or (is_own and same is not None and same.op_type == item.op_type):
            tensors.append(_drift(item, same if is_own else None))
        else:
            vanished.append(item.tensor)
    return Drifts(tuple(tensors), alike, tuple(vanished))


def _renamed(
    missing: Iterable[Statistics], found: Iterable[Statistics], alike: Mapping[str, str], tolerance: float
) -> dict[str, str]:
    """Find tensors by what they answer: rather one that is free, of the same operator."""
    by_dims: dict[tuple[int, ...], list[Statistics]] = {}
    for item in found:
        by_dims.setdefault(item.dims, []).append(item)
    claimed = set(alike.values())
    renamed: dict[str, str] = {}
    for item in missing:
        fitting = [other for other in by_dims.get(item.dims, ()) if deviation(item, other)[0] <= tolerance]
        if fitting:
            best = min(fitting, key=lambda other: (other.tensor in claimed, other.op_type != item.op_type))
            renamed[item.tensor] = best.tensor
            claimed.add(best.tensor)
    return renamed


def _lost(recorded: Sequence[Statistics], alike: set[str], outputs: Iterable[str]) -> set[str]:
    """Return the tensors that an output which has drifted is computed from, and nothing that answers alike."""
    readers: dict[str, list[str]] = {item.tensor: [] for item in recorded}
    for item in recorded:
        for source in item.sources:
            readers.setdefault(source, []).append(item.tensor)
    # That a constant is still the same says nothing of what it is computed from.
    telling = {item.tensor for item in recorded if item.tensor in alike and item.std > 0}
    living: set[str] = set()
    doomed = set(outputs) - alike
    for item in reversed(recorded):
        behind = readers[item.tensor]
        if any(name in telling or name in living for name in behind):
            living.add(item.tensor)
        if any(name in doomed for name in behind):
            doomed.add(item.tensor)
    return doomed - living - alike


def _drift(recorded: Statistics, found: Statistics | None) -> Drift:
    if found is None:
        return Drift(recorded, None, "", math.inf)
    farthest, figure = deviation(recorded, found)
    return Drift(recorded, found, figure, farthest)
