"""If, Loop and Scan, of which nothing is left in the network: branches are taken, loops are written out.

What decides them must be known beforehand. Only of an If whose condition depends on the input both branches are
computed, and one is selected: its gradient is that of the branch that is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor

from onnxvis.builder import Builder, Handler, Versions
from onnxvis.entries import Entry, Value, first_name
from onnxvis.errors import DataDependentShapeError
from onnxvis.graph import captured_values
from onnxvis.sequences import stack

_BATCHED_SCAN = 9
"""Scan-8 runs over a batch; from this opset on there is none."""


def _if(builder: Builder, node: ir.Node, version: Versions) -> Sequence[Value]:
    condition = builder.tensor(node.inputs[0])
    then_branch, else_branch = (node.attributes[name].as_graph() for name in ("then_branch", "else_branch"))
    if condition is None or condition.node is None:
        chosen = then_branch if condition is not None and bool(condition.sample) else else_branch
        return builder.body(chosen, [], version, first_name(node))
    label = first_name(node)
    (taken,) = builder.apply("Squeeze", [condition], node, f"{label}/condition")
    (other,) = builder.apply("Not", [taken], node, f"{label}/otherwise")
    first = _branch(builder, node, then_branch, taken, version, f"{label}/then")
    second = _branch(builder, node, else_branch, other, version, f"{label}/else")
    return [
        _selected(builder, node, taken, left, right, f"{label}/{index}")
        for index, (left, right) in enumerate(zip(first, second, strict=True))
    ]


def _branch(
    builder: Builder, node: ir.Node, branch: ir.Graph, taken: Entry, version: Versions, label: str
) -> list[Value]:
    """Compute a branch that may not be the one that counts: then no gradient leaves it, not even one that is NaN."""
    outside = {
        value: found
        for value in captured_values(branch)
        if isinstance(found := builder.known.get(value), Entry) and found.differentiable
    }
    for value, entry in outside.items():
        builder.known[value] = builder.emit(passing_if, [entry, taken], node, f"{label}/{value.name}")
    results = builder.body(branch, [], version, label)
    builder.known.update(outside)
    return results


def passing_if(value: Tensor, taken: Tensor) -> Tensor:
    """Return a value whose gradient passes where `taken` is true."""
    return torch.where(taken, value, value.detach())


def _selected(builder: Builder, node: ir.Node, taken: Entry, left: Value, right: Value, label: str) -> Value:
    if isinstance(left, tuple) and isinstance(right, tuple) and len(left) == len(right):
        pairs = enumerate(zip(left, right, strict=True))
        return tuple(_selected(builder, node, taken, *pair, f"{label}.{index}") for index, pair in pairs)
    if isinstance(left, Entry) and isinstance(right, Entry) and left.sample.shape == right.sample.shape:
        return builder.apply("Where", [taken, left, right], node, label)[0]
    message = (
        f"{builder.model.name}: If {node.name or first_name(node)!r} depends on the values of the input, and what its "
        "branches return differs in shape; such a condition must be known beforehand. Take a target before it."
    )
    raise DataDependentShapeError(message, operators={"If": [node.name]})


def _loop(builder: Builder, node: ir.Node, version: Versions) -> Sequence[Value]:
    body = node.attributes["body"].as_graph()
    count, condition = (_known(builder, node, index) for index in (0, 1))
    state = [builder.value(value) for value in node.inputs[2:] if value is not None]
    collected: list[list[Value]] = [[] for _ in body.outputs[1 + len(state) :]]
    goes_on = condition is None or bool(condition)
    last = None if count is None else int(count) - 1
    iteration = 0
    while goes_on and (last is None or iteration <= last):
        number = builder.constant_entry(torch.tensor(iteration))
        given = [number, builder.constant_entry(torch.tensor(data=True)), *state]
        decided, *results = builder.body(body, given, version, f"{first_name(node)}/{iteration}")
        # After the last step nobody asks, nor where the loop has no condition: its body's is one by form only.
        goes_on = (last is not None and (iteration == last or condition is None)) or bool(_decided(decided, node))
        state = list(results[: len(state)])
        for column, value in zip(collected, results[len(state) :], strict=True):
            column.append(value)
        iteration += 1
    scanned = [
        _stacked(builder, column, 0, node, 1 + len(state) + index, body) for index, column in enumerate(collected)
    ]
    return [*state, *scanned]


def _scan(builder: Builder, node: ir.Node, version: Versions) -> Sequence[Value]:
    body = node.attributes["body"].as_graph()
    if version(node.domain) < _BATCHED_SCAN:
        return _batched_scan(builder, node, body, version)
    inputs = [builder.tensor(value) for value in node.inputs]
    count = node.attributes["num_scan_inputs"].as_int()
    state, sources = inputs[: len(inputs) - count], inputs[len(inputs) - count :]
    axes = _integers(node, "scan_input_axes", count)
    backwards = _integers(node, "scan_input_directions", count)
    final, columns = _scanned(builder, node, body, version, state, sources, axes, backwards, first_name(node))
    outputs = len(columns)
    out_axes = _integers(node, "scan_output_axes", outputs)
    out_backwards = _integers(node, "scan_output_directions", outputs)
    scanned = [
        _stacked(builder, column[::-1] if reverse else column, axis, node, len(final) + index, body)
        for index, (column, axis, reverse) in enumerate(zip(columns, out_axes, out_backwards, strict=True))
    ]
    return [*final, *scanned]


def _scanned(
    builder: Builder,
    node: ir.Node,
    body: ir.Graph,
    version: Versions,
    state: Sequence[Any],
    sources: Sequence[Any],
    axes: Sequence[int],
    backwards: Sequence[int],
    label: str,
    steps: int | None = None,
) -> tuple[list[Value], list[list[Value]]]:
    """Run a body over slices; return the last state and, for each further output, what each step has returned."""
    length = sources[0].sample.shape[axes[0]] if steps is None else steps
    current: list[Value] = list(state)
    columns: list[list[Value]] = [[] for _ in body.outputs[len(current) :]]
    for step in range(length):
        slices = [
            _slice(builder, source, axis, length - 1 - step if reverse else step, node, f"{label}/{step}/in.{index}")
            for index, (source, axis, reverse) in enumerate(zip(sources, axes, backwards, strict=True))
        ]
        results = builder.body(body, [*current, *slices], version, f"{label}/{step}")
        current = list(results[: len(current)])
        for column, value in zip(columns, results[len(current) :], strict=True):
            column.append(value)
    return current, columns


def _batched_scan(builder: Builder, node: ir.Node, body: ir.Graph, version: Versions) -> Sequence[Value]:
    """Scan-8: axis 0 is a batch, axis 1 the sequence, whose length may differ from image to image."""
    lengths = _known(builder, node, 0)
    inputs = [entry for value in node.inputs[1:] if (entry := builder.tensor(value)) is not None]
    count = node.attributes["num_scan_inputs"].as_int()
    backwards = _integers(node, "directions", count)
    batch, longest = inputs[-1].sample.shape[:2]
    label, results = first_name(node), []
    for image in range(batch):
        own = f"{label}/{image}"
        parts = [_slice(builder, entry, 0, image, node, f"{own}/in.{index}") for index, entry in enumerate(inputs)]
        steps = longest if lengths is None else int(lengths[image])
        state, sources = parts[: len(parts) - count], parts[len(parts) - count :]
        final, columns = _scanned(builder, node, body, version, state, sources, [0] * count, backwards, own, steps)
        stacked = [stack(builder, column, 0, node, f"{own}/out.{index}") for index, column in enumerate(columns)]
        padded = [
            _padded(builder, entry, longest, node, f"{own}/padded.{index}") for index, entry in enumerate(stacked)
        ]
        results.append([*final, *padded])
    return [
        stack(builder, column, 0, node, f"{label}/{index}")
        for index, column in enumerate(map(list, zip(*results, strict=True)))
    ]


CONTROL_FLOW: Mapping[str, Handler] = {"If": _if, "Loop": _loop, "Scan": _scan}


def _slice(builder: Builder, source: Any, axis: int, index: int, node: ir.Node, label: str) -> Entry:
    position = builder.constant_entry(torch.tensor(index))
    return builder.apply("Gather", [source, position], node, label, axis=axis)[0]


def _padded(builder: Builder, entry: Entry, length: int, node: ir.Node, label: str) -> Entry:
    missing = length - entry.sample.shape[0]
    if missing == 0:
        return entry
    pads = [0] * (2 * entry.sample.ndim)
    pads[entry.sample.ndim] = missing
    return builder.apply("Pad", [entry, builder.constant_entry(torch.tensor(pads))], node, label)[0]


def _stacked(
    builder: Builder, column: Sequence[Value], axis: int, node: ir.Node, position: int, body: ir.Graph
) -> Value:
    """Join what the steps returned; without any step nothing, of the shape that the body declares."""
    if column:
        return stack(builder, column, axis, node, f"{first_name(node)}/{position}")
    declared = body.outputs[position]
    shape = [dim if isinstance(dim, int) else 0 for dim in (declared.shape.dims if declared.shape is not None else ())]
    shape.insert(axis if axis >= 0 else axis + len(shape) + 1, 0)
    return builder.empty(shape, declared.dtype)


def _known(builder: Builder, node: ir.Node, index: int) -> torch.Tensor | None:
    """Return an input that decides how often a loop runs; None where it is omitted."""
    value = node.inputs[index] if index < len(node.inputs) else None
    return None if value is None else _decided(builder.value(value), node)


def _decided(value: Value, node: ir.Node) -> torch.Tensor:
    if not isinstance(value, Entry) or value.node is not None:
        message = (
            f"How often {node.op_type} {node.name or first_name(node)!r} runs depends on the values of the model's "
            "input. Take a target before it."
        )
        raise DataDependentShapeError(message, op_type=node.op_type)
    return value.sample


def _integers(node: ir.Node, name: str, count: int) -> list[int]:
    attribute = node.attributes.get(name)
    return [0] * count if attribute is None else list(attribute.as_ints())
