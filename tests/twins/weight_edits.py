"""Edits of the weights of a node that change what it computes, though the file stays valid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper

from tests.twins.edits import Array, array, drop_unused, making, set_attributes, set_input
from tests.twins.fault import Edit
from tests.twins.float16 import to_float16

Change = Callable[[Array], Array]


def changed(change: Change, index: int = 1) -> Edit:
    """Change the numbers of one input."""

    def edit(model: ModelProto, node: NodeProto) -> None:
        values = array(model, node.input[index])
        set_input(model, node, index, change(values).astype(values.dtype))

    return edit


def turned(weight: Array) -> Array:
    """Turn a kernel around along all its axes: convolution for correlation."""
    flipped: Array = np.flip(weight, tuple(range(2, weight.ndim)))
    return flipped


def rounded(bits: int) -> Change:
    """Round to signed integers of so many bits, in steps of the largest value."""

    def change(weight: Array) -> Array:
        step = float(np.abs(weight).max()) / 2 ** (bits - 1)
        nearest: Array = np.round(weight / step) * step
        return nearest

    return change


def strongest(weight: Array, count: int = 1) -> NDArray[np.intp]:
    """The filters with the largest weights."""
    return np.argsort(-np.abs(weight.reshape(len(weight), -1)).sum(1))[:count]


def zero_filter(model: ModelProto, node: NodeProto) -> None:
    """Set the weights and the bias of a filter to zero."""
    filter = strongest(array(model, node.input[1]))
    for index in range(1, len(node.input)):
        changed(lambda values: _with(values, filter, 0), index)(model, node)


def negate_filter(weight: Array) -> Array:
    """Turn the sign of a filter."""
    filter = strongest(weight)
    return _with(weight, filter, -weight[filter])


def exchange_filters(model: ModelProto, node: NodeProto) -> None:
    """Exchange two filters with their biases, but not what the next layer reads."""
    pair = strongest(array(model, node.input[1]), 2)
    for index in range(1, len(node.input)):
        changed(lambda values: _with(values, pair, values[pair[::-1]]), index)(model, node)


def _with(values: Array, where: Any, new: Any) -> Array:
    copy = values.copy()
    copy[where] = new
    return copy


def poison(number: float) -> Change:
    """Put a number into the middle of the weights."""
    return lambda weight: _with(weight, tuple(size // 2 for size in weight.shape), number)


def drop_bias(_: ModelProto, node: NodeProto) -> None:
    """Remove the input of the bias and leave the initializer behind."""
    del node.input[2]


def drop_bias_wholly(model: ModelProto, node: NodeProto) -> None:
    """Remove the bias and its initializer."""
    drop_bias(model, node)
    drop_unused(model)


def bias_of(other: str) -> Edit:
    """Read the bias of the node that makes another tensor."""

    def edit(model: ModelProto, node: NodeProto) -> None:
        node.input[2] = making(model, other).input[2]

    return edit


def group(count: int) -> Edit:
    """Compute in groups: of each filter the weights of its own group are left."""

    def edit(model: ModelProto, node: NodeProto) -> None:
        weight = array(model, node.input[1])
        outs, ins = weight.shape[0] // count, weight.shape[1] // count
        parts = [weight[i * outs : (i + 1) * outs, i * ins : (i + 1) * ins] for i in range(count)]
        set_input(model, node, 1, np.concatenate(parts))
        set_attributes(node, group=count)

    return edit


def gates(order: Sequence[int], *names: str) -> Edit:
    """Put the gates of a recurrent layer in another order: of its inputs 1 to 3, or of the named initializers."""

    def edit(model: ModelProto, node: NodeProto) -> None:
        for name in names:
            stored = next(tensor for tensor in model.graph.initializer if tensor.name == name)
            values = _in_order(array(model, name), order, 0)
            stored.CopyFrom(numpy_helper.from_array(values, name))
        if names:
            return
        weight, recurrent, bias = (array(model, name) for name in node.input[1:4])
        set_input(model, node, 1, _in_order(weight, order, 1))
        set_input(model, node, 2, _in_order(recurrent, order, 1))
        halves = [_in_order(half, order, 1) for half in np.split(bias, 2, 1)]
        set_input(model, node, 3, np.concatenate(halves, 1))

    return edit


def _in_order(values: Array, order: Sequence[int], axis: int) -> Array:
    blocks = np.split(values, len(order), axis)
    return np.concatenate([blocks[i] for i in order], axis)


def directions_exchanged(model: ModelProto, node: NodeProto) -> None:
    """Exchange the weights of the two directions of a recurrent layer."""
    for index in (1, 2, 3):
        changed(lambda values: values[::-1], index)(model, node)


def doubled(scale: Array) -> Array:
    """Twice the values."""
    return scale * 2


def averaged(scale: Array) -> Array:
    """Write the mean for every channel."""
    return np.full(scale.shape, scale.mean(), scale.dtype)


def in_float16(exponents: Mapping[str, tuple[int, int]]) -> Edit:
    """Multiply weights and biases by powers of two, which float32 does not mind, and convert to float16, which does.

    The exponents of a layer's weights and of its bias, by the tensor that it makes, undo each other in the layers that
    follow, between which there are rectifiers, averages and the like.
    """

    def edit(model: ModelProto, _: NodeProto) -> None:
        for name, pair in exponents.items():
            layer = making(model, name)
            for index, exponent in enumerate(pair, 1):
                set_input(model, layer, index, array(model, layer.input[index]) * np.float32(2.0**exponent))
        to_float16(keep_io=True)(model)

    return edit
