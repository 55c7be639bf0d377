"""Quantized operators, between a node that quantizes their inputs and one that dequantizes their output.

The inputs lie on the steps of their scales, so that nothing is rounded on the way in; the gradient is that of the
operator of floats.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.ops.cases import windows
from tests.ops.compared import compares
from tests.ops.drawn import Array, Draw, away_from, chosen, integers, shapes, single, spread
from tests.ops.one_node import Case, Twin

Quantity = tuple[Array, Array, Array]
THROUGH: dict[str, Any] = {"gradient": "straight-through", "precision": "float32"}
MICROSOFT: dict[str, Any] = {**THROUGH, "domain": "com.microsoft"}
EITHER = (np.uint8, np.int8)
FIRST_OF_AXES = 13
FIRST_OF_MANY_TYPES = 21


def _zero(draw: Draw, dtype: Any) -> Array:
    return np.array(draw(st.integers(-20, 20)) + (0 if np.iinfo(dtype).min else 128), dtype)


def quantity(draw: Draw, shape: Any, dtype: Any, *, most: int = 40, columns: int = 0) -> Quantity:
    """Draw odd multiples of a scale, that scale and a zero point; `columns`: a scale for each of the last axis."""
    scale = single(*(draw(st.sampled_from([0.013, 0.02, 0.0625])) for _ in range(max(columns, 1))))
    zero = np.full(scale.shape, _zero(draw, dtype))
    values = (2 * integers(draw, shape, -most, most - 1) + 1) * scale
    return values.astype(np.float32), scale if columns else scale[0], zero if columns else zero[0]


def range_of(draw: Draw, largest: float, dtype: Any) -> tuple[Array, Array]:
    """Draw the scale and the zero point of a result of at most this magnitude."""
    return np.array(largest / 90, np.float32), _zero(draw, dtype)


def parameters_of(quantity: Quantity) -> tuple[Array, Array]:
    return np.asarray(quantity[1]), np.asarray(quantity[2])


def _parameters(count: int, *places: int) -> frozenset[int]:
    return frozenset(range(count)) - frozenset(places)


@compares("QuantizeLinear", oldest=10, exact=True, **THROUGH)
@compares("QuantizeLinear", exact=True, **MICROSOFT)
def quantize(draw: Draw, version: int) -> Case:
    """Values inside and outside the range; for each type; a scale for each row inside it."""
    types = [np.uint8, np.int8, *([np.uint16, np.int16] if version >= FIRST_OF_MANY_TYPES else [])]
    dtype = draw(st.sampled_from(types))
    if version >= FIRST_OF_AXES and draw(st.booleans()):
        scales, zeros = spread(draw, (3,), 0.02, 0.1), integers(draw, (3,), 100, 110, dtype)
        zeros = zeros if dtype in (np.uint8, np.uint16) else np.zeros_like(zeros)
        inputs = [spread(draw, (3, 4), -1.5, 1.5), scales, zeros]
        chain: dict[str, Any] = {"dequantized": (scales, zeros), "twin": Twin("Identity")}
        return Case(inputs, {"axis": 0}, constants=frozenset({1, 2}), **chain)
    scale, zero = np.array(0.02, np.float32), _zero(draw, dtype)
    info = np.iinfo(dtype)
    low, high = (np.float32((bound - int(zero)) * 0.02) for bound in (info.min, info.max))
    x = away_from(spread(draw, shapes(draw), -4, 4), float(low), float(high))
    x.flat[0] = 0.31
    twin = Twin("Clip", (0, np.array(low), np.array(high)))
    return Case([x, scale, zero], constants=frozenset({1, 2}), dequantized=(scale, zero), twin=twin)


@compares("DequantizeLinear", oldest=10, exact=True, **THROUGH)
@compares("DequantizeLinear", exact=True, **MICROSOFT)
def dequantize(draw: Draw, version: int) -> Case:
    """For each type; one scale, or one for each row."""
    types = [np.uint8, np.int8, *([np.uint16, np.int16] if version >= FIRST_OF_MANY_TYPES else [])]
    dtype = draw(st.sampled_from(types))
    if version >= FIRST_OF_AXES and draw(st.booleans()):
        values, scale, zero = quantity(draw, (4, 3), dtype, columns=3)
        values = np.ascontiguousarray(values.T)
        axis = {"axis": 0}
    else:
        values, scale, zero = quantity(draw, shapes(draw), dtype)
        axis = {}
    chain = {0: (scale, zero)}
    return Case([values, scale, zero], axis, constants=frozenset({1, 2}), quantized=chain, twin=Twin("Identity"))


@compares("DynamicQuantizeLinear", oldest=11, exact=True, **THROUGH)
def dynamic(draw: Draw) -> Case:
    """By the scale of the values themselves."""
    x = spread(draw, (draw(st.integers(1, 3)), 4), draw(st.sampled_from([-2, 0.5])), 2)
    return Case([x], outputs=3, dequantized=("y1", "y2"), twin=Twin("Identity"))


def _convolution(draw: Draw, x_type: Any, w_type: Any, *, each: bool) -> tuple[Case, Quantity, Quantity]:
    case = windows.convolutions(draw)
    x_shape, w_shape = (np.asarray(x).shape for x in case.inputs[:2])
    x = quantity(draw, x_shape, x_type)
    w = quantity(draw, (*w_shape[1:], w_shape[0]), w_type, columns=w_shape[0] if each else 0)
    zeros = np.full_like(w[2], 0 if np.iinfo(w_type).min else 121)  # what onnxruntime wants of signed weights
    return case, x, (np.ascontiguousarray(np.moveaxis(w[0], -1, 0)), w[1], zeros)


@compares("QLinearConv", oldest=10, exact=True, **THROUGH)
@compares("QLinearConv", exact=True, **MICROSOFT)
def convolution(draw: Draw, version: int) -> Case:
    """Everything that a convolution has, one scale of the weights or one for each filter, with a bias or without."""
    x_type, w_type = draw(st.sampled_from([(np.uint8, np.uint8), (np.uint8, np.int8), (np.int8, np.int8)]))
    case, x, w = _convolution(draw, x_type, w_type, each=version not in (10, 11, 12) and draw(st.booleans()))
    count = int(np.prod(w[0].shape[1:]))
    after = range_of(draw, count * float(np.abs(x[0]).max() * np.abs(w[0]).max()) + 1, x_type)
    bias: list[Array] = []
    added: list[Array] = []
    if draw(st.booleans()):
        bias = [integers(draw, w[0].shape[:1], -50, 50, np.int32)]
        added = [(bias[0] * x[1] * w[1]).astype(np.float32)]
    inputs = [*x, *w, *after, *bias]
    chain: dict[str, Any] = {"quantized": {0: parameters_of(x), 3: parameters_of(w)}, "dequantized": after}
    twin = Twin("Conv", (0, 3, *added), case.attributes)
    return Case(inputs, case.attributes, constants=_parameters(len(inputs), 0, 3), twin=twin, **chain)


@compares("ConvInteger", oldest=10, exact=True, **THROUGH)
def integer_convolution(draw: Draw) -> Case:
    """Sums of integers, whose scale is the product of both."""
    case, x, w = _convolution(draw, np.uint8, draw(st.sampled_from([np.uint8, np.int8])), each=False)
    after = (np.array(x[1] * w[1], np.float32), np.array(0, np.int32))
    chain: dict[str, Any] = {"quantized": {0: parameters_of(x), 1: parameters_of(w)}, "dequantized": after}
    inputs, twin = [x[0], w[0], x[2], w[2]], Twin("Conv", (0, 1), case.attributes)
    return Case(inputs, case.attributes, constants=frozenset({2, 3}), twin=twin, **chain)


def _product(draw: Draw, a_type: Any, b_type: Any, *, each: bool = False) -> tuple[Quantity, Quantity, float]:
    m, k, n = shapes(draw, 3)
    a, b = quantity(draw, (m, k), a_type), quantity(draw, (k, n), b_type, columns=n if each else 0)
    return a, b, k * float(np.abs(a[0]).max() * np.abs(b[0]).max()) + 1


@compares("QLinearMatMul", oldest=10, exact=True, **THROUGH)
def matrix_product(draw: Draw) -> Case:
    """Of all pairs of types."""
    a_type, b_type = draw(st.sampled_from([(np.uint8, np.uint8), (np.uint8, np.int8), (np.int8, np.int8)]))
    a, b, largest = _product(draw, a_type, b_type)
    after = range_of(draw, largest, a_type)
    chain: dict[str, Any] = {
        "quantized": {0: parameters_of(a), 3: parameters_of(b)},
        "dequantized": after,
        "twin": Twin("MatMul", (0, 3)),
    }
    return Case([*a, *b, *after], constants=_parameters(8, 0, 3), **chain)


@compares("MatMulInteger", oldest=10, exact=True, **THROUGH)
def integer_product(draw: Draw) -> Case:
    """Sums of integers, whose scale is the product of both."""
    a, b, _ = _product(draw, np.uint8, draw(st.sampled_from(EITHER)))
    after = (np.array(a[1] * b[1], np.float32), np.array(0, np.int32))
    chain: dict[str, Any] = {
        "quantized": {0: parameters_of(a), 1: parameters_of(b)},
        "dequantized": after,
        "twin": Twin("MatMul", (0, 1)),
    }
    return Case([a[0], b[0], a[2], b[2]], constants=frozenset({2, 3}), **chain)


@compares("MatMulIntegerToFloat", exact=True, **MICROSOFT)
def product_to_float(draw: Draw) -> Case:
    """One scale, and one for each column."""
    a, b, _ = _product(draw, np.uint8, draw(st.sampled_from(EITHER)))
    chain: dict[str, Any] = {"quantized": {0: parameters_of(a), 1: parameters_of(b)}, "twin": Twin("MatMul", (0, 1))}
    return Case([a[0], b[0], a[1], b[1], a[2], b[2]], constants=_parameters(6, 0, 1), **chain)


@compares("DynamicQuantizeMatMul", exact=True, **MICROSOFT)
def dynamic_product(draw: Draw) -> Case:
    """A factor that is quantized by its own scale."""
    _, b, _ = _product(draw, np.uint8, np.int8)
    rows = 2 * integers(draw, (3, b[0].shape[0]), 0, 127) + 1
    rows.flat[0], rows.flat[-1] = 255, 0  # the range, so that nothing is rounded
    x = ((rows - 100) * np.float32(0.02)).astype(np.float32)
    chain: dict[str, Any] = {"quantized": {1: parameters_of(b)}, "twin": Twin("MatMul", (0, 1))}
    return Case([x, b[0], b[1], b[2]], constants=frozenset({2, 3}), **chain)


@compares("QGemm", exact=True, **MICROSOFT)
def gemm(draw: Draw) -> Case:
    """Both transposed or not, a factor and a bias."""
    a, b, largest = _product(draw, np.uint8, np.int8)
    attributes = chosen(draw, transA=(0, 1), transB=(0, 1), alpha=(1.0, 0.5))
    first, second = (x.T.copy() if attributes[name] else x for name, x in (("transA", a[0]), ("transB", b[0])))
    after = range_of(draw, largest, np.uint8)
    bias = integers(draw, (b[0].shape[1],), -50, 50, np.int32)
    added = (bias * (attributes["alpha"] * a[1] * b[1])).astype(np.float32)
    inputs = [first, a[1], a[2], second, b[1], b[2], bias, *after]
    chain: dict[str, Any] = {"quantized": {0: parameters_of(a), 3: parameters_of(b)}, "dequantized": after}
    twin = Twin("Gemm", (0, 3, added), attributes)
    return Case(inputs, attributes, constants=_parameters(9, 0, 3), twin=twin, **chain)
