"""The torch graph that a model is lowered to, and questions about it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx

from onnxvis.errors import ModelWeightsError, NoGradientError
from onnxvis.model import Model
from onnxvis.ops import entries


class Network(fx.GraphModule):
    """A lowered model.

    Attributes:
        input_names: The ONNX names of its arguments, in order.
        output_names: Those of its results.
        replaced: How many operators of each type were replaced when it was lowered.
    """

    input_names: list[str]
    output_names: list[str]
    replaced: dict[str, int]

    def named_like(self, other: Network) -> Network:
        """Take over the names of another network of the same inputs and outputs."""
        self.input_names, self.output_names = list(other.input_names), list(other.output_names)
        self.replaced = dict(other.replaced)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Network:
        # torch copies the graph and the weights, but no other attribute.
        duplicate = super().__deepcopy__(memo)
        return duplicate.named_like(self) if isinstance(duplicate, Network) else self


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Let a GPU compute convolutions in all of float32: by default it rounds to TF32, a thousandth."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


class LeafTracer(fx.Tracer):
    """Traces a network again, as unpickling does, without looking into the operators."""

    def __init__(self) -> None:
        super().__init__(autowrap_functions=tuple(entry.function for entry in entries()))


def shapes_of(network: Network) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors that a lowered network computes, by ONNX name."""
    return {node.meta["onnx_value"]: node.meta["shape"] for node in network.graph.nodes if "shape" in node.meta}


def check_weights(model: Model, network: Network) -> None:
    """Refuse a network with NaN in its weights.

    Raises:
        ModelWeightsError: There is one; the weight is named.
    """
    bad = [
        str(node.meta["onnx_value"])
        for node in network.graph.nodes
        if node.op == "get_attr"
        for tensor in [network.get_buffer(node.target)]
        if tensor.is_floating_point() and bool(torch.isnan(tensor).any())
    ]
    if bad:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        message = f"{model.name} has NaN in weight {bad[0]!r}{more}, which the target needs. Train or export it again."
        raise ModelWeightsError(message, weights=bad)


def check_gradient(model: Model, network: Network) -> None:
    """Refuse a network that has an output which no gradient reaches.

    Raises:
        NoGradientError: All ways are cut; the cutting nodes are named.
    """
    output = next(node for node in network.graph.nodes if node.op == "output")
    results = output.args[0] if isinstance(output.args[0], tuple) else output.args[:1]
    unreached = [node.meta["onnx_value"] for node in results if not node.meta["differentiable"]]
    if not unreached:
        return
    cuts = [
        f"{node.meta['onnx_node'] or node.meta['onnx_value']!r} ({node.meta['onnx_op']})"
        for node in network.graph.nodes
        if node.op in ("call_function", "call_module")
        and not node.meta["differentiable"]
        and any(source.meta["differentiable"] for source in node.all_input_nodes)
    ]
    where = ", ".join(cuts[:3]) or "the whole graph"
    message = f"No gradient reaches {unreached[0]!r} of {model.name}: it is cut at {where}. Take a target before that."
    raise NoGradientError(message, nodes=cuts)
