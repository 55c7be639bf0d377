from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from onnxvis.errors import DataDependentShapeError
from tests.ops.oracle import assert_agrees, computed

Array = npt.NDArray[Any]


def scene(seed: int) -> list[Array]:
    """Boxes and scores of some images; many of them equal where the seed is even."""
    rng = np.random.default_rng(seed)
    images, classes, count = rng.integers(1, 3), rng.integers(1, 4), rng.integers(1, 30)
    boxes, scores = rng.uniform(size=(images, count, 4)), rng.uniform(size=(images, classes, count))
    if seed % 2 == 0:
        boxes, scores = np.round(4 * boxes) / 4, np.round(5 * scores) / 5
    return [boxes.astype(np.float32), scores.astype(np.float32)]


def limits(most: int, overlap: float, score: float) -> list[Array]:
    return [np.array([most], np.int64), np.array([overlap], np.float32), np.array([score], np.float32)]


@pytest.mark.parametrize("center_point_box", [0, 1])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
@pytest.mark.parametrize("seed", range(20))
def test_non_max_suppression_agrees(seed: int, count: int, center_point_box: int) -> None:
    given = limits(1 + seed % 5, (0.0, 0.25, 0.5, 1.0)[seed % 4], (0.0, 0.4)[seed % 2])[:count]
    for opset in (10, 11):
        assert_agrees("NonMaxSuppression", [*scene(seed), *given], opset, center_point_box=center_point_box)


def test_boxes_that_overlap_by_the_threshold_are_kept() -> None:
    boxes = np.array([[[0, 0, 2, 2], [0, 1, 2, 2]]], np.float32)
    scores = np.array([[[0.9, 0.8]]], np.float32)
    for overlap, kept in ((0.5, 2), (0.49, 1)):
        inputs = [boxes, scores, *limits(2, overlap, 0.0)]
        assert_agrees("NonMaxSuppression", inputs, 11)
        assert len(computed("NonMaxSuppression", inputs, 11)[0]) == kept


def test_boxes_that_depend_on_the_input_are_refused() -> None:
    with pytest.raises(DataDependentShapeError, match="boxes depends on the values"):
        computed("NonMaxSuppression", scene(1), 11, constant=False)
