from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.autograd import gradcheck

from onnxvis.ops import spatial
from tests.ops.oracle import assert_agrees, computed

Array = npt.NDArray[Any]

RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(2, 3, 6, 5)).astype(np.float32)
VOLUME = RNG.normal(size=(2, 3, 4, 6, 5)).astype(np.float32)
BLOCKS = RNG.normal(size=(2, 12, 3, 4)).astype(np.float32)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


@pytest.mark.parametrize("opset", [7, 11, 13, 26])
@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space_agrees(mode: str, opset: int) -> None:
    attributes: dict[str, Any] = {"mode": mode} if opset >= 11 else {}
    assert_agrees("DepthToSpace", [BLOCKS], opset, blocksize=2, **attributes)


@pytest.mark.parametrize("opset", [7, 13, 26])
def test_space_to_depth_agrees(opset: int) -> None:
    assert_agrees("SpaceToDepth", [RNG.normal(size=(2, 3, 6, 4)).astype(np.float32)], opset, blocksize=2)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_space_to_depth_undoes_depth_to_space(mode: str) -> None:
    (spread,) = computed("DepthToSpace", [BLOCKS], 28, blocksize=2, mode=mode)
    (back,) = computed("SpaceToDepth", [spread], 28, blocksize=2, mode=mode)
    np.testing.assert_array_equal(back, BLOCKS)


@pytest.mark.parametrize("align_corners", [0, 1])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
@pytest.mark.parametrize("opset", [16, 20, 26])
def test_grid_sample_agrees(opset: int, mode: str, padding_mode: str, align_corners: int) -> None:
    grid = RNG.uniform(-1.4, 1.4, size=(2, 4, 7, 2)).astype(np.float32)
    name = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode) if opset < 20 else mode
    attributes: dict[str, Any] = {"mode": name, "padding_mode": padding_mode, "align_corners": align_corners}
    assert_agrees("GridSample", [IMAGE, grid], opset, **attributes)


@pytest.mark.parametrize("align_corners", [0, 1])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_grid_sample_of_volumes_agrees(mode: str, padding_mode: str, align_corners: int) -> None:
    grid = RNG.uniform(-1.4, 1.4, size=(2, 4, 3, 2, 3)).astype(np.float32)
    attributes: dict[str, Any] = {"mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}
    assert_agrees("GridSample", [VOLUME, grid], 20, **attributes)


@pytest.mark.parametrize("align_corners", [0, 1])
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (2, 3, 4, 5, 6)])
def test_affine_grid_agrees(size: tuple[int, ...], align_corners: int) -> None:
    rank = len(size) - 2
    theta = RNG.normal(size=(2, rank, rank + 1)).astype(np.float32)
    assert_agrees("AffineGrid", [theta, ints(*size)], 20, align_corners=align_corners)


@pytest.mark.parametrize(
    ("image", "block", "attributes"),
    [
        ((5, 5), (1, 5), {}),
        ((6, 7), (2, 3), {"strides": [2, 2]}),
        ((6, 7), (2, 2), {"dilations": [2, 3]}),
        ((5, 4), (2, 3), {"pads": [1, 0, 2, 1]}),
        ((4, 5, 3), (2, 1, 2), {"pads": [0, 1, 0, 1, 0, 1]}),
        ((9,), (3,), {"strides": [2]}),
    ],
)
def test_col2im_agrees(image: tuple[int, ...], block: tuple[int, ...], attributes: dict[str, Any]) -> None:
    rank = len(image)
    strides, dilations = attributes.get("strides", [1] * rank), attributes.get("dilations", [1] * rank)
    pads = attributes.get("pads", [0] * 2 * rank)
    count = 1
    for axis in range(rank):
        room = image[axis] + pads[axis] + pads[rank + axis] - (block[axis] - 1) * dilations[axis] - 1
        count *= room // strides[axis] + 1
    columns = RNG.normal(size=(2, 3 * int(np.prod(block)), count)).astype(np.float32)
    assert_agrees("Col2Im", [columns, ints(*image), ints(*block)], 18, **attributes)


@pytest.mark.parametrize("opset", [18, 28])
@pytest.mark.parametrize("shape", [(4, 4), (7, 8), (3, 8), (6, 5), (9, 2)])
@pytest.mark.parametrize("axes", [[2, 3], [-1, -2]])
def test_center_crop_pad_agrees(axes: list[int], shape: tuple[int, int], opset: int) -> None:
    assert_agrees("CenterCropPad", [IMAGE, ints(*shape)], opset, axes=axes)


def test_center_crop_pad_takes_all_axes() -> None:
    assert_agrees("CenterCropPad", [IMAGE, ints(3, 2, 9, 4)], 18)


@pytest.mark.parametrize("attributes", [{"border": [1, 2, 3, 1]}, {"border": [1, 2, 0, 0], "scale": [3, 2]}])
def test_crop_of_old_files_agrees(attributes: dict[str, Any]) -> None:
    assert_agrees("Crop", [RNG.normal(size=(2, 3, 7, 8)).astype(np.float32)], 7, **attributes)


@pytest.mark.parametrize("opset", [9, 11, 22])
@pytest.mark.parametrize("kernel", [(2, 1), (3, 5), (2, 2)])
def test_max_unpool_puts_the_maxima_back(kernel: tuple[int, int], opset: int) -> None:
    pooled, indices = computed("MaxPool", [IMAGE], 11, outputs=2, kernel_shape=kernel, strides=kernel)
    inputs = [pooled, indices, ints(*IMAGE.shape)]
    assert_agrees("MaxUnpool", inputs, opset, kernel_shape=kernel, strides=kernel)
    if kernel != (2, 2):  # which leaves a column out
        assert_agrees("MaxUnpool", inputs[:2], opset, kernel_shape=kernel, strides=kernel)


def test_spatial_operators_have_the_gradient_of_finite_differences() -> None:
    X = torch.from_numpy(RNG.normal(size=(1, 4, 4, 2))).requires_grad_()
    assert gradcheck(lambda x: spatial.depth_to_space(x, blocksize=2), X)
    assert gradcheck(lambda x: spatial.space_to_depth(x, blocksize=2), X)
    assert gradcheck(lambda x: spatial.center_crop_pad(x, (3, 5), axes=(2, 3)), X)
    assert gradcheck(lambda x: spatial.col2im(x.reshape(1, 4, 8), (5, 3), (2, 2)), X)
