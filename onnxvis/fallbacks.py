"""Where `onnxvis.lower` looks for an operator that the table does not have, in terms of onnx-ir nodes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import onnx
import onnx_ir as ir
import torch
from onnx import helper
from torch import Tensor

from onnxvis.ops.dtypes import onnx_dtype
from onnxvis.ops.fallback import from_onnx2torch, function_body, has_converter


def module_of(
    node: ir.Node, version: int, inputs: Mapping[str, Tensor], constants: Collection[str]
) -> tuple[torch.nn.Module, tuple[str, ...]] | None:
    """Return onnx2torch's module for a node and the names of its arguments, or None; see `from_onnx2torch`.

    Args:
        node: The node.
        version: The opset of its domain.
        inputs: A value of each input, by name.
        constants: The names of those that are known beforehand.
    """
    known = {name: value for name, value in inputs.items() if name in constants}
    types = {name: _type(value) for name, value in inputs.items()}
    return from_onnx2torch(ir.to_proto(node), version, known, types)


def is_registered(node: ir.Node, version: int) -> bool:
    """Whether onnx2torch has a converter for the operator."""
    return has_converter(ir.to_proto(node), version)


def has_body(node: ir.Node, version: int) -> bool:
    """Whether the operator's schema defines it by other operators."""
    domain = "" if node.domain == "ai.onnx" else node.domain
    if not onnx.defs.has(node.op_type, version, domain):
        return False
    schema: Any = onnx.defs.get_schema(node.op_type, version, domain)
    return bool(schema.has_function or schema.has_context_dependent_function)


def body_of(
    node: ir.Node, version: int, inputs: Sequence[tuple[ir.DataType, Sequence[int]] | None]
) -> ir.Function | None:
    """Return the function that a node's schema defines it by, with the node's attributes filled in, or None.

    Args:
        node: The node.
        version: The opset of its domain.
        inputs: The type and shape of each input; None where it is omitted.
    """
    types = [
        onnx.TypeProto() if given is None else helper.make_tensor_type_proto(int(given[0]), list(given[1]))
        for given in inputs
    ]
    proto = function_body(node.op_type, node.domain, version, ir.to_proto(node), types)
    if proto is None:
        return None
    function = ir.from_proto(proto)
    for inner in ir.traversal.RecursiveGraphIterator(function.graph):
        _fill_in(inner, node, function)
    return function


def _type(value: Tensor) -> onnx.TypeProto:
    return helper.make_tensor_type_proto(onnx_dtype(value.dtype), list(value.shape))


def _fill_in(inner: ir.Node, outer: ir.Node, function: ir.Function) -> None:
    """Replace references to the function's attributes by what the calling node says, else by their defaults."""
    for name, attribute in list(inner.attributes.items()):
        if not attribute.is_ref():
            continue
        key = str(attribute.ref_attr_name)
        given = outer.attributes.get(key) or function.attributes.get(key)
        if given is None or given.value is None:
            del inner.attributes[name]
        else:
            inner.attributes[name] = ir.Attr(name, given.type, given.value)
