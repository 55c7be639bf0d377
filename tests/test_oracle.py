from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxvis import oracle, verify
from onnxvis.errors import OracleError
from onnxvis.model import load
from onnxvis.oracle import Oracle, observed
from tests.models import conv_net, parsed

MATMUL = '<ir_version: 8, opset_import: ["": 17]> net (float[1, 200] x) => (float[1, 200] y) { y = MatMul (x, w) }'
WEIGHT = np.random.default_rng(0).standard_normal((200, 200), np.float32)
INPUT = np.random.default_rng(1).standard_normal((1, 200), np.float32)


def test_only_what_the_tensors_need_is_written() -> None:
    proto, large = observed(load(conv_net()), ["relu1"])
    assert [node.op_type for node in proto.graph.node] == ["Conv", "Relu"]
    assert {tensor.name for tensor in proto.graph.initializer} == {"w1", "b1"}
    assert large == {}


def test_large_weights_are_handed_over_beside_the_model() -> None:
    model = load(parsed(MATMUL, w=WEIGHT))
    proto, large = observed(model, ["y"])
    assert list(large) == ["w"]
    assert proto.ByteSize() < 1000
    np.testing.assert_allclose(Oracle(model, ["y"]).run({"x": INPUT})["y"], INPUT @ WEIGHT, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.int8, np.bool_, ml_dtypes.float8_e4m3fn])
def test_large_weights_of_any_type_are_handed_over(dtype: Any) -> None:
    text = """<ir_version: 10, opset_import: ["": 21]> g (float[300, 300] x) => (float[300, 300] y)
    { c = Cast <to = 1> (w)  y = Add (x, c) }"""
    weight: np.ndarray[Any, Any] = np.random.default_rng(0).integers(0, 2, (300, 300)).astype(dtype)
    model = load(parsed(text, w=weight))
    assert list(observed(model, ["y"])[1]) == ["w"]
    found = Oracle(model, ["y"]).run({"x": np.zeros((300, 300), np.float32)})["y"]
    np.testing.assert_array_equal(found, weight.astype(np.float32))


def test_large_weights_that_are_listed_as_inputs_are_handed_over() -> None:
    text = """<ir_version: 3, opset_import: ["": 8]>
    net (float[1, 200] x, float[200, 200] w) => (float[1, 200] y) { y = MatMul (x, w) }"""
    found = Oracle(load(parsed(text, w=WEIGHT)), ["y"]).run({"x": INPUT})["y"]
    np.testing.assert_allclose(found, INPUT @ WEIGHT, rtol=1e-4, atol=1e-4)


def test_large_weights_that_a_branch_captures_are_handed_over() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> net (float[1, 200] x) => (float[1, 200] y)
    { k = Constant <value = bool {1}> ()
      y = If (k) < then_branch = t () => (float[1, 200] p) { p = MatMul (x, w) },
                   else_branch = e () => (float[1, 200] q) { q = Neg (x) } > }"""
    found = Oracle(load(parsed(text, w=WEIGHT)), ["y"]).run({"x": INPUT})["y"]
    np.testing.assert_allclose(found, INPUT @ WEIGHT, rtol=1e-4, atol=1e-4)


def test_weights_beside_the_file_are_read_where_the_target_needs_them(tmp_path: Path) -> None:
    proto = parsed(MATMUL.replace("(float[1, 200] y)", "(float[1, 200] y, float[1, 200] z)"), w=WEIGHT, v=2 * WEIGHT)
    proto.graph.node.add(op_type="MatMul", input=["x", "v"], output=["z"])
    onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    model = load(tmp_path / "m.onnx")
    assert list(observed(model, ["z"])[1]) == ["v"]
    np.testing.assert_allclose(Oracle(model, ["z"]).run({"x": INPUT})["z"], INPUT @ (2 * WEIGHT), rtol=1e-4, atol=1e-4)


def test_the_reference_gets_the_large_weights_too(monkeypatch: pytest.MonkeyPatch) -> None:
    text = """<ir_version: 10, opset_import: ["": 28]> net (double[200] x) => (double[200] y)
    { s = Add (x, w)  y = Elu (s) }"""
    weight = np.linspace(-1, 1, 200)
    monkeypatch.setattr(oracle, "_LARGE", 1)
    model = load(parsed(text, w=weight))
    assert list(observed(model, ["y"])[1]) == ["w"]
    session = Oracle(model, ["y"])
    assert session.engine == "onnx.reference"
    found = session.run({"x": np.zeros(200)})["y"]
    np.testing.assert_allclose(found, np.where(weight > 0, weight, np.expm1(weight)), rtol=1e-6)


def test_operators_of_other_domains_are_run() -> None:
    text = """<ir_version: 8, opset_import: ["": 17, "com.microsoft": 1, "ai.onnx.ml": 3]>
    net (float[1, 3] x) => (float[1, 3] y)
    {
        h = ai.onnx.ml.Scaler <offset = [1.0, 0.0, 0.0], scale = [2.0, 2.0, 2.0]> (x)
        y = com.microsoft.QuickGelu (h)
    }"""
    found = Oracle(load(parsed(text)), ["h", "y"]).run({"x": np.array([[1, 2, 3]], np.float32)})
    np.testing.assert_array_equal(found["h"], [[0, 4, 6]])
    np.testing.assert_allclose(found["y"], found["h"] / (1 + np.exp(-1.702 * found["h"])), rtol=1e-5)


def test_what_nobody_can_run_is_an_oracle_error() -> None:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(np.ones((7, 3), np.float32), "w")],
    )
    model = load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    with pytest.raises(OracleError, match="onnxruntime"):
        Oracle(model, ["y"]).run({"x": np.ones((1, 3), np.float32)})


def test_a_file_older_than_onnxruntime_promises_is_written_in_newer_words() -> None:
    text = """
    <ir_version: 3, opset_import: ["": 1]> net (float[2, 3] a, float[3, 4] b, float[2, 4] c) => (float[2, 4] y)
    { y = Gemm (a, b, c) }
    """
    report = verify(onnx.parser.parse_model(text))
    assert report.ok
    assert report.engine == "onnxruntime"
