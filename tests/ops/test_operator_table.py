from __future__ import annotations

import onnx
import pytest

from onnxvis.ops import entries
from tests.ops.compared import COMPARISONS
from tests.ops.operator_table import BY_EXAMPLE, PAGE, RANDOM, WITHOUT_KERNEL, page, uncompared


def test_the_page_of_operators_is_what_the_script_writes() -> None:
    written = PAGE.read_text(encoding="utf-8")
    if f"onnx {onnx.__version__}:" not in written:
        pytest.skip("another version of onnx has other operators and cases")
    assert written == page()


def test_every_operator_is_compared_or_there_is_a_reason() -> None:
    assert uncompared() == {*RANDOM, *WITHOUT_KERNEL, *BY_EXAMPLE}


def test_what_the_table_says_of_gradients_is_what_is_compared() -> None:
    differentiable = {(entry.domain, entry.op_type): entry.differentiable for entry in entries()}
    compared = {key: comparison.gradient in ("compared", "straight-through") for key, comparison in COMPARISONS.items()}
    assert {key: differentiable[key] for key in compared} == compared
