from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
import torch
from onnx import TensorProto

from onnxvis.ops.quantize import dequantize_linear, dynamic_quantize_linear, quantize_linear
from tests.ops.oracle import computed
from tests.ops.quantities import (
    MICROSOFT,
    assert_gradient_is_that_of,
    assert_same_bits,
    gradient,
    integers,
    scale,
    zero_point,
)

Array = npt.NDArray[Any]
OPSETS = (10, 13, 19, 21, 23, 24, 25)
INTEGERS = [np.uint8, np.int8, np.uint16, np.int16]
SMALL = [
    *(ml_dtypes.uint4, ml_dtypes.int4, ml_dtypes.uint2, ml_dtypes.int2, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2),
    *(ml_dtypes.float8_e4m3fnuz, ml_dtypes.float8_e5m2fnuz, ml_dtypes.float4_e2m1fn),
]


@pytest.fixture
def x() -> Array:
    return np.random.default_rng(0).normal(0, 2, (2, 3, 4)).astype(np.float32)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_one_scale_agrees_to_the_bit(x: Array, dtype: Any) -> None:
    q = integers(np.random.default_rng(1), dtype, 2, 3, 4)
    zero = np.array(77, dtype)
    for opset in (version for version in OPSETS if version >= 21 or np.dtype(dtype).itemsize == 1):
        assert_same_bits("QuantizeLinear", [x, scale(0.013), zero], opset)
        assert_same_bits("DequantizeLinear", [q, scale(0.013), zero], opset)
    assert_same_bits("QuantizeLinear", [x, scale(0.013), zero], 21, domain=MICROSOFT)
    assert_same_bits("DequantizeLinear", [q, scale(0.013), zero], 21, domain=MICROSOFT)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_a_scale_for_each_index_agrees_to_the_bit(x: Array, dtype: Any, axis: int) -> None:
    rng = np.random.default_rng(2)
    count = x.shape[axis]
    scales, zeros = rng.uniform(0.005, 0.03, (count,)).astype(np.float32), integers(rng, dtype, count)
    assert_same_bits("QuantizeLinear", [x, scales, zeros], 21, axis=axis)
    assert_same_bits("DequantizeLinear", [integers(rng, dtype, 2, 3, 4), scales, zeros], 21, axis=axis)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_a_scale_for_each_block_agrees_to_the_bit(x: Array, dtype: Any) -> None:
    rng = np.random.default_rng(3)
    for axis, size, shape in ((1, 2, (2, 2, 4)), (2, 2, (2, 3, 2)), (2, 4, (2, 3, 1)), (0, 1, (2, 3, 4))):
        scales, zeros = rng.uniform(0.005, 0.03, shape).astype(np.float32), integers(rng, dtype, *shape)
        blocks: dict[str, Any] = {"axis": axis, "block_size": size}
        assert_same_bits("QuantizeLinear", [x, scales, zeros], 21, **blocks)
        assert_same_bits("DequantizeLinear", [integers(rng, dtype, 2, 3, 4), scales, zeros], 21, **blocks)


@pytest.mark.parametrize("dtype", SMALL)
@pytest.mark.parametrize("opset", [21, 25])
def test_types_of_few_bits_agree_with_the_reference(x: Array, dtype: Any, opset: int) -> None:
    zero = np.array([0 if np.dtype(dtype).name.startswith("float") else 1], dtype).reshape(())
    assert_same_bits("QuantizeLinear", [x, scale(0.4), zero], opset, reference=True)
    q = x.astype(dtype)
    assert_same_bits("DequantizeLinear", [q, scale(0.4), zero], opset, reference=True)


def test_without_a_zero_point_the_result_is_uint8_or_what_is_asked_for(x: Array) -> None:
    assert_same_bits("QuantizeLinear", [x, scale(0.013)], 13)
    assert_same_bits("QuantizeLinear", [x, scale(0.013)], 21, output_dtype=TensorProto.INT16)
    assert_same_bits("QuantizeLinear", [x, scale(0.4)], 21, output_dtype=TensorProto.INT4, reference=True)


def test_int32_is_quantized_and_dequantized() -> None:
    q = np.array([-(2**31), 2**31 - 1, 2**24 + 1, -7, 0], np.int32)
    assert_same_bits("DequantizeLinear", [q, scale(3e-5)], 13)
    (found,) = computed("QuantizeLinear", [q[3:], scale(2)], 13)
    np.testing.assert_array_equal(found, np.array([0, 0], np.uint8))


def test_halves_are_rounded_to_even_before_an_odd_zero_point_is_added() -> None:
    halves = np.arange(-8, 8, dtype=np.float32) / 2
    assert_same_bits("QuantizeLinear", [halves, scale(1), np.array(101, np.uint8)], 13)


def test_the_precision_of_the_division_can_be_asked_for() -> None:
    x = np.array([1234.5, 3.0, 0.3], np.float32)
    step = scale(1 / 3)
    (found,) = computed("QuantizeLinear", [x, step, np.array(0, np.int16)], 25, precision=TensorProto.FLOAT16)
    wanted = np.rint(x.astype(np.float16) / step.astype(np.float16)).astype(np.int16)
    np.testing.assert_array_equal(found, wanted)
    assert wanted[0] != np.rint(x[0] / step)


def test_a_scale_of_powers_of_two_is_multiplied_in_the_type_asked_for() -> None:
    q, step = torch.tensor([-128, 3, 127], dtype=torch.int8), torch.tensor(0.25)
    y = dequantize_linear(q, step, output_dtype=TensorProto.FLOAT16)
    torch.testing.assert_close(y, torch.tensor([-32.0, 0.75, 31.75], dtype=torch.float16))


@pytest.mark.parametrize("spread", [(-1.0, 3.0), (0.5, 3.0), (-3.0, -1.0), (0.0, 0.0)])
def test_the_range_is_found_as_onnxruntime_does(spread: tuple[float, float]) -> None:
    x = np.random.default_rng(4).uniform(*spread, (50, 20)).astype(np.float32)
    assert_same_bits("DynamicQuantizeLinear", [x], 11, outputs=3)


def test_the_gradient_is_one_over_the_scale_inside_the_range_and_zero_outside() -> None:
    x = torch.tensor([-2.0, -0.3, 0.3, 1.2, 3.0], requires_grad=True)
    y = quantize_linear(x, torch.tensor(0.01), torch.tensor(3, dtype=torch.int8), input_types=(1, 1, 3))
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(slope, torch.tensor([0.0, 100.0, 100.0, 100.0, 0.0]))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, ml_dtypes.int4, ml_dtypes.float8_e4m3fn])
def test_quantizing_and_back_has_the_gradient_of_the_identity(dtype: Any) -> None:
    x = np.random.default_rng(5).uniform(-0.5, 0.5, (2, 3)).astype(np.float32)
    scales, zeros = np.array([0.1, 0.2, 0.3], np.float32), np.zeros(3).astype(dtype)
    if dtype == np.uint8:
        zeros = zeros + dtype(128)
    forth = gradient("QuantizeLinear", [x, scales, zeros], 0, np.ones_like(x), 21, axis=1)
    np.testing.assert_allclose(forth, np.broadcast_to(1 / scales, x.shape), rtol=1e-6)
    back = gradient("DequantizeLinear", [x.astype(dtype), scales, zeros], 0, np.ones_like(x), 21, axis=1)
    np.testing.assert_allclose(back, np.broadcast_to(scales, x.shape), rtol=1e-6)


def test_the_gradient_of_dequantizing_is_that_of_the_affine_map() -> None:
    q = integers(np.random.default_rng(6), np.int8, 3, 2)
    inputs = [q, np.array([0.5, 0.25], np.float32), np.array([3, -4], np.int8)]
    assert_gradient_is_that_of(lambda v: (v - inputs[2]) * inputs[1], "DequantizeLinear", inputs, 0, 13)


def test_quantizing_over_the_range_and_back_has_the_gradient_of_the_identity() -> None:
    x = torch.from_numpy(np.random.default_rng(7).normal(size=(5, 7)).astype(np.float32)).requires_grad_()
    q, step, zero = dynamic_quantize_linear(x)
    y = dequantize_linear(q, step, zero)
    weights = torch.arange(35.0).reshape(5, 7)
    (slope,) = torch.autograd.grad((y * weights).sum(), x)
    torch.testing.assert_close(slope, weights)


def test_zero_points_of_signed_and_unsigned_integers_are_the_same_place() -> None:
    x = np.linspace(-1, 1, 9, dtype=np.float32)
    (signed,) = computed("QuantizeLinear", [x, scale(0.02), zero_point(5, np.int8)], 13)
    (unsigned,) = computed("QuantizeLinear", [x, scale(0.02), zero_point(5, np.uint8)], 13)
    np.testing.assert_array_equal(signed + np.int16(128), unsigned)
