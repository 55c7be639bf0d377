"""Quantized operators of onnxruntime on one tensor or two, and products with weights in blocks of few bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.ops.cases.quantized import EITHER, MICROSOFT, Quantity, parameters_of, quantity, range_of
from tests.ops.compared import compares
from tests.ops.drawn import Array, Draw, axis_of, booleans, broadcast_to, chosen, integers, shapes, spread
from tests.ops.one_node import Case, Twin


def _two(draw: Draw, op_type: str) -> Case:
    dtype = draw(st.sampled_from(EITHER))
    shape = shapes(draw)
    a, b = quantity(draw, shape, dtype), quantity(draw, broadcast_to(draw, shape), dtype)
    sizes = [float(np.abs(x[0]).max()) for x in (a, b)]
    after = range_of(draw, sum(sizes) if op_type == "Add" else sizes[0] * sizes[1], dtype)
    chain: dict[str, Any] = {"quantized": {0: parameters_of(a), 3: parameters_of(b)}, "dequantized": after}
    return Case([*a, *b, *after], constants=frozenset({1, 2, 4, 5, 6, 7}), twin=Twin(op_type, (0, 3)), **chain)


@compares("QLinearAdd", exact=True, **MICROSOFT)
def sums(draw: Draw) -> Case:
    """Of tensors that broadcast."""
    return _two(draw, "Add")


@compares("QLinearMul", exact=True, **MICROSOFT)
def products(draw: Draw) -> Case:
    """Of tensors that broadcast."""
    return _two(draw, "Mul")


def _one(x: Quantity, after: tuple[Array, Array], twin: Twin, attributes: dict[str, Any]) -> Case:
    chain: dict[str, Any] = {"quantized": {0: parameters_of(x)}, "dequantized": after, "twin": twin}
    return Case([*x, *after], attributes, constants=frozenset({1, 2, 3, 4}), **chain)


def _unit(dtype: Any) -> tuple[Array, Array]:
    """Return the scale and the zero point of results in [0, 1[."""
    return np.array(1 / 256, np.float32), np.array(np.iinfo(dtype).min, dtype)


@compares("QLinearSigmoid", exact=True, **MICROSOFT)
def sigmoid(draw: Draw) -> Case:
    """Of either type."""
    dtype = draw(st.sampled_from(EITHER))
    return _one(quantity(draw, shapes(draw), dtype), _unit(dtype), Twin("Sigmoid"), {})


@compares("QLinearLeakyRelu", exact=True, **MICROSOFT)
def leaky_relu(draw: Draw) -> Case:
    """Any slope."""
    dtype = draw(st.sampled_from(EITHER))
    x = quantity(draw, shapes(draw), dtype)
    attributes = {"alpha": draw(st.sampled_from([0.1, 0.5]))}
    after = range_of(draw, float(np.abs(x[0]).max()), dtype)
    return _one(x, after, Twin("LeakyRelu", (0,), attributes), attributes)


@compares("QLinearSoftmax", exact=True, **MICROSOFT)
def softmax(draw: Draw) -> Case:
    """Over any axis; onnxruntime takes what is rounded to 1 for 0."""
    dtype = draw(st.sampled_from(EITHER))
    x = quantity(draw, [size + 1 for size in shapes(draw, (2, 3), 3)], dtype, most=10)
    axis = {"axis": axis_of(draw, x[0].ndim)}
    return _one(x, _unit(dtype), Twin("Softmax", (0,), axis), {**axis, "opset": 13})


@compares("QLinearGlobalAveragePool", exact=True, **MICROSOFT)
def global_mean(draw: Draw) -> Case:
    """Of images."""
    dtype = draw(st.sampled_from(EITHER))
    x = quantity(draw, shapes(draw, 4, 3), dtype)
    after = range_of(draw, float(np.abs(x[0]).max()), dtype)
    return _one(x, after, Twin("GlobalAveragePool"), {"channels_last": 0})


@compares("QLinearAveragePool", exact=True, **MICROSOFT)
def means(draw: Draw) -> Case:
    """Windows, strides and pads, counted and not."""
    dtype = draw(st.sampled_from(EITHER))
    x = quantity(draw, (*shapes(draw, 2, 2), 5, 6), dtype)
    attributes: dict[str, Any] = {"kernel_shape": [3, 2], "strides": [draw(st.integers(1, 2)) for _ in "hw"]}
    attributes |= chosen(draw, count_include_pad=(0, 1), pads=(None, [1, 0, 0, 1], [1, 1, 1, 1]))
    after = range_of(draw, float(np.abs(x[0]).max()), dtype)
    return _one(x, after, Twin("AveragePool", (0,), attributes), attributes)


@compares("QLinearConcat", exact=True, **MICROSOFT)
def concatenation(draw: Draw) -> Case:
    """Of tensors of different scales."""
    dtype = draw(st.sampled_from(EITHER))
    shape = shapes(draw, (2, 3))
    axis = axis_of(draw, len(shape), 0)
    a, b = quantity(draw, shape, dtype), quantity(draw, shape, dtype)
    after = range_of(draw, max(float(np.abs(x[0]).max()) for x in (a, b)), dtype)
    chain: dict[str, Any] = {"quantized": {2: parameters_of(a), 5: parameters_of(b)}, "dequantized": after}
    twin = Twin("Concat", (2, 5), {"axis": axis})
    return Case([*after, *a, *b], {"axis": axis}, constants=frozenset({0, 1, 3, 4, 6, 7}), twin=twin, **chain)


@compares("QLinearWhere", exact=True, **MICROSOFT)
def choice(draw: Draw) -> Case:
    """Of tensors of different scales."""
    dtype = draw(st.sampled_from(EITHER))
    shape = shapes(draw)
    a, b = quantity(draw, shape, dtype), quantity(draw, broadcast_to(draw, shape), dtype)
    after = range_of(draw, max(float(np.abs(x[0]).max()) for x in (a, b)), dtype)
    chain: dict[str, Any] = {"quantized": {1: parameters_of(a), 4: parameters_of(b)}, "dequantized": after}
    inputs = [booleans(draw, shape), *a, *b, *after]
    known = frozenset(range(9)) - {1, 4}
    return Case(inputs, constants=known, twin=Twin("Where", (np.asarray(inputs[0]), 1, 4)), **chain)


@compares("NhwcMaxPool", exact=True, **MICROSOFT)
def maxima(draw: Draw) -> Case:
    """Windows along the last but one axis, where those of MaxPool can lie as well."""
    _, scale, zero = quantity(draw, (), np.uint8)
    places = np.array(draw(st.permutations(range(-21, 21))), np.float32) * scale
    step, before, behind = draw(st.integers(1, 2)), draw(st.integers(0, 1)), draw(st.integers(0, 1))
    rows = {"kernel_shape": [1, 3], "strides": [1, step], "pads": [0, before, 0, behind]}
    columns = {"kernel_shape": [3, 1], "strides": [step, 1], "pads": [before, 0, behind, 0]}
    chain: dict[str, Any] = {"quantized": {0: (scale, zero)}, "dequantized": (scale, zero)}
    return Case([places.reshape(1, 2, 7, 3)], rows, twin=Twin("MaxPool", (0,), columns), **chain)


@compares("MatMulNBits", **MICROSOFT)
def blocks(draw: Draw) -> Case:
    """Weights of 4 and 8 bits in blocks, each of which has a scale."""
    bits, count = draw(st.sampled_from([4, 8])), draw(st.integers(1, 2))
    columns, size = draw(st.integers(1, 4)), 16
    packed = integers(draw, (columns, count, size * bits // 8), 0, 255, np.uint8)
    scales = spread(draw, (columns, count), 0.01, 0.1)
    shifts = range(0, 8, bits)
    parts = np.stack([packed >> shift & (2**bits - 1) for shift in shifts], -1).reshape(columns, count, size)
    weights = ((parts - 2.0 ** (bits - 1)) * scales[..., None]).reshape(columns, -1).astype(np.float32)
    x = spread(draw, (draw(st.integers(1, 3)), count * size))
    attributes = {"K": count * size, "N": columns, "bits": bits, "block_size": size}
    twin = Twin("MatMul", (0, np.ascontiguousarray(weights.T)))
    return Case([x, packed, scales], attributes, constants=frozenset({1, 2}), twin=twin)


@compares("GatherBlockQuantized", exact=True, domain="com.microsoft", gradient="none", precision="float32")
def rows(draw: Draw) -> Case:
    """Of bytes that hold one number or several, inside and outside of the table."""
    bits, count, size = draw(st.sampled_from([2, 4, 8])), draw(st.integers(1, 3)), 16
    length = draw(st.integers(1, 4))
    packed = integers(draw, (length, count * size * bits // 8), 0, 255, np.uint8)
    indices = integers(draw, shapes(draw, (0, 3)), -length - 1, length)
    inputs = [packed, indices, spread(draw, (length, count), 0.01, 0.1)]
    if draw(st.booleans()):
        inputs.append(integers(draw, (length, -(-count * bits // 8)), 0, 255, np.uint8))
    return Case(inputs, {"bits": bits, "block_size": size}, constants=frozenset({0, 2, 3}))


@compares("QAttention", **MICROSOFT)
def attention(draw: Draw) -> Case:
    """Tokens and weights that are quantized, products that are floats."""
    batch, heads, length, size = shapes(draw, 4, 3)
    hidden = heads * size
    kinds = (((batch, length, 4), np.uint8), ((4, 3 * hidden), np.int8))
    x, w = (quantity(draw, shape, kind, most=8) for shape, kind in kinds)
    bias = spread(draw, (3 * hidden,))
    attributes = {"num_heads": heads, **chosen(draw, unidirectional=(0, 1))}
    inputs = [x[0], w[0], bias, x[1], w[1], None, x[2], w[2]]
    twin = Twin("Attention", (0, 1, bias), attributes, "com.microsoft")
    chain = {0: parameters_of(x), 1: parameters_of(w)}
    return Case(inputs, attributes, constants=frozenset(range(2, 8)), quantized=chain, twin=twin)
