from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.ops import oracle, slopes
from tests.ops.oracle import computed

Array = npt.NDArray[Any]

RNG = np.random.default_rng(0)
DOMAIN = "com.microsoft"
assert_agrees = functools.partial(oracle.assert_agrees, domain=DOMAIN)
assert_gradient_agrees = functools.partial(slopes.assert_gradient_agrees, domain=DOMAIN)


def draw(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [None, 1, -1])
def test_triangles_agree(k: int | None, upper: int) -> None:
    inputs = [draw(2, 3, 4)] if k is None else [draw(2, 3, 4), np.array(k)]
    assert_agrees("Trilu", inputs, 17, upper=upper)


def test_gathered_slices_agree() -> None:
    assert_agrees("GatherND", [draw(2, 3, 4), np.array([[0, 1], [1, 2]])], 17)


@pytest.mark.parametrize("pads", [[0, 1, 0, 2], [[1, 1, 0, 2]]])
@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_pads_agree(mode: str, pads: list[Any]) -> None:
    assert_agrees("Pad", [draw(3, 4), np.array(pads)], 17, mode=mode)


def test_pads_may_have_a_value() -> None:
    assert_agrees("Pad", [draw(3, 4), np.array([0, 1, 0, 2]), np.array([2.5], np.float32)], 17)


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align_corners", [0, 1])
def test_samples_agree(mode: str, padding_mode: str, align_corners: int) -> None:
    settings: dict[str, Any] = {"mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}
    assert_agrees("GridSample", [draw(1, 2, 4, 4), draw(1, 3, 3, 2)], 17, **settings)


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int64])
def test_ranges_agree(dtype: Any, shape: tuple[int, ...]) -> None:
    start, limit, delta = (np.full(shape, value, dtype) for value in (1, 9, 3))
    assert_agrees("Range", [start, limit], 17)
    assert_agrees("Range", [start, limit, delta], 17)


def test_unique_elements_come_in_the_order_of_their_first() -> None:
    assert_agrees("Unique", [np.array([3, 1, 1, 2, 3], np.float32)], 17, outputs=3)


@pytest.mark.parametrize("axis", [0, 1, -1, -2])
def test_an_axis_is_inserted(axis: int) -> None:
    assert_agrees("ExpandDims", [draw(3, 4), np.array(axis, np.int32)], 17)


@pytest.mark.parametrize("settings", [{"size": 2}, {"size": 3, "step": 2}, {"size": 2, "dim": 0}], ids=str)
def test_slices_are_unfolded(settings: dict[str, Any]) -> None:
    assert_agrees("UnfoldTensor", [draw(3, 7)], 17, **settings)


def test_an_embedding_looks_up_rows() -> None:
    # onnxruntime has it for training alone.
    weights, places = draw(5, 3), np.array([[0, 4], [2, 2]])
    (found,) = computed("TorchEmbedding", [weights, places, np.array(2)], 17, domain=DOMAIN)
    np.testing.assert_array_equal(found, weights[places])


ROIS = np.array([[0, 0, 1, 1], [0.1, 0.2, 0.7, 1.2], [0.9, 0.8, 0.1, 0.2], [-0.1, 0.3, 0.6, 0.5]], np.float32)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("size", [[3, 4], [1, 1], [7, 1], [9, 11]])
def test_crops_agree(size: list[int], mode: str) -> None:
    inputs = [draw(2, 2, 5, 6), ROIS, np.array([0, 1, 1, 0], np.int32), np.array(size, np.int32)]
    assert_agrees("CropAndResize", inputs, 17, mode=mode, extrapolation_value=5.0)


def test_crops_have_the_slopes_of_onnxruntime() -> None:
    inputs = [draw(1, 1, 4, 4), ROIS[1:3], np.array([0, 0], np.int32), np.array([3, 3], np.int32)]
    assert_gradient_agrees("CropAndResize", inputs, 17, [0], step=1e-2)


def test_crops_have_the_slopes_of_onnxruntime_for_their_corners() -> None:
    regions = np.array([[0.12, 0.17, 0.71, 0.83]], np.float32)
    inputs = [draw(1, 1, 4, 4), regions, np.array([0], np.int32), np.array([3, 3], np.int32)]
    assert_gradient_agrees("CropAndResize", inputs, 17, [1], step=2e-3, tolerance=5e-3)
