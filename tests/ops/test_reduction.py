from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from onnxvis.errors import DataDependentShapeError
from onnxvis.ops import reduction
from tests.ops.oracle import assert_agrees, computed

Array = npt.NDArray[Any]

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3, 4)).astype(np.float32)
POSITIVE = np.abs(X) + 0.1
INTEGERS = RNG.integers(-9, 10, (2, 3, 4)).astype(np.int32)
TIED = np.array([[1, 3, 3, 2], [0, 5, 5, 5], [4, 4, 1, 1]], np.float32)
AXES = [(0,), (1,), (-1,), (0, 2), (-1, 1), (0, 1, 2), None]
REDUCTIONS = [
    "ReduceSum",
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceSumSquare",
    "ReduceLogSum",
    "ReduceLogSumExp",
]


def axes_become_an_input(op_type: str) -> int:
    """The opset from which `axes` is an input."""
    return 13 if op_type == "ReduceSum" else 18


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("op_type", REDUCTIONS)
def test_axes_as_attribute_agree(op_type: str, axes: tuple[int, ...] | None, keepdims: int) -> None:
    attributes: dict[str, Any] = {} if axes is None else {"axes": list(axes)}
    assert_agrees(op_type, [POSITIVE], 11, keepdims=keepdims, **attributes)


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("op_type", REDUCTIONS)
def test_axes_as_input_agree(op_type: str, axes: tuple[int, ...] | None, keepdims: int) -> None:
    inputs = [POSITIVE] if axes is None else [POSITIVE, np.array(axes, np.int64)]
    assert_agrees(op_type, inputs, axes_become_an_input(op_type), keepdims=keepdims)


@pytest.mark.parametrize("op_type", REDUCTIONS)
def test_no_axes_means_all_or_none_as_asked(op_type: str) -> None:
    opset, none = axes_become_an_input(op_type), np.array([], np.int64)
    assert_agrees(op_type, [POSITIVE, none], opset)
    (found,) = computed(op_type, [POSITIVE, none], opset, noop_with_empty_axes=1)
    alone = {"ReduceSumSquare": np.square, "ReduceLogSum": np.log}.get(op_type, np.abs)
    np.testing.assert_allclose(found, alone(POSITIVE), rtol=1e-6)


def test_without_reduction_norms_still_take_the_magnitude() -> None:
    for op_type in ("ReduceL1", "ReduceL2"):
        (found,) = computed(op_type, [X], 18, noop_with_empty_axes=1)
        np.testing.assert_array_equal(found, np.abs(X))


@pytest.mark.parametrize(
    "op_type", ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceSumSquare"]
)
def test_a_reduction_of_integers_stays_in_their_dtype(op_type: str) -> None:
    assert_agrees(op_type, [INTEGERS], 11, axes=[1])


def test_norms_of_integers_are_cut_off() -> None:
    assert_agrees("ReduceL2", [INTEGERS], 11, axes=[1])
    (found,) = computed("ReduceLogSumExp", [INTEGERS], 11, axes=[1])
    np.testing.assert_array_equal(found, np.log(np.exp(INTEGERS.astype(float)).sum(1, keepdims=True)).astype(np.int32))


@pytest.mark.parametrize("op_type", REDUCTIONS)
def test_a_scalar_is_its_own_reduction(op_type: str) -> None:
    assert_agrees(op_type, [np.array(2.0, np.float32)], 13)


def test_log_sum_exp_does_not_overflow() -> None:
    assert_agrees("ReduceLogSumExp", [X * 1000], 13, axes=[1])


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int8])
@pytest.mark.parametrize("op_type", ["ReduceMax", "ReduceMin"])
def test_the_extreme_of_nothing_is_the_other_extreme(op_type: str, dtype: type) -> None:
    nothing: Array = np.zeros((2, 0, 3), dtype)
    assert_agrees(op_type, [nothing, np.array([1])], 20, reference=True)
    assert_agrees(op_type, [nothing, np.array([1])], 20, reference=True, keepdims=0)


def test_maxima_of_truth_values_agree() -> None:
    assert_agrees("ReduceMax", [X > 0, np.array([1])], 20)
    assert_agrees("ReduceMin", [X > 0, np.array([1])], 20)


@pytest.mark.parametrize("opset", [7, 11, 13])
@pytest.mark.parametrize("op_type", ["ArgMax", "ArgMin"])
def test_arg_reductions_agree(op_type: str, opset: int) -> None:
    for keepdims in (0, 1):
        assert_agrees(op_type, [X], opset, keepdims=keepdims)
        assert_agrees(op_type, [X], opset, axis=2, keepdims=keepdims)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("op_type", ["ArgMax", "ArgMin"])
def test_of_equal_values_the_first_or_the_last_index_is_taken(op_type: str, axis: int) -> None:
    for select_last_index in (0, 1):
        assert_agrees(op_type, [TIED], 12, axis=axis, select_last_index=select_last_index)


@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("opset", [11, 14])
def test_running_sums_agree(opset: int, exclusive: int, reverse: int) -> None:
    for axis in (0, 2, -1):
        for x in (X, INTEGERS):
            assert_agrees("CumSum", [x, np.array(axis)], opset, exclusive=exclusive, reverse=reverse)


@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("exclusive", [0, 1])
def test_running_products_agree(exclusive: int, reverse: int) -> None:
    assert_agrees("CumProd", [X, np.array(1)], 26, exclusive=exclusive, reverse=reverse, reference=True)


def test_an_exclusive_sum_leaves_out_an_infinite_element() -> None:
    (found,) = computed("CumSum", [np.array([1, np.inf, 2], np.float32), np.array(0)], 14, exclusive=1)
    np.testing.assert_array_equal(found, [0, 1, np.inf])


def test_top_k_at_all_opsets_agrees() -> None:
    assert_agrees("TopK", [X], 9, outputs=2, k=2)
    assert_agrees("TopK", [X, np.array([2])], 10, outputs=2, axis=1)
    for opset in (11, 24):
        for largest in (0, 1):
            assert_agrees("TopK", [X, np.array([3])], opset, outputs=2, axis=-2, largest=largest)


@pytest.mark.parametrize("largest", [0, 1])
def test_of_equal_values_the_first_comes_first(largest: int) -> None:
    x = np.array([1, 0] * 40, np.float32)
    assert_agrees("TopK", [x, np.array([45])], 11, outputs=2, largest=largest)


def test_a_count_that_the_input_determines_is_refused() -> None:
    with pytest.raises(DataDependentShapeError, match="TopK: K depends on the values"):
        computed("TopK", [X, np.array([2])], 11, outputs=2, constant=False)


def test_gradients_pass() -> None:
    x = torch.tensor([[0.5, -0.7, 0.0], [1.3, 0.2, -0.4]], dtype=torch.float64, requires_grad=True)
    for function in (
        reduction.reduce_sum,
        reduction.reduce_mean,
        reduction.reduce_max,
        reduction.reduce_min,
        reduction.reduce_prod,
        reduction.reduce_l2,
        reduction.reduce_sum_square,
        reduction.reduce_log_sum_exp,
    ):
        assert torch.autograd.gradcheck(lambda a, f=function: f(a, (0, 1)), (x,))
    for exclusive in (0, 1):
        assert torch.autograd.gradcheck(lambda a, e=exclusive: reduction.cum_prod(a, 1, exclusive=e, reverse=1), (x,))
    assert torch.autograd.gradcheck(lambda a: reduction.top_k(a, 2, axis=1)[0], (x,))


def test_the_norm_of_zero_has_gradient_zero() -> None:
    x = torch.zeros(3, requires_grad=True)
    (gradient,) = torch.autograd.grad(reduction.reduce_l2(x), x)
    torch.testing.assert_close(gradient, torch.zeros(3))
