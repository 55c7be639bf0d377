"""Operators that look at one position at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.ops.compared import compares
from tests.ops.drawn import (
    Draw,
    away_from,
    booleans,
    broadcast_to,
    chosen,
    integers,
    several,
    shapes,
    single,
    spread,
)
from tests.ops.one_node import Case, Twin

FIRST_WITH_INPUT_BOUNDS = 11
FIRST_WITH_INTEGERS = 9
FIRST_EQUAL_WITH_FLOATS = 11
FIRST_BROADCASTING = 8


@compares("Abs", "Cos", "Exp", "Identity", "Neg", "Relu", "Sigmoid", "Sin", "Tanh")
@compares("Atan", "Softplus", "Softsign", precision="float32")
@compares("Asinh", "Cosh", "Erf", "Sinh", oldest=9, precision="float32")
@compares("Mish", oldest=18, precision="float32")
def any_number(draw: Draw) -> Case:
    """Functions of all numbers."""
    return Case([spread(draw, shapes(draw, (0, 4)), -4, 4)])


@compares("Acos", "Asin", precision="float32")
@compares("Atanh", oldest=9, precision="float32")
def inside_the_unit(draw: Draw) -> Case:
    """Functions of ]-1, 1[."""
    return Case([spread(draw, shapes(draw), -0.9, 0.9)])


@compares("Log", "Reciprocal", "Sqrt")
@compares("Acosh", oldest=9, precision="float32")
def positive(draw: Draw) -> Case:
    """Functions of numbers above one."""
    return Case([spread(draw, shapes(draw), 1.1, 4)])


@compares("Tan", precision="float32")
def between_poles(draw: Draw) -> Case:
    """The tangent, away from its poles."""
    return Case([spread(draw, shapes(draw), -1.2, 1.2)])


@compares("Elu", "LeakyRelu", precision="float32")
@compares("Celu", oldest=12, precision="float32")
@compares("Swish", oldest=24, oracle="onnx.reference")
def scaled_by_alpha(draw: Draw) -> Case:
    """Functions with a factor, and a kink in zero."""
    return Case([spread(draw, shapes(draw), -4, 4)], chosen(draw, alpha=(None, 0.3, 1.7)))


@compares("ThresholdedRelu", oldest=10, precision="float32")
def with_a_threshold(draw: Draw) -> Case:
    """A jump at alpha, on whose sides the gradient is compared."""
    attributes = chosen(draw, alpha=(None, -0.5, 0.7))
    return Case([away_from(spread(draw, shapes(draw)), attributes.get("alpha", 1.0))], attributes)


@compares("Selu", precision="float32")
def selu(draw: Draw) -> Case:
    """Two factors."""
    return Case([spread(draw, shapes(draw))], chosen(draw, alpha=(None, 0.4), gamma=(None, 2.5)))


@compares("HardSigmoid", precision="float32")
def hard_sigmoid(draw: Draw) -> Case:
    """A line between two kinks."""
    attributes = chosen(draw, alpha=(None, 0.4), beta=(None, 0.1))
    alpha, beta = attributes.get("alpha", 0.2), attributes.get("beta", 0.5)
    return Case([away_from(spread(draw, shapes(draw), -4, 4), -beta / alpha, (1 - beta) / alpha)], attributes)


@compares("Shrink", oldest=9, precision="float32")
def shrink(draw: Draw) -> Case:
    """Two jumps."""
    attributes = chosen(draw, lambd=(None, 0.9), bias=(None, 0.2))
    width = attributes.get("lambd", 0.5)
    return Case([away_from(spread(draw, shapes(draw)), -width, width)], attributes)


@compares("HardSwish", oldest=14, precision="float32")
def hard_swish(draw: Draw) -> Case:
    """Kinks in -3 and 3."""
    return Case([away_from(spread(draw, shapes(draw), -5, 5), -3, 3)])


@compares("Gelu", oldest=20, precision="float32")
def gelu(draw: Draw) -> Case:
    """Exact, and by the hyperbolic tangent."""
    return Case([spread(draw, shapes(draw), -4, 4)], chosen(draw, approximate=(None, "none", "tanh")))


@compares("Clip")
def clip(draw: Draw, version: int) -> Case:
    """Bounds as attributes, then as inputs that may be omitted."""
    x = away_from(spread(draw, shapes(draw)), -0.6, 0.9)
    bounds = chosen(draw, min=(None, -0.6), max=(None, 0.9))
    if version < FIRST_WITH_INPUT_BOUNDS:
        return Case([x], bounds)
    inputs = [np.array(bounds[name], np.float32) if name in bounds else None for name in ("min", "max")]
    return Case([x, *inputs], constants=draw(st.sampled_from([frozenset(), frozenset({1, 2})])))


@compares("Ceil", "Floor", gradient="cut", exact=True)
@compares("Sign", gradient="cut", oldest=9, exact=True)
def steps(draw: Draw) -> Case:
    """Functions that are constant almost everywhere; halves included."""
    halves = single(-2.5, -1.5, -0.5, 0, 0.5, 1.5, 2.5)
    return Case([np.concatenate([halves, spread(draw, (6,), -3, 3)])])


@compares("Round", gradient="straight-through", oldest=11, exact=True)
def rounding(draw: Draw) -> Case:
    """The gradient is that of what is rounded."""
    return Case(steps(draw).inputs, twin=Twin("Identity"))


@compares("Add", "Sub", "Mul", "Div")
def two_with_broadcasting(draw: Draw) -> Case:
    """Arithmetic on two inputs, one broadcast to the other."""
    shape = shapes(draw, (0, 4))
    first, second = spread(draw, shape), spread(draw, broadcast_to(draw, shape), 0.5, 2)
    return Case([first, second] if draw(st.booleans()) else [second, np.abs(first) + np.float32(0.5)])


@compares("Pow")
def powers(draw: Draw) -> Case:
    """Any exponent of positive numbers, known exponents of all."""
    shape = shapes(draw)
    if draw(st.booleans()):
        return Case([spread(draw, shape, 0.3, 3), spread(draw, broadcast_to(draw, shape))])
    return Case([spread(draw, shape), single(draw(st.sampled_from([1, 2, 3])))], constants=frozenset({1}))


@compares("Mod", oldest=10)
def remainder(draw: Draw) -> Case:
    """Of floats with the sign of the dividend, of integers with that of the divisor; away from its jumps."""
    shape = shapes(draw)
    if draw(st.booleans()):
        divisor = integers(draw, shape, 1, 4) * draw(st.sampled_from([1, -1]))
        return Case([integers(draw, shape, -9, 9), divisor], chosen(draw, fmod=(None, 0, 1)), constants=frozenset({1}))
    whole = integers(draw, shape, -3, 3).astype(np.float32)
    divisor = single(draw(st.sampled_from([1.5, -1.5])))
    return Case([whole * 1.5 + np.copysign(spread(draw, shape, 0.2, 1.3), whole), divisor], {"fmod": 1})


@compares("Max", "Min", "Sum")
@compares("Mean", precision="float32")
def any_number_of_inputs(draw: Draw, version: int) -> Case:
    """One to four inputs, which broadcast from opset 8 on."""
    shape = shapes(draw, largest=3)
    count = draw(st.integers(0, 3))
    others = [shape if version < FIRST_BROADCASTING else broadcast_to(draw, shape) for _ in range(count)]
    return Case(several(draw, [shape, *others]))


@compares("PRelu", precision="float32")
def prelu(draw: Draw) -> Case:
    """A slope that broadcasts."""
    shape = shapes(draw)
    return Case([spread(draw, shape), spread(draw, broadcast_to(draw, shape))])


@compares("Where", oldest=9)
def where(draw: Draw) -> Case:
    """A known condition or not, all three broadcast."""
    shape = shapes(draw, largest=3)
    arrays = [spread(draw, broadcast_to(draw, shape)), spread(draw, shape)]
    known = frozenset({0}) if draw(st.booleans()) else frozenset[int]()
    inputs = arrays if draw(st.booleans()) else arrays[::-1]
    return Case([booleans(draw, broadcast_to(draw, shape)), *inputs], constants=known)


@compares("Greater", "Less", gradient="none", exact=True)
@compares("GreaterOrEqual", "LessOrEqual", gradient="none", oldest=12, exact=True)
def comparisons(draw: Draw, version: int) -> Case:
    """Of floats and of integers."""
    kind = np.int64 if version >= FIRST_WITH_INTEGERS and draw(st.booleans()) else np.float32
    return _compared(draw, kind)


@compares("Equal", gradient="none", exact=True)
def equal(draw: Draw, version: int) -> Case:
    """Of integers, and of floats from opset 11 on."""
    kind = np.float32 if version >= FIRST_EQUAL_WITH_FLOATS and draw(st.booleans()) else np.int64
    return _compared(draw, kind)


def _compared(draw: Draw, kind: Any) -> Case:
    shape = shapes(draw)
    other = integers(draw, broadcast_to(draw, shape), -2, 2, kind)
    return Case([integers(draw, shape, -2, 2, kind), other], held=frozenset({0, 1}))


@compares("And", "Or", "Xor", gradient="none", exact=True)
def of_truth_values(draw: Draw) -> Case:
    """Of truth values that broadcast."""
    shape = shapes(draw)
    return Case([booleans(draw, shape), booleans(draw, broadcast_to(draw, shape))])


@compares("Not", gradient="none", exact=True)
def negation(draw: Draw) -> Case:
    """Of truth values."""
    return Case([booleans(draw, shapes(draw))])


@compares("BitwiseAnd", "BitwiseOr", "BitwiseXor", gradient="none", oldest=18, exact=True)
def of_bits(draw: Draw) -> Case:
    """Of integers that broadcast."""
    shape = shapes(draw)
    kind = draw(st.sampled_from([np.int32, np.uint8, np.int64]))
    return Case([integers(draw, x, 0, 100, kind) for x in (shape, broadcast_to(draw, shape))])


@compares("BitwiseNot", gradient="none", oldest=18, exact=True)
def of_all_bits(draw: Draw) -> Case:
    """Of signed integers."""
    return Case([integers(draw, shapes(draw), -100, 100, np.int32)])


@compares("BitShift", gradient="none", oldest=11, exact=True)
def shifts(draw: Draw) -> Case:
    """To the left and to the right."""
    shape = shapes(draw)
    kind = draw(st.sampled_from([np.uint8, np.uint32, np.uint64]))
    inputs = [integers(draw, shape, 0, 15, kind), integers(draw, broadcast_to(draw, shape), 0, 3, kind)]
    return Case(inputs, chosen(draw, direction=("LEFT", "RIGHT")))


@compares("IsNaN", gradient="none", oldest=9, exact=True)
def is_nan(draw: Draw) -> Case:
    """Of floats, one of which is none."""
    return Case([np.append(spread(draw, (5,)), single(np.nan, np.inf))], held=frozenset({0}))


@compares("IsInf", gradient="none", oldest=10, exact=True)
def is_infinite(draw: Draw) -> Case:
    """Of either sign."""
    attributes = chosen(draw, detect_negative=(None, 0, 1), detect_positive=(None, 0, 1))
    return Case(is_nan(draw).inputs, attributes, held=frozenset({0}))
