from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from onnx import TensorProto

from onnxvis.errors import DataDependentShapeError
from onnxvis.ops import experimental
from tests.ops.oracle import assert_agrees, computed

Array = npt.NDArray[Any]

X = np.arange(24, dtype=np.float32).reshape(4, 6)
SHAPE = np.array([2, 3], np.int64)
NUMBERS = [float(value) for value in range(6)]


@pytest.mark.parametrize("axes", [None, [1, 0]])
def test_dynamic_slice_agrees_with_the_slice_that_it_became(axes: list[int] | None) -> None:
    inputs: list[Array] = [X, np.array([1, -3], np.int64), np.array([3, 1000], np.int64)]
    if axes is not None:
        inputs.append(np.array(axes, np.int64))
    np.testing.assert_array_equal(computed("DynamicSlice", inputs, 1)[0], computed("Slice", inputs, 10)[0])
    assert_agrees("DynamicSlice", inputs, 7)


def test_a_fill_takes_its_shape_from_an_attribute() -> None:
    (found,) = computed("ConstantFill", [], 1, shape=[2, 3], value=1.5)
    np.testing.assert_array_equal(found, np.full((2, 3), 1.5, np.float32))
    (found,) = computed("GivenTensorFill", [], 1, shape=[2, 3], values=NUMBERS)
    np.testing.assert_array_equal(found, np.arange(6, dtype=np.float32).reshape(2, 3))


def test_a_fill_takes_its_shape_from_the_input() -> None:
    (found,) = computed("ConstantFill", [X], 1, extra_shape=[2], dtype=TensorProto.INT64, value=3.0)
    np.testing.assert_array_equal(found, np.full((4, 6, 2), 3, np.int64))
    (found,) = computed("GivenTensorFill", [X[:2, :1]], 1, extra_shape=[3], values=NUMBERS)
    np.testing.assert_array_equal(found, np.arange(6, dtype=np.float32).reshape(2, 1, 3))


def test_a_fill_takes_its_shape_from_what_the_input_holds() -> None:
    (found,) = computed("ConstantFill", [SHAPE], 1, input_as_shape=1)
    np.testing.assert_array_equal(found, np.zeros((2, 3), np.float32))
    (found,) = computed("GivenTensorFill", [SHAPE], 1, input_as_shape=1, values=NUMBERS)
    np.testing.assert_array_equal(found, np.arange(6, dtype=np.float32).reshape(2, 3))


def test_a_shape_that_depends_on_the_input_is_refused() -> None:
    with pytest.raises(DataDependentShapeError):
        computed("ConstantFill", [SHAPE], 1, input_as_shape=1, constant=False)


def test_the_gradient_of_a_slice_is_one_where_it_takes() -> None:
    data = torch.from_numpy(X).requires_grad_()
    (gradient,) = torch.autograd.grad(experimental.dynamic_slice(data, (1,), (3,), (1,)).sum(), data)
    np.testing.assert_array_equal(gradient.sum(0).numpy(), [0, 4, 4, 0, 0, 0])
