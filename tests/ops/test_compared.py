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
        version = data.draw(st.sampled_from(comparison.versions))
        case = comparison.generator(data.draw, version)
        note(f"version {version}: {case}")
        check(comparison, case, version)

    compare()
