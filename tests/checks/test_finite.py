import numpy as np
import pytest

from onnxvis.checks.finite import check_finite
from onnxvis.config import CheckSettings
from onnxvis.inspection import Inspection
from onnxvis.outcomes import Outcome
from tests.checks.inspected import inspected, of
from tests.models import conv_net

UNIT = CheckSettings(range=(0.0, 1.0))


def outcome(inspection: Inspection) -> Outcome:
    return check_finite(inspection, inspection.settings)


def test_a_good_model_is_finite_everywhere() -> None:
    inspection = of(conv_net())
    found = outcome(inspection)
    assert (found.status, found.text) == ("pass", f"9 tensors are finite on {len(inspection.probes)} probes")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_first_layer_that_is_not_finite_is_named(value: float) -> None:
    bias = np.zeros(6, np.float32)
    bias[2] = value
    found = outcome(of(conv_net(b2=bias)))
    assert (found.status, found.layer) == ("fail", "conv2")


def test_nan_that_a_layer_makes_of_finite_numbers_is_its_own() -> None:
    text = "g (float[1, 3] x) => (float[1, 3] y) { a = Neg(x) b = Sqrt(a) c = Relu(b) y = Neg(c) }"
    found = outcome(inspected(text, UNIT))
    assert (found.status, found.layer, len(found.details)) == ("fail", "b", 1)
    assert found.text.startswith("NaN first appears in 'b' (Sqrt), from finite inputs, on 'noise 0' and ")


def test_half_precision_that_overflows_says_so() -> None:
    text = "g (float16[1, 3] x) => (float16[1, 3] y) { a = Mul(x, k) y = Neg(a) }"
    found = outcome(inspected(text, CheckSettings(range=(1.0, 2.0)), k=np.array([6e4], np.float16)))
    assert (found.status, found.layer) == ("fail", "a")
    assert "too large for float16" in found.text


def test_infinity_on_the_edges_alone_is_a_warning() -> None:
    text = "g (float[1, 3] x) => (float[1, 3] y) { a = Reciprocal(x) y = Neg(a) }"
    found = outcome(inspected(text, UNIT))
    assert (found.status, found.layer) == ("warn", "a")


def test_a_mask_of_minus_infinity_is_fine_on_the_way() -> None:
    text = "g (float[1, 3] x) => (float[1, 3] y) { a = Add(x, m) b = Mul(a, two) y = Softmax <axis = 1> (b) }"
    weights = {"m": np.array([[0, -np.inf, 0]], np.float32), "two": np.array([2], np.float32)}
    assert outcome(inspected(text, UNIT, **weights)).status == "pass"


def test_a_mask_that_reaches_an_output_is_a_warning() -> None:
    text = "g (float[1, 3] x) => (float[1, 3] y) { y = Add(x, m) }"
    assert outcome(inspected(text, UNIT, m=np.array([[0, -np.inf, 0]], np.float32))).status == "warn"


def test_a_row_that_is_all_masked_becomes_nan_and_that_fails() -> None:
    text = "g (float[1, 3] x) => (float[1, 3] y) { a = Add(x, m) y = Softmax <axis = 1> (a) }"
    found = outcome(inspected(text, UNIT, m=np.full((1, 3), -np.inf, np.float32)))
    assert (found.status, found.layer) == ("fail", "y")


def test_nan_in_a_branch_that_is_not_taken_is_no_failure() -> None:
    # What TensorFlow exports for a division that gives zero where it would give NaN.
    text = """g (float[1, 3] x) => (float[1, 3] y) <float zero = {0.0}>
        { n = Equal(x, zero) d = Div(x, x) y = Where(n, zero, d) }"""
    assert outcome(inspected(text, UNIT)).status == "pass"


def test_an_exponential_that_overflows_on_its_way_to_zero_is_no_failure() -> None:
    text = "g (float[1, 3] x) => (float[1, 3] y) { e = Exp(x) o = Add(e, one) y = Reciprocal(o) }"
    found = outcome(inspected(text, CheckSettings(range=(50.0, 200.0)), one=np.ones(1, np.float32)))
    assert found.status == "warn"
    assert "discarded later" in found.text


def test_plus_infinity_is_no_mask_and_fails_where_it_reaches_an_output() -> None:
    text = "g (float[1, 3] x) => (float[1, 3] y) { y = Add(x, m) }"
    found = outcome(inspected(text, UNIT, m=np.array([[0, np.inf, 0]], np.float32)))
    assert (found.status, found.layer) == ("fail", "y")


def test_plus_infinity_that_a_minimum_discards_is_fine() -> None:
    text = "g (float[1, 3] x) => (float[1, 3] y) { c = Greater(x, half) a = Where(c, m, x) y = Min(a, half) }"
    found = inspected(text, UNIT, m=np.array([np.inf], np.float32), half=np.array([0.5], np.float32))
    assert found.seen(found.probes[0])["a"].rises
    assert outcome(found).status == "pass"
