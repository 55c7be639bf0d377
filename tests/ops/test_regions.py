from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.autograd import gradcheck

from onnxvis.ops import regions
from tests.ops.oracle import assert_agrees

Array = npt.NDArray[Any]

RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(2, 3, 6, 5)).astype(np.float32)
# Boxes inside the image, smaller than a pixel, across the borders, far outside, and on pixels.
ROIS = np.array(
    [[0, 0, 8, 9], [1.2, 1.5, 1.6, 1.7], [-3, -2, 4, 5], [4, 3, 40, 50], [60, 60, 70, 70], [1, 1, 5, 4]], np.float32
)
IMAGES = np.array([0, 1, 1, 0, 1, 0], np.int64)


def boxes(seed: int) -> Array:
    """Any boxes, also of no size, and much larger than an image."""
    rng = np.random.default_rng(seed)
    first = rng.uniform(-6, 12, (5, 2))
    sizes = rng.uniform(0, (4, 25)[seed % 2], (5, 2))
    sizes[0] = 0
    drawn = np.concatenate([first, first + sizes], 1).astype(np.float32)
    return np.round(drawn) if seed % 3 == 0 else drawn


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("sampling_ratio", [0, 1, 2, 3])
@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("coordinates", ["half_pixel", "output_half_pixel"])
def test_roi_align_agrees(coordinates: str, scale: float, sampling_ratio: int, mode: str) -> None:
    attributes: dict[str, Any] = {
        "mode": mode,
        "sampling_ratio": sampling_ratio,
        "spatial_scale": scale,
        "output_height": 3,
        "output_width": 2,
    }
    inputs: list[Array | None] = [IMAGE, ROIS, IMAGES]
    assert_agrees("RoiAlign", inputs, 16, coordinate_transformation_mode=coordinates, **attributes)
    if coordinates == "output_half_pixel":
        assert_agrees("RoiAlign", inputs, 10, **attributes)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("seed", range(24))
def test_roi_align_of_any_box_takes_the_samples_of_onnxruntime(seed: int, mode: str) -> None:
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(2, 2, *rng.integers(1, 11, 2))).astype(np.float32)
    image = -np.abs(image) if seed % 4 == 0 else image
    attributes: dict[str, Any] = {"output_height": 1 + seed % 4, "output_width": 1 + seed % 3, "mode": mode}
    attributes["coordinate_transformation_mode"] = ("half_pixel", "output_half_pixel")[seed // 2 % 2]
    assert_agrees("RoiAlign", [image, boxes(seed), rng.integers(0, 2, 5)], 16, **attributes)


@pytest.mark.parametrize("place", np.linspace(0, 1, 9))
def test_samples_half_a_pixel_apart_are_all_taken(place: float) -> None:
    # Bins a little larger than a pixel, with two samples each.
    image = RNG.normal(size=(1, 1, 12, 12)).astype(np.float32)
    rois = np.array([[place, place, place + 8.008, place + 8.008]], np.float32)
    for bins in (8, 4, 2):
        attributes: dict[str, Any] = {"output_height": bins, "output_width": bins}
        assert_agrees("RoiAlign", [image, rois, IMAGES[:1]], 16, **attributes)


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.25])
@pytest.mark.parametrize("seed", range(12))
def test_max_roi_pool_agrees(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    places = np.round(2 * boxes(seed)) / 2
    rois = np.concatenate([rng.integers(0, 2, (5, 1)), places], 1).astype(np.float32)
    assert_agrees("MaxRoiPool", [IMAGE, rois], 7, pooled_shape=[1 + seed % 4, 1 + seed % 3], spatial_scale=scale)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_roi_align_has_the_gradient_of_finite_differences(sampling_ratio: int, mode: str) -> None:
    X = torch.from_numpy(RNG.normal(size=(1, 2, 4, 5))).requires_grad_()
    rois, batch = torch.from_numpy(ROIS[:4].astype(np.float64)), torch.zeros(4, dtype=torch.int64)
    settings: dict[str, Any] = {"output_height": 2, "output_width": 2, "mode": mode, "sampling_ratio": sampling_ratio}
    assert gradcheck(lambda x: regions.roi_align(x, rois, batch, **settings), X)


def test_the_boxes_of_adaptive_roi_align_have_the_gradient_of_finite_differences() -> None:
    X = torch.from_numpy(RNG.normal(size=(1, 2, 6, 7)))
    rois = torch.tensor([[0.3, 0.4, 4.1, 3.3], [1.2, 1.5, 1.7, 1.75]], dtype=torch.float64, requires_grad=True)
    batch = torch.zeros(2, dtype=torch.int64)
    assert gradcheck(lambda r: regions.roi_align(X, r, batch, output_height=2, output_width=2), rois)


def test_max_roi_pool_has_the_gradient_of_finite_differences() -> None:
    X = torch.from_numpy(RNG.normal(size=(1, 2, 4, 5))).requires_grad_()
    rois = torch.tensor([[0, 0, 0, 3, 3], [0, 2, 1, 9, 9]], dtype=torch.float64)
    assert gradcheck(lambda x: regions.max_roi_pool(x, rois, pooled_shape=(2, 2)), X)


def test_adaptive_samples_can_be_mapped_over_boxes_of_each_image() -> None:
    X, rois = torch.from_numpy(IMAGE), torch.from_numpy(ROIS[:4]).reshape(2, 2, 4)
    batch = torch.zeros(2, dtype=torch.int64)

    def align(image: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        return regions.roi_align(image[None], boxes, batch, output_height=2, output_width=3)

    alone = torch.stack([align(*pair) for pair in zip(X, rois, strict=True)])
    torch.testing.assert_close(torch.func.vmap(align)(X, rois), alone)
