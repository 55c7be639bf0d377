"""Cut a model at a tensor: what the target is computed from stays, nothing else."""

from __future__ import annotations

from collections.abc import Sequence

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
    cut = ir.Model(
        extracted,
        ir_version=model.ir.ir_version,
        producer_name=model.ir.producer_name,
        producer_version=model.ir.producer_version,
        metadata_props=dict(model.ir.metadata_props),
    )
    return model.with_graph(cut)
