"""What the classifiers and regressors of domain ai.onnx.ml make of their scores: labels and `post_transform`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops.table import Ints

DOMAIN = "ai.onnx.ml"

_ERF = 0.147
_TINY = 1e-7


def transformed(scores: Tensor, post_transform: str) -> Tensor:
    """Apply `post_transform` to scores (N, E); onnxruntime leaves a single score (N, 1) alone but for PROBIT.

    Raises:
        UnsupportedOpError: A transform that the specification does not have.
    """
    if post_transform == "NONE" or (scores.shape[1] == 1 and post_transform in {"SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"}):
        return scores
    if post_transform == "SOFTMAX":
        return torch.softmax(scores, 1)
    if post_transform == "LOGISTIC":
        return torch.sigmoid(scores)
    if post_transform == "SOFTMAX_ZERO":
        return _softmax_zero(scores)
    if post_transform == "PROBIT":
        return _probit(scores)
    message = f"post_transform {post_transform!r} is not implemented; NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO, PROBIT are"
    raise UnsupportedOpError(message, post_transform=post_transform)


def of_two(first: Tensor, second: Tensor, post_transform: str) -> Tensor:
    """Return the scores of two classes, (N, 2), where the model gives that of the second alone, (N, 1).

    Of all transforms onnxruntime then knows LOGISTIC alone, of -s and s; with another one the scores stay as they are.

    Args:
        first: What the first class has without a transform.
        second: The score.
        post_transform: The transform.

    Raises:
        UnsupportedOpError: PROBIT, for which onnxruntime returns numbers that are none.
    """
    if post_transform == "PROBIT":
        message = "post_transform PROBIT of one score for two classes is not defined; export the model with another one"
        raise UnsupportedOpError(message, post_transform=post_transform)
    if post_transform == "LOGISTIC":
        return torch.sigmoid(torch.cat([-second, second], 1))
    return torch.cat([first, second], 1)


def labels(places: Tensor, classlabels_ints: Ints | None) -> Tensor:
    """Return the label at each place; the place itself where the labels are strings, which no tensor holds."""
    if not classlabels_ints:
        return places
    return torch.tensor(classlabels_ints, dtype=torch.int64, device=places.device)[places]


def _softmax_zero(scores: Tensor) -> Tensor:
    """Softmax of the scores that are not 0; those stay what they are."""
    largest = scores.amax(1, keepdim=True)
    weights = torch.where(scores.abs() > _TINY, (scores - largest).exp(), scores * (-largest).exp())
    total = weights.sum(1, keepdim=True)
    return torch.where(total == 0, 0.5, weights / torch.where(total == 0, 1.0, total))


def _probit(scores: Tensor) -> Tensor:
    """Inverse of the normal distribution function, in the approximation that onnxruntime and the reference compute.

    Winitzki 2008, "A handy approximation for the error function and its inverse".
    """
    x = 2 * scores - 1
    logarithm = torch.log((1 - x) * (1 + x))
    half = 2 / (math.pi * _ERF) + 0.5 * logarithm
    inverse = torch.sqrt(torch.sqrt(half.square() - logarithm / _ERF) - half)
    return math.sqrt(2) * torch.where(x < 0, -inverse, inverse)
