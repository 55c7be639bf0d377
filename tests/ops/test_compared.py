"""Every registered operator beside its oracle, over attributes and opsets.

`ONNXVIS_EXAMPLES=200` draws at least as many cases of each.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

import tests.ops.cases  # noqa: F401 - registers the comparisons
from tests.ops.compared import COMPARISONS, Comparison, check
from tests.ops.drawn import single
from tests.ops.one_node import Case, Twin

EXAMPLES = int(os.environ.get("ONNXVIS_EXAMPLES", "0"))
CASES = [
    pytest.param(comparison, id=f"{comparison.domain}.{comparison.op_type}".lstrip("."))
    for _, comparison in sorted(COMPARISONS.items())
]


@pytest.mark.parametrize("comparison", CASES)
def test_values_and_gradients_are_those_of_the_oracle(comparison: Comparison) -> None:
    @settings(
        max_examples=max(comparison.examples, EXAMPLES),
        phases=[Phase.generate, Phase.shrink] if EXAMPLES else [Phase.generate],
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def compare(data: st.DataObject) -> None:
        version = data.draw(st.just(comparison.newest) | st.sampled_from(comparison.versions))
        case = comparison.generator(data.draw, version)
        note(f"version {version}: {case}")
        check(comparison, case, version)

    compare()


X = single(0.7, -1.2, 1.6)


def never(draw: object, version: int) -> Case:
    """No case: the tests below bring theirs."""
    raise NotImplementedError(draw, version)


def test_a_value_that_differs_is_noticed() -> None:
    # onnxruntime copies what keeps its size, the specification does not.
    case = Case([X.reshape(1, 1, 3), single(1, 1, 1.3)], constants=frozenset({1}), single=frozenset({1}))
    with pytest.raises(AssertionError, match="Not equal"):
        check(Comparison("Upsample", never), case, 9)


def test_a_gradient_that_differs_is_noticed() -> None:
    with pytest.raises(AssertionError, match="central difference"):
        check(Comparison("Round", never), Case([X]), 22)


def test_a_gradient_that_is_not_that_of_the_twin_is_noticed() -> None:
    with pytest.raises(AssertionError, match="x0: gradient"):
        check(Comparison("Round", never, gradient="straight-through"), Case([X], twin=Twin("Neg")), 22)


def test_a_gradient_that_should_be_cut_is_noticed() -> None:
    with pytest.raises(AssertionError):
        check(Comparison("Relu", never, gradient="cut"), Case([X]), 22)


def test_a_precision_that_is_not_the_recorded_one_is_noticed() -> None:
    with pytest.raises(AssertionError):
        check(Comparison("Elu", never), Case([X]), 26)
