from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.autograd import gradcheck

from onnxvis.ops import activation
from tests.ops.oracle import assert_agrees, computed

Array = npt.NDArray[Any]

RNG = np.random.default_rng(0)
X = (3 * RNG.normal(size=(2, 3, 4, 5))).astype(np.float32)
X[0, 0, 0] = [0.0, -0.0, 1.0, -1.0, 24.0]

SIMPLE: list[tuple[str, int, dict[str, Any]]] = [
    ("Relu", 7, {}),
    ("LeakyRelu", 7, {}),
    ("LeakyRelu", 7, {"alpha": 0.3}),
    ("ThresholdedRelu", 10, {}),
    ("ThresholdedRelu", 10, {"alpha": 0.3}),
    ("Elu", 7, {}),
    ("Elu", 7, {"alpha": 0.3}),
    ("Selu", 7, {}),
    ("Selu", 7, {"alpha": 2.0, "gamma": 1.5}),
    ("Celu", 12, {}),
    ("Celu", 12, {"alpha": 0.3}),
    ("Gelu", 20, {}),
    ("Gelu", 20, {"approximate": "tanh"}),
    ("Mish", 18, {}),
    ("Swish", 24, {}),
    ("Swish", 24, {"alpha": 1.7}),
    ("HardSwish", 14, {}),
    ("HardSigmoid", 7, {}),
    ("HardSigmoid", 7, {"alpha": 0.4, "beta": 0.3}),
    ("Sigmoid", 7, {}),
    ("Tanh", 7, {}),
    ("Softplus", 7, {}),
    ("Softsign", 7, {}),
    ("Shrink", 9, {}),
    ("Shrink", 9, {"bias": 0.4, "lambd": 1.2}),
]


@pytest.mark.parametrize(("op_type", "since", "attributes"), SIMPLE)
def test_activations_agree(op_type: str, since: int, attributes: dict[str, Any]) -> None:
    for opset in sorted({since, 10, 14, 16, 22, 26, 28}):
        if opset >= since:
            reference = op_type == "Swish"  # onnxruntime has no kernel of it
            assert_agrees(op_type, [X], opset, reference=reference, **attributes)


@pytest.mark.parametrize(
    ("op_type", "attributes"),
    [
        ("ScaledTanh", {"alpha": 0.4, "beta": 2.0}),
        ("ParametricSoftplus", {"alpha": 0.4, "beta": 2.0}),
        ("ThresholdedRelu", {"alpha": 0.3}),
    ],
)
@pytest.mark.parametrize("opset", [7, 8])
def test_experimental_activations_of_old_files_agree(op_type: str, attributes: dict[str, Any], opset: int) -> None:
    assert_agrees(op_type, [X], opset, **attributes)


@pytest.mark.parametrize("opset", [7, 9, 16, 28])
@pytest.mark.parametrize("shape", [(1,), (5,), (3, 1, 1), (4, 5), (2, 3, 4, 5), (1, 3, 1, 1), ()])
def test_prelu_broadcasts_its_slope(shape: tuple[int, ...], opset: int) -> None:
    assert_agrees("PRelu", [X, RNG.normal(size=shape).astype(np.float32)], opset)


@pytest.mark.parametrize("shape", [(1,), (3, 1, 1), (2, 3, 4, 5)])
def test_prelu_of_integers_agrees(shape: tuple[int, ...]) -> None:
    x, slope = (RNG.integers(-5, 6, size) for size in (X.shape, shape))
    assert_agrees("PRelu", [x, slope], 16)


@pytest.mark.parametrize("alpha", [1.0, 1.7])
def test_swiglu_agrees(alpha: float) -> None:
    assert_agrees("SwiGLU", [X, RNG.normal(size=X.shape).astype(np.float32)], 28, alpha=alpha)


def test_prelu_of_one_axis_is_that_of_the_last() -> None:
    x = RNG.normal(size=(2, 5, 4, 5)).astype(np.float32)
    assert_agrees("PRelu", [x, RNG.normal(size=(5,)).astype(np.float32)], 9)


def test_the_first_prelu_takes_a_slope_for_each_channel() -> None:
    slope = np.array([0.1, 0.2, 0.3], np.float32)
    (found,) = computed("PRelu", [X, slope], 6)
    np.testing.assert_array_equal(found, np.where(X < 0, X * slope[:, None, None], X))


def test_the_first_selu_has_constants_of_four_digits() -> None:
    (found,) = computed("Selu", [np.array([1.0, -9.0], np.float32)], 1)
    np.testing.assert_allclose(found, [1.0507, 1.0507 * 1.6732 * np.expm1(-9)], rtol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1, -3])
@pytest.mark.parametrize("opset", [11, 13, 26, 28])
@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax", "Hardmax"])
def test_softmax_takes_any_axis(op_type: str, axis: int, opset: int) -> None:
    assert_agrees(op_type, [X], opset, axis=axis)


@pytest.mark.parametrize("opset", [7, 11, 13])
@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax", "Hardmax"])
def test_softmax_has_the_default_axis_of_its_opset(op_type: str, opset: int) -> None:
    assert_agrees(op_type, [X], opset)


def test_hardmax_of_equal_elements_takes_the_first() -> None:
    assert_agrees("Hardmax", [np.array([[1, 3, 3], [2, 2, 0]], np.float32)], 13)


@pytest.mark.parametrize("bounds", [{"min": -1.0, "max": 2.0}, {"min": -1.0}, {"max": 2.0}, {}])
@pytest.mark.parametrize("opset", [7, 10])
def test_clip_takes_bounds_as_attributes(bounds: dict[str, Any], opset: int) -> None:
    assert_agrees("Clip", [X], opset, **bounds)


@pytest.mark.parametrize("lower", [None, -1.0])
@pytest.mark.parametrize("upper", [None, 2.0])
@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("opset", [11, 12, 26, 28])
def test_clip_takes_bounds_as_inputs(lower: float | None, upper: float | None, constant: bool, opset: int) -> None:
    bounds = [None if bound is None else np.array(bound, np.float32) for bound in (lower, upper)]
    assert_agrees("Clip", [X, *bounds], opset, constant=constant)


@pytest.mark.parametrize("constant", [False, True])
def test_clip_between_crossing_bounds_is_the_upper_one(constant: bool) -> None:
    bounds = [np.array(2.5, np.float32), np.array(2.0, np.float32)]
    assert_agrees("Clip", [X, *bounds], 13, constant=constant)


def test_clip_keeps_integers() -> None:
    x = np.arange(-5, 6)
    assert_agrees("Clip", [x, np.array(-2), np.array(3)], 12)


@pytest.mark.parametrize("dtype", [np.float64, np.int32])
def test_relu_and_shrink_keep_the_type(dtype: type) -> None:
    assert_agrees("Relu", [X.astype(dtype)], 14)
    assert_agrees("Shrink", [X.astype(dtype)], 9, lambd=1.5, bias=1.0)


@pytest.mark.parametrize(
    "function",
    [
        activation.selu,
        activation.celu,
        activation.hard_sigmoid,
        activation.swish,
        activation.shrink,
        activation.softmax_1,
        activation.log_softmax_1,
    ],
)
def test_activations_have_the_gradient_of_finite_differences(function: Any) -> None:
    points = torch.from_numpy(RNG.normal(size=(2, 3, 2)) * 2).requires_grad_()
    assert gradcheck(function, points)


def test_prelu_has_the_gradient_of_finite_differences_for_any_slope() -> None:
    points = torch.from_numpy(RNG.normal(size=(2, 3, 2))).requires_grad_()
    for shape in [(1,), (3, 1), (2,)]:
        slope = torch.from_numpy(RNG.normal(size=shape))
        assert gradcheck(lambda x, slope=slope: activation.prelu(x, slope), points)
