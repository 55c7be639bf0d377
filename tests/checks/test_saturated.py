import numpy as np
import pytest

from onnxvis.checks.saturated import check_saturated
from onnxvis.config import CheckSettings
from onnxvis.inspection import Inspection
from onnxvis.outcomes import Outcome
from tests.checks.inspected import drawn, inspected

UNIT = CheckSettings(range=(-1.0, 1.0))
GATED = """g (float[1, 3, 8, 8] x) => (float[1, 2, 8, 8] y) <float low = {0.0}, float high = {6.0}>
    { a = Conv (x, w) s = Mul(a, k) g = GATE y = Conv (g, v) }"""
QUANTIZED = """g (float[1, 3, 8, 8] x) => (float[1, 2, 8, 8] y) <uint8 z = {128}>
    { q = QuantizeLinear(x, scale, z) d = DequantizeLinear(q, scale, z) y = Conv(d, v) }"""


def outcome(inspection: Inspection) -> Outcome:
    return check_saturated(inspection, inspection.settings)


def gated(gate: str, gain: float) -> Inspection:
    weights = {"w": drawn(4, 3, 1, 1), "v": drawn(2, 4, 1, 1), "k": np.full(1, gain, np.float32)}
    return inspected(GATED.replace("GATE", gate), UNIT, **weights)


@pytest.mark.parametrize("gate", ["Sigmoid(s)", "Tanh(s)", "HardSigmoid(s)", "Clip(s, low, high)"])
def test_a_gate_that_works_passes(gate: str) -> None:
    assert outcome(gated(gate, 1.0)).status == "pass"


@pytest.mark.parametrize("gate", ["Sigmoid(s)", "Tanh(s)", "HardSigmoid(s)", "Clip(s, low, high)"])
def test_a_gate_that_is_stuck_at_an_end_most_of_the_time_is_a_warning(gate: str) -> None:
    found = outcome(gated(gate, 1e3))
    assert (found.status, found.layer) == ("warn", "g")


@pytest.mark.parametrize("gate", ["Sigmoid(s)", "Tanh(s)", "HardSigmoid(s)"])
def test_units_that_are_stuck_all_the_time_are_a_failure(gate: str) -> None:
    text = GATED.replace("Mul(a, k)", "Add(a, k)").replace("GATE", gate)
    weights = {"w": drawn(4, 3, 1, 1), "v": drawn(2, 4, 1, 1), "k": np.full(1, 100, np.float32)}
    found = outcome(inspected(text, UNIT, **weights))
    assert (found.status, found.layer) == ("fail", "g")
    assert found.details[0].figures["stuck"] == 1.0


def test_some_stuck_units_are_a_failure_from_their_share_on() -> None:
    text = GATED.replace("Mul(a, k)", "Add(a, k)").replace("GATE", "Sigmoid(s)")
    bias = np.array([100, 0, 0, -100], np.float32).reshape(4, 1, 1)
    inspection = inspected(text, UNIT, w=drawn(4, 3, 1, 1), v=drawn(2, 4, 1, 1), k=bias)
    assert check_saturated(inspection, CheckSettings(max_saturated=0.5)).status == "fail"
    assert check_saturated(inspection, CheckSettings(max_saturated=0.6)).status == "warn"


def test_an_answer_may_be_confident_also_when_it_is_scaled_afterwards() -> None:
    text = "g (float[1, 4] x) => (float[1, 4] y) { a = MatMul(x, w) s = Sigmoid(a) t = Transpose(s) y = Mul(t, k) }"
    weights = {"w": drawn(4, 4) * 1e4, "k": np.ones(1, np.float32)}
    assert outcome(inspected(text.replace("float[1, 4] y", "float[n, m] y"), UNIT, **weights)).status == "skip"


def test_what_a_rectifier_closes_is_not_saturated() -> None:
    text = GATED.replace("Mul(a, k)", "Sub(a, k)").replace("GATE", "Clip(s, low, high)")
    weights = {"w": drawn(4, 3, 1, 1), "v": drawn(2, 4, 1, 1), "k": np.full(1, 100, np.float32)}
    assert outcome(inspected(text, UNIT, **weights)).status == "pass"


@pytest.mark.parametrize(("scale", "status"), [(1 / 127, "pass"), (1 / 150, "pass"), (1 / 250, "warn"), (1e-3, "fail")])
def test_a_quantization_scale_that_is_too_small_is_found(scale: float, status: str) -> None:
    found = outcome(inspected(QUANTIZED, UNIT, v=drawn(2, 3, 1, 1), scale=np.float32(scale)))
    assert found.status == status
    assert status == "pass" or "the quantization scale is too small" in found.text


def test_the_end_that_stands_for_zero_is_no_end() -> None:
    text = QUANTIZED.replace("{128}", "{0}")
    found = outcome(inspected(text, UNIT, v=drawn(2, 3, 1, 1), scale=np.float32(1 / 250)))
    assert found.status == "pass"
