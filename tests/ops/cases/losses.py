"""Losses, which exported networks seldom have."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.ops.compared import compares
from tests.ops.drawn import Draw, chosen, integers, shapes, spread
from tests.ops.one_node import Case

REDUCTIONS = (None, "none", "sum", "mean")


@compares("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss", oldest=12, precision="float32")
def losses(draw: Draw) -> Case:
    """Every reduction, with and without weights and a class that does not count."""
    batch, classes, *rest = (*shapes(draw, 2, 4), *shapes(draw, (0, 2), 3))
    scores = spread(draw, (batch, classes, *rest), -3, -0.1)
    labels = integers(draw, (batch, *rest), 0, classes - 1)
    weights = [spread(draw, (classes,), 0.5, 2)] if draw(st.booleans()) else []
    attributes = chosen(draw, reduction=REDUCTIONS, ignore_index=(None, classes))
    if "ignore_index" in attributes and labels.size > 1:
        labels.flat[0] = classes
    return Case([scores, labels, *weights], attributes)
