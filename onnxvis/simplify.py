"""Make a lowered network faster without changing what it computes, beyond rounding.

A network is simplified for the optimization loop alone: what it loses are names of tensors in between.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, fx

from onnxvis.network import Network

_WEIGHT, _BIAS = 1, 2
_IMAGE_RANK = 4


def simplify(network: Network, *, channels_last: bool) -> Network:
    """Return a copy with batch normalizations folded into the convolutions before them; other weights are shared.

    Args:
        network: A lowered network; it is not changed.
        channels_last: Whether to store the weights of 2-D convolutions with the channels last, in which layout the CPU
            computes them faster.
    """
    simplified = Network(network, copy.deepcopy(network.graph)).named_like(network)
    for node in list(simplified.graph.nodes):
        convolution = _foldable(node)
        if convolution is not None:
            _fold(simplified, convolution, node)
    simplified.graph.eliminate_dead_code()
    simplified.recompile()
    read = {node.target for node in simplified.graph.nodes if node.op == "get_attr"}
    for name in set(dict(simplified.named_buffers())) - read:
        delattr(simplified, name)
    if channels_last:
        _store_channels_last(simplified)
    simplified.eval()
    return simplified


def _store_channels_last(network: Network) -> None:
    weights = {node.args[_WEIGHT] for node in network.graph.nodes if _is(node, "Conv")}
    for node in weights:
        if isinstance(node, fx.Node) and node.op == "get_attr":
            weight = _buffer(network, node)
            if weight.ndim == _IMAGE_RANK:
                network.register_buffer(str(node.target), weight.contiguous(memory_format=torch.channels_last))


def _foldable(node: fx.Node) -> fx.Node | None:
    """Return the convolution whose only reader is this batch normalization, if all weights are constants."""
    if not _is(node, "BatchNormalization") or node.kwargs.get("outputs", 1) != 1 or not node.kwargs.get("spatial", 1):
        return None
    source, *statistics = node.args
    if not isinstance(source, fx.Node) or not _is(source, "Conv") or len(source.users) != 1:
        return None
    weights = [*statistics, *(value for value in source.args[_WEIGHT:] if value is not None)]
    constant = all(isinstance(value, fx.Node) and value.op == "get_attr" for value in weights)
    return source if constant and not node.kwargs.get("training_mode", 0) else None


def _fold(network: Network, convolution: fx.Node, norm: fx.Node) -> None:
    """Write scale (w x + b - mean) / sqrt(var + epsilon) + offset as one convolution."""
    scale, offset, mean, var = (_buffer(network, value).double() for value in norm.args[1:5])
    weight = _buffer(network, convolution.args[_WEIGHT])
    has_bias = len(convolution.args) > _BIAS and convolution.args[_BIAS] is not None
    bias = _buffer(network, convolution.args[_BIAS]).double() if has_bias else torch.zeros_like(mean)
    factor = scale / torch.sqrt(var + float(norm.kwargs.get("epsilon", 1e-5)))  # type: ignore[arg-type] # a number
    folded = weight.double() * factor.reshape(-1, *[1] * (weight.ndim - 1))
    name = convolution.name
    with network.graph.inserting_before(convolution):
        new_weight = _constant(network, f"{name}_folded_weight", folded.to(weight.dtype))
        new_bias = _constant(network, f"{name}_folded_bias", ((bias - mean) * factor + offset).to(weight.dtype))
    convolution.args = (convolution.args[0], new_weight, new_bias)
    norm.replace_all_uses_with(convolution)
    convolution.meta = dict(norm.meta) | {"onnx_op": "Conv"}
    network.graph.erase_node(norm)


def _constant(network: Network, name: str, value: Tensor) -> fx.Node:
    network.register_buffer(name, value)
    return network.graph.get_attr(name)


def _buffer(network: Network, value: Any) -> Tensor:
    return network.get_buffer(value.target)


def _is(node: fx.Node, op_type: str) -> bool:
    return node.op == "call_function" and node.meta.get("onnx_op") == op_type
