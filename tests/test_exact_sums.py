from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

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


BRANCHED = """g (uint8[2, 2] a, int8[2, 2] f, bool k) => (int32[2, 2] y) {
    y = If (k) < then_branch = t () => (int32[2, 2] p) { BODY  p = MatMulInteger (a, b) },
                 else_branch = e () => (int32[2, 2] n) { n = MatMulInteger (a, f) } > }"""
IN_BRANCHES = {
    "a constant": "b = Constant <value = int8[2, 2] {127, 127, 127, 127}> ()",
    "a cast": "u = Cast <to = 1> (f)  b = Cast <to = 3> (u)",
    "a later part": "w = Concat <axis = 1> (f, f)  c, b = Split <axis = 1> (w)",
    "an element of a sequence": "q = SequenceConstruct (f)  i = Constant <value = int64 {0}> ()  b = SequenceAt (q, i)",
    "an optional": "q = Optional (f)  b = OptionalGetElement (q)",
    "a branch in it": """b = If (k) < then_branch = t2 () => (int8[2, 2] p2) { p2 = Identity (f) },
                                     else_branch = e2 () => (int8[2, 2] n2) { n2 = Identity (f) } >""",
}


@pytest.mark.parametrize("body", IN_BRANCHES.values(), ids=IN_BRANCHES)
def test_types_are_known_in_branches(body: str) -> None:
    model = load(parsed(f"{HEADER} {BRANCHED.replace('BODY', body)}"))
    for taken in (True, False):
        found = Oracle(model, ["y"]).run({"a": TWO["a"], "f": TWO["b"], "k": np.array(taken)})["y"]
        np.testing.assert_array_equal(found, WANTED)


LOOPS = {
    "Loop": """g (uint8[2, 2] a, int64 n, bool k) => (int32[2, 2] y) {
        z = Constant <value = int32[2, 2] {0, 0, 0, 0}> ()
        y = Loop (n, k, z) < body = d (int64 i, bool c, int32[2, 2] s) => (bool c2, int32[2, 2] s2) {
            c2 = Identity (c)  b = Constant <value = int8[2, 2] {127, 127, 127, 127}> ()
            p = MatMulInteger (a, b)  s2 = Identity (p) } > }""",
    "Scan": """g (uint8[2, 2] a, int8[1, 2, 2] f) => (int32[1, 2, 2] y) {
        y = Scan (f) < num_scan_inputs = 1, body = d (b) => (p) { p = MatMulInteger (a, b) } > }""",
}


@pytest.mark.parametrize("text", LOOPS.values(), ids=LOOPS)
def test_types_are_known_in_loops(text: str) -> None:
    model = load(parsed(f"{HEADER} {text}"))
    feeds = {"a": TWO["a"], "n": np.array(2), "k": np.array(1, bool), "f": TWO["b"][None]}
    given = {spec.name: feeds[spec.name] for spec in model.inputs}
    np.testing.assert_array_equal(Oracle(model, ["y"]).run(given)["y"].reshape(2, 2), WANTED)


def test_the_type_of_a_choice_is_that_of_what_is_chosen() -> None:
    text = f"""{HEADER} g (uint8[2, 2] a, bool k) => (float[2, 2] y) {{
        q = com.microsoft.QLinearWhere (k, a, s, z, a, s, z, s, z)
        y = com.microsoft.MatMulIntegerToFloat (q, b, s, s) }}"""
    model = load(parsed(text, b=np.array(TWO["b"]), s=np.array(1, np.float32), z=np.array(0, np.uint8)))
    found = Oracle(model, ["y"]).run({"a": TWO["a"], "k": np.array(1, bool)})["y"]
    np.testing.assert_array_equal(found, WANTED)


def test_files_whose_weights_are_listed_as_inputs_run() -> None:
    text = """<ir_version: 3, opset_import: ["": 10]>
    g (uint8[2, 2] a, int8[2, 2] b) => (int32[2, 2] y) { y = MatMulInteger (a, b) }"""
    found = Oracle(load(parsed(text, b=TWO["b"])), ["y"]).run({"a": TWO["a"]})["y"]
    np.testing.assert_array_equal(found, WANTED)


def test_files_with_sequences_run() -> None:
    element = "i = Constant <value = int64 {0}> ()  y = SequenceAt (q, i)"
    found = Oracle(
        load(product(f"p = MatMulInteger (a, b)  q = SequenceConstruct (p)  {element}", b=TWO["b"])), ["y"]
    ).run({"a": TWO["a"]})["y"]
    np.testing.assert_array_equal(found, WANTED)


def test_a_recurrent_layer_in_a_branch_does_not_depend_on_the_number_of_threads() -> None:
    case = CASES["DynamicQuantizeLSTM, forward"]
    names = ["w", "r", "ws", "wz", "rs", "rz"]
    weights = dict(zip(names, (case.inputs[place] for place in (1, 2, 8, 9, 10, 11)), strict=True))
    node = 'com.microsoft.DynamicQuantizeLSTM <hidden_size = 8> (x, w, r, "", "", "", "", "", ws, wz, rs, rz)'
    text = f"""{HEADER} g (float[6, 3, 20] x, bool k) => (float[6, 1, 3, 8] y) {{
        y = If (k) < then_branch = t () => (float[6, 1, 3, 8] p) {{ p = {node} }},
                     else_branch = e () => (float[6, 1, 3, 8] n) {{ n = {node} }} > }}"""
    model = load(parsed(text, **{name: np.asarray(array) for name, array in weights.items()}))
    feeds = {"x": np.asarray(case.inputs[0]), "k": np.array(1, bool)}
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(Oracle(model, ["y"]).run(feeds)["y"])
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(found[0], found[1])


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
