from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.autograd import gradcheck

from onnxvis.errors import DataDependentShapeError, UnsupportedOpError
from onnxvis.ops import pad
from tests.ops.oracle import assert_agrees, computed

Array = npt.NDArray[Any]

RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(2, 3, 5, 4)).astype(np.float32)
MODES = ["constant", "reflect", "edge"]
# Spatial; all axes; cutting off; both; longer than the axis.
PADS = [
    [0, 0, 1, 2, 0, 0, 2, 1],
    [1, 1, 1, 2, 1, 0, 2, 1],
    [0, 0, -1, -2, 0, 0, -2, -1],
    [0, 0, -1, 2, 0, 0, 2, -1],
]
LONG = [0, 0, 6, 5, 0, 0, 7, 3]


def ints(values: list[int]) -> Array:
    return np.array(values, np.int64)


@pytest.mark.parametrize("opset", [11, 13, 18, 19, 26])
@pytest.mark.parametrize("mode", [*MODES, "wrap"])
@pytest.mark.parametrize("pads", PADS)
def test_pad_agrees(pads: list[int], mode: str, opset: int) -> None:
    if mode != "wrap" or opset >= 19:
        assert_agrees("Pad", [IMAGE, ints(pads)], opset, mode=mode)


@pytest.mark.parametrize("mode", ["constant", "edge", "wrap"])
def test_pad_can_be_longer_than_the_axis(mode: str) -> None:
    assert_agrees("Pad", [IMAGE, ints(LONG)], 19, mode=mode)


def test_a_reflection_longer_than_the_axis_is_reflected_again() -> None:
    (found,) = computed("Pad", [IMAGE, ints(LONG)], 19, mode="reflect")
    np.testing.assert_array_equal(found, np.pad(IMAGE, [(0, 0), (0, 0), (6, 7), (5, 3)], mode="reflect"))


@pytest.mark.parametrize("opset", [28])
@pytest.mark.parametrize("mode", [*MODES, "wrap"])
def test_pad_of_the_newest_opset_agrees_with_the_reference(mode: str, opset: int) -> None:
    assert_agrees("Pad", [IMAGE, ints(PADS[0])], opset, mode=mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("opset", [7, 10])
@pytest.mark.parametrize("pads", PADS)
def test_old_pad_takes_attributes(pads: list[int], opset: int, mode: str) -> None:
    assert_agrees("Pad", [IMAGE], opset, pads=pads, mode=mode, value=1.5)


def test_the_first_pad_calls_them_paddings() -> None:
    (found,) = computed("Pad", [IMAGE], 1, paddings=PADS[1], value=1.5)
    (wanted,) = computed("Pad", [IMAGE], 2, pads=PADS[1], value=1.5)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("opset", [11, 18, 26])
@pytest.mark.parametrize("constant", [False, True])
def test_pad_takes_a_constant_value(constant: bool, opset: int) -> None:
    value = np.array(2.5, np.float32)
    if constant:
        assert_agrees("Pad", [IMAGE, ints(PADS[1]), value], opset)
    data = torch.from_numpy(IMAGE)
    by_number = pad.pad(data, tuple(PADS[1]), 2.5)
    by_tensor = pad.pad(data, tuple(PADS[1]), torch.tensor([2.5]))
    torch.testing.assert_close(by_number, by_tensor, rtol=0, atol=0)


@pytest.mark.parametrize("opset", [18, 21, 26, 28])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("axes", [[2, 3], [-1, 1], [0]])
def test_pad_takes_axes(axes: list[int], mode: str, opset: int) -> None:
    pads = ints(list(range(1, len(axes) + 1)) * 2) - (mode == "reflect")
    assert_agrees("Pad", [IMAGE, pads, None, ints(axes)], opset, mode=mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 3, 4), (2, 2, 3, 3, 4)])
def test_pad_takes_any_rank(shape: tuple[int, ...], mode: str) -> None:
    data = RNG.normal(size=shape).astype(np.float32)
    assert_agrees("Pad", [data, ints([1] * len(shape) + [0] * len(shape))], 13, mode=mode)


@pytest.mark.parametrize("mode", [*MODES, "wrap"])
@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.bool_, np.uint8, np.float64])
def test_pad_keeps_the_type(dtype: type, mode: str) -> None:
    assert_agrees("Pad", [(IMAGE * 9).astype(dtype), ints(PADS[0])], 19, mode=mode)


def test_pads_that_depend_on_the_input_are_refused() -> None:
    with pytest.raises(DataDependentShapeError, match="pads depends on the values"):
        computed("Pad", [IMAGE, ints(PADS[0])], 11, constant=False)


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(UnsupportedOpError, match="mode 'symmetric'"):
        computed("Pad", [IMAGE, ints(PADS[0])], 11, mode="symmetric")


@pytest.mark.parametrize("mode", [*MODES, "wrap"])
def test_pad_has_the_gradient_of_finite_differences(mode: str) -> None:
    data = torch.from_numpy(RNG.normal(size=(1, 2, 3, 3))).requires_grad_()
    assert gradcheck(lambda x: pad.pad(x, (0, 1, 2, 1, 0, 0, 1, -1), mode=mode), data)
