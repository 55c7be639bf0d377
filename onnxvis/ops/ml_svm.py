"""Support vector machines of domain ai.onnx.ml, as libsvm defines them (Chang and Lin 2011, LIBSVM).

Without support vectors the coefficients are the vectors of linear machines (liblinear).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops.ml_linear import as_rows
from onnxvis.ops.ml_scores import DOMAIN, labels, of_two, transformed
from onnxvis.ops.table import Floats, Ints, operator

_BINARY = 2
_ROUNDS = 100
_PRECISION = 0.005
_TINY = 1e-7


@operator("SVMRegressor", domain=DOMAIN)
def svm_regressor(
    X: Tensor,
    *,
    coefficients: Floats = (),
    kernel_params: Floats = (),
    kernel_type: str = "LINEAR",
    n_supports: int = 0,
    one_class: int = 0,
    post_transform: str = "NONE",
    rho: Floats = (0.0,),
    support_vectors: Floats = (),
) -> Tensor:
    """Return sum of coefficient k(x, v) over the support vectors v, plus rho: (N, 1); its sign for `one_class`."""
    x = as_rows(X)
    weights = x.new_tensor(coefficients)
    if n_supports:
        vectors = x.new_tensor(support_vectors).reshape(n_supports, -1)
        scores = _kernel(x, vectors, kernel_type, kernel_params) @ weights.unsqueeze(1) + rho[0]
    else:
        scores = functional.linear(x, weights.unsqueeze(0)) + rho[0]
    if one_class:
        return torch.where(scores > 0, 1.0, -1.0)
    return transformed(scores, post_transform)


@operator("SVMClassifier", domain=DOMAIN)
def svm_classifier(
    X: Tensor,
    *,
    classlabels_ints: Ints | None = None,
    classlabels_strings: tuple[str, ...] | None = None,
    coefficients: Floats = (),
    kernel_params: Floats = (),
    kernel_type: str = "LINEAR",
    post_transform: str = "NONE",
    prob_a: Floats | None = None,
    prob_b: Floats | None = None,
    rho: Floats = (0.0,),
    support_vectors: Floats = (),
    vectors_per_class: Ints | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the labels, (N,), and the scores: of E classes, or without probabilities of their E (E - 1) / 2 pairs.

    The label of a machine with support vectors is the class with the most votes, whatever the probabilities say. With
    one pair of classes the output has two scores: -s and s.

    Args:
        X: Features, (N, F).
        classlabels_ints: The labels; of labels that are strings, the output is the number.
        classlabels_strings: Likewise.
        coefficients: Of each support vector in E - 1 machines, (E - 1, V); without vectors (E, F).
        kernel_params: gamma, coef0 and degree.
        kernel_type: "LINEAR", "POLY", "RBF" or "SIGMOID".
        post_transform: What is done with the scores.
        prob_a: Slope of the probability of each pair.
        prob_b: Offset of it.
        rho: Offset of the score of each pair; without vectors one for all.
        support_vectors: (V, F), class by class.
        vectors_per_class: How many there are of each class.
    """
    x = as_rows(X)
    names = classlabels_ints or classlabels_strings or ()
    classes = max(len(names), 1)
    if not vectors_per_class or not sum(vectors_per_class):
        scores = functional.linear(x, x.new_tensor(coefficients).reshape(classes, -1)) + rho[0]
        places = scores.argmax(1)
    else:
        vectors = x.new_tensor(support_vectors).reshape(sum(vectors_per_class), -1)
        kernels = _kernel(x, vectors, kernel_type, kernel_params)
        scores = _pair_scores(kernels, x.new_tensor(coefficients), vectors_per_class, rho)
        places = _votes(scores, classes).argmax(1)
        if prob_a and prob_b:
            scores = _probabilities(scores, classes, prob_a, prob_b)
    if scores.shape[1] == 1 and classes == _BINARY:
        first = -scores if post_transform == "NONE" else 1 - scores
        return labels(places, classlabels_ints), of_two(first, scores, post_transform)
    return labels(places, classlabels_ints), transformed(scores, post_transform)


def _kernel(x: Tensor, vectors: Tensor, kernel_type: str, parameters: Floats) -> Tensor:
    """Return k(x, v) of each row and each vector: (N, V).

    Raises:
        UnsupportedOpError: Another kernel.
    """
    if kernel_type == "LINEAR":
        return x @ vectors.T
    gamma, offset, degree = (*parameters, 0.0, 0.0, 0.0)[:3]
    if kernel_type == "POLY":
        return (gamma * (x @ vectors.T) + offset) ** degree
    if kernel_type == "SIGMOID":
        return torch.tanh(gamma * (x @ vectors.T) + offset)
    if kernel_type == "RBF":
        return torch.exp(-gamma * (x[:, None] - vectors).square().sum(-1))
    message = f"SVM: kernel {kernel_type!r} is not implemented; LINEAR, POLY, RBF and SIGMOID are"
    raise UnsupportedOpError(message, kernel_type=kernel_type)


def _pair_scores(kernels: Tensor, coefficients: Tensor, counts: Ints, rho: Floats) -> Tensor:
    """Return the score of the first against the second class of each pair, (N, E (E - 1) / 2)."""
    weights = coefficients.reshape(-1, sum(counts))
    # The machines of class j against those before it are in rows i, against those behind it in rows j - 1.
    parts = list(zip(torch.split(kernels, list(counts), 1), torch.split(weights, list(counts), 1), strict=True))
    scores = [
        parts[i][0] @ parts[i][1][j - 1] + parts[j][0] @ parts[j][1][i] + offset
        for (i, j), offset in zip(_pairs(len(counts)), rho, strict=True)
    ]
    return torch.stack(scores, 1)


def _votes(scores: Tensor, classes: int) -> Tensor:
    votes = [scores.new_zeros(scores.shape[0]) for _ in range(classes)]
    for (i, j), score in zip(_pairs(classes), scores.unbind(1), strict=True):
        votes[i] = votes[i] + (score > 0)
        votes[j] = votes[j] + (score <= 0)
    return torch.stack(votes, 1)


def _probabilities(scores: Tensor, classes: int, prob_a: Floats, prob_b: Floats) -> Tensor:
    """Return the probability of each class, (N, E), from the logistic one of each pair."""
    first = torch.sigmoid(-(scores * scores.new_tensor(prob_a) + scores.new_tensor(prob_b))).clamp(_TINY, 1 - _TINY)
    pairs = {pair: first[:, place] for place, pair in enumerate(_pairs(classes))}
    zero = torch.zeros_like(first[:, 0])
    rows = [
        torch.stack([zero if i == j else pairs[i, j] if i < j else 1 - pairs[j, i] for j in range(classes)], 1)
        for i in range(classes)
    ]
    return _coupled(torch.stack(rows, 1))


def _coupled(R: Tensor) -> Tensor:
    """Couple the probabilities of pairs, (N, E, E), to those of classes, (N, E), as libsvm does.

    Wu, Lin and Weng 2004, "Probability estimates for multi-class classification by pairwise coupling", algorithm 2; an
    image that has converged stays as it is, at the precision at which libsvm stops.
    """
    classes = R.shape[1]
    Q = torch.diag_embed(R.square().sum(1)) - R.mT * R
    P = torch.full_like(R[:, 0], 1 / classes)
    for _ in range(max(_ROUNDS, classes)):
        QP = (Q @ P.unsqueeze(2)).squeeze(2)
        PQP = (P * QP).sum(1)
        converged = (QP - PQP[:, None]).abs().amax(1, keepdim=True) < _PRECISION / classes
        P = torch.where(converged, P, _coupling_round(Q, P, QP, PQP))
    return P


def _coupling_round(Q: Tensor, P: Tensor, QP: Tensor, PQP: Tensor) -> Tensor:
    """Improve the probability of one class after the other."""
    unit = torch.eye(P.shape[1], dtype=P.dtype, device=P.device)
    for t in range(P.shape[1]):
        change = (PQP - QP[:, t]) / Q[:, t, t]
        PQP = (PQP + change * (change * Q[:, t, t] + 2 * QP[:, t])) / (1 + change).square()
        grown = 1 + change[:, None]
        P = (P + change[:, None] * unit[t]) / grown
        QP = (QP + change[:, None] * Q[:, t]) / grown
    return P


def _pairs(classes: int) -> Iterator[tuple[int, int]]:
    return itertools.combinations(range(classes), 2)
