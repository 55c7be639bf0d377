"""Statistics of a model's tensors, and where a second file parts from those that were recorded.

A tensor is told by what it answers: names change with exporters, and fusion takes tensors away. What is lost in between
is no drift, as long as something behind it still answers alike.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxvis.errors import InputError
from onnxvis.graph import quantized_values, read_values
from onnxvis.model import Model
from onnxvis.oracle import Arrays, Oracle
from onnxvis.verify import is_half

Array = np.ndarray[Any, Any]

TOLERANCES: Mapping[str, float] = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 1e-1, "quantized": 5e-2}
"""How far a figure may move, in standard deviations of its tensor, by what the two files compute in. What re-exports
come to is in docs/baselines.md."""
_CHANNELS = 50_000
"""The number of channels whose means are written, of the whole model."""
_DIGITS = 7
_NEGLIGIBLE = 1e-6
"""Relative to the tensor's largest magnitude: what is smaller counts as zero, since rounding leaves it."""
_LEAST_SPREAD = 1e-3
"""The same for the standard deviation, below which float32 cannot tell it."""
_TINY = 1e-30
_SHARES = 10.0
"""Shares of zeros and of finite numbers may move by so many tolerances: single elements jump."""


@dataclass(frozen=True)
class Statistics:
    """What one tensor answers to the probes.

    Attributes:
        name: The short name.
        tensor: The name in the file.
        op_type: The operator that computes it.
        shape: Of one probe.
        mean: Over all finite elements and probes, like all figures.
        std: The standard deviation.
        min: The smallest.
        max: The largest.
        zeros: The share of elements, in [0, 1], that are zero, or as small as rounding.
        finite: The share of elements that are finite.
        channels: The mean of each channel; (): the axis is not known, or there are too many.
        sources: The tensors in the list that it is computed from, with no other in between.
    """

    name: str
    tensor: str
    op_type: str
    shape: tuple[int, ...]
    mean: float
    std: float
    min: float
    max: float
    zeros: float
    finite: float
    channels: tuple[float, ...] = field(default=(), repr=False)
    sources: tuple[str, ...] = field(default=(), repr=False)

    @property
    def dims(self) -> tuple[int, ...]:
        """The sizes in ascending order, without those of 1: they are the same in every layout."""
        return tuple(sorted(size for size in self.shape if size != 1))

    @property
    def spread(self) -> float:
        """What differences are measured in."""
        largest = max(abs(self.min), abs(self.max))
        return max(self.std, _LEAST_SPREAD * largest, _TINY)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Statistics:
        """Read what `dataclasses.asdict` gave, through JSON.

        Raises:
            InputError: Something is missing, or of another kind.
        """
        kinds = {"name": str, "tensor": str, "op_type": str}
        lists = {"shape": int, "channels": float, "sources": str}
        try:
            plain = {
                item.name: tuple(lists[item.name](entry) for entry in values[item.name])
                if item.name in lists
                else kinds.get(item.name, float)(values[item.name])
                for item in dataclasses.fields(cls)
            }
        except (KeyError, TypeError, ValueError) as error:
            message = f"The statistics of a tensor are damaged: {error!r}."
            raise InputError(message) from error
        return cls(**plain)


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


def statistics(model: Model, feeds: Sequence[Arrays], copies: int = 1) -> tuple[Statistics, ...]:
    """Measure all float tensors that are computed from the inputs, by onnxruntime, in the order of computation.

    Args:
        model: The model.
        feeds: The probes: arrays by input name.
        copies: How often a probe fills a fixed batch; figures do not depend on it.

    Raises:
        OracleError: onnxruntime cannot run the model.
    """
    # The masks that old opsets declare as floats are ones for every input.
    visible = {node.tensor for node in model.nodes}
    values = [value for value in model.activations if value.name in visible]
    oracle = Oracle(model, [str(value.name) for value in values])
    answers = [oracle.run(feed) for feed in feeds]
    sized = model.at({name: array.shape for name, array in answers[0].items()})
    listed = set(values)
    found = [_measured(sized, value, [answer[str(value.name)] for answer in answers], listed) for value in values]
    return _within_limit([_of_one(item, copies) for item in found])


def _of_one(item: Statistics, copies: int) -> Statistics:
    """Write the shape as that of a batch of one: twins may have another."""
    return dataclasses.replace(item, shape=(1, *item.shape[1:])) if item.shape[:1] == (copies,) else item


def _measured(model: Model, value: ir.Value, arrays: Sequence[Array], listed: set[ir.Value]) -> Statistics:
    name, node = str(value.name), value.producer()
    numbers = [array.astype(np.float64) for array in arrays]
    joined = np.concatenate([array.reshape(-1) for array in numbers])
    kept = joined[np.isfinite(joined)]
    largest = float(np.abs(kept).max(initial=0.0))
    return Statistics(
        name=model.names.short_name(value),
        tensor=name,
        op_type="" if node is None else node.op_type,
        shape=tuple(arrays[0].shape),
        mean=_short(kept.mean() if kept.size else 0.0),
        std=_short(kept.std() if kept.size else 0.0),
        min=_short(kept.min() if kept.size else 0.0),
        max=_short(kept.max() if kept.size else 0.0),
        zeros=_short((np.abs(kept) <= _NEGLIGIBLE * largest).mean() if kept.size else 0.0),
        finite=_short(kept.size / joined.size if joined.size else 1.0),
        channels=_channel_means(numbers, model.channel_axes.get(name)),
        sources=tuple(_sources(value, listed)),
    )


def _channel_means(arrays: Sequence[Array], axis: int | None) -> tuple[float, ...]:
    shapes = {array.shape for array in arrays}
    if axis is None or len(shapes) != 1 or axis >= arrays[0].ndim or not all(np.isfinite(a).all() for a in arrays):
        return ()
    rows = np.moveaxis(np.stack(arrays), axis + 1, 0)
    return tuple(_short(mean) for mean in rows.reshape(len(rows), -1).mean(axis=1)) if rows.size else ()


def _sources(value: ir.Value, listed: set[ir.Value]) -> Iterable[str]:
    """Return the listed tensors that a value is computed from, through whatever is not listed."""
    found: dict[str, None] = {}
    seen: set[ir.Value] = set()
    waiting = [value]
    while waiting:
        node = waiting.pop().producer()
        for source in () if node is None else read_values(node):
            if source in listed:
                found[str(source.name)] = None
            elif source not in seen:
                seen.add(source)
                waiting.append(source)
    return found


def _within_limit(found: Sequence[Statistics]) -> tuple[Statistics, ...]:
    """Leave the means of the widest layers out, as far as there are too many."""
    widths = sorted(len(item.channels) for item in found)
    total, widest = 0, 0
    for width in widths:
        total += width
        if total > _CHANNELS:
            break
        widest = width
    return tuple(item if len(item.channels) <= widest else dataclasses.replace(item, channels=()) for item in found)


def _short(number: Any) -> float:
    return float(f"{float(number):.{_DIGITS}g}")


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

    Returns:
        tuple: In standard deviations of the recorded tensor; infinite if the two have other sizes. Shares of zeros and
        of finite numbers count a tenth.
    """
    if recorded.dims != found.dims:
        return math.inf, "shape"
    moved = {
        name: abs(getattr(found, name) - getattr(recorded, name)) / recorded.spread
        for name in ("mean", "std", "min", "max")
    }
    moved |= {name: abs(getattr(found, name) - getattr(recorded, name)) / _SHARES for name in ("zeros", "finite")}
    if recorded.channels and len(recorded.channels) == len(found.channels):
        by_channel = np.abs(np.subtract(found.channels, recorded.channels)) / recorded.spread
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
