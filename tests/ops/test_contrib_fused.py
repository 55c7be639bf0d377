from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.nn import functional

from onnxvis.errors import DataDependentShapeError
from tests.ops import oracle, slopes
from tests.ops.oracle import computed

Array = npt.NDArray[Any]

RNG = np.random.default_rng(0)
DOMAIN = "com.microsoft"
assert_agrees = functools.partial(oracle.assert_agrees, domain=DOMAIN)
assert_gradient_agrees = functools.partial(slopes.assert_gradient_agrees, domain=DOMAIN)


def draw(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


X, W, B = draw(2, 4, 7, 6), draw(6, 2, 3, 3), draw(6)
FLAGS = [(0, 0), (0, 1), (1, 0), (1, 1)]
OF_CONVOLUTIONS = [
    ("Relu", None),
    ("Tanh", None),
    ("Sigmoid", None),
    ("HardSwish", None),
    ("LeakyRelu", [0.3]),
    ("Clip", [-0.5, 0.8]),
    ("HardSigmoid", [0.3, 0.6]),
]
OF_PRODUCTS = [
    ("Celu", {"activation_alpha": 0.7}),
    ("Elu", {"activation_alpha": 0.7}),
    ("HardSigmoid", {"activation_alpha": 0.3, "activation_beta": 0.6}),
    ("LeakyRelu", {"activation_alpha": 0.3}),
    ("ParametricSoftplus", {"activation_alpha": 0.7, "activation_beta": 1.3}),
    ("Relu", {}),
    ("ScaledTanh", {"activation_alpha": 0.7, "activation_beta": 1.3}),
    ("Selu", {"activation_alpha": 0.7, "activation_gamma": 1.3}),
    ("Sigmoid", {}),
    ("Softplus", {}),
    ("Softsign", {}),
    ("Tanh", {}),
    ("ThresholdedRelu", {"activation_alpha": 0.3}),
]


def with_parameters(parameters: list[float] | None) -> dict[str, Any]:
    return {} if parameters is None else {"activation_params": parameters}


@pytest.mark.parametrize(("activation", "parameters"), OF_CONVOLUTIONS)
@pytest.mark.parametrize("summed", [False, True])
def test_a_fused_convolution_adds_and_activates(activation: str, parameters: list[float] | None, summed: bool) -> None:
    inputs = [X, W, B, draw(2, 6, 4, 3)] if summed else [X, W, B]
    settings: dict[str, Any] = {"group": 2, "strides": [2, 2], "pads": [1, 1, 1, 1], "kernel_shape": [3, 3]}
    assert_agrees("FusedConv", inputs, 17, activation=activation, **with_parameters(parameters), **settings)


def test_a_fused_convolution_needs_neither_bias_nor_activation() -> None:
    assert_agrees("FusedConv", [X, W, None, draw(2, 6, 5, 4)], 17, group=2)
    assert_agrees("FusedConv", [X, W], 17, group=2, activation="Relu", auto_pad="SAME_UPPER")
    assert_agrees("FusedConv", [X, W], 17, group=2, activation="Relu", dilations=[1, 2])
    assert_agrees("FusedConv", [draw(1, 2, 9), draw(3, 2, 3), draw(3)], 17, activation="Relu")


def test_a_fused_convolution_has_the_slopes_of_onnxruntime() -> None:
    inputs = [draw(1, 2, 4, 4), draw(3, 2, 3, 3), draw(3), draw(1, 3, 2, 2)]
    assert_gradient_agrees("FusedConv", inputs, 17, [0, 3], step=1e-2, activation="Tanh")


@pytest.mark.parametrize(("activation", "parameters"), OF_CONVOLUTIONS)
def test_a_convolution_with_channels_last_is_the_other_one_transposed(
    activation: str, parameters: list[float] | None
) -> None:
    # onnxruntime has it for other types and devices.
    Z = draw(2, 6, 5, 4)
    settings: dict[str, Any] = {"group": 2, "activation": activation, **with_parameters(parameters)}
    (wanted,) = computed("FusedConv", [X, W, B, Z], 17, domain=DOMAIN, **settings)
    last = [np.moveaxis(X, 1, -1), W, B, np.moveaxis(Z, 1, -1)]
    (found,) = computed("NhwcFusedConv", last, 17, domain=DOMAIN, **settings)
    np.testing.assert_allclose(np.moveaxis(found, -1, 1), wanted, rtol=1e-5, atol=1e-6)


def test_a_plain_convolution_with_channels_last_has_them_last_in_its_weights() -> None:
    wanted = functional.conv2d(torch.from_numpy(X), torch.from_numpy(W), torch.from_numpy(B), 2, 1, 1, 2).numpy()
    last = [np.moveaxis(X, 1, -1), np.moveaxis(W, 1, -1), B]
    settings: dict[str, Any] = {"group": 2, "strides": [2, 2], "pads": [1, 1, 1, 1]}
    (found,) = computed("NhwcConv", last, 17, domain=DOMAIN, **settings)
    np.testing.assert_allclose(np.moveaxis(found, -1, 1), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 2, 1]])
def test_a_transposed_convolution_takes_its_pads_as_an_input(pads: list[int]) -> None:
    inputs = [draw(1, 2, 4, 4), draw(2, 3, 3, 3), np.array(pads), draw(3)]
    assert_agrees("ConvTransposeWithDynamicPads", inputs, 17, strides=[2, 2], output_padding=[1, 0])


def test_pads_that_depend_on_the_input_are_refused() -> None:
    inputs = [draw(1, 2, 4, 4), draw(2, 3, 3, 3), np.array([1, 1, 1, 1])]
    with pytest.raises(DataDependentShapeError, match="Pads"):
        computed("ConvTransposeWithDynamicPads", inputs, 17, domain=DOMAIN, constant=False)


@pytest.mark.parametrize(("activation", "settings"), OF_PRODUCTS, ids=lambda value: str(value)[:20])
def test_a_fused_gemm_activates(activation: str, settings: dict[str, Any]) -> None:
    assert_agrees("FusedGemm", [draw(3, 4), draw(4, 5)], 17, activation=activation, **settings)
    inputs = [draw(4, 3), draw(5, 4), draw(5)]
    scaled: dict[str, Any] = {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0}
    assert_agrees("FusedGemm", inputs, 17, activation=activation, **scaled, **settings)


@pytest.mark.parametrize(("transA", "transB"), FLAGS)
@pytest.mark.parametrize(("transBatchA", "transBatchB"), FLAGS)
def test_a_fused_product_transposes_its_factors(transA: int, transB: int, transBatchA: int, transBatchB: int) -> None:
    A, B = draw(2, 3, 4, 5), draw(2, 3, 5, 6)
    A, B = np.swapaxes(A, -1, -2) if transA else A, np.swapaxes(B, -1, -2) if transB else B
    A, B = np.moveaxis(A, -2, 0) if transBatchA else A, np.moveaxis(B, -2, 0) if transBatchB else B
    flags: dict[str, Any] = {"transA": transA, "transB": transB, "transBatchA": transBatchA, "transBatchB": transBatchB}
    assert_agrees("FusedMatMul", [np.ascontiguousarray(A), np.ascontiguousarray(B)], 17, alpha=0.3, **flags)


@pytest.mark.parametrize(
    ("a", "b", "transA", "transB"),
    [((5,), (5, 4), 1, 0), ((5,), (4, 5), 0, 1), ((4, 5), (5,), 0, 1), ((5,), (5,), 1, 1), ((3, 5), (2, 4, 5), 0, 1)],
)
def test_a_fused_product_of_vectors_leaves_them(
    a: tuple[int, ...], b: tuple[int, ...], transA: int, transB: int
) -> None:
    assert_agrees("FusedMatMul", [draw(*a), draw(*b)], 17, transA=transA, transB=transB)


def test_a_transposed_matrix_times_a_vector_follows_the_definition() -> None:
    # onnxruntime reads the matrix in its memory's order there.
    A, b = draw(5, 4), draw(5)
    (found,) = computed("FusedMatMul", [A, b], 17, domain=DOMAIN, transA=1)
    np.testing.assert_allclose(found, A.T @ b, rtol=1e-5)


def test_the_first_name_of_the_fused_product_agrees() -> None:
    assert_agrees("TransposeMatMul", [draw(2, 4, 3), draw(2, 4, 5)], 17, transA=1, alpha=0.5)


def test_fused_products_have_the_slopes_of_onnxruntime() -> None:
    assert_gradient_agrees("FusedMatMul", [draw(3, 2), draw(3, 4)], 17, [0, 1], step=1e-2, transA=1, alpha=0.5)
    inputs = [draw(2, 3), draw(3, 4), draw(4)]
    assert_gradient_agrees("FusedGemm", inputs, 17, [0, 2], step=1e-2, activation="Sigmoid")


@pytest.mark.parametrize(
    ("activation", "settings"), [*OF_PRODUCTS, ("Softmax", {}), ("Softmax", {"activation_axis": 0})]
)
def test_a_fused_product_with_an_activation_is_the_product_then_the_activation(
    activation: str, settings: dict[str, Any]
) -> None:
    # onnxruntime has it for other devices.
    A, B = draw(3, 4), draw(4, 5)
    found = computed("FusedMatMulActivation", [A, B], 17, domain=DOMAIN, activation=activation, alpha=0.5, **settings)
    if activation == "Softmax":
        weights = np.exp(0.5 * A @ B)
        wanted = weights / weights.sum(settings.get("activation_axis", -1), keepdims=True)
    else:
        (wanted,) = computed("FusedGemm", [A, B], 17, domain=DOMAIN, activation=activation, alpha=0.5, **settings)
    np.testing.assert_allclose(found[0], wanted, rtol=1e-5, atol=1e-6)


def test_a_product_with_a_fast_gelu_is_both() -> None:
    A, B, bias = draw(2, 3, 4), draw(4, 5), draw(5)
    (found,) = computed("GemmFastGelu", [A, B, bias], 17, domain=DOMAIN)
    (wanted,) = computed("FastGelu", [A @ B, bias], 17, domain=DOMAIN)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
