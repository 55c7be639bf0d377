import numpy as np
import pytest

from onnxvis.checks.outputs import check_outputs
from onnxvis.config import CheckSettings
from onnxvis.inspection import Inspection
from onnxvis.outcomes import Outcome
from tests.checks.inspected import drawn, inspected, of
from tests.models import conv_net

UNIT = CheckSettings(range=(0.0, 1.0))


def outcome(inspection: Inspection) -> Outcome:
    return check_outputs(inspection, inspection.settings)


def test_outputs_that_vary_pass() -> None:
    assert outcome(of(conv_net())).text == "the float output varies"


def test_the_layer_from_which_on_nothing_varies_is_named() -> None:
    found = outcome(of(conv_net(b2=np.full(6, -1e4, np.float32))))
    assert (found.status, found.layer) == ("fail", "relu2")
    assert "constant from 'relu2' (Relu) on, whose input varies" in found.text


def test_weights_of_zeros_are_found_as_the_culprit() -> None:
    found = outcome(of(conv_net(w2=np.zeros((6, 4, 3, 3), np.float32))))
    assert (found.status, found.layer) == ("fail", "conv2")


def test_a_gate_that_is_closed_is_the_culprit() -> None:
    text = """g (float[1, 4] x) => (float[1, 4] y) <float zero = {0.0}>
        { a = MatMul(x, w) m = Relu(a) s = Mul(m, zero) b = Neg(x) y = Mul(b, s) }"""
    found = outcome(inspected(text, UNIT, w=drawn(4, 4)))
    assert (found.status, found.layer) == ("fail", "s")


def test_a_confident_answer_is_only_a_warning() -> None:
    text = "g (float[1, 4] x) => (float[1, 2] y) { a = MatMul(x, w) b = Add(a, k) y = Softmax <axis = 1> (b) }"
    found = outcome(inspected(text, UNIT, w=drawn(4, 2), k=np.array([0, 1e3], np.float32)))
    assert found.status == "warn"


def test_an_output_that_varies_on_the_edges_alone_is_only_a_warning() -> None:
    text = (
        "g (float[1, 64] x) => (float[1] y) { m = ReduceMean <axes = [1], keepdims = 0> (x) d = Sub(m, k) y = Relu(d) }"
    )
    assert outcome(inspected(text, UNIT, k=np.array([0.95], np.float32))).status == "warn"


def test_an_output_of_no_input_is_a_warning() -> None:
    text = "g (float[1, 4] x) => (float[1, 4] y, float[4] z) { y = Neg(x) z = Neg(w) }"
    found = outcome(inspected(text, w=np.ones(4, np.float32)))
    assert (found.status, found.details[0].tensor) == ("warn", "z")


def test_an_output_of_no_input_is_a_warning_also_where_nothing_can_be_varied() -> None:
    found = outcome(inspected("g (float[1, 4] x) => (float[4] z) { z = Neg(w) }", w=np.ones(4, np.float32)))
    assert found.status == "warn"


def test_an_output_that_holds_nothing_cannot_vary() -> None:
    text = "g (float[4] x) => (float[n] y) { b = Greater(x, k) y = Compress <axis = 0> (x, b) }"
    assert outcome(inspected(text, UNIT, k=np.array([10], np.float32))).status == "pass"


def test_integers_alone_cannot_be_varied() -> None:
    assert outcome(inspected("g (int64[3] x) => (float[3] y) { y = Cast <to = 1> (x) }")).status == "skip"


@pytest.mark.parametrize("last", ["y = Identity(a)", "y = LogSoftmax <axis = 1> (a)"])
def test_infinities_that_stay_do_not_hide_that_the_rest_varies(last: str) -> None:
    text = f"g (float[1, 3] x) => (float[1, 3] y) {{ a = Add(x, m) {last} }}"
    assert outcome(inspected(text, UNIT, m=np.array([[0, -np.inf, 0]], np.float32))).status == "pass"


def test_labels_that_are_the_same_on_all_noise_are_nothing_to_speak_of() -> None:
    text = "g (float[1, 4] x) => (int64[1] y, float[1, 4] b) { b = Add(x, k) y = ArgMax <axis = 1, keepdims = 0> (b) }"
    found = outcome(inspected(text, UNIT, k=np.array([0, 0, 9, 0], np.float32)))
    assert (found.status, found.text) == ("pass", "the float output varies")


def test_labels_of_a_network_that_is_constant_are_a_warning() -> None:
    text = """g (float[1, 4] x) => (int64[1] y)
        { a = Sub(x, k) b = Relu(a) y = ArgMax <axis = 1, keepdims = 0> (b) }"""
    found = outcome(inspected(text, UNIT, k=np.full(4, 9, np.float32)))
    assert (found.status, found.layer) == ("warn", "b")


STEPS = [
    "f = Greater(x, k) y = Cast <to = 1> (f)",
    "f = Greater(x, k) y = Where(f, x, zero)",
    "s = Sub(x, k) i = ArgMax <axis = 1> (b) y = OneHot <axis = 1> (i, depth, ends)",
    "s = Sub(x, k) y = Sign(s)",
]


@pytest.mark.parametrize("steps", STEPS)
def test_floats_that_step_may_be_waiting_for_photos(steps: str) -> None:
    weights: dict[str, np.ndarray] = {
        "k": np.full(4, 9, np.float32),
        "m": np.array([9, 0, 0, 0], np.float32),
        "zero": np.zeros(1, np.float32),
        "depth": np.array([4]),
        "ends": np.array([0, 1], np.float32),
    }
    text = f"g (float[1, 4] x) => (float[N, M, K] y) {{ b = Add(x, m) {steps} }}"
    found = outcome(inspected(text if "OneHot" in steps else text.replace("N, M, K", "1, 4"), UNIT, **weights))
    assert found.status == "warn"
    assert "give --images" in found.text


def test_steps_behind_a_layer_that_is_constant_do_not_excuse_it() -> None:
    text = "g (float[1, 4] x) => (float[1, 4] y) { a = Sub(x, k) b = Relu(a) f = Greater(b, k) y = Cast <to = 1> (f) }"
    found = outcome(inspected(text, UNIT, k=np.full(4, 9, np.float32)))
    assert (found.status, found.layer) == ("fail", "b")


def test_tokens_are_varied_so_that_a_closed_layer_is_found() -> None:
    text = "g (int64[1, 6] ids) => (float[1, 6, 4] y) { e = Gather(table, ids) a = Add(e, k) y = Relu(a) }"
    assert outcome(inspected(text, table=drawn(30, 4), k=np.zeros(4, np.float32))).status == "pass"
    assert outcome(inspected(text, table=drawn(30, 4), k=np.full(4, -1e3, np.float32))).status == "fail"
