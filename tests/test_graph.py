from __future__ import annotations

import onnx
import onnx_ir as ir

from onnxvis.graph import ancestors, computed_values, inputs_of, is_default_domain, opset, read_values, real_inputs
from onnxvis.model import load

BRANCHES = """
<ir_version: 8, opset_import: ["": 17, "com.microsoft": 2]>
g (float[2] x, float[2] z, bool k) => (float[2] y, float[2] c)
{
    size = Shape (x)
    floats = Cast <to = 1> (size)
    outer = Neg (z)
    y = If (k) <
        then_branch = t () => (float[2] p) { inner = Abs (outer)  p = Add (inner, x) },
        else_branch = e () => (float[2] q) { one = Constant <value_floats = [1.0, 1.0]> ()  q = Identity (one) }
    >
    c = Constant <value_floats = [1.0, 1.0]> ()
}
"""


def graph() -> ir.Graph:
    return load(onnx.parser.parse_model(BRANCHES)).ir.graph


def named(values: object) -> set[str]:
    return {str(value.name) for value in values}  # type: ignore[attr-defined] # any iterable of values


def producer(of: str) -> ir.Node:
    return next(node for node in graph() if node.outputs[0].name == of)


def test_a_branch_reads_what_it_captures_and_not_what_it_computes() -> None:
    assert named(read_values(producer("y"))) == {"k", "outer", "x"}


def test_only_what_depends_on_values_is_computed() -> None:
    assert [value.name for value in computed_values(graph())] == ["outer", "y"]


def test_ancestors_go_through_captured_values() -> None:
    found = ancestors([producer("y").outputs[0]])
    assert {node.outputs[0].name for node in found} == {"outer", "y"}


def test_inputs_come_in_the_files_order() -> None:
    whole = graph()
    assert [value.name for value in inputs_of(whole, whole.outputs)] == ["x", "z", "k"]
    assert inputs_of(whole, whole.outputs[1:]) == []
    assert [value.name for value in inputs_of(whole, [whole.inputs[1]])] == ["z"]


def test_inputs_with_a_default_are_weights() -> None:
    text = """<ir_version: 3, opset_import: ["": 7]>
    g (float[2] x, float[2] w = {1, 2}) => (float[2] y) { y = Add (x, w) }"""
    assert named(real_inputs(load(onnx.parser.parse_model(text)).ir.graph)) == {"x"}


def test_the_operator_set_of_a_domain() -> None:
    model = load(onnx.parser.parse_model(BRANCHES)).ir
    assert (opset(model), opset(model, "ai.onnx"), opset(model, "com.microsoft"), opset(model, "other")) == (
        17,
        17,
        2,
        1,
    )
    assert is_default_domain("ai.onnx")
    assert not is_default_domain("com.microsoft")
