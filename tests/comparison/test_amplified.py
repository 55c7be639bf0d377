"""A quantized file whose logits are a little off, in front of a softmax that is sharp."""

import numpy as np
import pytest

from onnxvis.diff import diff
from tests.comparison import net

SHARP = """g (float[1, 16] x) => (float[1, 40] y) {
    l = MatMul (x, w)
    y = Softmax <axis = -1> (l)
}"""
QUANTIZED = """g (float[1, 16] x) => (float[1, 40] y) {
    v = DequantizeLinear (q, s, z)
    l = MatMul (x, v)
    y = Softmax <axis = %d> (l)
}"""


def quantized(axis: int) -> tuple[object, object]:
    weight = 60 * np.random.default_rng(0).standard_normal((16, 40)).astype(np.float32)
    scale = np.float32(np.abs(weight).max() / 50)
    integers = np.round(weight / scale).astype(np.int8)
    given = {"q": integers, "s": np.array(scale), "z": np.array(0, np.int8)}
    return net(SHARP, w=weight), net(QUANTIZED % axis, **given)


def test_a_softmax_that_makes_a_small_difference_large_is_none() -> None:
    assert diff(*quantized(-1)).ok


@pytest.mark.parametrize("axis", [0])
def test_a_softmax_along_another_axis_is_found(axis: int) -> None:
    found = diff(*quantized(axis))
    assert not found.ok
    assert found.first_divergence == "y"
