from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxvis.errors import DataDependentShapeError, UnsupportedOpError
from tests.ops.oracle import assert_agrees, computed, expected, node_model

Array = npt.NDArray[Any]

MATRIX = np.arange(12, dtype=np.float32).reshape(3, 4)


def tensor(*values: Any, dtype: Any = np.float32) -> onnx.TensorProto:
    """An attribute."""
    return numpy_helper.from_array(np.array(values, dtype))


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 19, 28])
def test_a_constant_is_its_tensor(opset: int) -> None:
    assert_agrees("Constant", [], opset, value=numpy_helper.from_array(MATRIX))
    assert_agrees("Constant", [], opset, value=numpy_helper.from_array(np.array(3, np.int64)))


@pytest.mark.parametrize("opset", [12, 13, 28])
@pytest.mark.parametrize(
    "attribute",
    [{"value_int": 0}, {"value_int": -3}, {"value_ints": [1, 2]}, {"value_float": 0.0}, {"value_floats": [1.5, 0.1]}],
    ids=str,
)
def test_a_constant_is_its_numbers(attribute: dict[str, Any], opset: int) -> None:
    assert_agrees("Constant", [], opset, **attribute)


@pytest.mark.parametrize("indices", [[1, 11, 6], [[0, 1], [2, 3], [1, 2]]], ids=["positions", "coordinates"])
def test_a_sparse_constant_gets_its_zeros(indices: list[Any]) -> None:
    sparse = helper.make_sparse_tensor(tensor(1, 2, 3), tensor(*indices, dtype=np.int64), [3, 4])
    (found,) = computed("Constant", [], 11, sparse_value=sparse)
    np.testing.assert_array_equal(found, [[0, 1, 0, 0], [0, 0, 3, 0], [0, 0, 0, 2]])


def test_a_string_is_refused() -> None:
    with pytest.raises(UnsupportedOpError, match="strings are not implemented"):
        computed("Constant", [], 13, value_string="cat")


@pytest.mark.parametrize("opset", [9, 20, 28])
def test_a_constant_of_a_shape_agrees(opset: int) -> None:
    shape = np.array([2, 3])
    assert_agrees("ConstantOfShape", [shape], opset)
    assert_agrees("ConstantOfShape", [shape], opset, value=tensor(7, dtype=np.int64))
    assert_agrees("ConstantOfShape", [shape], opset, value=tensor(1, dtype=np.bool_))
    assert_agrees("ConstantOfShape", [np.array([], np.int64)], opset, value=tensor(2.5))
    assert_agrees("ConstantOfShape", [np.array([0, 2])], opset)


def test_a_shape_that_the_input_determines_is_refused() -> None:
    with pytest.raises(DataDependentShapeError, match="ConstantOfShape: input depends on the values"):
        computed("ConstantOfShape", [np.array([2, 3])], 9, constant=False)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int32, np.int64])
@pytest.mark.parametrize("bounds", [(3, 9, 3), (10, 4, -2), (0, 5, 2), (5, 5, 1), (5, 0, 1)], ids=str)
def test_ranges_agree(bounds: tuple[int, int, int], dtype: Any) -> None:
    assert_agrees("Range", [np.array(bound, dtype) for bound in bounds], 11)


def test_a_range_of_fractions_agrees() -> None:
    assert_agrees("Range", [np.array(bound, np.float32) for bound in (0.3, 2.0, 0.1)], 11)


def test_a_range_of_half_floats_is_computed_as_asked() -> None:
    start, limit, delta = (np.array(bound, np.float16) for bound in (0, 300, 0.1))
    (exact,) = computed("Range", [start, limit, delta], 27, stash_type=TensorProto.FLOAT)
    steps = np.arange(len(exact), dtype=np.float32)
    np.testing.assert_array_equal(exact, (steps * delta.astype(np.float32)).astype(np.float16))
    assert exact.dtype == np.float16
    (rough,) = computed("Range", [start, limit, delta], 27, stash_type=TensorProto.FLOAT16)
    assert not np.array_equal(exact, rough)


def test_a_limit_that_the_input_determines_is_refused() -> None:
    with pytest.raises(DataDependentShapeError, match="Range: limit depends on the values"):
        computed("Range", [np.array(bound) for bound in (0, 4, 1)], 11, constant=False)


@pytest.mark.parametrize("k", [0, 1, -2, 9])
@pytest.mark.parametrize("opset", [9, 22, 28])
def test_diagonals_agree(k: int, opset: int) -> None:
    assert_agrees("EyeLike", [MATRIX], opset, k=k)
    assert_agrees("EyeLike", [MATRIX.T.copy()], opset, k=k, dtype=TensorProto.INT64)


@pytest.mark.parametrize("periodic", [0, 1])
@pytest.mark.parametrize("op_type", ["HannWindow", "HammingWindow", "BlackmanWindow"])
def test_windows_agree(op_type: str, periodic: int) -> None:
    assert_agrees(op_type, [np.array(10)], 17, periodic=periodic)
    assert_agrees(op_type, [np.array(7)], 17, periodic=periodic, output_datatype=TensorProto.DOUBLE)


def test_the_cosines_of_a_blackman_window_add_up_to_whole_numbers() -> None:
    assert_agrees("BlackmanWindow", [np.array(10)], 17, output_datatype=TensorProto.INT32)


@pytest.mark.parametrize("op_type", ["HannWindow", "HammingWindow", "BlackmanWindow"])
@pytest.mark.parametrize("size", [0, 1, 2])
def test_the_shortest_windows_agree(size: int, op_type: str) -> None:
    for periodic in (0, 1):
        (found,) = computed(op_type, [np.array(size)], 17, periodic=periodic)
        (wanted,) = expected(node_model(op_type, [np.array(size)], 17, periodic=periodic), [np.array(size)])
        np.testing.assert_allclose(found, wanted, atol=1e-7)
