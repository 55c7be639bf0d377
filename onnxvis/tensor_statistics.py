"""What the tensors of a model answer to some probes, in figures.

All of them are of the finite elements of all probes, and none depends on how many images fill a fixed batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxvis.errors import InputError
from onnxvis.graph import HANDING_ON, quantized_values, read_values
from onnxvis.kinds import ANY_TEXT, Reader, checked, number, several, whole
from onnxvis.model import Model
from onnxvis.oracle import Arrays, Oracle

Array = np.ndarray[Any, Any]

_CHANNELS = 50_000
"""The number of channels whose means are written, of the whole model."""

_DIGITS = 7

_NEGLIGIBLE = 1e-6
"""Relative to the tensor's largest magnitude: what is smaller counts as zero, since rounding leaves it."""

_LEAST_SPREAD = 1e-3
"""The same for the standard deviation, below which float32 cannot tell it."""

_TINY = 1e-30


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
        step: How far apart neighboring numbers are, of a tensor that is quantized; 0: it is not, or nobody knows.
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
    step: float = 0.0
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
        try:
            plain = {name: checked(reader, values[name], name) for name, reader in _READERS.items()}
        except (KeyError, TypeError, ValueError) as error:
            message = f"The statistics of a tensor are damaged: {_said(error)}."
            raise InputError(message) from error
        return cls(**plain)


_READERS: Mapping[str, Reader] = {
    **dict.fromkeys(("name", "tensor", "op_type"), ANY_TEXT),
    "shape": several(whole(0)),
    **dict.fromkeys(("mean", "min", "max"), number()),
    **dict.fromkeys(("std", "step"), number(0)),
    **dict.fromkeys(("zeros", "finite"), number(0, 1)),
    "channels": several(number()),
    "sources": several(ANY_TEXT),
}
"""What a file may say of a tensor, by the fields of `Statistics`."""


def _said(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


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
    steps = quantization_steps(model.ir.graph)
    listed = set(values)
    found = [
        dataclasses.replace(
            _measured(sized, value, [answer[str(value.name)] for answer in answers], listed),
            step=_short(steps.get(value, 0.0)),
        )
        for value in values
    ]
    return _within_limit([_of_one(item, copies) for item in found])


def quantization_steps(graph: ir.Graph) -> dict[ir.Value, float]:
    """Return how far apart the numbers are that a quantized tensor can hold: 1 of integers, the scale of floats."""
    steps = dict.fromkeys(quantized_values(graph), 1.0)
    for node in graph:
        if node.op_type == "DequantizeLinear":
            scale = None if node.inputs[1] is None else node.inputs[1].const_value
            steps[node.outputs[0]] = 0.0 if scale is None else float(np.max(scale.numpy(), initial=0.0))
        elif node.op_type in HANDING_ON:
            handed = [steps[value] for value in node.inputs if value in steps]
            steps.update((value, max(handed)) for value in node.outputs if handed and value not in steps)
    return steps


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
