from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from onnxvis.ops import elementwise, legacy_broadcast, logic
from tests.ops.oracle import assert_agrees, computed

Array = npt.NDArray[Any]

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3, 4)).astype(np.float32)
POSITIVE = np.abs(X) + 0.1
UNIT = np.tanh(X)
INTEGERS = np.array([[-7, -6, 7], [6, -1, 5]], np.int32)
DIVISORS = np.array([[2, 4, -2], [-4, 3, 5]], np.int32)
BITS = np.array([[0b1010, 0b0110, 0xFF]], np.uint8)
TRUTH = np.array([[True, False], [True, True]])

UNARY = [
    ("Neg", X, 7),
    ("Abs", X, 7),
    ("Sqrt", POSITIVE, 7),
    ("Exp", X, 7),
    ("Log", POSITIVE, 7),
    ("Reciprocal", POSITIVE, 7),
    ("Erf", X, 9),
    ("Floor", X, 7),
    ("Ceil", X, 7),
    ("Sign", X, 9),
    ("Sin", X, 7),
    ("Cos", X, 7),
    ("Tan", X, 7),
    ("Asin", UNIT, 7),
    ("Acos", UNIT, 7),
    ("Atan", X, 7),
    ("Sinh", X, 9),
    ("Cosh", X, 9),
    ("Asinh", X, 9),
    ("Acosh", POSITIVE + 1, 9),
    ("Atanh", UNIT, 9),
]


@pytest.mark.parametrize("newest", [False, True])
@pytest.mark.parametrize(("op_type", "x", "oldest"), UNARY, ids=[case[0] for case in UNARY])
def test_functions_of_one_element_agree(op_type: str, x: Array, oldest: int, newest: bool) -> None:
    assert_agrees(op_type, [x], 28 if newest else oldest)


def test_the_sign_of_what_is_not_a_number_is_not_a_number() -> None:
    assert_agrees("Sign", [np.array([np.nan, np.inf, -np.inf, -0.0, 2.0], np.float32)], 13)
    assert_agrees("Sign", [np.array([-3, 0, 5], np.int64)], 13)


@pytest.mark.parametrize("opset", [11, 22, 28])
def test_round_takes_halves_to_the_even_integer(opset: int) -> None:
    halves = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2.4], np.float32)
    assert_agrees("Round", [halves], opset)
    np.testing.assert_array_equal(computed("Round", [halves], opset)[0], [-2, -2, 0, 0, 2, 2, 2])


@pytest.mark.parametrize("op_type", ["Neg", "Abs"])
def test_signs_of_integers_agree(op_type: str) -> None:
    assert_agrees(op_type, [INTEGERS], 13)


@pytest.mark.parametrize("opset", [7, 13, 14, 28])
@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("constant", [False, True])
def test_arithmetic_broadcasts(op_type: str, opset: int, constant: bool) -> None:
    for other in (POSITIVE, POSITIVE[0, :, :1], POSITIVE[:, :1, :], np.array(0.3, np.float32), POSITIVE[None]):
        assert_agrees(op_type, [X, other], opset, constant=constant)
        assert_agrees(op_type, [other, POSITIVE], opset, constant=constant)


def test_two_constant_scalars_keep_their_dtype() -> None:
    for dtype in (np.float32, np.float64, np.int32, np.int64):
        seven, two = np.array(7, dtype), np.array(2, dtype)
        for op_type in ("Add", "Sub", "Mul", "Div", "Pow", "Min", "Max"):
            assert_agrees(op_type, [seven, two], 14)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64])
def test_integers_are_divided_toward_zero(dtype: type) -> None:
    a = np.array([7, 6, 5, 100], dtype) if dtype is np.uint8 else np.array([-7, 7, -6, 100], dtype)
    b = np.array([2, 4, 5, 7], dtype) if dtype is np.uint8 else np.array([2, -2, -4, 7], dtype)
    if dtype in {np.int32, np.int64}:
        assert_agrees("Div", [a, b], 14)
    np.testing.assert_array_equal(computed("Div", [a, b], 14)[0], np.trunc(a / b).astype(dtype))


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("opset", [12, 15])
def test_a_power_has_the_dtype_of_its_base(opset: int, constant: bool) -> None:
    for base in (POSITIVE, POSITIVE.astype(np.float64), np.array([1, 2, 3], np.int32), np.array([1, 2, 3], np.int64)):
        for dtype in (np.float32, np.float64, np.int32, np.int64):
            assert_agrees("Pow", [base, np.array(2, dtype)], opset, constant=constant)
            assert_agrees("Pow", [base, np.full(base.shape[-1:], 2, dtype)], opset, constant=constant)


@pytest.mark.parametrize("exponent", [0.5, -1.0, 3.0, 0.0])
def test_powers_at_opset_7_agree(exponent: float) -> None:
    assert_agrees("Pow", [POSITIVE, np.array(exponent, np.float32)], 7)


@pytest.mark.parametrize("opset", [10, 13])
def test_mod_has_the_sign_of_the_divisor_and_fmod_that_of_the_dividend(opset: int) -> None:
    assert_agrees("Mod", [INTEGERS, DIVISORS], opset)
    assert_agrees("Mod", [INTEGERS, DIVISORS], opset, fmod=1)
    assert_agrees("Mod", [X, -POSITIVE], opset, fmod=1)
    assert not np.array_equal(
        computed("Mod", [INTEGERS, DIVISORS], opset)[0], computed("Mod", [INTEGERS, DIVISORS], opset, fmod=1)[0]
    )


def test_mod_of_floats_at_opset_28_has_the_sign_of_the_divisor() -> None:
    (found,) = computed("Mod", [X, -POSITIVE], 28)
    np.testing.assert_allclose(found, np.mod(X, -POSITIVE), rtol=0, atol=1e-6)


@pytest.mark.parametrize("opset", [8, 13, 28])
@pytest.mark.parametrize("op_type", ["Min", "Max", "Sum", "Mean"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_variadic_operators_broadcast_all_inputs(op_type: str, count: int, opset: int) -> None:
    assert_agrees(op_type, [X, POSITIVE[:, :1], UNIT[0]][:count], opset)


def test_min_and_max_of_integers_agree() -> None:
    assert_agrees("Min", [INTEGERS, DIVISORS], 12)
    assert_agrees("Max", [INTEGERS, DIVISORS], 12)


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
def test_bits_are_shifted(direction: str) -> None:
    assert_agrees("BitShift", [BITS, np.array([[1, 2, 3]], np.uint8)], 11, direction=direction)


def test_a_right_shift_keeps_the_sign() -> None:
    (found,) = computed("BitShift", [INTEGERS, np.array(1, np.int32)], 28, direction="RIGHT")
    np.testing.assert_array_equal(found, INTEGERS >> 1)


@pytest.mark.parametrize("op_type", ["BitwiseAnd", "BitwiseOr", "BitwiseXor"])
def test_bitwise_operators_agree(op_type: str) -> None:
    assert_agrees(op_type, [INTEGERS, DIVISORS], 18)
    assert_agrees(op_type, [BITS, np.array(0b0011, np.uint8)], 18)


def test_bitwise_not_agrees() -> None:
    assert_agrees("BitwiseNot", [BITS], 18)
    assert_agrees("BitwiseNot", [INTEGERS], 18)


@pytest.mark.parametrize(
    ("op_type", "opset"),
    [
        ("Equal", 7),
        ("Less", 9),
        ("Greater", 9),
        ("LessOrEqual", 12),
        ("GreaterOrEqual", 12),
        ("Equal", 19),
        ("Less", 13),
    ],
)
def test_comparisons_agree(op_type: str, opset: int) -> None:
    for a, b in ((INTEGERS, DIVISORS), (INTEGERS, INTEGERS[0]), (INTEGERS, np.array(-6, np.int32))):
        assert_agrees(op_type, [a, b], opset)
        if opset > 9:
            assert_agrees(op_type, [a.astype(np.float32), b.astype(np.float32)], opset)


@pytest.mark.parametrize("op_type", ["And", "Or", "Xor", "Equal"])
def test_logic_agrees(op_type: str) -> None:
    for other in (np.array([[True], [False]]), np.zeros((), np.bool_), np.ones((), np.bool_)):
        assert_agrees(op_type, [TRUTH, other], 7)


def test_not_agrees() -> None:
    assert_agrees("Not", [TRUTH], 7)


@pytest.mark.parametrize("opset", [10, 20])
@pytest.mark.parametrize("negative", [0, 1])
@pytest.mark.parametrize("positive", [0, 1])
def test_infinities_are_found_by_sign(positive: int, negative: int, opset: int) -> None:
    x = np.array([np.inf, -np.inf, np.nan, 1], np.float32)
    assert_agrees("IsInf", [x], opset, detect_positive=positive, detect_negative=negative)


@pytest.mark.parametrize("opset", [9, 13, 20])
def test_what_is_not_a_number_is_found(opset: int) -> None:
    assert_agrees("IsNaN", [np.array([np.inf, -np.inf, np.nan, 1], np.float32)], opset)


@pytest.mark.parametrize("opset", [9, 16, 28])
def test_where_broadcasts_all_three_inputs(opset: int) -> None:
    assert_agrees("Where", [X[0, :, :1] > 0, X, np.array(-1, np.float32)], opset)
    assert_agrees("Where", [X > 0, np.array(1, np.float32), np.array(0, np.float32)], opset)
    assert_agrees("Where", [X > 0, np.array(1, np.int64), X.astype(np.int64)], opset)


OPERANDS = [
    ("Add", np.add, X, POSITIVE),
    ("Sub", np.subtract, X, POSITIVE),
    ("Mul", np.multiply, X, POSITIVE),
    ("Div", np.divide, X, POSITIVE),
    ("Pow", np.power, POSITIVE, POSITIVE),
    ("Less", np.less, X, X[::-1]),
    ("Greater", np.greater, X, X[::-1]),
    ("Equal", np.equal, X > 0, X[::-1] > 0),
    ("And", np.logical_and, X > 0, X[::-1] > 0),
    ("Or", np.logical_or, X > 0, X[::-1] > 0),
    ("Xor", np.logical_xor, X > 0, X[::-1] > 0),
]


@pytest.mark.parametrize(("op_type", "definition", "a", "b"), OPERANDS, ids=[case[0] for case in OPERANDS])
def test_before_opset_7_the_second_input_is_laid_on_an_axis(op_type: str, definition: Any, a: Array, b: Array) -> None:
    on_axis_1 = b[0, :, 0]
    for axis in (1, -2):
        (found,) = computed(op_type, [a, on_axis_1], 6, broadcast=1, axis=axis)
        np.testing.assert_allclose(found, definition(a, on_axis_1[:, None]), rtol=1e-6)
    (found,) = computed(op_type, [a, b[:, :, 0]], 1, broadcast=1, axis=0)
    np.testing.assert_allclose(found, definition(a, b[:, :, :1]), rtol=1e-6)
    (found,) = computed(op_type, [a, b[0, 0]], 6, broadcast=1)
    np.testing.assert_allclose(found, definition(a, b[0, 0]), rtol=1e-6)
    (found,) = computed(op_type, [a, b], 6)
    np.testing.assert_allclose(found, definition(a, b), rtol=1e-6)


def test_a_scalar_needs_no_axis() -> None:
    scalar = torch.tensor(2.0)
    assert legacy_broadcast.aligned(torch.ones(2, 3), scalar, None, 1) is scalar


def test_gradients_pass() -> None:
    x = torch.tensor([0.5, -0.7, 1.3], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([[0.4], [2.0]], dtype=torch.float64, requires_grad=True)
    condition = torch.tensor([True, False, True])
    for function in (elementwise.div, elementwise.min, elementwise.max, elementwise.mean, elementwise.sum):
        assert torch.autograd.gradcheck(function, (x, y))
    assert torch.autograd.gradcheck(lambda a: elementwise.pow(a, 3), (x,))
    assert torch.autograd.gradcheck(lambda a, b: logic.where(condition, a, b), (x, y))
