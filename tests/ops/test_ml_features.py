from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from onnx import numpy_helper

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops.refusals import remedy
from onnxvis.ops.table import entries, find
from tests.ops import oracle, slopes
from tests.ops.oracle import computed, expected, node_model

Array = npt.NDArray[Any]

DOMAIN = "ai.onnx.ml"
assert_agrees = functools.partial(oracle.assert_agrees, domain=DOMAIN)
X = np.array([[1, -2, 3], [-4, -5, -1], [0, 0, 0]], np.float32)


@pytest.mark.parametrize("places", [[0, 2], [[0, 2]], [[1]]], ids=str)
@pytest.mark.parametrize("x", [X, X[0], np.stack([X, 2 * X])], ids=lambda x: str(x.shape))
def test_features_are_extracted(x: Array, places: list[Any]) -> None:
    assert_agrees("ArrayFeatureExtractor", [x, np.array(places)], 17)


@pytest.mark.parametrize("sizes", [[3, 2], [2, 4]])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_features_are_joined_at_their_sizes(dtype: Any, sizes: list[int]) -> None:
    inputs = [X.astype(dtype), X[:, :2].astype(dtype)]
    assert_agrees("FeatureVectorizer", inputs, 17, inputdimensions=sizes)


def test_vectors_are_joined_to_a_row() -> None:
    assert_agrees("FeatureVectorizer", [X[0], X[1]], 17, inputdimensions=[3, 3])


@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_numbers_become_bits(threshold: float) -> None:
    assert_agrees("Binarizer", [X], 17, threshold=threshold)


@pytest.mark.parametrize("values", [[9.0], [7.0, 8.0, 9.0]])
@pytest.mark.parametrize("replaced", [math.nan, 0.0, -2.0])
def test_missing_floats_are_imputed(replaced: float, values: list[float]) -> None:
    x = np.array([[1, np.nan, 0], [-2, 0, np.nan]], np.float32)
    assert_agrees("Imputer", [x], 17, imputed_value_floats=values, replaced_value_float=replaced)


def test_missing_integers_are_imputed() -> None:
    assert_agrees("Imputer", [X.astype(np.int64)], 17, imputed_value_int64s=[7], replaced_value_int64=-2)


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.float64])
def test_categories_become_bits(dtype: Any) -> None:
    assert_agrees("OneHotEncoder", [np.array([1, 5, 9], dtype)], 17, cats_int64s=[5, 1])


def labels_agree(x: Array, version: int, **settings: Any) -> None:
    """Compare with onnxruntime at a version of the domain."""
    model = node_model("LabelEncoder", [x], 17, domain=DOMAIN, **settings)
    model.opset_import[1].version = version
    (wanted,) = expected(model, [x])
    (found,) = computed("LabelEncoder", [x], version, domain=DOMAIN, **settings)
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("version", [2, 4])
def test_labels_are_translated(version: int) -> None:
    whole, x = np.array([[1, 5, 9]]), np.array([1, 5, 9], np.float32)
    labels_agree(whole, version, keys_int64s=[5, 1], values_floats=[0.5, 0.7], default_float=-1.0)
    labels_agree(whole, version, keys_int64s=[5, 1], values_int64s=[2, 3])
    labels_agree(x, version, keys_floats=[5.0, 1.0], values_int64s=[2, 3], default_int64=7)
    labels_agree(x, version, keys_floats=[5.0, 1.0], values_floats=[2.0, 3.0])


def test_labels_may_be_nan_and_tensors() -> None:
    x = np.array([np.nan, 5, 9], np.float32)
    labels_agree(x, 4, keys_floats=[5.0, math.nan], values_floats=[2.0, 3.0])
    tensors: dict[str, Any] = {
        "keys_tensor": numpy_helper.from_array(np.array([5.0, 9.0])),
        "values_tensor": numpy_helper.from_array(np.array([0.5, 0.25])),
        "default_tensor": numpy_helper.from_array(np.array([7.0])),
    }
    labels_agree(x.astype(np.float64), 4, **tensors)


def test_strings_are_refused() -> None:
    settings: list[tuple[str, int, dict[str, Any]]] = [
        ("OneHotEncoder", 1, {"cats_strings": ["cat", "dog"]}),
        ("LabelEncoder", 1, {"classes_strings": ["cat", "dog"]}),
        ("LabelEncoder", 4, {"keys_int64s": [1, 2], "values_strings": ["cat", "dog"]}),
    ]
    for op_type, version, attributes in settings:
        with pytest.raises(UnsupportedOpError, match=f"{op_type}: strings \\('cat', 'dog'\\)"):
            computed(op_type, [np.array([1, 2])], version, domain=DOMAIN, **attributes)


def test_features_have_the_slopes_of_onnxruntime() -> None:
    assert_gradient_agrees = functools.partial(slopes.assert_gradient_agrees, domain=DOMAIN, step=1e-2)
    assert_gradient_agrees("ArrayFeatureExtractor", [X, np.array([0, 2])], 17, [0])
    assert_gradient_agrees("FeatureVectorizer", [X, X[:, :2]], 17, [0, 1], inputdimensions=[2, 4])
    imputed: dict[str, Any] = {"imputed_value_floats": [9.0], "replaced_value_float": 77.0}
    assert_gradient_agrees("Imputer", [X], 17, [0], **imputed)


@pytest.mark.parametrize("op_type", ["TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor", "ZipMap"])
def test_operators_that_will_have_no_implementation_have_a_remedy(op_type: str) -> None:
    assert find(op_type, 5, DOMAIN) is None
    assert "take " in str(remedy(op_type, DOMAIN))


def test_implemented_operators_have_no_remedy() -> None:
    assert all(remedy(entry.op_type, entry.domain) is None for entry in entries())
