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
from onnxvis.graph import drawn_values, inputs_of
from onnxvis.model import Model
from onnxvis.oracle import declarations, observed, open_session, typed, whole
from onnxvis.processor import clips_sums

Array = np.ndarray[Any, Any]

_QUIET = 4
_QUANTIZERS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
_DRAWN_IN = frozenset({"Relu", "Clip"})
"""What becomes part of a quantized layer too."""
_MOST_BYTES = 1 << 30
"""Weights beyond which a model is not optimized for this: it is written, and read again."""


@dataclass(frozen=True)
class Moved:
    """How far clipped sums move a tensor.

    Attributes:
        name: Its short name.
        absolute: The largest difference to what exact sums give.
        largest: The largest magnitude that exact sums give.
        changed: How many of its numbers differ.
        of: How many numbers it has.
        counts: Whether it holds integers, such as class numbers, whose differences mean nothing.
    """

    name: str
    absolute: float
    largest: float
    changed: int
    of: int
    counts: bool = False

    @property
    def relative(self) -> float:
        """How far it has moved, in [0, 1] or beyond: relative to its magnitude; of integers the share that differs."""
        if self.counts:
            return self.changed / max(self.of, 1)
        return self.absolute / (self.largest or 1.0)

    def __str__(self) -> str:
        if self.counts:
            return f"{self.changed} of the {self.of} integers of {self.name!r}"
        return f"{self.name!r} by {self.absolute:.2g} of {self.largest:.2g}"


def multiplies_integers(model: Model) -> bool:
    """Return whether onnxruntime may multiply integers of 8 bits when it runs a model: as it stands, or optimized.

    Args:
        model: The model.
    """
    nodes = ir.traversal.RecursiveGraphIterator(model.ir.graph)
    return any(products_of(node) or node.op_type in _QUANTIZERS for node in nodes)


def optimize(model: Model, tensors: Sequence[str], *, signed: bool = False) -> onnx.ModelProto | None:
    """Return what onnxruntime makes of a model before it runs it on x86, found on any processor.

    Args:
        model: The model.
        tensors: Its only outputs; nothing that they do not need is left.
        signed: Whether int8 activations between quantizers stay int8; on x86 they do not, unless a session asks for it.

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
            options.intra_op_num_threads = 1
            # What comes after only chooses layouts, by the processor.
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
            options.optimized_model_filepath = str(path)
            options.add_session_config_entry("session.qdqisint8allowed", str(int(signed)))
            model_bytes = declared.SerializeToString()
            session = onnxruntime.InferenceSession(model_bytes, options, providers=["CPUExecutionProvider"])
            return _typed(onnx.load(path), {output.name: output.type for output in session.get_outputs()})
    return None


def _typed(proto: onnx.ModelProto, types: Mapping[str, str]) -> onnx.ModelProto:
    """Declare the types of outputs that the file did not say, and onnxruntime found: "tensor(float)"."""
    for output in proto.graph.output:
        if not output.HasField("type"):
            name = types[output.name].removeprefix("tensor(").removesuffix(")").upper()
            output.type.tensor_type.elem_type = onnx.TensorProto.DataType.Value(name)
    return proto


def moved_here(model: Model, tensors: Sequence[str], feeds: Sequence[Mapping[str, Array]]) -> list[Moved]:
    """Return the tensors that an ordinary session on this processor moves by clipping sums.

    Args:
        model: The model.
        tensors: What to look at; random ones are not.
        feeds: What is fed: arrays by input name, for each run.

    Returns:
        list: The furthest moved, relative to its magnitude, first; empty where none is, or nothing can be measured.
    """
    if not clips_sums() or not multiplies_integers(model):
        return []
    random = drawn_values(model.ir.graph)
    looked = [_seen_at(model, name) for name in tensors if model.values[name] not in random]
    optimized = optimize(model, [place.tensor for place in looked]) if looked else None
    exact = None if optimized is None else with_exact_sums(optimized)[0]
    if optimized is None or exact is None or exact is optimized:
        return []
    types = {spec.name: spec.dtype for spec in model.inputs}
    read = [str(value.name) for value in inputs_of(model.ir.graph, [model.values[place.tensor] for place in looked])]
    outputs = [output.name for output in optimized.graph.output]
    moved: list[Moved] = []
    # What the reference runs may fail here; then there is nothing to add.
    with contextlib.suppress(Exception):
        sessions = [open_session(proto, {}) for proto in (optimized, exact)]
        for fed in feeds:
            given = {name: typed(fed[name], types[name]) for name in read}
            found, wanted = (session.run(outputs, given) for session in sessions)
            moved += [
                how_far(place.name, *(place.real(np.asarray(each)) for each in pair))
                for place, *pair in zip(looked, found, wanted, strict=True)
            ]
    return furthest(moved)


@dataclass(frozen=True)
class _Place:
    """Where a tensor is seen in an optimized model: behind the quantizer that becomes part of its layer.

    Attributes:
        name: What it is called.
        tensor: The tensor that is observed.
        scale: That of the quantizer; None: the tensor itself is observed.
        zero_point: Likewise.
    """

    name: str
    tensor: str
    scale: Array | None = None
    zero_point: Array | None = None

    def real(self, array: Array) -> Array:
        """Return real numbers for the integers that were observed."""
        if self.scale is None or self.zero_point is None:
            return array
        return np.asarray((array.astype(np.float32) - self.zero_point) * self.scale)


def _seen_at(model: Model, tensor: str) -> _Place:
    name, value = called(model, tensor), model.values[tensor]
    while len(uses := value.uses()) == 1 and not value.is_graph_output():
        (use,) = uses
        if use.node.op_type == "QuantizeLinear":
            constants = [
                None if each is None else ir.convenience.get_const_tensor(each) for each in use.node.inputs[1:]
            ]
            arrays = [np.asarray(each.numpy(), np.float32) for each in constants if each is not None]
            if len(arrays) == 2 and all(array.size == 1 for array in arrays):  # noqa: PLR2004 - scale, zero point
                return _Place(name, str(use.node.outputs[0].name), *(array.reshape(()) for array in arrays))
            break
        if use.node.op_type not in _DRAWN_IN:
            break
        value = use.node.outputs[0]
    return _Place(name, tensor)


def called(model: Model, tensor: str) -> str:
    """Return what to call a tensor: an output by its own name, as the file's users know it, others by the short one."""
    value = model.values[tensor]
    return tensor if value.is_graph_output() else model.names.short_name(value)


def how_far(name: str, found: Array, wanted: Array, *, counts: bool | None = None) -> Moved:
    """Return how far a tensor has moved; what is not finite on both sides has not.

    Args:
        name: Its short name.
        found: What clipped sums give.
        wanted: What exact sums give.
        counts: Whether it holds integers; None: by the type of the array.
    """
    both = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    if both[0].shape != both[1].shape:
        # As many boxes as are found, for example.
        count = max(each.size for each in both)
        return Moved(name, 0.0, 0.0, count, count, counts=True)
    finite = np.isfinite(both[0]) & np.isfinite(both[1])
    apart = np.abs(np.subtract(*both, where=finite, out=np.zeros_like(both[1])))
    largest = float(np.abs(both[1]).max(initial=0.0, where=finite))
    counts = np.asarray(wanted).dtype.kind in "iub" if counts is None else counts
    return Moved(name, float(apart.max(initial=0.0)), largest, int((apart > 0).sum()), apart.size, counts)


def furthest(moved: Sequence[Moved]) -> list[Moved]:
    """Return those that have moved at all, the furthest first."""
    return sorted((item for item in moved if item.changed), key=lambda item: -item.relative)


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
