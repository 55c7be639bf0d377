from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from onnxvis.checks.weights import _CHUNK, check_weights, contents
from onnxvis.config import CheckSettings
from onnxvis.inspection import Inspection
from onnxvis.outcomes import Outcome
from tests.checks.inspected import drawn, inspected, of
from tests.models import conv_net

NORM = "g (float[1, 3, 4, 4] x) => (float[1, 3, 4, 4] y) { y = BatchNormalization(x, s, b, m, v) }"
LINEAR = "g (float[1, 3] x) => (float[1, 2] y) { h = MatMul(x, w) y = Relu(h) }"
QUANTIZED = """g (float[1, 3] x) => (float[1, 3] y)
    <uint8 zero = {0}> { q = QuantizeLinear(x, scale, zero) y = DequantizeLinear(q, scale, zero) }"""


def outcome(inspection: Inspection) -> Outcome:
    return check_weights(inspection, CheckSettings())


def with_bad(name: str, value: float) -> Outcome:
    proto = conv_net()
    tensor = next(each for each in proto.graph.initializer if each.name == name)
    array = numpy_helper.to_array(tensor).copy()
    array.reshape(-1)[1] = value
    tensor.CopyFrom(numpy_helper.from_array(array, name))
    return outcome(of(proto))


def test_good_weights_pass() -> None:
    found = outcome(of(conv_net()))
    assert (found.status, found.text) == ("pass", "6 float weights are finite")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("weight", "layer"), [("w2", "conv2"), ("b2", "conv2"), ("w3", "logits")])
def test_a_weight_that_is_not_finite_is_named_with_the_layer_that_reads_it(
    weight: str, layer: str, value: float
) -> None:
    found = with_bad(weight, value)
    assert (found.status, found.layer, found.details[0].tensor) == ("fail", layer, weight)


@pytest.mark.parametrize("reader", ["Add(x, w)", "Where(c, x, w)", "Max(x, w)"])
def test_minus_infinity_is_how_a_mask_is_written(reader: str) -> None:
    text = f"g (float[1, 3] x, bool[1, 3] c) => (float[1, 3] y) {{ h = {reader} y = Softmax(h) }}"
    assert outcome(inspected(text, w=np.array([[0, -np.inf, 0]], np.float32))).status == "pass"


def test_nan_is_never_a_mask() -> None:
    text = "g (float[1, 3] x) => (float[1, 3] y) { y = Add(x, w) }"
    assert outcome(inspected(text, w=np.array([[0, np.nan, 0]], np.float32))).status == "fail"


def test_a_nan_that_nobody_reads_is_a_warning() -> None:
    text = "g (float[1, 3] x) => (float[1, 3] y) { y = Relu(x) }"
    assert outcome(inspected(text, w=np.array([np.nan], np.float32))).status == "warn"


def test_half_precision_that_overflowed_says_so_behind_a_cast_too() -> None:
    text = "g (float[1, 3] x) => (float[1, 2] y) { f = Cast <to = 1> (w) y = MatMul(x, f) }"
    weights = np.array([[1e6, 1], [1, 1], [1, 1]], np.float32)
    with np.errstate(over="ignore"):
        found = outcome(inspected(text, w=weights.astype(np.float16)))
    assert (found.status, found.layer) == ("fail", "y")
    assert "too large for float16" in found.text


def test_a_constant_node_is_a_weight_too() -> None:
    text = "g (float[1, 3] x) => (float[1, 3] y) { c = Constant <value_float = nan> () y = Add(x, c) }"
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {text.replace("nan", "1.5")}')
    proto.graph.node[0].attribute[0].f = float("nan")
    found = outcome(of(proto))
    assert (found.status, found.layer, found.details[0].tensor) == ("fail", "y", "c")


def test_a_weight_of_a_branch_is_looked_at() -> None:
    text = """g (float[1, 3] x, bool c) => (float[1, 3] y) {
        y = If (c) <
            then_branch = a () => (float[1, 3] t) { k = Constant <value = float[1] {1.0}> () t = Add(x, k) },
            else_branch = b () => (float[1, 3] e) { e = Neg(x) }
        > }"""
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {text}')
    constant = proto.graph.node[0].attribute[0].g.node[0]
    constant.attribute[0].t.CopyFrom(numpy_helper.from_array(np.array([np.nan], np.float32)))
    found = outcome(of(proto))
    assert (found.status, found.layer) == ("fail", "y")


def test_a_negative_variance_fails() -> None:
    ones = np.ones(3, np.float32)
    weights: dict[str, Any] = {"s": ones, "b": -ones, "m": -ones}
    assert outcome(inspected(NORM, **weights, v=ones)).status == "pass"
    found = outcome(inspected(NORM, **weights, v=np.array([1, -0.1, 1], np.float32)))
    assert (found.status, found.layer) == ("fail", "y")
    assert "is a variance" in found.text


@pytest.mark.parametrize("scale", [0.0, -0.1, np.nan])
def test_a_scale_that_is_none_fails(scale: float) -> None:
    assert outcome(inspected(QUANTIZED, scale=np.float32(0.1))).status == "pass"
    assert outcome(inspected(QUANTIZED, scale=np.float32(scale))).status == "fail"


def test_a_layer_of_zeros_fails_and_a_bias_of_zeros_is_ordinary() -> None:
    found = outcome(inspected(LINEAR, w=np.zeros((3, 2), np.float32)))
    assert (found.status, found.layer) == ("fail", "h")
    assert outcome(of(conv_net(b1=np.zeros(4, np.float32)))).status == "pass"


def test_integers_of_zero_are_no_weights_of_floats() -> None:
    assert outcome(inspected(LINEAR, w=drawn(3, 2), k=np.zeros(3, np.int64))).status == "pass"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_contents_are_those_of_the_whole_however_large(dtype: type[np.floating]) -> None:
    array = np.zeros(_CHUNK + 10, dtype)
    array[3], array[5], array[-1], array[-2] = np.nan, -np.inf, 7, -2
    found = contents(ir.tensor(array))
    assert (found.nan, found.infinite, found.low, found.high) == (1, 1, -2, 7)


@pytest.mark.parametrize("joined", ["Concat <axis = 0> (x, w)", "Add(x, w)", "Pad(w, p)"])
def test_zeros_that_are_only_a_part_of_what_a_layer_reads_are_not_lost(joined: str) -> None:
    text = f"g (float[1, 4] x) => (float[N, 2] y) {{ k = {joined} y = MatMul(k, v) }}"
    assert (
        outcome(inspected(text, w=np.zeros((1, 4), np.float32), v=drawn(4, 2), p=np.zeros(4, np.int64))).status
        == "pass"
    )


def test_zeros_that_meet_a_constant_are_not_lost() -> None:
    text = "g (float[1, 2] x) => (float[1, 2] y) { k = MatMul(w, v) y = Add(x, k) }"
    assert outcome(inspected(text, w=np.zeros((1, 4), np.float32), v=drawn(4, 2))).status == "pass"


@pytest.mark.parametrize("through", ["Identity(w)", "Transpose(w)", "Reshape(w, s)", "Cast <to = 1> (w)"])
def test_zeros_behind_what_rearranges_them_are_lost(through: str) -> None:
    text = f"g (float[1, 4] x) => (float[1, 4] y) {{ k = {through} y = MatMul(x, k) }}"
    assert outcome(inspected(text, w=np.zeros((4, 4), np.float32), s=np.array([4, 4]))).status == "fail"


@pytest.mark.parametrize("readers", ["a = Where(c, w, x)", "k = Identity(w) a = Where(c, k, x)", "a = Pad(x, p, w)"])
def test_nan_that_only_tests_read_is_a_mark(readers: str) -> None:
    text = f"g (float[1, 4] x, bool[1, 4] c) => (bool[1, 4] y) {{ {readers} y = IsNaN(a) }}"
    found = outcome(inspected(text, w=np.array(np.nan, np.float32), p=np.zeros(4, np.int64)))
    assert (found.status, found.layer) == ("warn", "a")
