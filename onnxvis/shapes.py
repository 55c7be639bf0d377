"""Types and shapes of all tensors, by the ONNX project's own shape inference.

Inference and the checker see a skeleton of the model: large weights become inputs so that nothing large is read, and
the experimental operators that ONNX has withdrawn, but that onnxruntime still runs, are written as standard ones.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import onnx
import onnx_ir as ir
from onnx import helper

from onnxvis.graph import is_default_domain, opset

Dims = tuple[int | str | None, ...]

_BEFORE_SHAPES = 13
_FREE_WEIGHTS = 4
"""The first IR version in which weights need not be inputs."""


@dataclass(frozen=True)
class TensorSpec:
    """Name, type and shape of one tensor.

    Attributes:
        name: The tensor's name in the file.
        dtype: The element type as ONNX calls it, "FLOAT", "INT64"; "UNDEFINED" where it is not known; "SEQUENCE" and
            the like for what is no tensor.
        shape: One entry for each dimension: a size, a name, or None; None where not even the rank is known.
    """

    name: str
    dtype: str
    shape: Dims | None

    @property
    def is_float(self) -> bool:
        """Whether the elements are floating-point numbers, as far as is known."""
        return self.dtype in {"UNDEFINED", "FLOAT", "FLOAT16", "DOUBLE", "BFLOAT16"}

    def __str__(self) -> str:
        shape = "?" if self.shape is None else ", ".join("?" if dim is None else str(dim) for dim in self.shape)
        return f"{self.name} ({shape}) {self.dtype.lower()}"


def skeleton(model: ir.Model) -> onnx.ModelProto:
    """Write the model without withdrawn operators, and with large weights as inputs: no shape depends on their values.

    Args:
        model: The model.
    """
    graph = model.graph
    left = {value: tensor for value, tensor in _constants(graph) if tensor.size > _LARGEST}
    inputs = dict.fromkeys([*graph.inputs, *left])
    view = ir.GraphView(
        list(inputs),
        list(graph.outputs),
        nodes=tuple(node for node in graph if left.keys().isdisjoint(node.outputs)),
        initializers=[value for value in graph.initializers.values() if value not in left],
        name=graph.name,
        opset_imports=graph.opset_imports,
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in model.opset_imports.items()]
    # Files of IR version 3 must list their weights as inputs too, which optimizers forget.
    proto = onnx.ModelProto(ir_version=max(model.ir_version, _FREE_WEIGHTS))
    proto.opset_import.extend([*opsets, helper.make_opsetid(_UNKNOWN_DOMAIN, 1)])
    ir.serde.serialize_graph_into(proto.graph, view)  # type: ignore[arg-type] # a view is what it takes, declared read-only
    for info, value in zip(proto.graph.input, inputs, strict=True):
        if value in left:
            _declare_weight(info, left[value])
    _rewrite_withdrawn(proto.graph, opset(model))
    return proto


def _constants(graph: ir.Graph) -> Iterator[tuple[ir.Value, ir.TensorProtocol]]:
    """Yield the weights and the results of Constant nodes with their tensors."""
    for value in graph.initializers.values():
        if value.const_value is not None:
            yield value, value.const_value
    for node in graph:
        attribute = node.attributes.get("value")
        if node.op_type == "Constant" and attribute is not None and attribute.type == ir.AttributeType.TENSOR:
            yield node.outputs[0], attribute.as_tensor()


def _declare_weight(info: onnx.ValueInfoProto, tensor: ir.TensorProtocol) -> None:
    info.CopyFrom(helper.make_tensor_value_info(info.name, int(tensor.dtype), list(tensor.shape.numpy())))


def _rewrite_withdrawn(graph: onnx.GraphProto, version: int) -> None:
    for node in graph.node:
        if is_default_domain(node.domain) and node.op_type in _WITHDRAWN:
            _WITHDRAWN[node.op_type](node)
        elif is_default_domain(node.domain) and node.op_type in _NORMALIZATIONS and not _is_standard(node, version):
            _normalization(node)
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs] if attribute.HasField("g") else attribute.graphs:
                _rewrite_withdrawn(inner, version)


def _is_standard(node: onnx.NodeProto, version: int) -> bool:
    return onnx.defs.has(node.op_type, version, "") and not onnx.defs.get_schema(node.op_type, version, "").deprecated


def inferred(model: ir.Model) -> dict[str, TensorSpec]:
    """Return what ONNX's shape inference finds out, by tensor name.

    What it cannot infer (custom operators, shapes computed from values) is missing or has None in its shape.
    """
    proto = skeleton(model)
    _look_through_shapes(proto)
    # Inference gives up on some models that run; then the declared shapes remain.
    with contextlib.suppress(onnx.shape_inference.InferenceError, ValueError, RuntimeError):
        found = onnx.shape_inference.infer_shapes(proto)
        proto = found if _has_long_list(found) else onnx.shape_inference.infer_shapes(proto, data_prop=True)
    infos = [*proto.graph.input, *proto.graph.value_info, *proto.graph.output]
    specs = {info.name: _spec(info) for info in infos}
    for tensor in proto.graph.initializer:
        specs[tensor.name] = TensorSpec(tensor.name, ir.DataType(tensor.data_type).name, tuple(tensor.dims))
    return specs


def _has_long_list(proto: onnx.ModelProto) -> bool:
    """Whether there is a list that takes gigabytes where values are followed: each of its numbers becomes an object."""
    infos = [*proto.graph.input, *proto.graph.value_info, *proto.graph.output]
    shapes = [info.type.tensor_type.shape.dim for info in infos if info.type.HasField("tensor_type")]
    return any(len(dims) == 1 and dims[0].dim_value > _LONGEST_LIST for dims in shapes)


def _look_through_shapes(proto: onnx.ModelProto) -> None:
    """Declare opset 14 for 13: only from there on inference computes with the result of a Shape.

    Opset 14 adds types and attributes, and changes nothing but what the further outputs of BatchNormalization are.
    """
    if any(node.op_type == "BatchNormalization" and len(node.output) > 1 for node in proto.graph.node):
        return
    for entry in proto.opset_import:
        if entry.domain in ("", "ai.onnx") and entry.version == _BEFORE_SHAPES:
            entry.version = _BEFORE_SHAPES + 1


def _spec(info: onnx.ValueInfoProto) -> TensorSpec:
    if not info.type.HasField("tensor_type"):
        kind = info.type.WhichOneof("value")
        return TensorSpec(info.name, "UNDEFINED" if kind is None else kind.removesuffix("_type").upper(), None)
    tensor = info.type.tensor_type
    dtype = ir.DataType(tensor.elem_type).name
    if not tensor.HasField("shape"):
        return TensorSpec(info.name, dtype, None)
    return TensorSpec(info.name, dtype, tuple(_dim(dim) for dim in tensor.shape.dim))


def _dim(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    # Paddle writes -1, others "?", "None" or nothing for a size that is open.
    if dim.HasField("dim_value"):
        return dim.dim_value if dim.dim_value > 0 else None
    return dim.dim_param if dim.dim_param not in ("", "?", "None", "-1") else None


def _identity(node: onnx.NodeProto) -> None:
    node.op_type = "Identity"
    del node.attribute[:]


def _normalization(node: onnx.NodeProto) -> None:
    """Write a normalization as what keeps the shape, if only the normalized tensor is wanted of it."""
    if len(node.output) > 1:
        _unknown(node)
        return
    del node.input[1:]
    _identity(node)


def _unknown(node: onnx.NodeProto) -> None:
    node.domain = _UNKNOWN_DOMAIN


def _crop(node: onnx.NodeProto) -> None:
    """Write a Crop as the Slice of its time: onnxruntime runs both up to opset 9."""
    settings = {attribute.name: list(attribute.ints) for attribute in node.attribute}
    left, top, right, bottom = settings.get("border", [0, 0, 0, 0])
    ends = [-bottom or _END, -right or _END]
    if "scale" in settings:
        height, width = settings["scale"]
        ends = [top + height, left + width]
    node.op_type = "Slice"
    del node.attribute[:]
    for name, values in (("starts", [top, left]), ("ends", ends), ("axes", [2, 3])):
        node.attribute.append(helper.make_attribute(name, values))


_LARGEST = 1024
"""Elements of a constant that is looked at: it may be a shape, or axes."""
_LONGEST_LIST = 100_000
_END = 2**31 - 1
_UNKNOWN_DOMAIN = "onnxvis.withdrawn"
_NORMALIZATIONS = frozenset({"GroupNormalization", "LayerNormalization", "SimplifiedLayerNormalization"})
"""onnxruntime has these in the default domain at every opset; ONNX from a later one on, or no longer, or never."""
_WITHDRAWN: dict[str, Callable[[onnx.NodeProto], None]] = {
    "Affine": _identity,
    "ImageScaler": _identity,
    "ParametricSoftplus": _identity,
    "Scale": _identity,
    "ScaledTanh": _identity,
    "Crop": _crop,
    # What remains has no standard twin; the checker would print a warning on stderr.
    "ATen": _unknown,
    "ConstantFill": _unknown,
    "DynamicSlice": _unknown,
    "GRUUnit": _unknown,
    "GivenTensorFill": _unknown,
}
