"""Sums, norms, extremes and softmaxes along axes."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.ops.compared import compares
from tests.ops.drawn import Draw, axes_of, axis_of, chosen, shapes, spread, whole
from tests.ops.one_node import Case

FIRST_WITH_NEGATIVES = 11
FIRST_OF_ONE_AXIS = 13
FIRST_WITH_AXES_INPUT = 18
FIRST_SUM_WITH_AXES_INPUT = 13
SECOND = frozenset({1})


@compares("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceProd", precision="float32")
@compares("ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSumSquare")
def reductions(draw: Draw, version: int) -> Case:
    """Of positive numbers; the axes are an input from opset 18 on."""
    return _reduced(draw, version, FIRST_WITH_AXES_INPUT)


@compares("ReduceSum")
def sums(draw: Draw, version: int) -> Case:
    """The axes are an input from opset 13 on."""
    return _reduced(draw, version, FIRST_SUM_WITH_AXES_INPUT)


def _reduced(draw: Draw, version: int, first_with_input: int) -> Case:
    shape = shapes(draw, (1, 4), 3)
    x = spread(draw, shape, 0.3, 2)
    axes = axes_of(draw, len(shape), smallest=0, negative=version >= FIRST_WITH_NEGATIVES)
    attributes = chosen(draw, keepdims=(None, 0, 1))
    if version < first_with_input:
        return Case([x], {**attributes, **({"axes": sorted(axes)} if axes else {})})
    attributes |= chosen(draw, noop_with_empty_axes=(None, 0, 1))
    return Case([x, whole(*axes)] if axes or draw(st.booleans()) else [x], attributes, constants=SECOND)


@compares("CumSum", oldest=11)
@compares("CumProd", oldest=26, oracle="onnx.reference")
def running_totals(draw: Draw) -> Case:
    """Along any axis, forward and backward, with and without the element itself."""
    shape = shapes(draw)
    attributes = chosen(draw, exclusive=(None, 0, 1), reverse=(None, 0, 1))
    axis = np.array(axis_of(draw, len(shape)), draw(st.sampled_from([np.int32, np.int64])))
    return Case([spread(draw, shape, 0.3, 2), axis], attributes, constants=SECOND)


@compares("LogSoftmax", "Softmax")
def softmax(draw: Draw, version: int) -> Case:
    """Over one axis from opset 13 on, over all from an axis on before."""
    return _along(draw, version)


@compares("Hardmax", gradient="cut", exact=True)
def hardmax(draw: Draw, version: int) -> Case:
    """As softmax; the first of equal elements wins."""
    return _along(draw, version)


def _along(draw: Draw, version: int) -> Case:
    shape = shapes(draw, (2, 4))
    axis = axis_of(draw, len(shape), None if version >= FIRST_WITH_NEGATIVES else 0)
    return Case([spread(draw, shape)], chosen(draw, axis=(None, axis)))


@compares("LpNormalization")
def lp_normalization(draw: Draw) -> Case:
    """By the sum of magnitudes and by the Euclidean norm."""
    shape = shapes(draw)
    return Case([spread(draw, shape)], chosen(draw, axis=(None, axis_of(draw, len(shape))), p=(None, 1, 2)))


@compares("GlobalAveragePool", "GlobalMaxPool", precision="float32")
def global_pools(draw: Draw) -> Case:
    """One to three spatial axes."""
    return Case([spread(draw, shapes(draw, (3, 5), 3))])


@compares("GlobalLpPool", newest=21, precision="float32")
def global_lp_pool(draw: Draw) -> Case:
    """Any norm."""
    attributes: dict[str, Any] = chosen(draw, p=(None, 1, 2, 3))
    return Case([spread(draw, shapes(draw, (3, 5), 3), 0.3, 2)], attributes)
