from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.nn import functional

from onnxvis.ops.exact import exact_conv, exact_matmul
from onnxvis.ops.quantized import conv_integer
from onnxvis.ops.table import find
from tests.ops.oracle import computed
from tests.ops.quantities import assert_gradient_is_that_of, assert_same_bits, integers, scale, zero_point

Array = npt.NDArray[Any]
PAIRS = [(np.uint8, np.uint8), (np.uint8, np.int8), (np.int8, np.int8)]
IDS = ["u8u8", "u8s8", "s8s8"]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def weights_of(rng: np.random.Generator, dtype: Any, *shape: int) -> tuple[Array, Array]:
    """Weights, and a zero point, which onnxruntime wants to be 0 for signed ones."""
    return integers(rng, dtype, *shape), np.array(0 if np.iinfo(dtype).min else 121, dtype)


@pytest.mark.parametrize(("x_type", "w_type"), PAIRS, ids=IDS)
@pytest.mark.parametrize(
    ("channels", "group", "attributes"),
    [
        (5, 1, {"pads": [1, 1, 1, 1]}),
        (300, 1, {"pads": [0, 1, 2, 0], "strides": [2, 1]}),
        (6, 2, {"auto_pad": "SAME_UPPER"}),
        (6, 6, {"dilations": [2, 1]}),
    ],
    ids=["plain", "many channels", "groups", "depthwise"],
)
def test_convolutions_agree_to_the_bit(
    rng: np.random.Generator, x_type: Any, w_type: Any, channels: int, group: int, attributes: dict[str, Any]
) -> None:
    x = integers(rng, x_type, 2, channels, 7, 6)
    w, w_zero = weights_of(rng, w_type, 6, channels // group, 3, 3)
    bias = rng.integers(-(2**26), 2**26, 6).astype(np.int32)
    before = [x, scale(0.017), zero_point(-13, x_type)]
    y_scale = scale(0.9 * channels / group)
    one = [*before, w, scale(0.013), w_zero, y_scale, zero_point(7, x_type), bias]
    each = [*before, w, rng.uniform(0.005, 0.02, 6).astype(np.float32), np.full(6, w_zero), y_scale, one[7]]
    assert_same_bits("QLinearConv", one, 10, group=group, **attributes)
    assert_same_bits("QLinearConv", each, 10, group=group, **attributes)
    assert_same_bits("ConvInteger", [x, w, before[2], w_zero], 10, group=group, **attributes)
    assert_same_bits("ConvInteger", [x, w], 10, group=group, **attributes)


def test_all_products_of_two_values_are_requantized_to_the_bit(rng: np.random.Generator) -> None:
    x, w = np.arange(256, dtype=np.uint8).reshape(1, 1, 1, 256), np.arange(-128, 128).astype(np.int8)
    a, b = x.reshape(256, 1), w.reshape(1, 256)
    zeros = [np.array(91, np.uint8), np.array(0, np.int8), np.array(33, np.uint8)]
    for x_scale, w_scale, y_scale in rng.uniform(0.005, 0.05, (12, 3)).round(3).astype(np.float32):
        before, after = [np.array(x_scale), zeros[0]], [np.array(y_scale * 4), zeros[2]]
        filters = [w.reshape(256, 1, 1, 1), np.array(w_scale), zeros[1]]
        assert_same_bits("QLinearConv", [x, *before, *filters, *after], 10)
        assert_same_bits("QLinearMatMul", [a, *before, b, *filters[1:], *after], 10)


def test_the_sum_and_its_bias_are_rounded_to_float32_together() -> None:
    x, w = np.ones((1, 1, 1, 1), np.uint8), np.full((1, 1, 1, 1), -1, np.int8)
    zero = np.array(0, np.uint8)
    bias = np.array([2**26 + 5], np.int32)
    # -1 + bias is 2^26 as float32, half of the step; bias alone would be 2^26 + 8.
    inputs = [x, scale(1), zero, w, scale(1), np.array(0, np.int8), scale(2**27), zero, bias]
    assert_same_bits("QLinearConv", inputs, 10)
    assert computed("QLinearConv", inputs, 10, constant=False)[0] == 0


@pytest.mark.parametrize(("a_type", "b_type"), PAIRS, ids=IDS)
@pytest.mark.parametrize("K", [7, 1000])
def test_products_of_matrices_agree_to_the_bit(rng: np.random.Generator, a_type: Any, b_type: Any, K: int) -> None:
    a, b = integers(rng, a_type, 2, 4, K), integers(rng, b_type, K, 5)
    before = [a, scale(0.017), zero_point(-13, a_type)]
    after = [scale(0.11 * K), zero_point(7, a_type)]
    columns = rng.uniform(0.005, 0.02, 5).astype(np.float32)
    for opset in (10, 21):
        assert_same_bits("QLinearMatMul", [*before, b, scale(0.013), zero_point(3, b_type), *after], opset)
        assert_same_bits("QLinearMatMul", [*before, b, columns, integers(rng, b_type, 5), *after], opset)
    assert_same_bits("MatMulInteger", [a, b, before[2], zero_point(3, b_type)], 10)
    assert_same_bits("MatMulInteger", [a, b, before[2], integers(rng, b_type, 5)], 10)
    assert_same_bits("MatMulInteger", [a, b], 10)


def test_rows_have_zero_points_of_their_own(rng: np.random.Generator) -> None:
    a, b = integers(rng, np.uint8, 4, 3), integers(rng, np.uint8, 3, 2)
    rows = integers(rng, np.uint8, 4)
    (found,) = computed("MatMulInteger", [a, b, rows, np.array(5, np.uint8)], 10, constant=False)
    np.testing.assert_array_equal(found, (a - rows[:, None].astype(np.int32)) @ (b - np.int32(5)))


def test_halves_are_rounded_to_even_before_an_odd_zero_point_is_added() -> None:
    a = np.arange(0, 8, dtype=np.uint8).reshape(8, 1)
    one, zero = np.ones((1, 1), np.uint8), np.array(0, np.uint8)
    inputs = [a, scale(1), zero, one, scale(1), zero, scale(2), np.array(3, np.uint8)]
    assert_same_bits("QLinearMatMul", inputs, 10)


def test_the_gradient_of_a_convolution_is_that_without_rounding(rng: np.random.Generator) -> None:
    x = integers(rng, np.uint8, 1, 3, 4, 4)
    w = integers(rng, np.int8, 2, 3, 3, 3)
    bias = rng.integers(-500, 500, 2).astype(np.int32)
    scales = rng.uniform(0.005, 0.02, 2).astype(np.float32)
    inputs = [x, scale(0.017), np.array(115, np.uint8), w, scales, np.zeros(2, np.int8), scale(0.7)]
    inputs += [np.array(127, np.uint8), bias]

    def twin(values: Array) -> Array:
        sums = functional.conv2d(torch.from_numpy(values - 115), torch.from_numpy(w.astype(np.float64)), padding=1)
        return (sums.numpy() + bias[:, None, None]) * 0.017 * scales[:, None, None] / 0.7 + 127

    assert_gradient_is_that_of(twin, "QLinearConv", inputs, 0, 10, pads=[1, 1, 1, 1])


def test_the_gradients_of_products_are_those_without_rounding(rng: np.random.Generator) -> None:
    a, b = integers(rng, np.int8, 3, 4), integers(rng, np.int8, 4, 2)
    inputs = [a, scale(0.017), np.array(3, np.int8), b, scale(0.02), np.array(-5, np.int8), scale(0.2)]
    inputs.append(np.array(1, np.int8))

    def twin(values: Array) -> Array:
        return ((values - 3) @ (b + 5.0)) * 0.017 * 0.02 / 0.2 + 1

    assert_gradient_is_that_of(twin, "QLinearMatMul", inputs, 0, 10)
    zeros = [np.array(3, np.int8), np.array(-5, np.int8)]
    assert_gradient_is_that_of(lambda v: (v - 3) @ (b + 5.0), "MatMulInteger", [a, b, *zeros], 0, 10)
    assert_gradient_is_that_of(lambda v: (a - 3.0) @ (v + 5), "MatMulInteger", [a, b, *zeros], 1, 10)


def test_the_gradient_of_conv_integer_is_that_of_conv(rng: np.random.Generator) -> None:
    x, w = integers(rng, np.uint8, 1, 2, 4, 4), integers(rng, np.int8, 2, 2, 3, 3)
    kernel = torch.from_numpy(w.astype(np.float64))

    def twin(values: Array) -> Array:
        return functional.conv2d(torch.from_numpy(values - 9), kernel).numpy()

    assert_gradient_is_that_of(twin, "ConvInteger", [x, w, np.array(9, np.uint8)], 0, 10)


@pytest.mark.parametrize(("channels", "group"), [(258, 1), (259, 1), (2000, 1), (2 * 259, 2)])
def test_sums_that_float32_cannot_hold_are_exact(channels: int, group: int) -> None:
    x = torch.full((1, channels, 1, 1), 255.0)
    w = torch.full((2, channels // group, 1, 1), 255.0)
    x[:, 0], x[:, -1] = 254.0, 1.0
    sums = exact_conv(x, w, 255 * 255, group=group)
    whole = (x.double().reshape(group, -1) @ torch.full((channels // group,), 255.0, dtype=torch.float64)).flatten()
    torch.testing.assert_close(sums.double().flatten(), whole.repeat_interleave(2 // group), rtol=0, atol=0)
    rows = exact_matmul(x.reshape(1, -1), torch.full((channels, 1), 255.0), 255 * 255)
    torch.testing.assert_close(rows.double().sum(), whole.sum(), rtol=0, atol=0)


def test_few_taps_are_summed_in_float32() -> None:
    sums = exact_conv(torch.ones(1, 258, 2, 2), torch.ones(1, 258, 1, 1), 255 * 255)
    assert sums.dtype == torch.float32


def test_what_int32_holds_is_carried_by_float64() -> None:
    x, w = torch.full((1, 1, 1, 1), 255, dtype=torch.uint8), torch.full((1, 1, 1, 1), -128, dtype=torch.int8)
    assert conv_integer(x, w, input_types=(2, 3)).dtype == torch.float64


def test_quantized_operators_can_be_mapped_over_a_batch(rng: np.random.Generator) -> None:
    entry = find("QLinearMatMul", 10)
    assert entry is not None
    a, b = (torch.from_numpy(integers(rng, np.int8, *shape)).float() for shape in ((5, 3, 4), (4, 2)))
    one, zero = torch.tensor(0.05), torch.tensor(3, dtype=torch.int8)
    types = (3, 1, 3, 3, 1, 3, 1, 3)

    def total(rows: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = entry.function(rows, one, zero, b, one, zero, one * 20, zero, input_types=types)
        return result.sum()

    mapped = torch.func.vmap(torch.func.grad(total))(a)
    single = torch.stack([torch.func.grad(total)(rows) for rows in a])
    torch.testing.assert_close(mapped, single)
    assert bool((mapped != 0).any())
