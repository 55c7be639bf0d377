"""Sparse tensors of a file as the dense ones that they mean."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from onnxvis.errors import InvalidModelError

_MOST_ELEMENTS = 1 << 28
"""Elements of one sparse tensor: a file of a few bytes may not ask for all memory."""


def has_sparse(proto: onnx.ModelProto) -> bool:
    """Whether the model has sparse initializers or constants."""
    return any(graph.sparse_initializer for graph in _graphs(proto)) or any(
        attribute.type == onnx.AttributeProto.SPARSE_TENSOR for node in _nodes(proto) for attribute in node.attribute
    )


def densified(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of the model in which each sparse tensor is written as a dense one.

    Raises:
        InvalidModelError: Values and positions of one do not fit, or it is too large.
    """
    dense = onnx.ModelProto()
    dense.CopyFrom(proto)
    for graph in _graphs(dense):
        graph.initializer.extend(_dense(tensor) for tensor in graph.sparse_initializer)
        del graph.sparse_initializer[:]
    for node in _nodes(dense):
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.SPARSE_TENSOR:
                attribute.t.CopyFrom(_dense(attribute.sparse_tensor))
                attribute.ClearField("sparse_tensor")
                attribute.type = onnx.AttributeProto.TENSOR
                attribute.name = "value" if attribute.name == "sparse_value" else attribute.name
    return dense


def _dense(sparse: onnx.SparseTensorProto) -> onnx.TensorProto:
    name, dims = sparse.values.name, [int(size) for size in sparse.dims]
    if min(dims, default=0) < 0 or math.prod(dims) > _MOST_ELEMENTS:
        message = f"The sparse tensor {name!r} of shape {tuple(dims)} is too large to be written as a dense one."
        raise InvalidModelError(message, name=name)
    try:
        return numpy_helper.from_array(_filled(sparse, dims), name)
    except (IndexError, TypeError, ValueError, onnx.checker.ValidationError) as error:
        message = f"The sparse tensor {name!r} of shape {tuple(dims)} is wrong: {error}. Export the model again."
        raise InvalidModelError(message, name=name) from error


def _filled(sparse: onnx.SparseTensorProto, dims: list[int]) -> np.ndarray[Any, Any]:
    """Put values at their positions, which are numbers into the flat tensor or one row of coordinates each."""
    values = numpy_helper.to_array(sparse.values).reshape(-1)
    positions = numpy_helper.to_array(sparse.indices)
    flat = positions if positions.ndim == 1 else np.ravel_multi_index(tuple(positions.T), dims)
    if flat.shape != values.shape or (flat < 0).any():
        message = f"{values.size} values at positions of shape {positions.shape}, from {flat.min(initial=0)}"
        raise ValueError(message)
    array = np.zeros(math.prod(dims), values.dtype)
    array[flat] = values
    return array.reshape(dims)


def _graphs(proto: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    yield proto.graph
    for node in _nodes(proto):
        for attribute in node.attribute:
            yield from _direct(attribute)


def _nodes(proto: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    yield from _inner_nodes(proto.graph.node)
    for function in proto.functions:
        yield from _inner_nodes(function.node)


def _inner_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in _direct(attribute):
                yield from _inner_nodes(graph.node)


def _direct(attribute: onnx.AttributeProto) -> list[onnx.GraphProto]:
    return [attribute.g, *attribute.graphs] if attribute.HasField("g") else list(attribute.graphs)
