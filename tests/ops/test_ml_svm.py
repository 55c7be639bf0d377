from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from onnxvis.errors import UnsupportedOpError
from tests.ops import oracle, slopes
from tests.ops.oracle import computed

Array = npt.NDArray[Any]

DOMAIN = "ai.onnx.ml"
KERNELS = ["LINEAR", "POLY", "RBF", "SIGMOID"]
TRANSFORMS = ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"]
PARAMETERS = [0.3, 0.5, 2.0]
assert_agrees = functools.partial(oracle.assert_agrees, domain=DOMAIN)
assert_gradient_agrees = functools.partial(slopes.assert_gradient_agrees, domain=DOMAIN)
RNG = np.random.default_rng(0)


def draw(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


X = draw(5, 3)


def numbers(count: int, seed: int = 1) -> list[float]:
    return [float(value) for value in np.random.default_rng(seed).normal(size=count)]


def machine(counts: Sequence[int], kernel: str, *, probabilities: bool = False, **settings: Any) -> dict[str, Any]:
    """The attributes of a classifier with so many support vectors of each class."""
    classes, vectors = len(counts), sum(counts)
    pairs = classes * (classes - 1) // 2
    slopes_and_offsets = {"prob_a": numbers(pairs, 5), "prob_b": numbers(pairs, 6)} if probabilities else {}
    return {
        "coefficients": numbers((classes - 1) * vectors, 2),
        "support_vectors": numbers(3 * vectors, 3),
        "vectors_per_class": list(counts),
        "rho": numbers(pairs, 4),
        "kernel_type": kernel,
        "kernel_params": PARAMETERS,
        "classlabels_ints": list(range(10, 10 + classes)),
        **slopes_and_offsets,
        **settings,
    }


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("post_transform", [*TRANSFORMS])
def test_a_regressor_sums_kernels(kernel: str, post_transform: str) -> None:
    vectors: dict[str, Any] = {"n_supports": 4, "coefficients": numbers(4), "support_vectors": numbers(12)}
    settings: dict[str, Any] = {
        "kernel_type": kernel,
        "kernel_params": PARAMETERS,
        "rho": [0.2],
        "post_transform": post_transform,
    }
    assert_agrees("SVMRegressor", [X], 17, **vectors, **settings)


def test_a_regressor_of_one_class_returns_a_sign() -> None:
    vectors: dict[str, Any] = {"n_supports": 4, "coefficients": numbers(4), "support_vectors": numbers(12)}
    settings: dict[str, Any] = {"kernel_type": "LINEAR", "kernel_params": PARAMETERS, "rho": [-0.2], "one_class": 1}
    (found,) = computed("SVMRegressor", [X], 17, domain=DOMAIN, **vectors, **settings)
    assert len(np.unique(found)) == 2
    assert_agrees("SVMRegressor", [X], 17, **vectors, **settings)


def test_without_support_vectors_a_machine_is_linear() -> None:
    settings: dict[str, Any] = {"kernel_type": "LINEAR", "kernel_params": PARAMETERS, "rho": [0.2]}
    assert_agrees("SVMRegressor", [X], 17, coefficients=numbers(3), **settings)
    for post_transform in TRANSFORMS:
        weights: dict[str, Any] = {
            "coefficients": numbers(9),
            "classlabels_ints": [4, 5, 6],
            "post_transform": post_transform,
        }
        assert_agrees("SVMClassifier", [X], 17, outputs=2, **weights, **settings)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("post_transform", TRANSFORMS)
@pytest.mark.parametrize("counts", [(1, 2), (1, 2, 3), (2, 1, 2, 1)], ids=str)
def test_a_classifier_scores_pairs_of_classes(counts: Sequence[int], post_transform: str, kernel: str) -> None:
    settings = machine(counts, kernel, post_transform=post_transform)
    assert_agrees("SVMClassifier", [X], 17, outputs=2, **settings)


@pytest.mark.parametrize("post_transform", [*TRANSFORMS, "PROBIT"])
@pytest.mark.parametrize("counts", [(1, 2), (1, 2, 3), (2, 1, 2, 1)], ids=str)
def test_probabilities_of_pairs_are_coupled(counts: Sequence[int], post_transform: str) -> None:
    settings = machine(counts, "RBF", probabilities=True, post_transform=post_transform)
    assert_agrees("SVMClassifier", [X], 17, outputs=2, tolerance=2e-5, **settings)


def test_each_image_is_coupled_on_its_own() -> None:
    settings = machine((2, 1, 2, 1), "RBF", probabilities=True)
    _, together = computed("SVMClassifier", [X], 17, outputs=2, domain=DOMAIN, **settings)
    alone = [computed("SVMClassifier", [x[None]], 17, outputs=2, domain=DOMAIN, **settings)[1][0] for x in X]
    np.testing.assert_allclose(together, alone, rtol=1e-6)


def test_an_unknown_kernel_and_a_probit_of_one_score_are_refused() -> None:
    with pytest.raises(UnsupportedOpError, match="'COSINE' is not implemented"):
        computed("SVMClassifier", [X], 17, outputs=2, domain=DOMAIN, **machine((1, 2), "COSINE"))
    settings = machine((1, 2), "RBF", post_transform="PROBIT")
    with pytest.raises(UnsupportedOpError, match="PROBIT"):
        computed("SVMClassifier", [X], 17, outputs=2, domain=DOMAIN, **settings)


@pytest.mark.parametrize("kernel", KERNELS)
def test_machines_have_the_slopes_of_onnxruntime(kernel: str) -> None:
    vectors: dict[str, Any] = {"n_supports": 4, "coefficients": numbers(4), "support_vectors": numbers(12)}
    settings: dict[str, Any] = {"kernel_type": kernel, "kernel_params": PARAMETERS, "rho": [0.2]}
    assert_gradient_agrees("SVMRegressor", [X[:2]], 17, [0], step=1e-2, **vectors, **settings)
    assert_gradient_agrees("SVMClassifier", [X[:2]], 17, [0], step=1e-2, output=1, **machine((1, 2, 3), kernel))


def test_coupled_probabilities_have_the_slopes_of_onnxruntime() -> None:
    # The number of rounds is the same a step to either side.
    settings = machine((1, 2, 3), "LINEAR", probabilities=True)
    assert_gradient_agrees("SVMClassifier", [X[:1]], 17, [0], step=2e-3, tolerance=1e-2, output=1, **settings)
