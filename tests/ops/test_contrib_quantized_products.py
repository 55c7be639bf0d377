from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops.contrib_quantized_products import dynamic_quantize_mat_mul
from tests.ops.oracle import assert_agrees, computed
from tests.ops.quantities import MICROSOFT, assert_gradient_is_that_of, assert_same_bits, integers, scale, zero_point

Array = npt.NDArray[Any]
PAIRS = pytest.mark.parametrize(
    ("a_type", "b_type"), [(np.uint8, np.uint8), (np.uint8, np.int8), (np.int8, np.int8)], ids=["u8u8", "u8s8", "s8s8"]
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@PAIRS
@pytest.mark.parametrize("K", [7, 1000])
def test_gemm_agrees_to_the_bit(rng: np.random.Generator, a_type: Any, b_type: Any, K: int) -> None:
    a, b = integers(rng, a_type, 4, K), integers(rng, b_type, K, 5)
    columns, zeros = rng.uniform(0.005, 0.02, 5).astype(np.float32), integers(rng, b_type, 5)
    bias = rng.integers(-5000, 5000, 5).astype(np.int32)
    before = [scale(0.017), zero_point(-13, a_type)]
    after = [scale(0.1 * K), zero_point(7, a_type)]
    one = [a, *before, b.T, scale(0.013), zero_point(3, b_type), bias, *after]
    assert_same_bits("QGemm", one, 21, domain=MICROSOFT, transB=1, alpha=0.7)
    assert_same_bits("QGemm", [a.T, *one[1:6], None, *after], 21, domain=MICROSOFT, transA=1, transB=1)
    each = [a, *before, b, columns, zeros]
    assert_same_bits("QGemm", [*each, np.broadcast_to(bias, (4, 5)).copy(), *after], 21, domain=MICROSOFT)
    assert_same_bits("QGemm", [*each, bias], 21, domain=MICROSOFT)


@PAIRS
def test_products_to_float_agree_to_the_bit(rng: np.random.Generator, a_type: Any, b_type: Any) -> None:
    a, b = integers(rng, a_type, 2, 4, 300), integers(rng, b_type, 300, 5)
    columns, zeros = rng.uniform(0.005, 0.02, 5).astype(np.float32), integers(rng, b_type, 5)
    bias = rng.normal(size=5).astype(np.float32)
    inputs = [a, b, scale(0.017), columns, zero_point(-13, a_type), zeros, bias]
    assert_same_bits("MatMulIntegerToFloat", inputs, 21, domain=MICROSOFT)
    assert_same_bits("MatMulIntegerToFloat", [a, b, scale(0.017), scale(0.013)], 21, domain=MICROSOFT)


@pytest.mark.parametrize("b_type", [np.uint8, np.int8])
def test_a_factor_quantized_over_its_range_agrees_to_the_bit(rng: np.random.Generator, b_type: Any) -> None:
    x, b = rng.normal(size=(2, 4, 300)).astype(np.float32), integers(rng, b_type, 300, 5)
    columns, zeros = rng.uniform(0.005, 0.02, 5).astype(np.float32), integers(rng, b_type, 5)
    bias = rng.normal(size=5).astype(np.float32)
    assert_same_bits("DynamicQuantizeMatMul", [x, b, columns, zeros, bias], 21, domain=MICROSOFT)
    assert_same_bits("DynamicQuantizeMatMul", [x, b, scale(0.013)], 21, domain=MICROSOFT)


def test_a_convolution_with_channels_last_agrees_to_the_bit(rng: np.random.Generator) -> None:
    x = integers(rng, np.uint8, 1, 9, 8, 5)
    w = integers(rng, np.int8, 6, 5, 3, 3)
    inputs = [x, scale(0.017), np.array(115, np.uint8), w, scale(0.013), np.array(0, np.int8), scale(1.3)]
    inputs += [np.array(127, np.uint8), rng.integers(-500, 500, 6).astype(np.int32)]
    assert_same_bits("QLinearConv", inputs, 21, domain=MICROSOFT, channels_last=1, pads=[1, 1, 1, 1])


@pytest.mark.parametrize("unidirectional", [0, 1])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_agrees(rng: np.random.Generator, unidirectional: int, masked: bool) -> None:
    mask = np.array([3, 4], np.int32) if masked else None
    before = [integers(rng, np.uint8, 2, 4, 8), integers(rng, np.int8, 8, 24), rng.normal(size=24).astype(np.float32)]
    scales = [scale(0.017), rng.uniform(0.005, 0.02, 24).astype(np.float32)]
    inputs = [*before, *scales, mask, np.array(115, np.uint8), np.zeros(24, np.int8)]
    settings: dict[str, Any] = {"num_heads": 2, "unidirectional": unidirectional}
    assert_agrees("QAttention", inputs, 21, domain=MICROSOFT, constant=False, **settings)
    past = rng.normal(size=(2, 2, 2, 3, 4)).astype(np.float32)
    if not masked:
        assert_agrees("QAttention", [*inputs, past], 21, domain=MICROSOFT, constant=False, outputs=2, **settings)


def test_attention_with_rotation_is_refused(rng: np.random.Generator) -> None:
    inputs = [integers(rng, np.uint8, 1, 2, 4), integers(rng, np.int8, 4, 12), np.zeros(12, np.float32)]
    inputs += [scale(0.1), scale(0.1)]
    with pytest.raises(UnsupportedOpError, match="do_rotary"):
        computed("QAttention", inputs, 21, domain=MICROSOFT, num_heads=1, do_rotary=1)


def test_the_gradient_of_gemm_is_that_without_rounding(rng: np.random.Generator) -> None:
    a, b = integers(rng, np.int8, 3, 4), integers(rng, np.int8, 2, 4)
    bias = rng.integers(-500, 500, 2).astype(np.int32)
    inputs = [a, scale(0.017), np.array(3, np.int8), b, scale(0.02), np.array(-5, np.int8), bias]

    def twin(values: Array) -> Array:
        return ((values - 3) @ (b + 5.0).T + bias) * 0.5 * 0.017 * 0.02

    settings: dict[str, Any] = {"domain": MICROSOFT, "transB": 1, "alpha": 0.5}
    assert_gradient_is_that_of(twin, "QGemm", inputs, 0, 21, **settings)
    after = [scale(0.2), np.array(1, np.int8)]
    assert_gradient_is_that_of(lambda v: twin(v) / 0.2 + 1, "QGemm", [*inputs, *after], 0, 21, **settings)


def test_the_gradient_of_a_factor_quantized_over_its_range_is_that_of_the_product(rng: np.random.Generator) -> None:
    x = torch.from_numpy(rng.normal(size=(3, 4)).astype(np.float32)).requires_grad_()
    b = torch.from_numpy(integers(rng, np.int8, 4, 2))
    y = dynamic_quantize_mat_mul(x, b, torch.tensor(0.02), torch.tensor(5, dtype=torch.int8), input_types=(1, 3, 1, 3))
    weights = torch.arange(1.0, 7.0).reshape(3, 2)
    (slope,) = torch.autograd.grad((y * weights).sum(), x)
    torch.testing.assert_close(slope, weights @ ((b.float() - 5) * 0.02).T)
