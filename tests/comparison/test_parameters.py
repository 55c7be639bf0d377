"""What nodes are told is compared by its meaning: how it is written does not matter, and what matters is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from onnxvis.comparison.parameters import Setting, differing
from onnxvis.comparison.sides import Side
from onnxvis.model import load
from tests.comparison import drawn, floats, ints, net


def told(
    first: onnx.ModelProto, second: onnx.ModelProto, tensor: str = "y", *, same_axes: bool = True
) -> list[Setting]:
    """Compare the nodes that compute a tensor, after the models have run once."""
    sides = Side.of(load(first)), Side.of(load(second))
    for side in sides:
        spec = side.model.inputs[0]
        shape = [dim if isinstance(dim, int) else 6 for dim in spec.shape or ()]
        side.run([{spec.name: np.random.default_rng(0).random(shape, np.float32)}])
    nodes = [side.producer(tensor) for side in sides]
    assert nodes[0] is not None
    assert nodes[1] is not None
    return differing(sides, (nodes[0], nodes[1]), same_axes=same_axes)


def names(found: list[Setting]) -> list[str]:
    return sorted(setting.name for setting in found)


IMAGE = "g (float[1, 4, 8, 9] x) => (float[a, b, c, d] y) { r = Relu (x)\n y = %s }"
POOLED = "g (float[1, 4, 8, 9] x) => (float[a, b] y) { r = Relu (x)\n y = %s }"


def image(call: str, opset: Any = 17, **weights: Any) -> onnx.ModelProto:
    return net(IMAGE % call, opset, **weights)


def pooled(call: str, opset: Any = 17, **weights: Any) -> onnx.ModelProto:
    return net(POOLED % call, opset, **weights)


KERNEL = {"w": drawn(5, 4, 3, 3)}
EQUAL: dict[str, tuple[onnx.ModelProto, onnx.ModelProto]] = {
    "auto_pad of a convolution": (
        image('Conv <auto_pad = "SAME_UPPER", strides = [2, 2]> (r, w)', **KERNEL),
        image("Conv <pads = [0, 1, 1, 1], strides = [2, 2]> (r, w)", **KERNEL),
    ),
    "auto_pad to the lower end": (
        image('Conv <auto_pad = "SAME_LOWER", strides = [2, 2]> (r, w)', **KERNEL),
        image("Conv <pads = [1, 1, 0, 1], strides = [2, 2]> (r, w)", **KERNEL),
    ),
    "auto_pad of a pooling": (
        image('AveragePool <auto_pad = "SAME_UPPER", kernel_shape = [3, 3]> (r)'),
        image("AveragePool <pads = [1, 1, 1, 1], kernel_shape = [3, 3], strides = [1, 1]> (r)"),
    ),
    "VALID": (
        image('MaxPool <auto_pad = "VALID", kernel_shape = [3, 3]> (r)'),
        image("MaxPool <kernel_shape = [3, 3], dilations = [1, 1]> (r)"),
    ),
    "auto_pad of a transposed convolution": (
        image('ConvTranspose <auto_pad = "SAME_UPPER", strides = [2, 2]> (r, w)', w=drawn(4, 2, 4, 4)),
        image("ConvTranspose <pads = [1, 1, 1, 1], strides = [2, 2]> (r, w)", w=drawn(4, 2, 4, 4)),
    ),
    "pads that do not count because there are none": (
        image("AveragePool <kernel_shape = [2, 2]> (r)"),
        image("AveragePool <kernel_shape = [2, 2], count_include_pad = 1> (r)"),
    ),
    "kernel_shape of a convolution": (
        image("Conv (r, w)", **KERNEL),
        image("Conv <kernel_shape = [3, 3], group = 1> (r, w)", **KERNEL),
    ),
    "bounds of Clip": (image("Clip <min = 0.0, max = 6.0> (r)", 6), image("Clip (r, lo, hi)", lo=0.0, hi=6.0)),
    "one bound of Clip": (image("Clip <min = 0.0> (r)", 6), image("Clip (r, lo)", lo=0.0)),
    "Pad": (
        image("Pad <pads = [0, 0, 1, 1, 0, 0, 1, 1], value = 0.0> (r)", 10),
        image("Pad (r, p)", p=ints(0, 0, 1, 1, 0, 0, 1, 1)),
    ),
    "Pad with a number": (
        image("Pad <pads = [0, 0, 1, 1, 0, 0, 1, 1], value = 1.0> (r)", 10),
        image("Pad (r, p, v)", p=ints(0, 0, 1, 1, 0, 0, 1, 1), v=1.0),
    ),
    "Softmax": (pooled("Softmax <axis = 1> (f)".replace("f", "g"), 11), pooled("Softmax (g)", 13)),
    "axes of a mean": (
        pooled("ReduceMean <axes = [2, 3], keepdims = 0> (r)", 17),
        pooled("ReduceMean <keepdims = 0> (r, axes)", 18, axes=ints(2, 3)),
    ),
    "axes from behind": (
        pooled("ReduceMean <axes = [2, 3], keepdims = 0> (r)"),
        pooled("ReduceMean <axes = [-2, -1], keepdims = 0> (r)"),
    ),
    "axes in another order": (
        pooled("ReduceMean <axes = [2, 3], keepdims = 0> (r)"),
        pooled("ReduceMean <axes = [3, 2], keepdims = 0> (r)"),
    ),
    "an axis from behind": (image("Concat <axis = 1> (r, x)"), image("Concat <axis = -3> (r, x)")),
    "the ends of a slice": (
        image("Slice (r, s, e, a)", s=ints(1), e=ints(2**31 - 1), a=ints(3)),
        image("Slice (r, s, e, a)", s=ints(1), e=ints(2**63 - 1), a=ints(3)),
    ),
    "a slice up to the size": (
        image("Slice (r, s, e, a)", s=ints(1), e=ints(9), a=ints(3)),
        image("Slice (r, s, e, a)", s=ints(-8), e=ints(2**63 - 1), a=ints(-1)),
    ),
    "a slice by attributes": (
        image("Slice <axes = [3], starts = [1], ends = [5]> (r)", 9),
        image("Slice (r, s, e, a, t)", s=ints(1), e=ints(5), a=ints(3), t=ints(1)),
    ),
    "Resize": (
        image('Resize <mode = "nearest"> (r, s)', 10, s=floats(1, 1, 2, 2)),
        image(
            'Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">'
            " (r, roi, s)",
            13,
            roi=np.zeros(0, np.float32),
            s=floats(1, 1, 2, 2),
        ),
    ),
    "rounding of half precision": (
        image("LeakyRelu <alpha = 0.1> (r)"),
        image("LeakyRelu <alpha = 0.09998> (r)"),
    ),
    "weights but for rounding": (
        image("Conv (r, w)", **KERNEL),
        image("Conv (r, w)", w=KERNEL["w"] * np.float32(1 + 1e-6)),
    ),
}
EQUAL["Softmax"] = tuple(  # type: ignore[assignment] # two of them
    net(
        "g (float[1, 7] x) => (float[1, 7] y) { r = Relu (x)\n y = Softmax <axis = AXIS> (r) }".replace(
            "AXIS", str(axis)
        ),
        opset,
    )
    for axis, opset in ((1, 11), (-1, 13))
)


@pytest.mark.parametrize("case", EQUAL)
@pytest.mark.parametrize("backward", [False, True])
def test_what_means_the_same_is_no_difference_however_it_is_written(case: str, backward: bool) -> None:
    models = EQUAL[case]
    found = told(*(reversed(models) if backward else models))
    assert [str(setting) for setting in found] == []


DIFFERENT: dict[str, tuple[onnx.ModelProto, onnx.ModelProto, str]] = {
    "epsilon": (
        image(
            "InstanceNormalization <epsilon = 0.00001> (r, s, b)", s=np.ones(4, np.float32), b=np.zeros(4, np.float32)
        ),
        image("InstanceNormalization <epsilon = 0.001> (r, s, b)", s=np.ones(4, np.float32), b=np.zeros(4, np.float32)),
        "epsilon is 0.001 instead of 1e-05",
    ),
    "ceil_mode": (
        image("MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)"),
        image("MaxPool <kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1> (r)"),
        "ceil_mode is 1 instead of 0",
    ),
    "the kernel of a pooling": (
        image("MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)"),
        image("MaxPool <kernel_shape = [3, 3], strides = [2, 2]> (r)"),
        "kernel_shape is (3, 3) instead of (2, 2)",
    ),
    "pads": (
        image("Conv <pads = [1, 1, 1, 1]> (r, w)", **KERNEL),
        image("Conv <pads = [0, 0, 2, 2]> (r, w)", **KERNEL),
        "pads is (0, 0, 2, 2) instead of (1, 1, 1, 1)",
    ),
    "auto_pad at the other end": (
        image('Conv <auto_pad = "SAME_UPPER", strides = [2, 2]> (r, w)', **KERNEL),
        image('Conv <auto_pad = "SAME_LOWER", strides = [2, 2]> (r, w)', **KERNEL),
        "pads is (1, 1, 0, 1) instead of (0, 1, 1, 1)",
    ),
    "counted pads": (
        image("AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (r)"),
        image("AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1> (r)"),
        "count_include_pad is 1 instead of 0",
    ),
    "a bound of Clip": (
        image("Clip (r, lo, hi)", lo=0.0, hi=6.0),
        image("Clip (r, lo, hi)", lo=0.0, hi=9.0),
        "max is 9 instead of 6",
    ),
    "a bound that is lost": (
        image("Clip (r, lo, hi)", lo=0.0, hi=6.0),
        image("Clip (r, lo)", lo=0.0),
        "it has no max",
    ),
    "a bound that is lost with the attribute": (
        image("Clip <min = 0.0, max = 6.0> (r)", 6),
        image("Clip (r, lo)", lo=0.0),
        "it has no max",
    ),
    "a bias that is lost": (
        image("Conv (r, w, b)", b=drawn(5), **KERNEL),
        image("Conv (r, w)", **KERNEL),
        "it has no bias",
    ),
    "a bias that is new": (
        image("Conv (r, w)", **KERNEL),
        image("Conv (r, w, b)", b=drawn(5), **KERNEL),
        "it has a bias that the other has not",
    ),
    "a mode": (
        image('Resize <mode = "nearest"> (r, n, s)', n=np.zeros(0, np.float32), s=floats(1, 1, 2, 2)),
        image('Resize <mode = "linear"> (r, n, s)', n=np.zeros(0, np.float32), s=floats(1, 1, 2, 2)),
        "mode is linear instead of nearest",
    ),
    "the axes of a mean": (
        pooled("ReduceMean <axes = [2, 3], keepdims = 0> (r)"),
        pooled("ReduceMean <axes = [1, 2], keepdims = 0> (r)"),
        "axes is (1, 2) instead of (2, 3)",
    ),
    "alpha": (
        image("LeakyRelu <alpha = 0.1> (r)"),
        image("LeakyRelu <alpha = 0.3> (r)"),
        "alpha is 0.3 instead of 0.1",
    ),
    "groups": (
        image("Conv <group = 2> (r, w)", w=drawn(4, 2, 3, 3)),
        image("Conv <group = 4> (r, w)", w=drawn(4, 1, 3, 3)),
        "group is 4 instead of 2",
    ),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_what_means_another_thing_is_told(case: str) -> None:
    first, second, text = DIFFERENT[case]
    found = [str(setting) for setting in told(first, second)]
    assert text in found
    assert len([item for item in found if not item.startswith("weight")]) == 1


def test_of_two_operators_nothing_is_compared() -> None:
    assert told(image("LeakyRelu <alpha = 0.1> (r)"), image("Elu <alpha = 0.3> (r)")) == []


def test_weights_of_another_layout_are_compared_by_their_numbers() -> None:
    first = net("g (float[1, 4] x) => (float[1, 5] y) { r = Relu (x)\n y = MatMul (r, w) }", w=drawn(4, 5))
    second = net(
        "g (float[1, 4] x) => (float[1, 5] y) { r = Relu (x)\n y = MatMul (r, w) }",
        w=drawn(4, 5).T.reshape(4, 5).copy(),
    )
    assert names(told(first, second)) == ["weight"]
    assert told(first, second, same_axes=False) == []


def test_axes_of_another_layout_rightly_differ() -> None:
    first, second = image("Concat <axis = 1> (r, x)"), image("Concat <axis = 3> (r, x)")
    assert names(told(first, second)) == ["axis"]
    assert told(first, second, same_axes=False) == []


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_compared_too(number: float) -> None:
    wrong = KERNEL["w"].copy()
    wrong[0, 0, 0, 0] = number
    assert names(told(image("Conv (r, w)", **KERNEL), image("Conv (r, w)", w=wrong))) == ["weight"]
    assert told(image("Conv (r, w)", w=wrong), image("Conv (r, w)", w=wrong)) == []


def test_settings_say_of_which_kind_they_are() -> None:
    def kinds(case: str) -> tuple[bool, bool]:
        setting = told(*DIFFERENT[case][:2])[0]
        return setting.number, setting.weight

    assert kinds("epsilon") == (True, False)
    assert kinds("ceil_mode") == (False, False)
    assert kinds("a bias that is lost") == (False, True)
