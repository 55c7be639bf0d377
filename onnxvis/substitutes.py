"""What stands in for operators that the table does not have: onnx2torch's modules, and the bodies of ONNX's schemas."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from onnxvis.builder import Builder, Versions
from onnxvis.entries import Absent, Entry, Value, first_name
from onnxvis.errors import UnsupportedOpError
from onnxvis.fallbacks import body_of, module_of
from onnxvis.ops.dtypes import onnx_dtype
from onnxvis.tensors import held_dtype


def substitute(builder: Builder, node: ir.Node, version: Versions) -> Sequence[Value]:
    """Lower a node by onnx2torch's module for it, else by the function body of its schema.

    Raises:
        UnsupportedOpError: There is neither.
    """
    found = _by_module(builder, node, version)
    return _by_body(builder, node, version) if found is None else found


def _by_module(builder: Builder, node: ir.Node, version: Versions) -> Sequence[Value] | None:
    entries: dict[str, Entry] = {}
    for value in node.inputs:
        entry = builder.tensor(value)
        if entry is not None and value is not None:
            # A module knows nothing of carried integers.
            entries[str(value.name)] = (
                builder.converted(entry, held_dtype(entry.type), node) if entry.is_carrier else entry
            )
    samples = {name: entry.sample for name, entry in entries.items()}
    constants = {name for name, entry in entries.items() if entry.node is None}
    found = module_of(node, version(node.domain), samples, constants)
    if found is None:
        return None
    module, names = found
    wanted = [entries[name] for name in names if name]
    returned = module(*(entry.sample for entry in wanted))
    results = returned if isinstance(returned, tuple) else (returned,)
    if all(entry.node is None for entry in wanted):
        return [builder.constant_entry(result) for result in results]
    target = builder.free_names.take(first_name(node))
    builder.root.add_module(target, module.requires_grad_(requires_grad=False))
    inputs = tuple(builder.fx_of(entry, name) for entry, name in zip(wanted, filter(None, names), strict=True))
    return builder.emitted(
        builder.graph.create_node("call_module", target, inputs, {}),
        results,
        [ir.DataType(onnx_dtype(result.dtype)) for result in results],
        [str(value.name or "") for value in node.outputs],
        node,
        node.op_type,
        differentiable=any(entry.differentiable for entry in wanted),
        indexed=isinstance(returned, tuple),
    )


def _by_body(builder: Builder, node: ir.Node, version: Versions) -> Sequence[Value]:
    entries = [builder.tensor(value) for value in node.inputs]
    given = [None if entry is None else (entry.type, entry.sample.shape) for entry in entries]
    body = body_of(node, version(node.domain), given)
    if body is None:
        message = f"{builder.model.name}: no implementation of {node.op_type}."
        raise UnsupportedOpError(message, operators={node.op_type: [node.name]})
    # An input that the caller leaves out is empty inside.
    omitted: list[Entry | None] = [None] * (len(body.inputs) - len(entries))
    for inner, entry in zip(body.inputs, [*entries, *omitted], strict=True):
        builder.known[inner] = Absent() if entry is None else entry
    builder.inline(body, lambda name: body.opset_imports.get(name, version(name)), first_name(node))
    named = [value for value in node.outputs if value.name]
    results = dict(zip(named, (builder.value(inner) for inner in body.outputs), strict=True))
    return [results.get(value, Absent()) for value in node.outputs]
