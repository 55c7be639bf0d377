from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.autograd import gradcheck

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops import conv
from tests.ops.oracle import assert_agrees, computed

Array = npt.NDArray[Any]

RNG = np.random.default_rng(0)


def draw(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


SIZES = {1: (9,), 2: (9, 8), 3: (5, 6, 7)}
KERNELS = {1: (3,), 2: (3, 2), 3: (3, 2, 1)}
IMAGE, FILTERS, BIAS = draw(2, 4, *SIZES[2]), draw(6, 4, *KERNELS[2]), draw(6)
AUTO_PADS = ["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"]
ASYMMETRIC_PADS = [(0, 1, 2, 0), (1, 1, 1, 1), (0, 0, 0, 1), (3, 2, 1, 4)]


@pytest.mark.parametrize("opset", [7, 11, 22, 26, 28])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_conv_agrees_in_one_to_three_dimensions(rank: int, opset: int) -> None:
    inputs = [draw(2, 4, *SIZES[rank]), draw(6, 4, *KERNELS[rank]), BIAS]
    assert_agrees("Conv", inputs, opset, pads=[1] * 2 * rank, strides=[2] * rank)


@pytest.mark.parametrize("auto_pad", AUTO_PADS)
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (2, 3)])
def test_conv_pads_automatically(auto_pad: str, strides: tuple[int, int]) -> None:
    assert_agrees("Conv", [IMAGE, FILTERS, BIAS], 11, auto_pad=auto_pad, strides=strides, kernel_shape=[3, 2])


@pytest.mark.parametrize("auto_pad", AUTO_PADS)
def test_conv_pads_automatically_with_dilation(auto_pad: str) -> None:
    assert_agrees("Conv", [IMAGE, FILTERS], 11, auto_pad=auto_pad, dilations=[2, 3], reference=True)


@pytest.mark.parametrize("pads", ASYMMETRIC_PADS)
@pytest.mark.parametrize("dilations", [(1, 1), (2, 1)])
def test_conv_pads_each_side_on_its_own(pads: tuple[int, ...], dilations: tuple[int, int]) -> None:
    assert_agrees("Conv", [IMAGE, FILTERS], 11, pads=pads, dilations=dilations, strides=[1, 2])


@pytest.mark.parametrize("group", [1, 2, 4])
def test_conv_of_groups_agrees(group: int) -> None:
    assert_agrees("Conv", [IMAGE, draw(8, 4 // group, 3, 3), draw(8)], 11, group=group)


@pytest.mark.parametrize("op_type", ["Conv", "ConvTranspose"])
def test_four_spatial_axes_are_refused(op_type: str) -> None:
    with pytest.raises(UnsupportedOpError, match=f"{op_type}: 4 spatial axes"):
        computed(op_type, [draw(1, 1, 2, 2, 2, 2), draw(1, 1, 1, 1, 1, 1)], 11)


@pytest.mark.parametrize("opset", [7, 11, 22, 26, 28])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_conv_transpose_agrees_in_one_to_three_dimensions(rank: int, opset: int) -> None:
    inputs = [draw(2, 4, *SIZES[rank]), draw(4, 6, *KERNELS[rank]), BIAS]
    assert_agrees("ConvTranspose", inputs, opset, strides=[2] * rank)


@pytest.mark.parametrize("auto_pad", AUTO_PADS)
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (3, 2), (4, 4)])
@pytest.mark.parametrize("output_padding", [(0, 0), (1, 0)])
def test_conv_transpose_pads_automatically(
    auto_pad: str, strides: tuple[int, int], output_padding: tuple[int, int]
) -> None:
    inputs = [IMAGE, draw(4, 3, 3, 4), draw(3)]
    attributes: dict[str, Any] = {"auto_pad": auto_pad, "strides": strides, "output_padding": output_padding}
    if strides == (1, 1):
        attributes["output_padding"] = (0, 0)
    assert_agrees("ConvTranspose", inputs, 11, **attributes)


@pytest.mark.parametrize("auto_pad", ["NOTSET", "SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("output_shape", [(18, 16), (17, 15), (19, 17), (16, 14)])
def test_conv_transpose_reaches_its_output_shape(auto_pad: str, output_shape: tuple[int, int]) -> None:
    inputs = [IMAGE, draw(4, 3, 3, 3), draw(3)]
    assert_agrees("ConvTranspose", inputs, 11, auto_pad=auto_pad, output_shape=output_shape, strides=[2, 2])


@pytest.mark.parametrize("auto_pad", ["NOTSET", "SAME_UPPER"])
def test_conv_transpose_fills_a_larger_output_shape_with_the_bias(auto_pad: str) -> None:
    # Against the definition: onnxruntime refuses it.
    filters = draw(4, 3, 3, 3)
    (whole,) = computed("ConvTranspose", [IMAGE, filters, BIAS[:3]], 11, strides=[2, 2])
    attributes: dict[str, Any] = {"auto_pad": auto_pad, "output_shape": [22, 20], "strides": [2, 2]}
    (found,) = computed("ConvTranspose", [IMAGE, filters, BIAS[:3]], 11, **attributes)
    wanted = np.broadcast_to(BIAS[:3, None, None], (2, 3, 22, 20)).copy()
    wanted[:, :, :19, :17] = whole
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("pads", [(1, 1, 1, 1), (0, 1, 2, 0), (2, 0, 0, 1), (0, 0, 2, 2)])
@pytest.mark.parametrize("output_padding", [(0, 0), (1, 1)])
@pytest.mark.parametrize("dilations", [(1, 1), (2, 1)])
def test_conv_transpose_crops_each_side_on_its_own(
    pads: tuple[int, ...], output_padding: tuple[int, int], dilations: tuple[int, int]
) -> None:
    assert_agrees(
        "ConvTranspose",
        [IMAGE, draw(4, 3, 3, 3), draw(3)],
        22,
        pads=pads,
        output_padding=output_padding,
        strides=[2, 3],
        dilations=dilations,
    )


@pytest.mark.parametrize("group", [1, 2, 4])
def test_conv_transpose_of_groups_agrees(group: int) -> None:
    assert_agrees("ConvTranspose", [IMAGE, draw(4, 2, 3, 3), draw(2 * group)], 11, group=group, strides=[2, 1])


def test_conv_with_asymmetric_pads_has_the_gradient_of_finite_differences() -> None:
    X = torch.from_numpy(RNG.normal(size=(1, 2, 5, 4))).requires_grad_()
    W = torch.from_numpy(RNG.normal(size=(3, 2, 3, 3)))
    assert gradcheck(lambda x: conv.conv(x, W, auto_pad="SAME_UPPER", strides=(2, 2)), X)
    assert gradcheck(lambda x: conv.conv(x, W, pads=(0, 1, 2, 1)), X)


def test_conv_transpose_with_output_shape_has_the_gradient_of_finite_differences() -> None:
    X = torch.from_numpy(RNG.normal(size=(1, 3, 3, 4))).requires_grad_()
    W = torch.from_numpy(RNG.normal(size=(3, 2, 3, 3)))
    assert gradcheck(lambda x: conv.conv_transpose(x, W, strides=(2, 2), output_shape=(8, 7)), X)
    assert gradcheck(lambda x: conv.conv_transpose(x, W, strides=(2, 2), pads=(2, 0, 0, 1)), X)
