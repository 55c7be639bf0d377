"""Who reads a tensor: through what only rearranges it, and which layer a person would look for."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator

import onnx_ir as ir

from onnxvis.model import Model

REARRANGING = frozenset(
    {"Cast", "CastLike", "Concat", "DequantizeLinear", "Expand", "Flatten", "Identity", "QuantizeLinear", "Reshape"}
    | {"Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"}
)
"""Operators behind which a weight is still the same weight."""


WHOLE = frozenset(
    {"Cast", "DequantizeLinear", "Identity", "QuantizeLinear", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
)
"""Operators behind which there is all of a weight, and nothing else."""


def uses(value: ir.Value, through: Collection[str] = REARRANGING) -> Iterator[tuple[ir.Node, int]]:
    """Yield the nodes that read a value, and at which input, looking through what only rearranges it.

    Args:
        value: A weight, a constant or an input.
        through: The operators that are looked through.
    """
    waiting, known = deque([value]), {value}
    while waiting:
        for use in waiting.popleft().uses():
            yield use.node, use.idx
            news = [output for output in use.node.outputs if use.node.op_type in through and output not in known]
            waiting.extend(news)
            known.update(news)


def first_layer(model: Model, value: ir.Value) -> str | None:
    """Return the short name of the first activation that a value takes part in; None where there is none.

    Args:
        model: The model.
        value: Any value, of subgraphs too.
    """
    activations, holders = set(model.activations), _holders(model.ir.graph)
    waiting, known = deque([value]), {value}
    while waiting:
        current = waiting.popleft()
        if current in activations:
            return model.names.short_name(current)
        made_by = current.producer()
        nodes = dict.fromkeys(use.node for use in current.uses())
        inside = nodes if made_by is None else (*nodes, made_by)
        around = [holders[node.graph] for node in inside if node.graph in holders]
        news = [output for node in (*nodes, *around) for output in node.outputs if output not in known]
        waiting.extend(news)
        known.update(news)
    return None


def _holders(graph: ir.Graph) -> dict[object, ir.Node]:
    """Return for each subgraph the node that holds it."""
    return {
        inner: node
        for node in ir.traversal.RecursiveGraphIterator(graph)
        for attribute in node.attributes.values()
        if attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
        for inner in ([attribute.as_graph()] if attribute.type == ir.AttributeType.GRAPH else attribute.as_graphs())
    }
