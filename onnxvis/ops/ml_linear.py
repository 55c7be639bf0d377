"""Linear models of domain ai.onnx.ml, and the scaling of what goes into them. Features are (N, F), or (F,) for one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops.ml_scores import DOMAIN, labels, of_two, transformed
from onnxvis.ops.table import Floats, Ints, operator

_BINARY = 2


@operator("Scaler", domain=DOMAIN)
def scaler(X: Tensor, *, offset: Floats = (0.0,), scale: Floats = (1.0,)) -> Tensor:
    """(X - offset) scale, in float32; one number each, or one for each feature."""
    x = X.float()
    return (x - x.new_tensor(offset)) * x.new_tensor(scale)


@operator("Normalizer", domain=DOMAIN)
def normalizer(X: Tensor, *, norm: str = "MAX") -> Tensor:
    """Divide the features by their maximum, which can be negative, or their L1 or L2 norm; zeros stay zeros.

    Raises:
        UnsupportedOpError: Another norm.
    """
    x = X.float()
    if norm == "MAX":
        size = x.amax(-1, keepdim=True)
    elif norm in {"L1", "L2"}:
        size = torch.linalg.vector_norm(x, int(norm[1]), -1, keepdim=True)
    else:
        message = f"Normalizer: norm {norm!r} is not implemented; MAX, L1 and L2 are"
        raise UnsupportedOpError(message, op_type="Normalizer", norm=norm)
    return x / torch.where(size == 0, 1.0, size)


@operator("LinearRegressor", domain=DOMAIN)
def linear_regressor(
    X: Tensor,
    *,
    coefficients: Floats = (),
    intercepts: Floats | None = None,
    post_transform: str = "NONE",
    targets: int = 1,
) -> Tensor:
    """X W' + b, (N, targets)."""
    return transformed(_scores(X, coefficients, intercepts, targets), post_transform)


@operator("LinearClassifier", domain=DOMAIN)
def linear_classifier(
    X: Tensor,
    *,
    classlabels_ints: Ints | None = None,
    classlabels_strings: tuple[str, ...] | None = None,
    coefficients: Floats,
    intercepts: Floats | None = None,
    multi_class: int = 0,
    post_transform: str = "NONE",
) -> tuple[Tensor, Tensor]:
    """Return the labels, (N,), and the scores, (N, E): X W' + b after `post_transform`.

    One row of weights for two classes gives the score s of the second; the first then has 1 - s.

    Args:
        X: Features.
        classlabels_ints: The labels; of labels that are strings, the output is the number.
        classlabels_strings: Likewise.
        coefficients: W, (E, F) in one list.
        intercepts: b.
        multi_class: How the model was trained; onnxruntime ignores it, and so does this.
        post_transform: What is done with the scores.
    """
    del multi_class
    names = classlabels_ints or classlabels_strings or ()
    rows = len(intercepts) if intercepts else max(len(names), 1)
    scores = _scores(X, coefficients, intercepts, rows)
    if rows == 1 and len(names) == _BINARY:
        places = (scores[:, 0] > 0).long()
        return labels(places, classlabels_ints), of_two(1 - scores, scores, post_transform)
    return labels(scores.argmax(1), classlabels_ints), transformed(scores, post_transform)


def as_rows(X: Tensor) -> Tensor:
    """Return features as (N, F) in float32."""
    return (X.unsqueeze(0) if X.ndim == 1 else X).float()


def _scores(X: Tensor, coefficients: Floats, intercepts: Floats | None, rows: int) -> Tensor:
    x = as_rows(X)
    weights = x.new_tensor(coefficients).reshape(rows, -1)
    return functional.linear(x, weights, x.new_tensor(intercepts) if intercepts else None)
