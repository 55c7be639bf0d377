"""What two nodes of one operator are told to do: attributes, and constants in the place of attributes, as they count.

What the specification takes for granted is written out, and what means the same is written the same way, so that
`auto_pad` and `pads`, or a bound of Clip as an attribute and as an input, are compared by their meaning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from onnxvis.comparison.axes import Array
from onnxvis.comparison.operators import kind_of
from onnxvis.comparison.sides import Side, constant, quantized_weight
from onnxvis.graph import opset

_LARGE = 64
_UNBOUNDED = 3e38
_MATRIX = 2
"""A constant of more elements is a weight."""
_CLOSE = 0.05
"""Small numbers in half precision are this far off."""
_WEIGHT_CLOSE = {"float": 1e-4, "half": 2e-2, "quantized": 0.1}
_SPATIAL = frozenset({"Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool"})
_MEANINGLESS = frozenset(
    {"auto_pad", "consumed_inputs", "is_test", "momentum", "ratio", "seed", "spatial", "stash_type"}
    | {"storage_order", "training_mode", "activation_alpha", "activation_beta", "allowzero", "output_shape"}
)
_KERNELED = frozenset({"Conv", "ConvTranspose"})
_OPTIONAL = frozenset({"bias", "initial_c", "initial_h", "P", "sequence_lens"})
"""Inputs without which an operator computes something else; names of others have changed between operator sets."""
_BOUNDS = frozenset({"min", "max"})
"""Without one of them Clip has none."""
_FLATTENING = frozenset({"Softmax", "LogSoftmax", "Hardmax"})
OF_AXES = frozenset(
    {"axes", "indices", "axis", "batch_axis", "k", "perm", "repeats", "shape", "split", "starts", "ends", "steps"}
)
"""Where two files have other layouts, these differ rightly."""


@dataclass(frozen=True)
class Setting:
    """One thing that two nodes are told differently.

    Attributes:
        name: The attribute, or the input.
        first: What the first file says, as text; "" for nothing.
        second: What the second says.
        number: Whether it is a fraction, which no exporter changes, and no matter of sizes.
        weight: Whether it is a tensor of weights.
    """

    name: str
    first: str
    second: str
    number: bool = False
    weight: bool = False

    def __str__(self) -> str:
        if not self.second:
            return f"it has no {self.name}"
        if not self.first:
            return f"it has a {self.name} that the other has not"
        if self.first == self.second:
            return f"it has another {self.name}"
        return f"{self.name} is {self.second} instead of {self.first}"


def differing(sides: tuple[Side, Side], nodes: tuple[ir.Node, ir.Node], *, same_axes: bool) -> list[Setting]:
    """Return what two nodes of the same operator are told differently; of two operators nothing.

    Args:
        sides: The two files.
        nodes: One node of each.
        same_axes: Whether both see tensors of the same layout.
    """
    if kind_of(nodes[0]) != kind_of(nodes[1]):
        return []
    told = [_told(side, node) for side, node in zip(sides, nodes, strict=True)]
    if nodes[0].op_type != nodes[1].op_type:
        # Of two forms of one operator the weights alone mean the same.
        told = [{name: of["weight"] for name in of if name == "weight"} for of in told]
    names = [name for name in dict.fromkeys([*told[0], *told[1]]) if name not in _MEANINGLESS]
    if not same_axes:
        names = [name for name in names if name not in OF_AXES and name != "pads"]
    close = max(_WEIGHT_CLOSE[side.precision] for side in sides)
    found = (_difference(name, told[0].get(name), told[1].get(name), close, same_axes=same_axes) for name in names)
    return [setting for setting in found if setting is not None]


def _difference(name: str, first: Any, second: Any, close: float, *, same_axes: bool) -> Setting | None:
    if first is None or second is None:
        known = first if second is None else second
        if name in _BOUNDS:
            return Setting(name, _written(first), _written(second), number=True)
        # An attribute that one operator set does not have is none that differs.
        told = name in _OPTIONAL and np.any(np.asarray(known) != 0)
        return Setting(name, _written(first), _written(second), weight=True) if told else None
    if isinstance(first, str) or isinstance(second, str):
        if name == "pads":
            return None
        return None if str(first) == str(second) else Setting(name, str(first), str(second))
    one, other = np.asarray(first), np.asarray(second)
    weight = max(one.size, other.size) > _LARGE or (one.ndim > 0 and "f" in (one.dtype.kind, other.dtype.kind))
    if _alike(one, other, close if weight else _CLOSE, same_axes=same_axes):
        return None
    fraction = "f" in (one.dtype.kind, other.dtype.kind)
    return Setting(name, _written(one), _written(other), number=fraction and not weight, weight=weight)


def _alike(one: Array, other: Array, close: float, *, same_axes: bool) -> bool:
    if one.size != other.size:
        return False
    first, second = one.reshape(-1), other.reshape(-1)
    if first.dtype.kind not in "fiub" or second.dtype.kind not in "fiub":
        return bool(np.array_equal(first, second))
    values = [array.astype(np.float64) for array in (first, second)]
    if not same_axes or one.shape != other.shape:
        # The same numbers in another order are weights of another layout.
        values = [np.sort(array) for array in values]
    scale = float(np.max(np.abs(values[0]), initial=0.0, where=np.isfinite(values[0])))
    if first.dtype.kind == second.dtype.kind == "f":
        return bool(np.allclose(values[0], values[1], rtol=0, atol=close * scale, equal_nan=True))
    return bool(np.array_equal(values[0], values[1]))


def _written(value: Any) -> str:
    if value is None:
        return ""
    array = np.asarray(value)
    if array.size > _LARGE // 8:
        return f"{'x'.join(map(str, array.shape))} numbers"
    if array.ndim == 0:
        return f"{array.item():g}" if array.dtype.kind in "fiu" else str(array.item())
    return "(" + ", ".join(f"{item:g}" if array.dtype.kind in "fiu" else str(item) for item in array.reshape(-1)) + ")"


def _told(side: Side, node: ir.Node) -> dict[str, Any]:
    """Return all that a node is told, by the specification's names."""
    schema = _schema(side, node)
    found: dict[str, Any] = {}
    if schema is not None:
        for name, attribute in schema.attributes.items():
            default = attribute.default_value
            if default.type not in (onnx.AttributeProto.UNDEFINED, onnx.AttributeProto.GRAPH):
                found[name] = _plain(onnx.helper.get_attribute_value(default))
    graphs = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS, ir.AttributeType.TENSOR)
    for name, given in node.attributes.items():
        if given.type not in graphs and given.value is not None:
            found[name] = _plain(given.value)
    found.update(_constants(node, schema))
    return _meant(side, node, found)


def _meant(side: Side, node: ir.Node, told: dict[str, Any]) -> dict[str, Any]:
    """Write what a node is told so that what means the same is the same."""
    for bound in _BOUNDS & told.keys():
        # What was the default of old operator sets is no bound.
        if np.all(np.abs(np.asarray(told[bound], np.float64)) > _UNBOUNDED):
            del told[bound]
    if node.op_type == "Gemm":
        _untransposed(told)
    if node.op_type == "Pad" and "value" in told:
        told["constant_value"] = told.pop("value")
    if node.op_type in _SPATIAL:
        told.update(_geometry(side, node, told))
    if node.op_type in _FLATTENING:
        # Before opset 13 these flattened what they got, and the axis meant another thing.
        told.pop("axis", None)
    if node.op_type in _KERNELED:
        # The weight has it.
        told.pop("kernel_shape", None)
    shape = side.shapes.get(str(node.inputs[0].name)) if node.inputs and node.inputs[0] is not None else None
    return told if shape is None else _from_the_front(node, told, shape)


def _from_the_front(node: ir.Node, told: dict[str, Any], shape: Sequence[int]) -> dict[str, Any]:
    """Count axes from the front, in order, and the ends of a slice from its beginning."""
    rank = len(shape)
    if rank and np.ndim(told.get("axis", 0)) == 0 and int(told.get("axis", 0)) < 0:
        told["axis"] = int(told["axis"]) + rank
    if "axes" not in told or not rank or np.max(np.abs(np.asarray(told["axes"]))) > rank:
        return told
    axes = np.asarray(told["axes"]).reshape(-1) % rank
    order = np.argsort(axes)
    told["axes"] = axes[order]
    if node.op_type == "Slice" and {"starts", "ends"} <= told.keys():
        steps = np.resize(np.asarray(told.get("steps", 1)).reshape(-1), len(axes))
        told["steps"] = steps[order]
        for name in ("starts", "ends"):
            given = np.asarray(told[name]).reshape(-1).tolist()
            told[name] = np.asarray([_place(given[at], shape[axes[at]], int(steps[at])) for at in order])
    return told


def _place(index: int, size: int, step: int) -> int:
    least = -1 if step < 0 else 0
    return max(least, min(size, index + size if index < 0 else index))


def _untransposed(told: dict[str, Any]) -> None:
    """Write the constants of a Gemm as they are multiplied."""
    for name in ("transA", "transB"):
        weight = told.get("weight")
        if int(told.pop(name, 0)) and name == "transB" and isinstance(weight, np.ndarray) and weight.ndim == _MATRIX:
            told["weight"] = weight.T


def _schema(side: Side, node: ir.Node) -> onnx.defs.OpSchema | None:
    domain = "" if node.domain == "ai.onnx" else node.domain
    try:
        return onnx.defs.get_schema(node.op_type, opset(side.model.ir, node.domain), domain)
    except onnx.defs.SchemaError:
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return (
        np.asarray(value) if isinstance(value, (list, tuple)) and value and not isinstance(value[0], bytes) else value
    )


def _constants(node: ir.Node, schema: onnx.defs.OpSchema | None) -> dict[str, Any]:
    declared = [] if schema is None else [item.name for item in schema.inputs]
    found = {}
    for index, value in enumerate(node.inputs):
        array = constant(value)
        if array is not None:
            name = declared[index] if index < len(declared) else f"input {index}"
            found[_readable(node, name)] = array
    weight = quantized_weight(node)
    return found if weight is None else {**found, "weight": weight}


def _readable(node: ir.Node, name: str) -> str:
    if node.op_type in ("Add", "Sub", "Mul", "Div", "Pow"):
        return "constant"
    if node.op_type in ("Gemm", "MatMul"):
        return {"A": "weight", "B": "weight", "C": "bias"}.get(name, name)
    return {"B": "bias", "W": "weight", "R": "recurrence weight"}.get(name, name)


def _geometry(side: Side, node: ir.Node, told: Mapping[str, Any]) -> dict[str, Any]:
    """Write out strides, dilations and pads."""
    kernel = _kernel(node, told)
    if kernel is None:
        return {}
    rank = len(kernel)
    strides, dilations = (np.resize(np.asarray(told.get(name, 1)), rank) for name in ("strides", "dilations"))
    pads = np.resize(np.asarray(told.get("pads", 0)), 2 * rank)
    how = str(told.get("auto_pad", "NOTSET"))
    if how == "VALID":
        pads = np.zeros(2 * rank, int)
    found: dict[str, Any] = {"strides": strides, "dilations": dilations, "pads": pads}
    if node.op_type == "ConvTranspose" and how.startswith("SAME"):
        # The size of the output decides.
        return found | {"pads": how}
    if how.startswith("SAME"):
        size = _spatial_size(side, node, rank)
        found["pads"] = how if size is None else _same_pads(how, size, kernel, strides, dilations)
    if node.op_type == "AveragePool" and not isinstance(found["pads"], str) and not np.any(found["pads"]):
        # Without pads it does not matter whether they count.
        found["count_include_pad"] = 0
    return found


def _kernel(node: ir.Node, told: Mapping[str, Any]) -> Sequence[int] | None:
    if "kernel_shape" in told:
        return [int(size) for size in told["kernel_shape"]]
    weight = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return None if weight is None else list(weight.shape[2:])


def _spatial_size(side: Side, node: ir.Node, rank: int) -> Sequence[int] | None:
    source = node.inputs[0]
    shape = None if source is None else side.shapes.get(str(source.name))
    return None if shape is None or len(shape) != rank + 2 else shape[2:]


def _same_pads(how: str, size: Sequence[int], kernel: Sequence[int], strides: Array, dilations: Array) -> Array:
    totals = [
        max((-(-length // int(stride)) - 1) * int(stride) + (width - 1) * int(dilation) + 1 - length, 0)
        for length, width, stride, dilation in zip(size, kernel, strides, dilations, strict=True)
    ]
    small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return np.asarray([*large, *small] if how == "SAME_LOWER" else [*small, *large])
