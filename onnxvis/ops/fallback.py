"""Operators that the table does not have: onnx2torch's registry, and the bodies that the ONNX schemas themselves carry.

`onnx2torch.node_converters.registry.add_converter` is how a user adds an operator; what it registers is found here.
onnx2torch is imported when it is asked for the first time: that takes seconds.
"""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import onnx
import torch
from onnx import helper, numpy_helper

from onnxvis.errors import UnsupportedOpError

_DEFAULT_DOMAINS = frozenset({"", "ai.onnx"})


def from_onnx2torch(
    node: onnx.NodeProto,
    version: int,
    constants: Mapping[str, torch.Tensor],
    input_types: Mapping[str, onnx.TypeProto] = MappingProxyType({}),
) -> tuple[torch.nn.Module, tuple[str, ...]] | None:
    """Return what onnx2torch makes of a node: a module for inference with frozen weights, and the inputs it wants.

    Args:
        node: The node.
        version: The opset of its domain; the converter is the one registered for the operator's since-version.
        constants: Those of the node's inputs that are known, by name; the module may keep them as weights.
        input_types: The types of the other inputs, by name; some converters ask for a shape.

    Returns:
        The module and the names of its arguments, in order ("" stands for an omitted input); None without a converter
        for this operator, these attributes and these constants, and where onnx2torch cannot be imported.

    Raises:
        UnsupportedOpError: The converter fails, which is an error in it.
    """
    converter = _converter(node, version)
    if converter is None:
        return None
    from onnx2torch.onnx_graph import OnnxGraph  # noqa: PLC0415 - see the docstring of this module

    graph = OnnxGraph(_graph_of(node, constants, input_types))
    (wrapped,) = graph.nodes.values()
    try:
        module, mapping = converter(wrapped, graph)
    except (NotImplementedError, KeyError):  # not for this attribute; not for an input that is not a constant
        return None
    except Exception as error:
        message = f"onnx2torch's converter of {node.op_type} failed: {error}"
        raise UnsupportedOpError(message, op_type=node.op_type, node=node.name) from error
    return module.eval().requires_grad_(requires_grad=False), tuple(mapping.inputs)


def has_converter(node: onnx.NodeProto, version: int) -> bool:
    """Whether onnx2torch's registry has something for an operator; it may still refuse its attributes."""
    return _converter(node, version) is not None


def function_body(
    op_type: str, domain: str, version: int, node: onnx.NodeProto, input_types: Sequence[onnx.TypeProto]
) -> onnx.FunctionProto | None:
    """Return the function that the operator's schema defines it by, or None.

    Its outputs are those that the node names: a body need not compute the others. Its nodes are written in the opset of
    its `opset_import`, which can be newer than `version`: Elu-6 is defined by nodes of opset 18. Attributes with a
    default are in `attribute_proto`, so that a node may omit them.

    Args:
        op_type: The operator.
        domain: Its domain.
        version: The model's opset of that domain.
        node: The node: some bodies depend on its attributes and on which inputs it has.
        input_types: The types of its inputs, without which such a body cannot be built; empty for an omitted one.
    """
    try:
        schema: Any = onnx.defs.get_schema(op_type, version, "" if domain in _DEFAULT_DOMAINS else domain)
    except onnx.defs.SchemaError:
        return None
    body = _body(schema, version, node, input_types)
    return _with_defaults(_with_outputs_of(node, onnx.FunctionProto.FromString(body)), schema) if body else None


def _converter(node: onnx.NodeProto, version: int) -> Callable[..., Any] | None:
    if not _importable():
        return None
    from onnx2torch.node_converters.registry import get_converter  # noqa: PLC0415 - see the docstring of this module

    domain = "" if node.domain in _DEFAULT_DOMAINS else node.domain
    try:
        return get_converter(node.op_type, version, domain)  # type: ignore[no-any-return]
    except NotImplementedError:
        return None


@functools.cache
def _importable() -> bool:
    """Import onnx2torch, which imports torchvision, which may have been built for another torch."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _import_torchvision()
            importlib.import_module("onnx2torch")
    except (ImportError, OSError, RuntimeError, AttributeError):
        return False
    return True


def _import_torchvision() -> None:
    try:
        importlib.import_module("torchvision")
    except RuntimeError:  # "operator torchvision::nms does not exist": its compiled half could not be loaded
        _torchvision_schemas()
        importlib.import_module("torchvision")


@functools.cache  # which keeps the library alive, and with it the definitions
def _torchvision_schemas() -> Any:
    """Declare the two operators that torchvision refers to when it is imported; nothing here ever calls them."""
    library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def _graph_of(
    node: onnx.NodeProto, constants: Mapping[str, torch.Tensor], types: Mapping[str, onnx.TypeProto]
) -> onnx.GraphProto:
    """Return a graph of one node, whose inputs are initializers where they are known."""
    known = {name: constants[name] for name in node.input if name in constants}
    initializers = [numpy_helper.from_array(value.detach().cpu().numpy(), name) for name, value in known.items()]
    unknown = [name for name in dict.fromkeys(node.input) if name and name not in known]
    open_inputs = [onnx.ValueInfoProto(name=name, type=types.get(name)) for name in unknown]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    return helper.make_graph([node], node.op_type, open_inputs, outputs, initializers)


def _nearest(opsets: Sequence[int], version: int) -> int:
    """Return the newest opset that is not newer than `version`, else the oldest."""
    return max((opset for opset in opsets if opset <= version), default=min(opsets))


def _body(schema: Any, version: int, node: onnx.NodeProto, input_types: Sequence[onnx.TypeProto]) -> bytes | None:
    if schema.has_function:
        opset = _nearest(schema.function_opset_versions, version)
        return bytes(schema.get_function_with_opset_version(opset))
    if schema.has_context_dependent_function:
        opset = _nearest(schema.context_dependent_function_opset_versions, version)
        types = [input_type.SerializeToString() for input_type in input_types]
        return bytes(schema.get_context_dependent_function_with_opset_version(opset, node.SerializeToString(), types))
    return None


def _with_outputs_of(node: onnx.NodeProto, body: onnx.FunctionProto) -> onnx.FunctionProto:
    asked = [output for output, name in zip(body.output, node.output, strict=False) if name]
    del body.output[:]
    body.output.extend(asked)
    return body


def _with_defaults(body: onnx.FunctionProto, schema: Any) -> onnx.FunctionProto:
    defaults = {name: schema.attributes[name].default_value for name in body.attribute}
    defaults = {name: value for name, value in defaults.items() if value.type != onnx.AttributeProto.UNDEFINED}
    required = [name for name in body.attribute if name not in defaults]
    del body.attribute[:]
    body.attribute.extend(required)
    body.attribute_proto.extend(defaults.values())
    return body
