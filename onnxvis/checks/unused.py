"""What a file carries and nobody reads: often a bias that an export has cut off from its layer."""

from __future__ import annotations

import re
from collections.abc import Iterator

import onnx_ir as ir

from onnxvis.checks.concluding import concluded
from onnxvis.checks.readers import first_layer
from onnxvis.config import CheckSettings
from onnxvis.inspection import Inspection
from onnxvis.model import Model
from onnxvis.outcomes import Detail, Outcome

_SEPARATORS = re.compile(r"[./:_]")


def check_unused(inspection: Inspection, settings: CheckSettings) -> Outcome:  # noqa: ARG001 - as all checks
    """List initializers that no node reads, and nodes whose results nobody uses; subgraphs are readers too.

    Args:
        inspection: The model.
        settings: As for all checks.
    """
    model = inspection.model
    details = [*_initializers(model), *_nodes(model)]
    return concluded("unused-initializers", details, "every weight is read")


def _graphs(graph: ir.Graph) -> list[ir.Graph]:
    return list(dict.fromkeys([graph, *graph.subgraphs()]))


def _initializers(model: Model) -> Iterator[Detail]:
    for graph in _graphs(model.ir.graph):
        for name, value in graph.initializers.items():
            if value.uses() or value in graph.outputs:
                continue
            shape = None if value.const_value is None else tuple(value.const_value.shape.numpy())
            layer = probable_layer(model, str(name))
            guess = "" if layer is None else f", probably of layer {layer!r}"
            text = f"weight {name!r} {shape} is read by no node{guess}: export the model again, or remove it"
            yield Detail("warn", text, layer, str(name))


def probable_layer(model: Model, name: str) -> str | None:
    """Return the short name of the layer that reads a weight of the same name but for the last word.

    Args:
        model: The model.
        name: The name of a weight that none reads; one that ends in a number is of no layer.
    """
    *words, last = _SEPARATORS.split(name)
    if not any(words) or last.isdigit():
        return None
    for other, value in model.ir.graph.initializers.items():
        if other != name and value.uses() and _SEPARATORS.split(str(other))[:-1] == words:
            return first_layer(model, value)
    return None


def _nodes(model: Model) -> Iterator[Detail]:
    for graph in _graphs(model.ir.graph):
        outputs = set(graph.outputs)
        for node in graph:
            if any(value.uses() or value in outputs for value in node.outputs):
                continue
            name = str(node.outputs[0].name) if node.outputs else node.name or node.op_type
            in_names = node.outputs and node.outputs[0] in model.activations
            layer = model.names.short_name(node.outputs[0]) if in_names else None
            text = f"nobody uses the result {name!r} of a {node.op_type}: remove the node, or make it an output"
            yield Detail("warn", text, layer, name)
