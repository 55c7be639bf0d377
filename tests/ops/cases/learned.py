"""Operators of ai.onnx.ml that are arithmetic: what scikit-learn's models become."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.ops.compared import compares
from tests.ops.drawn import Draw, away_from, chosen, integers, spread, whole
from tests.ops.one_node import Case

DOMAIN: dict[str, Any] = {"domain": "ai.onnx.ml", "precision": "float32"}
POST = (None, "NONE", "SOFTMAX", "LOGISTIC")
KERNELS = ("LINEAR", "POLY", "RBF", "SIGMOID")
WIDTH = 3


def _floats(draw: Draw, count: int) -> list[float]:
    return [float(x) for x in spread(draw, (count,), -1, 1)]


@compares("ArrayFeatureExtractor", **DOMAIN)
def extractor(draw: Draw) -> Case:
    """Any columns."""
    x = spread(draw, (draw(st.integers(1, 3)), 4))
    return Case([x, integers(draw, (draw(st.integers(1, 4)),), 0, 3)])


@compares("FeatureVectorizer", **DOMAIN)
def vectorizer(draw: Draw) -> Case:
    """Inputs side by side, some extended by zeros."""
    rows, widths = draw(st.integers(1, 3)), [draw(st.integers(1, 3)) for _ in range(2)]
    return Case([spread(draw, (rows, width)) for width in widths], {"inputdimensions": [widths[0], widths[1]]})


@compares("Binarizer", **DOMAIN, gradient="cut", exact=True)
def binarizer(draw: Draw) -> Case:
    """Any threshold."""
    return Case([spread(draw, (2, 4))], chosen(draw, threshold=(None, 0.5, -1.0)))


@compares("Imputer", **DOMAIN)
def imputer(draw: Draw) -> Case:
    """One value for all, or one for each column."""
    x = away_from(spread(draw, (2, WIDTH)), 5.0)
    values = _floats(draw, draw(st.sampled_from([1, WIDTH])))
    return Case([x], {"imputed_value_floats": values, "replaced_value_float": 5.0})


@compares("Scaler", **DOMAIN)
def scaler(draw: Draw) -> Case:
    """One number for all, or one for each column."""
    count = draw(st.sampled_from([1, WIDTH]))
    return Case([spread(draw, (2, WIDTH))], {"offset": _floats(draw, count), "scale": _floats(draw, count)})


@compares("Normalizer", **DOMAIN)
def normalizer(draw: Draw) -> Case:
    """Every norm; the largest of a row is positive."""
    return Case([spread(draw, (2, WIDTH), 0.2, 2)], chosen(draw, norm=("MAX", "L1", "L2")))


@compares("LinearRegressor", **DOMAIN)
def regressor(draw: Draw) -> Case:
    """One and several targets, with and without intercepts."""
    targets = draw(st.integers(1, 3))
    attributes: dict[str, Any] = {"targets": targets, "coefficients": _floats(draw, targets * WIDTH)}
    attributes |= {"intercepts": _floats(draw, targets)} if draw(st.booleans()) else {}
    return Case([spread(draw, (2, WIDTH))], attributes)


@compares("LinearClassifier", **DOMAIN)
def classifier(draw: Draw) -> Case:
    """Two and more classes, every transformation of the scores that is smooth."""
    classes = draw(st.integers(2, 4))
    attributes = {"coefficients": _floats(draw, classes * WIDTH), "intercepts": _floats(draw, classes)}
    labels = {"classlabels_ints": [3 * label for label in range(classes)]}
    return Case([spread(draw, (2, WIDTH))], attributes | labels | chosen(draw, post_transform=POST), outputs=2)


def _vectors(draw: Draw, count: int) -> dict[str, Any]:
    kernel = draw(st.sampled_from(KERNELS))
    numbers = {"support_vectors": _floats(draw, count * WIDTH), "kernel_params": [0.5, 0.3, 2.0]}
    return {"kernel_type": kernel, **numbers}


@compares("SVMRegressor", **DOMAIN)
def svm_regressor(draw: Draw) -> Case:
    """Every kernel."""
    count = draw(st.integers(1, 4))
    attributes = {"n_supports": count, "coefficients": _floats(draw, count), "rho": _floats(draw, 1)}
    return Case([spread(draw, (2, WIDTH))], attributes | _vectors(draw, count))


@compares("SVMClassifier", **DOMAIN)
def svm_classifier(draw: Draw) -> Case:
    """Every kernel, two and three classes, scores of each pair."""
    classes = draw(st.integers(2, 3))
    per_class = [draw(st.integers(1, 3)) for _ in range(classes)]
    pairs = classes * (classes - 1) // 2
    attributes: dict[str, Any] = {"coefficients": _floats(draw, (classes - 1) * sum(per_class))}
    attributes |= {"rho": _floats(draw, pairs), "vectors_per_class": per_class}
    attributes["classlabels_ints"] = list(range(classes))
    return Case([spread(draw, (2, WIDTH))], attributes | _vectors(draw, sum(per_class)), outputs=2)


@compares("OneHotEncoder", **DOMAIN, gradient="none", exact=True)
def one_hot_encoder(draw: Draw) -> Case:
    """Known and unknown categories."""
    return Case([integers(draw, (4,), 1, 6)], {"cats_int64s": [5, 1, 3]})


@compares("LabelEncoder", **DOMAIN | {"oldest": 2, "newest": 4}, gradient="none", exact=True)
def label_encoder(draw: Draw) -> Case:
    """Numbers to numbers of either kind."""
    values = draw(st.sampled_from([{"values_floats": [0.5, 0.7]}, {"values_int64s": [2, 3]}]))
    keys = draw(st.sampled_from([{"keys_int64s": [5, 1]}, {"keys_floats": [5.0, 1.0]}]))
    x = whole(*(draw(st.sampled_from([1, 5, 9])) for _ in range(4)))
    return Case([x if "keys_int64s" in keys else x.astype(np.float32)], {**keys, **values}, held=frozenset({0}))
