"""Sequences and optionals: they exist while a model is lowered, and none is left in the network.

A sequence is the tuple of its elements, whose number and whose positions must be known beforehand; an optional is its
element, or nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir
import torch

from onnxvis.builder import Builder, Handler, Versions
from onnxvis.entries import Absent, Entry, Value, first_name
from onnxvis.errors import DataDependentShapeError, UnsupportedOpError


def _construct(builder: Builder, node: ir.Node, version: Versions) -> Sequence[Value]:  # noqa: ARG001 - as all handlers
    return (tuple(builder.value(value) for value in node.inputs if value is not None),)


def _empty(builder: Builder, node: ir.Node, version: Versions) -> Sequence[Value]:  # noqa: ARG001 - as all handlers
    return ((),)


def _at(builder: Builder, node: ir.Node, version: Versions) -> Sequence[Value]:  # noqa: ARG001 - as all handlers
    items = _items(builder, node, 0)
    return (items[_position(builder, node, 1, len(items))],)


def _erase(builder: Builder, node: ir.Node, version: Versions) -> Sequence[Value]:  # noqa: ARG001 - as all handlers
    items = _items(builder, node, 0)
    position = len(items) - 1 if _is_omitted(node, 1) else _position(builder, node, 1, len(items))
    return (items[:position] + items[position + 1 :],)


def _insert(builder: Builder, node: ir.Node, version: Versions) -> Sequence[Value]:  # noqa: ARG001 - as all handlers
    items, inserted = _items(builder, node, 0), _input(builder, node, 1)
    position = len(items) if _is_omitted(node, 2) else _position(builder, node, 2, len(items) + 1, shift=len(items))
    return ((*items[:position], inserted, *items[position:]),)


def _length(builder: Builder, node: ir.Node, version: Versions) -> Sequence[Value]:  # noqa: ARG001 - as all handlers
    return (builder.constant_entry(torch.tensor(len(_items(builder, node, 0)))),)


def _split(builder: Builder, node: ir.Node, version: Versions) -> Sequence[Value]:  # noqa: ARG001 - as all handlers
    data = builder.tensor(node.inputs[0])
    if data is None:
        message = "SplitToSequence needs a tensor"
        raise ValueError(message)
    axis, keepdims = _integer(node, "axis", 0), _integer(node, "keepdims", 1)
    size = data.sample.shape[axis]
    given = builder.tensor(node.inputs[1]) if len(node.inputs) > 1 else None
    sizes = [1] * size if given is None else _sizes(_known(given, node, "split"), size)
    split = builder.constant_entry(torch.tensor(sizes))
    label = first_name(node)
    parts = builder.apply("Split", [data, split], node, label, len(sizes), axis=axis)
    if given is None and not keepdims:
        axes = builder.constant_entry(torch.tensor([axis]))
        parts = [
            builder.apply("Squeeze", [part, axes], node, f"{label}.{index}")[0] for index, part in enumerate(parts)
        ]
    return (tuple(parts),)


def _concatenate(builder: Builder, node: ir.Node, version: Versions) -> Sequence[Value]:  # noqa: ARG001 - as all handlers
    items, axis, label = _items(builder, node, 0), _integer(node, "axis", 0), first_name(node)
    if _integer(node, "new_axis", 0):
        return (stack(builder, items, axis, node, label),)
    return builder.apply("Concat", items, node, label, axis=axis)


def _map(builder: Builder, node: ir.Node, version: Versions) -> Sequence[Value]:
    """Apply the body to each element of the sequences among the inputs; tensors are the same for each."""
    body = node.attributes["body"].as_graph()
    inputs = [builder.value(value) for value in node.inputs if value is not None]
    collected: list[list[Value]] = [[] for _ in body.outputs]
    for index in range(len(_items(builder, node, 0))):
        given = [value[index] if isinstance(value, tuple) else value for value in inputs]
        results = builder.body(body, given, version, f"{first_name(node)}/{index}")
        for column, value in zip(collected, results, strict=True):
            column.append(value)
    return [tuple(column) for column in collected]


def _optional(builder: Builder, node: ir.Node, version: Versions) -> Sequence[Value]:  # noqa: ARG001 - as all handlers
    return (_input(builder, node, 0),)


def _element(builder: Builder, node: ir.Node, version: Versions) -> Sequence[Value]:  # noqa: ARG001 - as all handlers
    found = _input(builder, node, 0)
    if isinstance(found, Absent):
        message = "the optional value is empty"
        raise ValueError(message)  # noqa: TRY004 - a value, not a type, of the model
    return (found,)


def _has_element(builder: Builder, node: ir.Node, version: Versions) -> Sequence[Value]:  # noqa: ARG001 - as all handlers
    present = not isinstance(_input(builder, node, 0), Absent)
    return (builder.constant_entry(torch.tensor(present)),)


SEQUENCES: Mapping[str, Handler] = {
    "ConcatFromSequence": _concatenate,
    "Optional": _optional,
    "OptionalGetElement": _element,
    "OptionalHasElement": _has_element,
    "SequenceAt": _at,
    "SequenceConstruct": _construct,
    "SequenceEmpty": _empty,
    "SequenceErase": _erase,
    "SequenceInsert": _insert,
    "SequenceLength": _length,
    "SequenceMap": _map,
    "SplitToSequence": _split,
}


def stack(builder: Builder, items: Sequence[Any], axis: int, node: ir.Node, label: str) -> Entry:
    """Join tensors of one shape along a new axis."""
    axes = builder.constant_entry(torch.tensor([axis]))
    wide = [builder.apply("Unsqueeze", [item, axes], node, f"{label}.{index}")[0] for index, item in enumerate(items)]
    return builder.apply("Concat", wide, node, label, axis=axis)[0]


def _input(builder: Builder, node: ir.Node, index: int) -> Value:
    value = node.inputs[index] if index < len(node.inputs) else None
    return Absent() if value is None else builder.value(value)


def _is_omitted(node: ir.Node, index: int) -> bool:
    return index >= len(node.inputs) or node.inputs[index] is None


def _items(builder: Builder, node: ir.Node, index: int) -> tuple[Any, ...]:
    found = _input(builder, node, index)
    if not isinstance(found, tuple):
        message = f"input {index} of {node.op_type} is not a sequence"
        raise UnsupportedOpError(message, op_type=node.op_type)
    return found


def _position(builder: Builder, node: ir.Node, index: int, count: int, *, shift: int | None = None) -> int:
    """Return a position as one from the front; negative ones count from the end, of `shift` if that is another."""
    entry = builder.tensor(node.inputs[index])
    position = int(_known(entry, node, "position"))
    found = position if position >= 0 else position + (count if shift is None else shift)
    if not 0 <= found < count:
        message = f"position {position} is outside of a sequence of {count}"
        raise IndexError(message)
    return found


def _known(entry: Entry | None, node: ir.Node, what: str) -> torch.Tensor:
    if entry is None or entry.node is not None:
        message = f"{node.op_type}: {what} depends on the values of the model's input; it must be a constant"
        raise DataDependentShapeError(message, op_type=node.op_type, parameter=what)
    return entry.sample


def _sizes(split: torch.Tensor, size: int) -> list[int]:
    if split.ndim:
        return [int(number) for number in split]
    chunk = int(split)
    if chunk < 1:
        message = f"split is {chunk}"
        raise ValueError(message)
    return [min(chunk, size - start) for start in range(0, size, chunk)]


def _integer(node: ir.Node, name: str, default: int) -> int:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()
