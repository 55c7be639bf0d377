"""One of two files that are compared: what it computes, at all of its tensors, read as real numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import onnx_ir as ir

from onnxvis.comparison.operators import is_quantized, is_transparent, output_scale
from onnxvis.graph import HANDING_ON, computed_values, inputs_of, read_values
from onnxvis.model import Model
from onnxvis.oracle import Oracle

Array = np.ndarray[Any, Any]
Recording = Mapping[str, Array]
"""By tensor name: (P, *shape), for P inputs."""
Precision = Literal["float", "half", "quantized"]

_TENSORS = frozenset({"UNDEFINED", *(dtype.name for dtype in ir.DataType)} - {"STRING"})
"""Sequences, maps and texts are not compared."""
_DECIDING = frozenset({"Softmax", "LogSoftmax", "Sigmoid", "HardSigmoid", "ArgMax", "ArgMin", "QLinearSoftmax"})


@dataclass(frozen=True)
class Side:
    """One of two files.

    Attributes:
        model: The model.
        oracle: A session that observes all of its tensors.
        scales: Scale and zero point by the name of each quantized tensor, as far as they are constants.
        shapes: The shapes of what has been run so far, by tensor name.
    """

    model: Model
    oracle: Oracle = field(repr=False)
    scales: Mapping[str, tuple[Array, Array]] = field(repr=False)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, model: Model, tensors: Sequence[str] | None = None) -> Side:
        """Open a session on a model; None: over all tensors that stand for floats, and the outputs.

        Raises:
            OracleError: onnxruntime cannot run the model.
        """
        if tensors is None:
            reached = set(computed_values(model.ir.graph))
            named = [str(value.name) for value in model.activations]
            outputs = [
                str(value.name)
                for value in model.ir.graph.outputs
                if model.spec(value).dtype in _TENSORS and (value in reached or value.producer() is not None)
            ]
            tensors = list(dict.fromkeys([*named, *outputs]))
        return cls(model, Oracle(model, tensors), _scales(model))

    def run(self, feeds: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
        """Return all tensors for some inputs: (P, *shape) float32; those whose size varies are flattened."""
        found: dict[str, list[Array]] = {}
        for fed in feeds:
            needed = {name: array for name, array in fed.items() if name in self.read}
            for name, array in self.oracle.run(needed).items():
                found.setdefault(name, []).append(self._real(name, array))
        stacked = {name: _stacked(arrays) for name, arrays in found.items()}
        self.shapes.update({name: array.shape[1:] for name, array in stacked.items()})
        self.shapes.update({name: np.shape(array) for name, array in feeds[0].items()})
        return stacked

    def _real(self, name: str, array: Array) -> Array:
        if name not in self.scales:
            # Doubles that single precision does not hold are infinite.
            with np.errstate(over="ignore"):
                return np.asarray(array, np.float32)
        scale, zero = self.scales[name]
        return np.asarray((array.astype(np.float32) - zero) * scale, np.float32)

    @cached_property
    def read(self) -> frozenset[str]:
        """The inputs that the observed tensors are computed from."""
        values = [self.model.values[name] for name in self.oracle.tensors]
        return frozenset(str(value.name) for value in inputs_of(self.model.ir.graph, values))

    @cached_property
    def precision(self) -> Precision:
        """The coarsest numbers that the file computes with."""
        types = {spec.dtype for spec in self.model.tensors.values()}
        if self.scales or any(is_quantized(node) for node in self.model.ir.graph):
            return "quantized"
        return "half" if types & {"FLOAT16", "BFLOAT16"} else "float"

    @cached_property
    def computed(self) -> frozenset[str]:
        """The names of all tensors that depend on the values of an input, and of the inputs."""
        inputs = [spec.name for spec in self.model.inputs]
        return frozenset([*inputs, *(str(value.name) for value in computed_values(self.model.ir.graph))])

    @cached_property
    def position(self) -> Mapping[str, int]:
        """The place of each tensor in the order of computation."""
        names = [str(value.name) for node in self.model.ir.graph for value in node.outputs if value.name]
        return {name: place for place, name in enumerate([*(spec.name for spec in self.model.inputs), *names])}

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """The outputs that are compared, by tensor name, in the file's order."""
        names = [str(value.name) for value in self.model.ir.graph.outputs]
        return tuple(name for name in names if name in self.oracle.tensors)

    @cached_property
    def decisive(self) -> frozenset[str]:
        """The outputs, and what they are read off: a saturated softmax hides what its input shows."""
        found = set(self.outputs)
        for name in self.outputs:
            value: ir.Value | None = self.model.values[name]
            while value is not None and (node := value.producer()) is not None:
                if not is_transparent(node) and node.op_type not in _DECIDING:
                    break
                value = node.inputs[0]
                if value is not None and value.name in self.computed:
                    found.add(str(value.name))
        return frozenset(found)

    def data_inputs(self, node: ir.Node) -> list[str]:
        """Return the names of what a node reads, in its branches too, that depends on the model's inputs."""
        return [str(value.name) for value in read_values(node) if value.name in self.computed]

    def name(self, tensor: str) -> str:
        """Return the short name of a tensor."""
        return self.model.names.short_name(self.model.values[tensor])

    def producer(self, tensor: str) -> ir.Node | None:
        """Return the node that computes a tensor; None: it is an input."""
        return self.model.values[tensor].producer()

    def op_type(self, tensor: str) -> str:
        """Return the operator that computes a tensor."""
        node = self.producer(tensor)
        return "" if node is None else node.op_type


def _stacked(arrays: Sequence[Array]) -> Array:
    """Stack what was computed for all inputs; what varies in size is flattened, and its end filled up with zeros."""
    if len({array.shape for array in arrays}) == 1:
        return np.stack(arrays)
    rows = np.zeros((len(arrays), max(array.size for array in arrays)), np.float32)
    for row, array in zip(rows, arrays, strict=True):
        row[: array.size] = array.reshape(-1)
    return rows


def constant(value: ir.Value | None) -> Array | None:
    """Return what a weight or a constant holds; None: it is neither."""
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    if tensor is None:
        node = None if value is None else value.producer()
        is_dequantized = node is not None and node.op_type == "DequantizeLinear" and node.domain in ("", "ai.onnx")
        return _dequantized(node.inputs, node.attributes.get_int("axis", 1)) if node and is_dequantized else None
    return np.asarray(tensor.numpy())


def quantized_weight(node: ir.Node) -> Array | None:
    """Return the weight of a quantized convolution or product as real numbers; None: it is none, or not constant."""
    if node.op_type not in ("QLinearConv", "QLinearMatMul"):
        return None
    return _dequantized(node.inputs[3:6], 0 if node.op_type == "QLinearConv" else 1)


def _dequantized(values: Sequence[ir.Value | None], axis: int) -> Array | None:
    arrays = [None if value is None else constant(value) for value in values[:3]]
    integers, scale = arrays[0], arrays[1] if len(arrays) > 1 else None
    zero = arrays[2] if len(arrays) > 2 and arrays[2] is not None else np.zeros(1, np.float32)  # noqa: PLR2004 - x, scale, zero point
    if integers is None or scale is None or scale.ndim > 1:
        return None
    spread = [1] * integers.ndim
    if scale.size > 1:
        spread[axis] = scale.size
    if scale.size > 1 and (not spread or integers.shape[axis] != scale.size):
        return None
    zeros = zero.astype(np.float32).reshape(spread if zero.size > 1 else [1] * integers.ndim)
    scales = scale.astype(np.float32).reshape(spread)
    return np.asarray((integers.astype(np.float32) - zeros) * scales)


def _scales(model: Model) -> dict[str, tuple[Array, Array]]:
    found: dict[str, tuple[Array, Array]] = {}
    for node in model.ir.graph:
        output = node.outputs[0] if node.outputs else None
        if output is None:
            continue
        source = node.inputs[0] if node.inputs else None
        if node.op_type in HANDING_ON and source is not None and source.name in found:
            found.update({str(value.name): found[str(source.name)] for value in node.outputs})
            continue
        scale = _scale_of(model, node, output)
        if scale is not None:
            found[str(output.name)] = scale
    return found


def _scale_of(model: Model, node: ir.Node, output: ir.Value) -> tuple[Array, Array] | None:
    values = output_scale(node)
    scale = None if values is None else constant(values[0])
    if values is None or scale is None:
        return None
    zero = constant(values[1])
    zero = np.zeros((), np.float32) if zero is None else zero.astype(np.float32)
    if scale.size == 1:
        return scale.astype(np.float32).reshape(()), zero.reshape(-1)[:1].reshape(())
    # One for each channel: along the axis that QuantizeLinear names.
    axis = node.attributes.get_int("axis", 1)
    shape = model.spec(output).shape
    if shape is None or scale.ndim != 1:
        return None
    spread = [1] * len(shape)
    spread[axis] = scale.size
    return scale.astype(np.float32).reshape(spread), (zero.reshape(spread) if zero.size > 1 else zero.reshape(()))
