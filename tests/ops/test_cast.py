from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
import torch
from onnx import TensorProto, helper

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops.cast import cast, cuts_gradient
from onnxvis.ops.dtypes import onnx_dtype, torch_dtype
from onnxvis.ops.table import Operator, find
from tests.ops.oracle import assert_agrees, computed

Array = npt.NDArray[Any]

X = np.array([[0.0, 1.7, -2.5], [3.5, 100.2, -0.3]], np.float32)
NUMBERS = ["float16", "float32", "float64", "int8", "int16", "int32", "int64", "bool"]
FLOAT8 = [
    (TensorProto.FLOAT8E4M3FN, ml_dtypes.float8_e4m3fn),
    (TensorProto.FLOAT8E4M3FNUZ, ml_dtypes.float8_e4m3fnuz),
    (TensorProto.FLOAT8E5M2, ml_dtypes.float8_e5m2),
    (TensorProto.FLOAT8E5M2FNUZ, ml_dtypes.float8_e5m2fnuz),
]


def entry(op_type: str, opset: int = 13) -> Operator:
    """The table's entry."""
    found = find(op_type, opset)
    assert found is not None
    return found


@pytest.mark.parametrize("target", NUMBERS)
@pytest.mark.parametrize("source", NUMBERS)
def test_casts_agree(source: str, target: str) -> None:
    x = X.astype(source)
    to = helper.np_dtype_to_tensor_dtype(np.dtype(target))
    for opset in (7, 13, 19, 28):
        assert_agrees("Cast", [x], opset, to=to)
    assert_agrees("CastLike", [x, np.zeros(1, target)], 15)


def test_before_opset_6_the_type_is_a_name() -> None:
    (found,) = computed("Cast", [X], 1, to="INT32")
    np.testing.assert_array_equal(found, X.astype(np.int32))
    assert found.dtype == np.int32


@pytest.mark.parametrize(("to", "dtype"), FLOAT8, ids=["e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz"])
def test_8_bit_floats_saturate_or_overflow_as_asked(to: int, dtype: Any) -> None:
    x = np.array([0.1, -3.3, 447, 463, 465, 1e6, -1e6, np.inf, np.nan], np.float32)
    limit = torch.finfo(torch_dtype(to)).max
    for saturate, twin in ((1, np.clip(x, -limit, limit)), (0, x)):
        with np.errstate(invalid="ignore", over="ignore"):
            wanted = twin.astype(dtype).astype(np.float32)
        found = cast(torch.from_numpy(x), to=to, saturate=saturate).float().numpy()
        np.testing.assert_array_equal(found, wanted)


def test_bits_are_read_as_another_type() -> None:
    assert_agrees("BitCast", [X], 26, to=TensorProto.INT32, reference=True)


@pytest.mark.parametrize("to", [TensorProto.STRING, TensorProto.INT4, TensorProto.FLOAT4E2M1, 999])
def test_a_type_that_torch_does_not_have_is_refused(to: int) -> None:
    name = TensorProto.DataType.Name(to) if to in TensorProto.DataType.values() else "999"
    with pytest.raises(UnsupportedOpError, match=f"The element type {name} has no torch dtype"):
        torch_dtype(to)


def test_element_types_are_those_of_numpy() -> None:
    for name in [*NUMBERS, "uint8", "uint16", "uint32", "uint64", "complex64", "complex128"]:
        onnx_type = helper.np_dtype_to_tensor_dtype(np.dtype(name))
        assert torch_dtype(onnx_type) == getattr(torch, name)
        assert onnx_dtype(getattr(torch, name)) == onnx_type


def test_a_cast_to_an_integer_cuts_the_gradient() -> None:
    assert cuts_gradient(entry("Cast"), {"to": TensorProto.INT64})
    assert cuts_gradient(entry("Cast"), {"to": TensorProto.BOOL})
    assert not cuts_gradient(entry("Cast"), {"to": TensorProto.FLOAT})
    assert not cuts_gradient(entry("Cast"), {"to": TensorProto.BFLOAT16})
    assert cuts_gradient(entry("Cast", 1), {"to": "INT32"})
    assert not cuts_gradient(entry("Cast", 1), {"to": "FLOAT"})


def test_other_operators_cut_the_gradient_where_the_table_says_so() -> None:
    assert cuts_gradient(entry("ArgMax"), {"axis": 1})
    assert not cuts_gradient(entry("Relu"), {})


def test_the_gradient_of_a_cast_has_the_dtype_of_its_input() -> None:
    x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(cast(x, to=TensorProto.FLOAT).sum(), x)
    torch.testing.assert_close(gradient, torch.ones(2, dtype=torch.float64))
