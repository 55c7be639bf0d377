"""Losses of classes, which models that were exported together with their training hold.

The scores of the classes are (N, C, d1, ..., dk), the labels (N, d1, ..., dk). A label that equals `ignore_index` has
no loss and no weight. "mean" divides by the sum of the weights, which is the number of labels where there are none.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from onnxvis.ops.table import operator

_NO_LABEL = -(2**62)


@operator("NegativeLogLikelihoodLoss")
def negative_log_likelihood_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Return -input at the target class, times the weight of that class.

    Args:
        input: Logarithms of probabilities, (N, C, d1, ..., dk).
        target: The class of each element, (N, d1, ..., dk).
        weight: A weight for each class, (C,).
        ignore_index: The target that does not count.
        reduction: "none", "sum" or "mean".
    """
    ignored = _NO_LABEL if ignore_index is None else ignore_index
    labels = target.long()
    counts = labels != ignored
    # Not torch's own weights: they have no gradient.
    weights = counts.to(input.dtype) if weight is None else weight[labels.where(counts, 0)] * counts
    losses = functional.nll_loss(input, labels, ignore_index=ignored, reduction="none") * weights
    if reduction == "none":
        return losses
    return losses.sum() if reduction == "sum" else losses.sum() / weights.sum()


@operator("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy_loss(
    scores: Tensor,
    labels: Tensor,
    weights: Tensor | None = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
    outputs: int = 1,
) -> Tensor | tuple[Tensor, Tensor]:
    """Return the negative log likelihood of the softmax over the classes, and its logarithm.

    Args:
        scores: Not normalized, (N, C, d1, ..., dk).
        labels: The class of each element, (N, d1, ..., dk).
        weights: A weight for each class, (C,).
        ignore_index: The label that does not count.
        reduction: "none", "sum" or "mean".
        outputs: Whether the logarithm is returned as well.
    """
    log_prob = torch.log_softmax(scores, 1)
    loss = negative_log_likelihood_loss(log_prob, labels, weights, ignore_index=ignore_index, reduction=reduction)
    return loss if outputs == 1 else (loss, log_prob)
