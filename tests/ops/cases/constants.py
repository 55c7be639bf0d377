"""Operators whose result depends on shapes and known values alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.ops.compared import compares
from tests.ops.drawn import Draw, chosen, integers, shapes, spread
from tests.ops.one_node import Case

FIRST = frozenset({0})
KINDS = (None, TensorProto.FLOAT, TensorProto.INT64, TensorProto.DOUBLE)


@compares("Shape", gradient="none", exact=True)
def shape_of(draw: Draw, version: int) -> Case:
    """Of all axes and, from opset 15 on, of some."""
    shape = shapes(draw, (0, 4))
    places = (None, *range(-5, 6)) if version >= 15 else (None,)
    return Case([spread(draw, shape)], chosen(draw, start=places, end=places), held=FIRST)


@compares("Size", gradient="none", exact=True)
def size_of(draw: Draw) -> Case:
    """Of any shape."""
    return Case([spread(draw, shapes(draw, (0, 4)))], held=FIRST)


@compares("Constant", gradient="none", exact=True)
def constant(draw: Draw, version: int) -> Case:
    """A tensor and, from opset 12 on, numbers and lists."""
    value = numpy_helper.from_array(spread(draw, shapes(draw, (0, 3))))
    attributes: list[dict[str, Any]] = [{"value": value}]
    if version >= 12:
        attributes += [{"value_float": 1.5}, {"value_floats": [1.5, 2.0]}, {"value_int": 3}, {"value_ints": [3, 4]}]
    return Case([], draw(st.sampled_from(attributes)))


@compares("ConstantOfShape", gradient="none", oldest=9, exact=True)
def constant_of_shape(draw: Draw) -> Case:
    """Zeros, or a given value of any type."""
    kind = draw(st.sampled_from([TensorProto.FLOAT, TensorProto.INT32, TensorProto.BOOL]))
    value = helper.make_tensor("value", kind, [1], [1])
    return Case([np.array(shapes(draw, (0, 3)), np.int64)], chosen(draw, value=(None, value)), constants=FIRST)


@compares("EyeLike", gradient="none", oldest=9, exact=True)
def eye_like(draw: Draw) -> Case:
    """Any diagonal, in any type."""
    return Case([spread(draw, shapes(draw, 2))], chosen(draw, k=(None, -1, 2), dtype=KINDS), held=FIRST)


@compares("Range", gradient="none", oldest=11, exact=True)
def ranges(draw: Draw) -> Case:
    """Upward, downward and empty, of integers and floats."""
    kind = draw(st.sampled_from([np.int64, np.int32, np.float32]))
    numbers = (draw(st.integers(-5, 5)), draw(st.integers(-9, 9)), draw(st.sampled_from([1, 2, -1, -3])))
    return Case([np.array(x, kind) for x in numbers], constants=frozenset({0, 1, 2}))


@compares("BlackmanWindow", "HammingWindow", "HannWindow", gradient="none", oldest=17)
def windows(draw: Draw) -> Case:
    """Periodic and symmetric, in float32 and float64."""
    kinds = (None, TensorProto.FLOAT, TensorProto.DOUBLE)
    size = np.array(draw(st.integers(2, 12)), np.int64)
    return Case([size], chosen(draw, periodic=(None, 0, 1), output_datatype=kinds), constants=FIRST)


@compares("MelWeightMatrix", gradient="none", oldest=17)
def mel_weights(draw: Draw) -> Case:
    """Different numbers of bands, of points, and ranges of frequencies."""
    numbers = [np.array(draw(st.sampled_from(x)), np.int64) for x in ((4, 8), (32, 64), (8000, 16000))]
    edges = [np.array(draw(st.sampled_from(x)), np.float32) for x in ((0.0, 60.0), (2000.0, 3800.0))]
    return Case([*numbers, *edges], constants=frozenset(range(5)))


@compares("Cast", precision="float32")
def cast(draw: Draw) -> Case:
    """Between floats the gradient passes; to integers and truth values it does not."""
    to = draw(st.sampled_from([TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT32, TensorProto.BOOL]))
    held = frozenset[int]() if to in (TensorProto.FLOAT, TensorProto.DOUBLE) else FIRST
    return Case([spread(draw, shapes(draw), -9, 9)], {"to": to}, held=held)


@compares("CastLike", oldest=15)
def cast_like(draw: Draw) -> Case:
    """To the type of another input."""
    to = draw(st.sampled_from([np.float32, np.float64, np.int32]))
    held = FIRST if to == np.int32 else frozenset({1})
    return Case([spread(draw, shapes(draw), -9, 9), np.zeros(2, to)], held=held)


@compares("BitCast", gradient="none", oldest=26, exact=True, oracle="onnx.reference")
def bit_cast(draw: Draw) -> Case:
    """The same bits as another type of the same size."""
    x = integers(draw, shapes(draw), 0, 2**30, np.int32)
    return Case([x], {"to": draw(st.sampled_from([TensorProto.FLOAT, TensorProto.UINT32]))})


@compares("Dropout", exact=True)
def dropout(draw: Draw, version: int) -> Case:
    """Not in training: the identity, with a mask where one is asked for."""
    x = spread(draw, shapes(draw))
    if version < 12:
        return Case([x], chosen(draw, ratio=(None, 0.3)))
    ratio = [] if draw(st.booleans()) else [np.array(0.3, np.float32)]
    return Case([x, *ratio], outputs=draw(st.integers(1, 2)), constants=frozenset({1}), single=frozenset({1}))
