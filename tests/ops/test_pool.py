from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.autograd import gradcheck

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops import pool
from tests.ops.oracle import assert_agrees, computed

Array = npt.NDArray[Any]

RNG = np.random.default_rng(0)
SIGNAL = RNG.normal(size=(2, 3, 11)).astype(np.float32)
IMAGE = RNG.normal(size=(2, 3, 9, 8)).astype(np.float32)
VOLUME = RNG.normal(size=(1, 2, 5, 6, 7)).astype(np.float32)
POOLS = ["MaxPool", "AveragePool", "LpPool"]
# (kernel_shape, pads): symmetric, asymmetric, more than half of the kernel.
GEOMETRIES = [
    ((3, 3), (0, 0, 0, 0)),
    ((3, 3), (1, 1, 1, 1)),
    ((3, 4), (0, 1, 2, 0)),
    ((3, 3), (2, 2, 2, 2)),
    ((2, 5), (0, 4, 1, 3)),
]
STRIDES = [(1, 1), (2, 2), (3, 2)]


@pytest.mark.parametrize("opset", [7, 10, 12, 19, 22, 26, 28])
@pytest.mark.parametrize("x", [SIGNAL, IMAGE, VOLUME], ids=["1-D", "2-D", "3-D"])
@pytest.mark.parametrize("op_type", POOLS)
def test_pools_agree_at_all_opsets(op_type: str, x: Array, opset: int) -> None:
    rank = x.ndim - 2
    assert_agrees(op_type, [x], opset, kernel_shape=[3] * rank, strides=[2] * rank, pads=[1] * 2 * rank)


@pytest.mark.parametrize("ceil_mode", [0, 1])
@pytest.mark.parametrize("strides", STRIDES)
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("op_type", POOLS)
def test_pools_agree_with_any_padding(
    op_type: str, geometry: tuple[Any, Any], strides: tuple[int, int], ceil_mode: int
) -> None:
    kernel, pads = geometry
    assert_agrees(op_type, [IMAGE], 22, kernel_shape=kernel, pads=pads, strides=strides, ceil_mode=ceil_mode)


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_dilated_windows_are_padded_to_one_for_each_stride(stride: int, auto_pad: str) -> None:
    # As the specification has it; onnxruntime takes it so only if the pads are written out.
    sizes, spans = IMAGE.shape[2:], (5, 3)
    totals = [(-(-size // stride) - 1) * stride + span - size for size, span in zip(sizes, spans, strict=True)]
    small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
    pads = small + large if auto_pad == "SAME_UPPER" else large + small
    attributes: dict[str, Any] = {"kernel_shape": [3, 2], "strides": [stride] * 2, "dilations": [2, 2]}
    for op_type in ("MaxPool", "AveragePool", "LpPool"):
        assert_agrees(op_type, [IMAGE], 22, pads=pads, **attributes)
        (by_hand,) = computed(op_type, [IMAGE], 22, pads=pads, **attributes)
        (found,) = computed(op_type, [IMAGE], 22, auto_pad=auto_pad, **attributes)
        np.testing.assert_array_equal(found, by_hand)


@pytest.mark.parametrize("ceil_mode", [0, 1])
@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("strides", STRIDES)
@pytest.mark.parametrize("op_type", POOLS)
def test_pools_pad_automatically(op_type: str, auto_pad: str, strides: tuple[int, int], ceil_mode: int) -> None:
    attributes: dict[str, Any] = {"auto_pad": auto_pad, "strides": strides, "ceil_mode": ceil_mode}
    assert_agrees(op_type, [IMAGE], 22, kernel_shape=[3, 2], **attributes)


@pytest.mark.parametrize("ceil_mode", [0, 1])
@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 1, 1, 1), (0, 1, 2, 0)])
@pytest.mark.parametrize("op_type", POOLS)
def test_pools_dilate(op_type: str, pads: tuple[int, ...], ceil_mode: int) -> None:
    attributes: dict[str, Any] = {
        "kernel_shape": (3, 2),
        "dilations": (2, 3),
        "strides": (2, 1),
        "ceil_mode": ceil_mode,
    }
    assert_agrees(op_type, [IMAGE], 22, pads=pads, **attributes)


@pytest.mark.parametrize("opset", [7, 11, 22])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_average_pool_counts_the_padding_if_asked(geometry: tuple[Any, Any], opset: int) -> None:
    kernel, pads = geometry
    assert_agrees("AveragePool", [IMAGE], opset, kernel_shape=kernel, pads=pads, count_include_pad=1)


@pytest.mark.parametrize("strides", STRIDES)
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("dilations", [(1, 1), (2, 1)])
def test_average_pool_does_not_count_what_ceil_mode_adds(
    geometry: tuple[Any, Any], strides: tuple[int, int], dilations: tuple[int, int]
) -> None:
    kernel, pads = geometry
    attributes: dict[str, Any] = {"count_include_pad": 1, "ceil_mode": 1, "dilations": dilations}
    assert_agrees("AveragePool", [IMAGE], 22, kernel_shape=kernel, pads=pads, strides=strides, **attributes)


@pytest.mark.parametrize("storage_order", [0, 1])
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("opset", [8, 12])
def test_max_pool_says_where_the_maxima_are(geometry: tuple[Any, Any], storage_order: int, opset: int) -> None:
    kernel, pads = geometry
    attributes: dict[str, Any] = {"storage_order": storage_order, "strides": (2, 2)}
    assert_agrees("MaxPool", [IMAGE], opset, outputs=2, kernel_shape=kernel, pads=pads, **attributes)


@pytest.mark.parametrize("x", [SIGNAL, VOLUME], ids=["1-D", "3-D"])
@pytest.mark.parametrize("storage_order", [0, 1])
def test_max_pool_says_where_the_maxima_are_in_signals_and_volumes(x: Array, storage_order: int) -> None:
    kernel = [2] * (x.ndim - 2)
    assert_agrees("MaxPool", [x], 12, outputs=2, kernel_shape=kernel, storage_order=storage_order)


def test_max_pool_of_equal_elements_takes_the_first() -> None:
    assert_agrees("MaxPool", [np.ones((1, 1, 4, 4), np.float32)], 12, outputs=2, kernel_shape=[3, 3], pads=[1] * 4)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_max_pool_takes_integers(dtype: type) -> None:
    assert_agrees("MaxPool", [(IMAGE * 40).astype(dtype)], 12, outputs=2, kernel_shape=[3, 3], pads=[1, 1, 1, 1])


@pytest.mark.parametrize("p", [1, 2, 3])
def test_lp_pool_takes_any_norm(p: int) -> None:
    assert_agrees("LpPool", [IMAGE], 11, kernel_shape=[3, 2], p=p)
    assert_agrees("GlobalLpPool", [IMAGE], 11, p=p)


@pytest.mark.parametrize("opset", [7, 22, 26])
@pytest.mark.parametrize("x", [SIGNAL, IMAGE, VOLUME], ids=["1-D", "2-D", "3-D"])
@pytest.mark.parametrize("op_type", ["GlobalAveragePool", "GlobalMaxPool"])
def test_global_pools_agree(op_type: str, x: Array, opset: int) -> None:
    assert_agrees(op_type, [x], opset)


def test_four_spatial_axes_are_refused() -> None:
    with pytest.raises(UnsupportedOpError, match="4 spatial axes"):
        computed("MaxPool", [np.zeros((1, 1, 2, 2, 2, 2), np.float32)], 12, kernel_shape=[1, 1, 1, 1])


def test_pools_have_the_gradient_of_finite_differences() -> None:
    X = torch.from_numpy(RNG.normal(size=(1, 2, 5, 6))).requires_grad_()
    assert gradcheck(lambda x: pool.max_pool(x, kernel_shape=(3, 3), pads=(0, 2, 1, 2)), X)
    assert gradcheck(lambda x: pool.average_pool(x, kernel_shape=(3, 2), auto_pad="SAME_UPPER", strides=(2, 2)), X)
    assert gradcheck(lambda x: pool.average_pool(x, kernel_shape=(2, 2), dilations=(2, 2)), X)
    assert gradcheck(lambda x: pool.lp_pool(x, kernel_shape=(3, 2), p=3), X)


def test_lp_norms_of_zeros_have_a_finite_gradient() -> None:
    X = torch.zeros(1, 1, 4, 4, requires_grad=True)
    norms = pool.lp_pool(X, kernel_shape=(2, 2)).sum() + pool.global_lp_pool(X).sum()
    (slope,) = torch.autograd.grad(norms, X)
    torch.testing.assert_close(slope, torch.zeros_like(X), rtol=0, atol=0)
