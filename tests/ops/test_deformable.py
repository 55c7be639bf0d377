from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from onnxvis.ops.conv import conv
from onnxvis.ops.deformable import deform_conv
from tests.ops.oracle import assert_agrees
from tests.ops.slopes import assert_gradient_agrees

Array = npt.NDArray[Any]

KERNEL = (3, 2)
GEOMETRIES: list[dict[str, list[int]]] = [
    {"dilations": [1, 1], "pads": [0, 0, 0, 0], "strides": [1, 1]},
    {"dilations": [2, 1], "pads": [1, 2, 0, 1], "strides": [2, 1]},
]


def inputs(
    geometry: dict[str, list[int]],
    size: tuple[int, int] = (7, 6),
    *,
    group: int = 1,
    offset_group: int = 1,
    is_masked: bool = True,
) -> list[Array | None]:
    """X, W, offset, B and mask."""
    rng = np.random.default_rng(0)
    axes = zip(size, KERNEL, geometry["dilations"], geometry["strides"], itertools.count(), strict=False)
    pads = geometry["pads"]
    out = [(n + pads[i] + pads[i + 2] - (k - 1) * d - 1) // s + 1 for n, k, d, s, i in axes]
    taps = offset_group * KERNEL[0] * KERNEL[1]
    return [
        rng.normal(size=(2, 4, *size)).astype(np.float32),
        rng.normal(size=(8, 4 // group, *KERNEL)).astype(np.float32),
        2 * rng.normal(size=(2, taps * 2, *out)).astype(np.float32),
        rng.normal(size=8).astype(np.float32),
        rng.uniform(size=(2, taps, *out)).astype(np.float32) if is_masked else None,
    ]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("is_masked", [False, True])
@pytest.mark.parametrize("offset_group", [1, 2, 4])
@pytest.mark.parametrize("group", [1, 2, 4])
@pytest.mark.parametrize("opset", [19, 22])
def test_deform_conv_agrees(
    opset: int, group: int, offset_group: int, is_masked: bool, geometry: dict[str, list[int]]
) -> None:
    arrays = inputs(geometry, group=group, offset_group=offset_group, is_masked=is_masked)
    attributes: dict[str, Any] = {"group": group, "offset_group": offset_group, **geometry}
    assert_agrees("DeformConv", arrays, opset, **attributes)


def test_bias_and_mask_can_be_left_out() -> None:
    assert_agrees("DeformConv", inputs(GEOMETRIES[0])[:3], 19, kernel_shape=list(KERNEL))


def test_without_offsets_it_is_a_convolution_in_three_dimensions_too() -> None:
    X, W = torch.randn(2, 4, 6, 5, 7), torch.randn(6, 2, 3, 2, 3)
    pads, strides, dilations = (1, 0, 2, 0, 1, 2), (2, 1, 1), (1, 2, 2)
    wanted = conv(X, W, None, group=2, pads=pads, strides=strides, dilations=dilations)
    offset = torch.zeros(2, 18 * 3, *wanted.shape[2:])
    found = deform_conv(X, W, offset, group=2, pads=pads, strides=strides, dilations=dilations)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_whole_offsets_move_a_volume() -> None:
    X, W = torch.randn(1, 1, 4, 4, 4), torch.ones(1, 1, 1, 1, 1)
    offset = torch.tensor([1.0, 0.0, -1.0]).reshape(1, 3, 1, 1, 1).expand(1, 3, 4, 4, 4)
    found = deform_conv(X, W, offset)
    torch.testing.assert_close(found[..., :3, :, 1:], X[..., 1:, :, :3])
    assert not found[..., 3, :, :].any()
    assert not found[..., 0].any()


def test_the_slopes_of_all_inputs_are_those_of_onnxruntime() -> None:
    geometry = {"dilations": [1, 2], "pads": [1, 0, 0, 1], "strides": [2, 1]}
    arrays = [None if x is None else x.astype(np.float64) for x in inputs(geometry, (4, 4), group=2, offset_group=2)]
    attributes: dict[str, Any] = {"group": 2, "offset_group": 2, **geometry}
    assert_gradient_agrees("DeformConv", arrays, 19, [0, 1, 2, 3, 4], step=1e-5, **attributes)
