from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.ops.oracle import computed
from tests.ops.quantities import MICROSOFT, assert_gradient_is_that_of, assert_same_bits, integers, scale, zero_point

Array = npt.NDArray[Any]
TYPES = pytest.mark.parametrize("dtype", [np.uint8, np.int8])


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def quantity(rng: np.random.Generator, dtype: Any, *shape: int, step: float = 0.013, zero: int = -11) -> list[Array]:
    """A tensor, its scale and its zero point."""
    return [integers(rng, dtype, *shape), scale(step), zero_point(zero, dtype)]


@TYPES
@pytest.mark.parametrize("shapes", [((3, 40), (3, 40)), ((3, 40), (3, 1)), ((1,), (3, 40)), ((2, 1, 9), (5, 1))])
@pytest.mark.parametrize("steps", [(0.013, 0.021, 0.03), (0.25, 0.25, 0.5), (0.5, 0.125, 1.0)])
@pytest.mark.parametrize("op_type", ["QLinearAdd", "QLinearMul"])
def test_sums_and_products_agree_to_the_bit(
    rng: np.random.Generator, dtype: Any, shapes: Any, steps: tuple[float, float, float], op_type: str
) -> None:
    terms = [quantity(rng, dtype, *shape, step=step) for shape, step in zip(shapes, steps[:2], strict=True)]
    assert_same_bits(op_type, [*terms[0], *terms[1], scale(steps[2]), zero_point(3, dtype)], 21, domain=MICROSOFT)


@TYPES
@pytest.mark.parametrize("op_type", ["QLinearAdd", "QLinearMul"])
def test_all_pairs_of_values_agree_to_the_bit(rng: np.random.Generator, dtype: Any, op_type: str) -> None:
    info = np.iinfo(dtype)
    values = np.arange(info.min, info.max + 1).astype(dtype)
    column, row = values.reshape(-1, 1), values.reshape(1, -1)
    for pairs in ((column.repeat(256, 1), row.repeat(256, 0)), (column, row), (row, column)):
        steps, zeros = rng.uniform(0.005, 0.05, 3).round(3).astype(np.float32), integers(rng, dtype, 3)
        parameters = [(np.array(step), np.array(zero)) for step, zero in zip(steps, zeros, strict=True)]
        inputs = [pairs[0], *parameters[0], pairs[1], *parameters[1], *parameters[2]]
        assert_same_bits(op_type, inputs, 21, domain=MICROSOFT)


@TYPES
@pytest.mark.parametrize("op_type", ["QLinearSigmoid", "QLinearLeakyRelu"])
def test_activations_agree_to_the_bit(rng: np.random.Generator, dtype: Any, op_type: str) -> None:
    attributes: dict[str, Any] = {"alpha": 0.1} if op_type == "QLinearLeakyRelu" else {}
    for step in (0.013, 0.05):
        after = [scale(1 / 256 if op_type == "QLinearSigmoid" else 0.02), zero_point(-55, dtype)]
        inputs = [*quantity(rng, dtype, 600, step=step), *after]
        assert_same_bits(op_type, inputs, 21, domain=MICROSOFT, **attributes)


@TYPES
@pytest.mark.parametrize(("opset", "axis"), [(13, None), (13, 1), (11, None), (11, 1)])
def test_softmax_agrees_to_the_bit(rng: np.random.Generator, dtype: Any, opset: int, axis: int | None) -> None:
    attributes: dict[str, Any] = {"opset": opset} | ({} if axis is None else {"axis": axis})
    x = quantity(rng, dtype, 4, 7, 5, step=0.06)
    for step, zero in ((1 / 256, -128), (1 / 200, 3), (0.013, -77)):
        inputs = [*x, scale(step), zero_point(zero, dtype)]
        assert_same_bits("QLinearSoftmax", inputs, 21, domain=MICROSOFT, **attributes)


@TYPES
@pytest.mark.parametrize("channels_last", [0, 1])
def test_means_over_the_image_agree_to_the_bit(rng: np.random.Generator, dtype: Any, channels_last: int) -> None:
    inputs = [*quantity(rng, dtype, 2, 5, 7, 6), scale(0.004), zero_point(-33, dtype)]
    assert_same_bits("QLinearGlobalAveragePool", inputs, 21, domain=MICROSOFT, channels_last=channels_last)


@TYPES
@pytest.mark.parametrize("channels_last", [0, 1])
@pytest.mark.parametrize("ceil_mode", [0, 1])
@pytest.mark.parametrize("count_include_pad", [0, 1])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]])
def test_means_over_windows_agree_to_the_bit(
    rng: np.random.Generator, dtype: Any, channels_last: int, ceil_mode: int, count_include_pad: int, pads: list[int]
) -> None:
    shape = (2, 9, 8, 5) if channels_last else (2, 5, 9, 8)
    inputs = [*quantity(rng, dtype, *shape), scale(0.008), zero_point(-33, dtype)]
    attributes: dict[str, Any] = {"ceil_mode": ceil_mode, "channels_last": channels_last, "pads": pads}
    attributes |= {"kernel_shape": [3, 2], "strides": [2, 2], "count_include_pad": count_include_pad}
    assert_same_bits("QLinearAveragePool", inputs, 21, domain=MICROSOFT, **attributes)


@TYPES
def test_concatenation_brings_all_to_one_scale(rng: np.random.Generator, dtype: Any) -> None:
    first, second = quantity(rng, dtype, 2, 5, 9), quantity(rng, dtype, 2, 4, 9, step=0.02, zero=8)
    for after in ([scale(0.017), zero_point(1, dtype)], first[1:]):
        assert_same_bits("QLinearConcat", [*after, *first, *second], 21, domain=MICROSOFT, axis=1)


@TYPES
def test_a_choice_brings_both_to_one_scale(rng: np.random.Generator, dtype: Any) -> None:
    condition = rng.random((2, 5, 9)) < 0.5
    x, y = quantity(rng, dtype, 2, 5, 9), quantity(rng, dtype, 5, 1, step=0.02, zero=8)
    inputs = [condition, *x, *y, scale(0.017), zero_point(1, dtype)]
    assert_same_bits("QLinearWhere", inputs, 21, domain=MICROSOFT)


@TYPES
def test_maxima_over_windows_with_channels_last_agree(rng: np.random.Generator, dtype: Any) -> None:
    for pads in ([0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]):
        geometry: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": pads}
        assert_same_bits("NhwcMaxPool", [integers(rng, dtype, 2, 9, 8, 5)], 21, domain=MICROSOFT, **geometry)


def test_the_mean_over_axes_is_that_of_the_dequantized_values(rng: np.random.Generator) -> None:
    x, step, zero = quantity(rng, np.int8, 2, 5, 7)
    after = [scale(0.004), np.array(-33, np.int8)]
    (found,) = computed(
        "QLinearReduceMean",
        [x, step, zero, *after],
        21,
        domain=MICROSOFT,
        constant=False,
        axes=[1, 2],
        keepdims=0,
    )
    mean = (x.astype(np.float64) - zero).mean((1, 2)) * step / after[0]
    np.testing.assert_array_equal(found, np.clip(np.rint(mean) - 33, -128, 127))


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def leaky(x: Array) -> Array:
    return np.where(x >= 0, x, 0.1 * x)


@pytest.mark.parametrize(
    ("op_type", "function", "shape", "step", "attributes"),
    [
        ("QLinearSigmoid", sigmoid, (3, 4), 1 / 256, {}),
        ("QLinearLeakyRelu", leaky, (3, 4), 0.05, {"alpha": 0.1}),
        ("QLinearSoftmax", softmax, (3, 4), 1 / 256, {"opset": 13}),
        ("QLinearGlobalAveragePool", lambda x: x.mean((2, 3), keepdims=True), (1, 2, 3, 2), 0.05, {}),
        ("QLinearAveragePool", lambda x: x.mean((2, 3), keepdims=True), (1, 2, 3, 2), 0.05, {"kernel_shape": [3, 2]}),
        ("QLinearReduceMean", lambda x: x.mean(1), (2, 3), 0.05, {"axes": [1], "keepdims": 0}),
    ],
    ids=["sigmoid", "leaky relu", "softmax", "global pool", "pool", "mean"],
)
def test_the_gradient_is_that_of_the_float_operator(
    rng: np.random.Generator,
    op_type: str,
    function: Callable[[Array], Array],
    shape: tuple[int, ...],
    step: float,
    attributes: dict[str, Any],
) -> None:
    x, x_step, zero = quantity(rng, np.int8, *shape)
    after = [scale(step), np.array(-126 if step < 0.01 else 0, np.int8)]

    def twin(values: Array) -> Array:
        return function((values - zero) * float(x_step)) / step

    inputs = [x, x_step, zero, *after]
    tolerance = 5e-3 if op_type == "QLinearSoftmax" else 1e-4  # 1 / scale is rounded down to an integer
    assert_gradient_is_that_of(twin, op_type, inputs, 0, 21, domain=MICROSOFT, tolerance=tolerance, **attributes)


@pytest.mark.parametrize("index", [0, 3])
def test_the_gradients_of_sums_and_products_are_those_of_the_float_operators(
    rng: np.random.Generator, index: int
) -> None:
    a, b = quantity(rng, np.int8, 2, 3), quantity(rng, np.int8, 3, step=0.02, zero=8)
    after = [scale(0.1), np.array(2, np.int8)]

    def value(term: list[Array], values: Array) -> Array:
        return np.asarray((values - term[2]) * float(term[1]))

    for op_type, function in (("QLinearAdd", np.add), ("QLinearMul", np.multiply)):

        def twin(values: Array, function: Any = function) -> Array:
            first, second = (values, b[0]) if index == 0 else (a[0], values)
            return np.asarray(function(value(a, first * 1.0), value(b, second * 1.0)) / 0.1)

        assert_gradient_is_that_of(twin, op_type, [*a, *b, *after], index, 21, domain=MICROSOFT)


def test_the_gradients_of_joining_and_choosing_scale_with_the_steps(rng: np.random.Generator) -> None:
    x, y = quantity(rng, np.int8, 2, 3), quantity(rng, np.int8, 2, 3, step=0.02, zero=8)
    after = [scale(0.1), np.array(2, np.int8)]
    condition = np.array([[True, False, True], [False, True, False]])

    def joined(values: Array) -> Array:
        return np.concatenate([(values - x[2]) * 0.013, (y[0] - 8.0) * 0.02], 1) / 0.1

    def chosen(values: Array) -> Array:
        return np.where(condition, (values - x[2]) * 0.013, (y[0] - 8.0) * 0.02) / 0.1

    assert_gradient_is_that_of(joined, "QLinearConcat", [*after, *x, *y], 2, 21, domain=MICROSOFT, axis=1)
    assert_gradient_is_that_of(chosen, "QLinearWhere", [condition, *x, *y, *after], 1, 21, domain=MICROSOFT)
