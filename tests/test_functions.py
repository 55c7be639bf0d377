from __future__ import annotations

import itertools
import time

import onnx
import pytest

from onnxvis.errors import InvalidModelError
from onnxvis.model import load


def nested(levels: int, calls: int) -> onnx.ModelProto:
    """A function that calls another so many times, which calls another."""
    text = '<ir_version: 8, opset_import: ["": 17, "f": 1]> g (float[1] x) => (float[1] y) { y = f.level0 (x) }\n'
    for level in range(levels):
        called = "Relu" if level == levels - 1 else f"f.level{level + 1}"
        names = ["a", *(f"t{index}" for index in range(calls - 1)), "b"]
        body = "  ".join(f"{after} = {called} ({before})" for before, after in itertools.pairwise(names))
        text += f'<domain: "f", opset_import: ["": 17, "f": 1]> level{level} (a) => (b) {{ {body} }}\n'
    return onnx.parser.parse_model(text)


@pytest.mark.parametrize(("levels", "calls"), [(1, 1), (3, 2), (2, 5)])
def test_functions_of_functions_are_written_out(levels: int, calls: int) -> None:
    assert [node.op_type for node in load(nested(levels, calls)).nodes] == ["Relu"] * calls**levels


@pytest.mark.parametrize(("levels", "calls"), [(60, 2), (14, 3), (1000, 2)])
def test_functions_that_multiply_are_refused_at_once(levels: int, calls: int) -> None:
    proto = nested(levels, calls)
    began = time.process_time()
    with pytest.raises(InvalidModelError, match="too many to write out"):
        load(proto)
    assert time.process_time() - began < 5
