from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from onnxvis.checks.agreement import check_agreement, precision_of
from onnxvis.config import CheckSettings
from onnxvis.inspection import Inspection
from onnxvis.lower import lower
from onnxvis.outcomes import Outcome
from onnxvis.verify import Lowered
from tests.checks.inspected import drawn, inspected, of
from tests.models import conv_net

CUBE = "g (float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y) { y = InstanceNormalization(x, s, b) }"


def outcome(inspection: Inspection) -> Outcome:
    return check_agreement(inspection, inspection.settings)


def with_wrong(operator: str, function: Callable[..., Any], **settings: Any) -> Inspection:
    inspection = of(conv_net(), **settings)
    names = tuple(inspection.tensors)
    vars(inspection)["lowered"] = Lowered(lower(inspection.model, names, replacements={operator: function}), names, ())
    return inspection


def test_a_good_model_agrees_at_every_tensor_on_every_probe() -> None:
    inspection = of(conv_net())
    found = outcome(inspection)
    assert found.status == "pass"
    assert found.text.startswith(f"9 tensors on {len(inspection.probes)} probes, largest relative error ")


def test_a_wrong_operator_is_named_by_the_first_layer_that_has_it() -> None:
    found = outcome(with_wrong("Relu", lambda x: torch.relu(x) + 0.01))
    assert (found.status, found.layer, found.details[0].tensor) == ("fail", "relu1", "relu1")
    assert "first at 'relu1' (Relu): relative error" in found.text
    assert float(found.details[0].figures["relative_error"]) > float(found.details[0].figures["tolerance"]) == 1e-4


def test_what_is_wrong_at_the_edges_alone_is_found() -> None:
    def wrong(x: Tensor) -> Tensor:
        return torch.relu(x) * (1.1 if x.std() < 0.35 else 1.0)

    inspection = with_wrong("Relu", wrong, preprocess="unit")
    found = outcome(inspection)
    assert found.status == "fail"


def test_the_tolerance_is_that_of_the_settings() -> None:
    wrong = with_wrong("Relu", lambda x: torch.relu(x) * 1.001, tolerances={"float32": 1e-2})
    assert outcome(wrong).status == "pass"
    assert outcome(with_wrong("Relu", lambda x: torch.relu(x) * 1.001, tolerances={"float16": 1e-2})).status == "fail"


@pytest.mark.parametrize(
    ("text", "precision"),
    [
        ("g (float[1, 3] x) => (float[1, 3] y) { y = Relu(x) }", "float32"),
        ("g (double[1, 3] x) => (double[1, 3] y) { y = Relu(x) }", "float64"),
        ("g (float16[1, 3] x) => (float16[1, 3] y) { y = Relu(x) }", "float16"),
        ("g (float[1, 3] x) => (float[1, 3] y) { h = Cast <to = 16> (x) y = Cast <to = 1> (h) }", "bfloat16"),
        ("g (float[1, 3] x) => (float[1, 3] y) { y = Round(x) }", "quantized"),
    ],
)
def test_the_precision_is_the_lowest_that_a_model_computes_in(text: str, precision: str) -> None:
    assert precision_of(inspected(text)) == precision


def test_rounding_that_a_normalization_amplifies_is_no_disagreement() -> None:
    # Of a constant image nothing is left but the rounding of its mean.
    text = CUBE.replace("8, 8", "301, 301")
    inspection = inspected(
        text, CheckSettings(range=(0.1, 1000.3)), s=np.ones(3, np.float32), b=np.zeros(3, np.float32)
    )
    assert outcome(inspection).status == "pass"


def test_what_cannot_be_lowered_is_named_and_the_rest_compared() -> None:
    text = """g (float[1, 3] x) => (float[1, 3] y, float[N] z)
        { y = Relu(x) n = NonZero(y) k = Transpose(n) g = GatherND(y, k) z = Neg(g) }"""
    found = outcome(inspected(text))
    assert found.status == "pass"
    assert found.text.startswith("1 tensors on")
    assert [(detail.status, detail.layer) for detail in found.details] == [("skip", "g"), ("skip", "z")]


def test_a_quantized_model_is_compared_piece_by_piece() -> None:
    text = """g (float[1, 8] x) => (float[1, 8] y) <float s = {0.02}, uint8 z = {128}>
        { a = MatMul(x, w) q = QuantizeLinear(a, s, z) d = DequantizeLinear(q, s, z) y = MatMul(d, v) }"""
    found = outcome(inspected(text, w=drawn(8, 8), v=drawn(8, 8, seed=1)))
    assert found.status == "pass"


def test_a_model_without_floats_has_nothing_to_compare() -> None:
    assert outcome(inspected("g (int64[3] x) => (int64[3] y) { y = Neg(x) }")).status == "skip"


@pytest.mark.parametrize("size", [224, 512])
def test_a_long_running_sum_of_the_reference_is_no_disagreement(size: int) -> None:
    text = f"""g (float[1, 3, {size}, {size}] x) => (float[1, 8, 1, 1] y)
        {{ c = Conv <strides = [2, 2]> (x, w) r = Relu(c) y = GlobalAveragePool(r) }}"""
    several = [inspected(text, w=drawn(8, 3, 3, 3, seed=seed)) for seed in range(3)]
    assert [outcome(each).status for each in several] == ["pass"] * 3


def test_a_wrong_mean_of_a_large_picture_is_named() -> None:
    text = "g (float[1, 3, 512, 512] x) => (float[1, 3, 1, 1] y) { y = GlobalAveragePool(x) }"
    inspection = inspected(text)
    wrong = lower(
        inspection.model, ["y"], replacements={"GlobalAveragePool": lambda x: x.sum((2, 3), keepdim=True) / (511 * 511)}
    )
    vars(inspection)["lowered"] = Lowered(wrong, ("y",), ())
    assert outcome(inspection).status == "fail"


def test_half_precision_may_overflow_where_the_file_says_so() -> None:
    text = """g (float16[1, 4, 4] x) => (float16[1, 4, 4] y)
        { s = MatMul(x, w) m = Add(s, k) p = Softmax <axis = -1> (m) y = MatMul(p, x) }"""
    weights: dict[str, Any] = {
        "w": (300 * drawn(4, 4)).astype(np.float16),
        "k": np.triu(np.full((4, 4), -65504, np.float16), 1),
    }
    inspection = inspected(text, CheckSettings(range=(-1.0, 1.0)), **weights)
    assert any(np.isinf(inspection.reference(probe)["m"]).any() for probe in inspection.probes)
    assert outcome(inspection).status == "pass"


def test_random_numbers_in_a_branch_are_left_out() -> None:
    text = """g (float[1, 4] x) => (float[1, 4] y)
        { s = ReduceMax <keepdims = 0> (x) k = Greater(s, low)
          d = If (k) <then_branch = one () => (float[1, 4] a) { n = RandomNormalLike(x) a = Add(x, n) },
                      else_branch = two () => (float[1, 4] b) { b = Identity(x) }> y = Relu(d) }"""
    found = outcome(inspected(text, low=np.array(-9, np.float32)))
    assert found.status == "pass"
    assert {detail.layer for detail in found.details} == {"d", "y"}
    assert found.text.endswith("2 not compared")


def test_what_nan_makes_is_no_bug_of_the_operator() -> None:
    weights: dict[str, Any] = {"w": drawn(1, 16, 4), "r": drawn(1, 16, 4)}
    weights["w"][0, 0, 0] = np.nan
    text = "g (float[3, 1, 4] x) => (float[3, 1, 1, 4] y) { y = LSTM <hidden_size = 4> (x, w, r) }"
    inspection = inspected(text, **weights)
    right = inspection.reference(inspection.probes[0])["y"]
    wrong = lower(inspection.model, ["y"], replacements={"LSTM": lambda *_, **__: torch.zeros(right.shape)})
    vars(inspection)["lowered"] = Lowered(wrong, ("y",), ())
    found = outcome(inspection)
    assert found.status == "pass"
    assert "holds NaN, see weights" in found.details[0].text
