"""What an ordinary session gives: onnxruntime with its usual optimizations, as a user opens it, on this processor.

The reference is another: it is not optimized, and its int8 sums are exact. Where an ordinary session clips such sums,
the two differ, and people must know by how much.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime

from onnxvis.errors import OnnxvisError
from onnxvis.exact_sums import products_of, with_exact_sums
from onnxvis.graph import inputs_of
from onnxvis.model import Model
from onnxvis.oracle import declarations, observed, open_session, typed, whole
from onnxvis.processor import clips_sums

Array = np.ndarray[Any, Any]

_QUIET = 4
_QUANTIZERS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
_MOST_BYTES = 1 << 30
"""Weights beyond which a model is not optimized for this: it is written, and read again."""


@dataclass(frozen=True)
class Moved:
    """How far clipped sums move a tensor.

    Attributes:
        name: Its short name.
        absolute: The largest difference to what exact sums give.
        largest: The largest magnitude that exact sums give.
    """

    name: str
    absolute: float
    largest: float

    def __str__(self) -> str:
        return f"{self.name!r} by {self.absolute:.2g} of {self.largest:.2g}"


def multiplies_integers(model: Model) -> bool:
    """Return whether onnxruntime may multiply integers of 8 bits when it runs a model: as it stands, or optimized.

    Args:
        model: The model.
    """
    nodes = ir.traversal.RecursiveGraphIterator(model.ir.graph)
    return any(products_of(node) or node.op_type in _QUANTIZERS for node in nodes)


def optimize(model: Model, tensors: Sequence[str]) -> onnx.ModelProto | None:
    """Return what onnxruntime makes of a model before it runs it, on every processor alike.

    Args:
        model: The model.
        tensors: Its only outputs; nothing that they do not need is left.

    Returns:
        The optimized model; None where it is too large for that, or onnxruntime does not run it.
    """
    proto, weights = observed(model, tensors)
    if sum(tensor.nbytes for tensor in weights.values()) > _MOST_BYTES:
        return None
    for declared in declarations(whole(proto, weights)):
        with contextlib.suppress(Exception), tempfile.TemporaryDirectory(prefix="onnxvis-") as folder:
            path = Path(folder) / "optimized.onnx"
            options = onnxruntime.SessionOptions()
            options.log_severity_level = _QUIET
            # What comes after only chooses layouts, by the processor.
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
            options.optimized_model_filepath = str(path)
            onnxruntime.InferenceSession(declared.SerializeToString(), options, providers=["CPUExecutionProvider"])
            return onnx.load(path)
    return None


def moved_here(model: Model, tensors: Sequence[str], feeds: Sequence[Mapping[str, Array]]) -> list[Moved]:
    """Return the tensors that an ordinary session on this processor moves by clipping sums.

    Args:
        model: The model.
        tensors: What to look at.
        feeds: What is fed: arrays by input name, for each run.

    Returns:
        list: The furthest moved, relative to its magnitude, first; empty where none is, or nothing can be measured.
    """
    if not clips_sums() or not multiplies_integers(model):
        return []
    optimized = optimize(model, tensors)
    exact = None if optimized is None else with_exact_sums(optimized)[0]
    if optimized is None or exact is None or exact is optimized:
        return []
    values = [model.values[name] for name in tensors]
    types = {spec.name: spec.dtype for spec in model.inputs}
    read = [str(value.name) for value in inputs_of(model.ir.graph, values)]
    outputs = [output.name for output in optimized.graph.output]
    names = [called(model, name) for name in tensors]
    moved: list[Moved] = []
    try:
        sessions = [open_session(proto, {}) for proto in (optimized, exact)]
        for fed in feeds:
            given = {name: typed(fed[name], types[name]) for name in read}
            found, wanted = (session.run(outputs, given) for session in sessions)
            moved += [how_far(name, *map(np.asarray, pair)) for name, *pair in zip(names, found, wanted, strict=True)]
    except Exception:  # noqa: BLE001 - what the reference runs may fail here; then there is nothing to add
        return []
    return furthest(moved)


def called(model: Model, tensor: str) -> str:
    """Return what to call a tensor: an output by its own name, as the file's users know it, others by the short one."""
    value = model.values[tensor]
    return tensor if value.is_graph_output() else model.names.short_name(value)


def how_far(name: str, found: Array, wanted: Array) -> Moved:
    """Return how far a tensor has moved; what is not finite on both sides has not.

    Args:
        name: Its short name.
        found: What clipped sums give.
        wanted: What exact sums give.
    """
    both = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    finite = np.isfinite(both[0]) & np.isfinite(both[1])
    apart = np.abs(np.subtract(*both, where=finite, out=np.zeros_like(both[1])))
    return Moved(name, float(apart.max(initial=0.0)), float(np.abs(both[1]).max(initial=0.0, where=finite)))


def furthest(moved: Sequence[Moved]) -> list[Moved]:
    """Return those that have moved at all, the furthest relative to its magnitude first."""
    return sorted((item for item in moved if item.absolute), key=lambda item: -item.absolute / (item.largest or 1.0))


def note_of(model: Model, tensors: Sequence[str], *feeds: Mapping[str, Array]) -> str | None:
    """Return what to say of an ordinary session on this processor; None: nothing.

    Args:
        model: The model.
        tensors: What is looked at.
        *feeds: What is fed: arrays by input name, for each run.
    """
    try:
        moved = moved_here(model, tensors, feeds)
    except OnnxvisError:
        return None
    if not moved:
        return None
    return (
        f"onnxruntime on this processor clips int8 sums: an ordinary session moves {moved[0]}; figures here are exact"
    )
