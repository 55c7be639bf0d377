from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from onnxvis.errors import UnsupportedOpError
from tests.ops import oracle, slopes
from tests.ops.oracle import computed

Array = npt.NDArray[Any]

RNG = np.random.default_rng(0)
DOMAIN = "ai.onnx.ml"
assert_agrees = functools.partial(oracle.assert_agrees, domain=DOMAIN)
assert_gradient_agrees = functools.partial(slopes.assert_gradient_agrees, domain=DOMAIN)
TRANSFORMS = ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"]
X = np.array([[0.1, -0.2, 0.3], [-0.4, -0.5, -0.1], [0.2, 0.1, 0.4]], np.float32)
WHOLE = np.array([[1, -2, 3], [-4, -5, -1], [0, 0, 0]])
# Weights that keep every score between 0 and 1, where PROBIT is defined.
TWO: dict[str, Any] = {"coefficients": [0.1, 0.2, 0.3, 0.3, 0.2, 0.1], "intercepts": [0.5, 0.6]}
THREE: dict[str, Any] = {"coefficients": [0.1, 0.2, 0.3, 0.3, 0.2, 0.1, 0.2, 0.1, 0.0], "intercepts": [0.5, 0.6, 0.4]}
ONE: dict[str, Any] = {"coefficients": [0.1, 0.2, 0.3], "intercepts": [0.5]}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
@pytest.mark.parametrize(
    "settings", [{"scale": [2.0, 1.0, 0.5], "offset": [1.0, 0.0, -1.0]}, {"scale": [2.0], "offset": [1.0]}]
)
def test_a_scaler_subtracts_then_multiplies(settings: dict[str, Any], dtype: Any) -> None:
    assert_agrees("Scaler", [WHOLE.astype(dtype)], 17, **settings)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
def test_a_normalizer_divides_each_row(norm: str, dtype: Any) -> None:
    assert_agrees("Normalizer", [WHOLE.astype(dtype)], 17, norm=norm)
    assert_agrees("Normalizer", [WHOLE[0].astype(dtype)], 17, norm=norm)


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(UnsupportedOpError, match="norm 'L3' is not implemented"):
        computed("Normalizer", [X], 17, domain=DOMAIN, norm="L3")


@pytest.mark.parametrize("post_transform", TRANSFORMS)
@pytest.mark.parametrize("weights", [ONE, TWO, THREE], ids=["one", "two", "three"])
def test_a_regressor_transforms_its_targets(weights: dict[str, Any], post_transform: str) -> None:
    settings: dict[str, Any] = {"targets": len(weights["intercepts"]), "post_transform": post_transform}
    assert_agrees("LinearRegressor", [X], 17, **weights, **settings)


def test_a_regressor_needs_no_intercepts() -> None:
    assert_agrees("LinearRegressor", [X], 17, coefficients=ONE["coefficients"])
    assert_agrees("LinearRegressor", [X[0]], 17, **ONE)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
def test_a_classifier_takes_any_number(dtype: Any) -> None:
    assert_agrees("LinearClassifier", [WHOLE.astype(dtype)], 17, outputs=2, classlabels_ints=[3, 5, 7], **THREE)


@pytest.mark.parametrize("post_transform", TRANSFORMS)
@pytest.mark.parametrize("weights", [TWO, THREE], ids=["two", "three"])
def test_a_classifier_returns_labels_and_scores(weights: dict[str, Any], post_transform: str) -> None:
    settings: dict[str, Any] = {
        "classlabels_ints": [3, 5, 7][: len(weights["intercepts"])],
        "post_transform": post_transform,
    }
    assert_agrees("LinearClassifier", [X], 17, outputs=2, multi_class=1, **weights, **settings)


@pytest.mark.parametrize("post_transform", ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"])
def test_one_row_of_weights_serves_two_classes(post_transform: str) -> None:
    settings: dict[str, Any] = {"classlabels_ints": [3, 5], "post_transform": post_transform}
    assert_agrees("LinearClassifier", [4 * X - 0.5], 17, outputs=2, **ONE, **settings)


def test_one_row_of_weights_has_no_probit() -> None:
    settings: dict[str, Any] = {"classlabels_ints": [3, 5], "post_transform": "PROBIT"}
    with pytest.raises(UnsupportedOpError, match="PROBIT of one score for two classes"):
        computed("LinearClassifier", [X], 17, outputs=2, domain=DOMAIN, **ONE, **settings)


def test_labels_that_are_strings_are_numbered() -> None:
    settings: dict[str, Any] = {"classlabels_strings": ["a", "b", "c"], **THREE}
    found, scores = computed("LinearClassifier", [WHOLE], 17, outputs=2, domain=DOMAIN, **settings)
    model = oracle.node_model("LinearClassifier", [WHOLE], 17, outputs=2, domain=DOMAIN, **settings)
    labels, wanted = oracle.expected(model, [WHOLE])
    assert [["a", "b", "c"][place] for place in found] == list(labels)
    np.testing.assert_allclose(scores, wanted, rtol=1e-5)


def test_an_unknown_transform_is_refused() -> None:
    with pytest.raises(UnsupportedOpError, match="'CUBE' is not implemented"):
        computed("LinearRegressor", [X], 17, domain=DOMAIN, targets=2, post_transform="CUBE", **TWO)


def test_a_score_of_zero_stays_zero_among_others() -> None:
    weights: dict[str, Any] = {"coefficients": [0.0, 0.0, 0.0, *ONE["coefficients"]], "targets": 2}
    (found,) = computed("LinearRegressor", [X], 17, domain=DOMAIN, post_transform="SOFTMAX_ZERO", **weights)
    np.testing.assert_array_equal(found[:, 0], 0)
    assert_agrees("LinearRegressor", [X], 17, post_transform="SOFTMAX_ZERO", **weights)


def test_scores_that_are_all_zero_stay_equal() -> None:
    # onnxruntime divides 0 by 0 there; this is the reference's answer.
    zeros: dict[str, Any] = {"coefficients": [0.0] * 6, "targets": 2, "post_transform": "SOFTMAX_ZERO"}
    (found,) = computed("LinearRegressor", [X], 17, domain=DOMAIN, **zeros)
    np.testing.assert_array_equal(found, 0.5)


@pytest.mark.parametrize("post_transform", TRANSFORMS)
def test_linear_models_have_the_slopes_of_onnxruntime(post_transform: str) -> None:
    settings: dict[str, Any] = {"step": 1e-2, "tolerance": 5e-3, "post_transform": post_transform}
    assert_gradient_agrees("LinearRegressor", [X], 17, [0], targets=3, **THREE, **settings)
    labels: dict[str, Any] = {"classlabels_ints": [3, 5, 7], "output": 1}
    assert_gradient_agrees("LinearClassifier", [X], 17, [0], **THREE, **labels, **settings)


def test_scaling_has_the_slopes_of_onnxruntime() -> None:
    assert_gradient_agrees("Scaler", [X], 17, [0], step=1e-2, scale=[2.0], offset=[1.0])
    for norm in ("MAX", "L1", "L2"):
        assert_gradient_agrees("Normalizer", [4 * X], 17, [0], step=1e-2, tolerance=5e-3, norm=norm)
