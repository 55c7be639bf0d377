from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from onnxvis.exact_sums import clipped_products, products_of, with_exact_sums
from onnxvis.model import load
from onnxvis.oracle import Oracle, observed
from tests.models import parsed
from tests.ops.int8_products import CASES
from tests.ops.oracle import computed

HEADER = '<ir_version: 8, opset_import: ["": 17, "com.microsoft": 1]>'


def run(model: onnx.ModelProto, feeds: dict[str, Any]) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("constant", [True, False], ids=["weights", "inputs"])
def test_onnxruntime_sums_exactly_what_is_written_for_it(name: str, constant: bool) -> None:
    case = CASES[name]
    model = case.model(constant=constant)
    before = model.SerializeToString()
    written, _ = with_exact_sums(model)
    assert model.SerializeToString() == before
    assert list(clipped_products(model))
    assert not list(clipped_products(written))
    found = run(written, case.feeds(written))
    wanted = computed(
        case.op_type, case.inputs, 21, outputs=case.outputs, domain=case.domain, constant=False, **case.attributes
    )
    for mine, theirs in zip(found, wanted, strict=True):
        tolerance = 0 if mine.dtype.kind in "iu" else 2e-5 * max(1.0, float(np.abs(theirs).max()))
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", ["MatMulInteger 9", "MatMulInteger 1000", "MatMulInteger of stacks"])
def test_sums_of_integers_are_those_of_numpy(name: str) -> None:
    case = CASES[name]
    a, b = (np.asarray(x).astype(np.int64) for x in case.inputs)
    written, _ = with_exact_sums(case.model(constant=False))
    np.testing.assert_array_equal(run(written, case.feeds(written))[0], a @ b)


PRODUCT = "y = MatMulInteger (a, b)"
TWO = {"a": np.full((2, 2), 255, np.uint8), "b": np.full((2, 2), 127, np.int8)}
WANTED = np.full((2, 2), 2 * 255 * 127)


def product(body: str, **weights: Any) -> onnx.ModelProto:
    return parsed(f"{HEADER} g (uint8[2, 2] a) => (int32[2, 2] y) {{ {body} }}", **weights)


def test_a_branch_is_written_too_with_weights_from_around_it() -> None:
    body = f"""k = Constant <value = bool {{1}}> ()
      y = If (k) < then_branch = t () => (int32[2, 2] p) {{ {PRODUCT.replace("y", "p", 1)} }},
                   else_branch = e () => (int32[2, 2] n) {{ n = MatMulInteger (a, c) }} >"""
    model = product(body, b=TWO["b"], c=TWO["b"])
    written, _ = with_exact_sums(model)
    assert len(list(clipped_products(model))) == 2
    assert not list(clipped_products(written))
    np.testing.assert_array_equal(run(written, {"a": TWO["a"]})[0], WANTED)


def test_a_weight_that_others_read_stays_for_them() -> None:
    body = f"p = {PRODUCT.split('= ')[1]}  w = Cast <to = 6> (b)  y = Add (p, w)"
    written, _ = with_exact_sums(product(body, b=TWO["b"]))
    np.testing.assert_array_equal(run(written, {"a": TWO["a"]})[0], WANTED + 127)


def test_a_weight_of_two_products_is_written_once() -> None:
    body = "p = MatMulInteger (a, b)  q = MatMulInteger (a, b)  y = Add (p, q)"
    written, _ = with_exact_sums(product(body, b=TWO["b"]))
    assert [tensor.name for tensor in written.graph.initializer] == ["b/uint8"]
    np.testing.assert_array_equal(run(written, {"a": TWO["a"]})[0], 2 * WANTED)


def test_names_that_are_taken_are_left_alone() -> None:
    body = f'{PRODUCT.replace("y", "p", 1)}  w = Cast <to = 6> ("b/uint8")  y = Add (p, w)'
    model = product(body.replace('"b/uint8"', "taken"), b=TWO["b"], taken=np.full((2, 2), 5, np.int8))
    for tensor in model.graph.initializer:
        tensor.name = "b/uint8" if tensor.name == "taken" else tensor.name
    for node in model.graph.node:
        node.input[:] = ["b/uint8" if name == "taken" else name for name in node.input]
    written, _ = with_exact_sums(model)
    np.testing.assert_array_equal(run(written, {"a": TWO["a"]})[0], WANTED + 5)


def test_types_are_followed_where_the_file_does_not_say_them() -> None:
    body = """q = com.microsoft.QuantizeLinear (f, s, z)  t = Transpose (q)  r = Reshape (t, n)
        y = MatMulInteger (a, r)"""
    text = f"{HEADER} g (uint8[2, 2] a, float[2, 2] f) => (int32[2, 2] y) {{ {body} }}"
    model = parsed(text, s=np.array(1, np.float32), z=np.array(0, np.int8), n=np.array([2, 2]))
    written, _ = with_exact_sums(model)
    assert not list(clipped_products(written))
    found = run(written, {"a": TWO["a"], "f": np.full((2, 2), 127, np.float32)})
    np.testing.assert_array_equal(found[0], WANTED)


@pytest.mark.parametrize("dtypes", [(np.uint8, np.uint8), (np.int8, np.int8), (np.int8, np.uint8)])
def test_what_is_exact_already_is_not_touched(dtypes: tuple[Any, Any]) -> None:
    kind = "uint8" if dtypes[0] == np.uint8 else "int8"
    text = f"{HEADER} g ({kind}[2, 2] a) => (int32[2, 2] y) {{ {PRODUCT} }}"
    model = parsed(text, b=np.ones((2, 2), dtypes[1]))
    assert with_exact_sums(model)[0] is model


def test_convolutions_of_integers_sum_int8_filters_of_uint8_exactly() -> None:
    text = f"{HEADER} g (uint8[1, 2, 3, 3] x) => (int32[1, 1, 2, 2] y) {{ y = ConvInteger (x, w) }}"
    model = parsed(text, w=np.full((1, 2, 2, 2), 127, np.int8))
    assert with_exact_sums(model)[0] is model
    found = run(model, {"x": np.full((1, 2, 3, 3), 255, np.uint8)})
    np.testing.assert_array_equal(found[0], np.full((1, 1, 2, 2), 8 * 255 * 127))


@pytest.mark.parametrize("shared", [False, True])
def test_large_weights_are_moved_where_they_lie(shared: bool) -> None:
    weight = np.random.default_rng(0).integers(-128, 128, (300, 300)).astype(np.int8)
    more = "w = Cast <to = 6> (b)  y = Add (p, w)" if shared else "y = Identity (p)"
    text = f"{HEADER} g (uint8[300, 300] a) => (int32[300, 300] y) {{ p = MatMulInteger (a, b)  {more} }}"
    model = load(parsed(text, b=weight))
    written, large = with_exact_sums(*observed(model, ["y"]))
    assert set(large) == ({"b", "b/uint8"} if shared else {"b/uint8"})
    assert written.ByteSize() < 2000
    a = np.random.default_rng(1).integers(0, 256, (300, 300)).astype(np.uint8)
    exact = a.astype(int) @ weight + (weight if shared else 0)
    np.testing.assert_array_equal(Oracle(model, ["y"]).run({"a": a})["y"], exact)


def test_only_operators_of_the_two_domains_multiply() -> None:
    node = onnx.helper.make_node("MatMulInteger", ["a", "b"], ["y"], domain="somebody")
    assert products_of(node) == ()
    node.domain = "ai.onnx"
    assert len(products_of(node)) == 1
