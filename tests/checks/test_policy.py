import onnx
import pytest

from onnxvis.checks.policy import check_policy, is_allowed
from onnxvis.config import CheckSettings
from onnxvis.errors import SettingError
from onnxvis.outcomes import Outcome
from tests.checks.inspected import of
from tests.models import conv_net

BRANCHES = """
<ir_version: 8, opset_import: ["": 17, "local": 1]>
g (float[1, 4] x, bool c) => (float[1, 4] y)
{
    z = If (c) <
        then_branch = a () => (float[1, 4] t) { t = Softplus(x) },
        else_branch = b () => (float[1, 4] e) { e = Neg(x) }
    >
    y = local.twice(z)
}
<domain: "local", opset_import: ["": 17]>
twice (v) => (w) { w = Add(v, v) }
"""


def outcome(proto: object, **settings: object) -> Outcome:
    inspection = of(proto, **settings)
    return check_policy(inspection, inspection.settings)


def test_without_a_policy_there_is_nothing_to_check() -> None:
    assert outcome(conv_net()).status == "skip"


@pytest.mark.parametrize(
    ("conditions", "allowed"),
    [
        (">=13,<=20", range(13, 21)),
        ("17", [17]),
        ("==17", [17]),
        (">13, <16", [14, 15]),
        (">=15,!=17,<19", [15, 16, 18]),
    ],
)
def test_conditions_on_the_opset_allow_what_they_say(conditions: str, allowed: object) -> None:
    assert [version for version in range(1, 30) if is_allowed(version, conditions)] == list(allowed)  # type: ignore[call-overload]


@pytest.mark.parametrize("conditions", ["", "new", ">=", "13-20", ">=13,", "~=3", "=>13"])
def test_conditions_that_cannot_be_read_are_told_at_once(conditions: str) -> None:
    with pytest.raises(SettingError, match="cannot be read"):
        is_allowed(17, conditions)


def test_an_opset_outside_the_policy_fails() -> None:
    assert outcome(conv_net(), opset=">=13,<=20").status == "pass"
    found = outcome(conv_net(), opset=">=18")
    assert found.status == "fail"
    assert found.text.startswith("opset 17, but the policy is >=18")


def test_a_forbidden_operator_is_named_with_its_first_layer() -> None:
    found = outcome(conv_net(), forbidden_operators=["Relu"])
    assert (found.status, found.layer) == ("fail", "relu1")
    assert "operator Relu (2 times, first at 'relu1') is forbidden" in found.text


def test_operators_that_are_not_allowed_are_all_told() -> None:
    found = outcome(conv_net(), operators=["Conv", "ai.onnx.Relu", "Flatten", "Gemm"])
    assert [detail.figures["operator"] for detail in found.details] == [
        "AveragePool",
        "GlobalAveragePool",
        "Softmax",
    ]


@pytest.mark.parametrize("operator", ["Softplus", "Neg", "Add"])
def test_branches_and_functions_count_too(operator: str) -> None:
    proto = onnx.parser.parse_model(BRANCHES)
    found = outcome(proto, forbidden_operators=[operator])
    assert [detail.figures["operator"] for detail in found.details] == [operator]
    assert found.layer is not None


def test_a_domain_that_is_not_allowed_fails_and_the_default_one_is_always() -> None:
    text = '<ir_version: 8, opset_import: ["": 17, "com.microsoft": 1]> g (float[1, 4] x) => (float[1, 4] y)'
    proto = onnx.parser.parse_model(f"{text} {{ r = Relu(x) y = com.microsoft.Gelu(r) }}")
    assert outcome(proto, domains=["com.microsoft"]).status == "pass"
    assert outcome(proto, forbidden_operators=["com.microsoft.Gelu"]).status == "fail"
    found = outcome(proto, domains=["ai.onnx.ml"])
    assert (found.status, found.layer, len(found.details)) == ("fail", "y", 1)


def test_the_policy_runs_nothing() -> None:
    inspection = of(conv_net(), opset=">=1")
    check_policy(inspection, CheckSettings(opset=">=1"))
    assert "oracle" not in vars(inspection)
