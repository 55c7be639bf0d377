"""Cut a model at a tensor: what the target is computed from stays, nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import onnx_ir as ir

from onnxvis.graph import inputs_of
from onnxvis.model import Model


def truncate(model: Model, tensor: str | Sequence[str]) -> Model:
    """Return a new model whose outputs are the given tensors; weights are shared, external ones stay on disk.

    Args:
        model: The model; it is not changed.
        tensor: One tensor name or several, in the wanted order.
    """
    graph = model.ir.graph
    names = [tensor] if isinstance(tensor, str) else list(tensor)
    outputs = [model.values[name] for name in names]
    extracted = ir.convenience.extract(graph, inputs_of(graph, outputs), outputs)
    extracted.opset_imports.update(graph.opset_imports)
    return dataclasses.replace(model, ir=_with_graph(model.ir, extracted))


def at_shapes(model: Model, shapes: Mapping[str, Sequence[int]]) -> Model:
    """Return a copy of the model with its inputs declared at these shapes, so that inference finds the others.

    Args:
        model: The model; it is not changed.
        shapes: A size for each dimension, by input name.
    """
    graph = model.ir.graph.clone()
    for value in graph.inputs:
        if value.name in shapes:
            value.shape = ir.Shape(list(shapes[value.name]))
    for value in [*graph.outputs, *(output for node in graph for output in node.outputs)]:
        # Declared for the file's own size, or as open: inferred anew.
        value.shape = None
    return dataclasses.replace(model, ir=_with_graph(model.ir, graph))


def _with_graph(original: ir.Model, graph: ir.Graph) -> ir.Model:
    return ir.Model(
        graph,
        ir_version=original.ir_version,
        producer_name=original.producer_name,
        producer_version=original.producer_version,
        metadata_props=dict(original.metadata_props),
    )
