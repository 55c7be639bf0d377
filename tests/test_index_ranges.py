from typing import Any

import numpy as np
import pytest

from onnxvis import load
from onnxvis.index_ranges import index_ranges
from tests.models import parsed

ROWS = np.zeros((7, 3), np.float32)


def ranges(text: str, **weights: Any) -> dict[str, int]:
    return index_ranges(load(parsed(f'<ir_version: 8, opset_import: ["": 17]> g {text}', **weights)))


@pytest.mark.parametrize(("axis", "rows"), [(0, 7), (1, 3), (-1, 3), (-2, 7)])
def test_the_table_says_how_many_indices_there_are(axis: int, rows: int) -> None:
    text = f"(int64[2] x) => (float[N, M] y) {{ y = Gather <axis = {axis}> (t, x) }}"
    assert ranges(text, t=ROWS) == {"x": rows}


def test_of_several_tables_the_smallest_counts_and_what_rearranges_is_seen_through() -> None:
    text = "(int32[2] x) => (float[1, 2, 3] y) { a = Gather(t, x) u = Unsqueeze(x, z) b = Gather(s, u) y = Add(a, b) }"
    assert ranges(text, t=ROWS, s=ROWS[:4], z=np.array([0])) == {"x": 4}


def test_a_tensor_that_is_computed_is_a_table_too() -> None:
    text = "(int64[2] x, float[5, 2] f) => (float[2, 2] y) { t = Neg(f) y = Gather(t, x) }"
    assert ranges(text) == {"x": 5}


def test_the_depth_of_a_one_hot_is_a_range() -> None:
    text = "(int64[2] x) => (float[2, 9] y) { y = OneHot(x, d, v) }"
    assert ranges(text, d=np.array(9), v=np.array([0, 1], np.float32)) == {"x": 9}


@pytest.mark.parametrize("body", ["y = Cast <to = 1> (x)", "p = Cast <to = 1> (x) y = Gather(p, k)"])
def test_integers_that_are_no_indices_have_no_range(body: str) -> None:
    assert ranges(f"(int64[2] x) => (float[2] y) {{ {body} }}", k=np.array([0, 1])) == {}


def test_a_table_of_unknown_size_gives_no_range() -> None:
    assert ranges("(int64[2] x, float[N, 3] t) => (float[2, 3] y) { y = Gather(t, x) }") == {}
