from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.ops.oracle import assert_agrees
from tests.ops.slopes import assert_gradient_agrees

Array = npt.NDArray[Any]

RNG = np.random.default_rng(0)
CLASSES = 5
REDUCTIONS = ["none", "sum", "mean"]


def draw(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def labels(*shape: int, ignored: int | None, dtype: type = np.int64) -> Array:
    drawn = RNG.integers(0, CLASSES, shape)
    if ignored is not None:
        drawn.flat[0] = ignored
    return drawn.astype(dtype)


@pytest.mark.parametrize("opset", [12, 13, 22])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("ignored", [None, 2, -100, -1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("space", [(), (3,), (2, 3), (2, 2, 3)])
def test_losses_agree(space: tuple[int, ...], weighted: bool, ignored: int | None, reduction: str, opset: int) -> None:
    inputs = [draw(4, CLASSES, *space), labels(4, *space, ignored=ignored)]
    inputs += [np.abs(draw(CLASSES))] if weighted else []
    attributes: dict[str, Any] = {"reduction": reduction} | ({} if ignored is None else {"ignore_index": ignored})
    for outputs in (1, 2):
        assert_agrees("SoftmaxCrossEntropyLoss", inputs, opset, outputs=outputs, **attributes)
    # Losses of both signs nearly cancel in some means.
    assert_agrees("NegativeLogLikelihoodLoss", inputs, opset, tolerance=5e-5, **attributes)


def test_labels_may_be_32_bits_wide_and_the_mean_is_the_default() -> None:
    inputs = [draw(4, CLASSES), labels(4, ignored=None, dtype=np.int32)]
    assert_agrees("NegativeLogLikelihoodLoss", inputs, 13)
    assert_agrees("SoftmaxCrossEntropyLoss", inputs, 13, outputs=2)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("op_type", ["NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"])
def test_losses_have_the_slope_of_onnxruntime(op_type: str, reduction: str) -> None:
    inputs = [draw(3, CLASSES, 2), labels(3, 2, ignored=1), np.abs(draw(CLASSES)) + 0.5]
    attributes: dict[str, Any] = {"reduction": reduction, "ignore_index": 1}
    assert_gradient_agrees(op_type, inputs, 13, [0], step=1e-2, tolerance=5e-3, **attributes)
