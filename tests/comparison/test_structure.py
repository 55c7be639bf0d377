"""Where responses no longer agree, nodes are found by what they are connected to; what remains alone has a reason."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx
import pytest

from onnxvis.comparison.responses import match_responses
from onnxvis.comparison.sides import Array
from onnxvis.comparison.structure import Correspondence, extend
from onnxvis.diff import diff
from tests.comparison import NET, ROW, drawn, ints, net, net_weights, row_weights, run_both


def corresponding(first: onnx.ModelProto, second: onnx.ModelProto) -> Correspondence:
    """Start from what agrees, as a comparison does."""
    sides, recordings = run_both(first, second)
    known = {one.name: other.name for one, other in zip(sides[0].model.inputs, sides[1].model.inputs, strict=True)}
    matches = match_responses(sides, recordings, 1e-4)
    return extend(sides, {**known, **{name: match.tensor for name, match in matches.items()}})


def divergence(first: onnx.ModelProto, second: onnx.ModelProto) -> str | None:
    return diff(first, second).first_divergence


ALL = ("c1", "r1", "c2", "r2", "p", "f", "y")


def test_all_nodes_behind_a_difference_have_a_counterpart() -> None:
    found = corresponding(net(NET, **net_weights()), net(NET, **net_weights() | {"w1": drawn(8, 3, 3, 3, seed=9)}))
    assert {name: found.same.get(name) for name in ALL} == {name: name for name in ALL}


def test_names_are_not_needed_behind_a_difference() -> None:
    text = re.sub(r"\b(c1|r1|c2|r2|p|f)\b", r"n\1", NET)
    found = corresponding(net(NET, **net_weights()), net(text, **net_weights() | {"w1": drawn(8, 3, 3, 3, seed=9)}))
    assert [found.same[name] for name in ALL] == [*(f"n{name}" for name in ALL[:-1]), "y"]


def test_the_order_of_the_nodes_does_not_matter() -> None:
    text = """g (float[1, 3, 8, 8] x) => (float[1, 8, 8, 8] y) {
        a = Conv <pads = [1, 1, 1, 1]> (x, w1)
        b = Conv <pads = [1, 1, 1, 1]> (x, w2)
        ra = Relu (a)
        rb = Sigmoid (b)
        y = Concat <axis = 1> (ra, rb)
    }"""
    lines = text.splitlines()
    turned = "\n".join([lines[0], lines[2], lines[4], lines[1], lines[3], *lines[5:]])
    weights = {"w1": drawn(4, 3, 3, 3, seed=1), "w2": drawn(4, 3, 3, 3, seed=2)}
    found = corresponding(net(text, **weights), net(turned, **weights | {"w1": drawn(4, 3, 3, 3, seed=9)}))
    assert {name: found.same[name] for name in ("a", "b", "ra", "rb", "y")} == {
        name: name for name in ("a", "b", "ra", "rb", "y")
    }


NORMALIZED = NET.replace("r1 = Relu (c1)", "n1 = BatchNormalization (c1, g, o, m, v)\n r1 = Relu (n1)")


def normalization() -> dict[str, Array]:
    return {
        "g": np.abs(drawn(8, seed=5)) + np.float32(0.5),
        "o": drawn(8, seed=6),
        "m": drawn(8, seed=7),
        "v": np.abs(drawn(8, seed=8)) + np.float32(0.2),
    }


def folded() -> dict[str, Array]:
    weights, known = net_weights(), normalization()
    scale = known["g"] / np.sqrt(known["v"] + np.float32(1e-5))
    weights["w1"] = weights["w1"] * scale[:, None, None, None]
    weights["b1"] = (weights["b1"] - known["m"]) * scale + known["o"]
    return weights


@pytest.mark.parametrize("backward", [False, True])
def test_a_folded_normalization_is_no_difference(backward: bool) -> None:
    models = [net(NORMALIZED, **net_weights(), **normalization()), net(NET, **folded())]
    found = diff(*(reversed(models) if backward else models))
    assert found.ok
    assert found.details == ()
    assert all(layer.verdict in ("agrees", "unmatched") for layer in found.layers)


@pytest.mark.parametrize("backward", [False, True])
def test_what_differs_behind_a_folded_normalization_is_found(backward: bool) -> None:
    models = [net(NORMALIZED, **net_weights(), **normalization()), net(NET, **folded() | {"w2": drawn(10, 8, 3, 3)})]
    assert divergence(*(reversed(models) if backward else models)) == "c2"


def test_a_clip_for_a_relu_is_no_difference() -> None:
    second = net(NET.replace("r1 = Relu (c1)", "r1 = Clip (c1, zero)"), **net_weights(), zero=0.0)
    assert diff(net(NET, **net_weights()), second).ok


LOST = NET.replace("    r1 = Relu (c1)\n", "").replace("(r1, w2", "(c1, w2")


def test_a_lost_node_is_named_where_it_is_missing() -> None:
    found = diff(net(NET, **net_weights()), net(LOST, **net_weights()))
    assert found.first_divergence == "c2"
    assert "Relu 'r1' behind 'c1' has no counterpart" in found.details[0].text


def test_an_added_node_is_named() -> None:
    found = diff(net(LOST, **net_weights()), net(NET, **net_weights()))
    assert found.first_divergence == "r1"
    assert "Relu 'r1' is not in the first file" in found.details[0].text


@pytest.mark.parametrize(("lost", "reader"), [("b", "c"), ("a", "b"), ("c", "y")])
def test_a_lost_layer_of_a_row_of_equal_ones_is_found(lost: str, reader: str) -> None:
    weights = {f"w{number}": drawn(4, 4, 3, 3, seed=number) for number in (1, 2, 3)}
    text = ROW.replace("1, 3, 8, 8", "1, 4, 8, 8")
    parts = {"a": ("x", "a", "ar"), "b": ("ar", "b", "br"), "c": ("br", "c", "y")}
    source, made, handed = parts[lost]
    lines = [line for line in text.splitlines() if not line.strip().startswith((f"{made} =", f"{handed} ="))]
    second = "\n".join(lines).replace(f"({handed}", f"({source}")
    if lost == "c":
        second = second.replace("br =", "y =")
    found = diff(
        net(text, **weights), net(second, **{name: array for name, array in weights.items() if name in second})
    )
    assert not found.ok
    assert "no counterpart" in found.details[0].text
    assert repr(lost) in found.details[0].text or found.first_divergence == reader
    assert "Output 'y' of the first file has no counterpart" not in str([item.text for item in found.details])


def test_equal_layers_with_exchanged_weights_differ_at_the_first() -> None:
    weights = row_weights()
    exchanged = weights | {"w2": weights["w3"], "w3": weights["w2"]}
    found = diff(net(ROW, **weights), net(ROW, **exchanged))
    assert found.first_divergence == "b"
    assert [layer.verdict for layer in found.layers[:2]] == ["agrees", "agrees"]


def test_shared_weights_may_be_written_twice() -> None:
    weights = row_weights()
    shared = net(ROW.replace("w3", "w2"), w1=weights["w1"], w2=weights["w2"])
    apart = net(ROW, **weights | {"w3": weights["w2"]})
    assert diff(shared, apart).ok
    assert diff(apart, shared).ok
    assert divergence(shared, net(ROW, **weights)) == "c"


FIRE = """g (float[1, 3, 8, 8] x) => (float[1, 8, 8, 8] y) {
    s = Conv (x, w0)
    sr = Relu (s)
    a = Conv <pads = [1, 1, 1, 1]> (sr, w1)
    ar = Relu (a)
    b = Conv <pads = [1, 1, 1, 1]> (sr, w2)
    br = Relu (b)
    y = Concat <axis = 1> (ar, br)
}"""


def fire_weights() -> dict[str, Array]:
    return {"w0": drawn(4, 3, 1, 1), "w1": drawn(4, 4, 3, 3, seed=1), "w2": drawn(4, 4, 3, 3, seed=2)}


@pytest.mark.parametrize(("weight", "layer"), [("w0", "s"), ("w1", "a"), ("w2", "b")])
def test_of_branches_of_one_shape_the_wrong_one_is_named(weight: str, layer: str) -> None:
    weights = fire_weights()
    wrong = weights | {weight: drawn(*weights[weight].shape, seed=9)}
    assert divergence(net(FIRE, **weights), net(FIRE, **wrong)) == layer


def test_both_branches_may_be_wrong() -> None:
    wrong = fire_weights() | {"w1": drawn(4, 4, 3, 3, seed=8), "w2": drawn(4, 4, 3, 3, seed=9)}
    found = diff(net(FIRE, **fire_weights()), net(FIRE, **wrong))
    assert [detail.layer for detail in found.details] == ["a", "b", "y"]


def test_branches_that_are_joined_in_another_order_are_wrong_where_they_are_joined() -> None:
    turned = net(FIRE.replace("(ar, br)", "(br, ar)"), **fire_weights())
    found = diff(net(FIRE, **fire_weights()), turned)
    assert found.first_divergence == "y"
    assert "weight" not in found.details[0].text


def test_branches_written_in_another_order_are_no_difference() -> None:
    lines = FIRE.splitlines()
    turned = "\n".join([*lines[:3], lines[5], lines[6], lines[3], lines[4], *lines[7:]])
    assert diff(net(FIRE, **fire_weights()), net(turned, **fire_weights())).ok


SPLIT = """g (float[1, 3, 8, 8] x) => (float[1, 4, 8, 8] y) {
    r = Conv (x, w0)
    a, b = Split <axis = 1> (r, sizes)
    c = Conv (a, w)
    d = Sigmoid (b)
    y = Concat <axis = 1> (c, d)
}"""
PARTS: dict[str, Any] = {"w0": drawn(4, 3, 1, 1), "sizes": ints(2, 2), "w": drawn(2, 2, 1, 1)}


def test_both_parts_of_a_split_have_their_counterparts() -> None:
    found = corresponding(net(SPLIT, **PARTS), net(SPLIT, **PARTS | {"w0": drawn(4, 3, 1, 1, seed=9)}))
    assert {name: found.same.get(name) for name in "abcdy"} == {name: name for name in "abcdy"}


def test_parts_that_are_exchanged_are_wrong_where_they_are_read() -> None:
    turned = SPLIT.replace("Conv (a, w)", "Conv (b, w)").replace("Sigmoid (b)", "Sigmoid (a)")
    assert divergence(net(SPLIT, **PARTS), net(turned, **PARTS)) in ("c", "d")


RESIDUAL = """g (float[1, 3, 8, 8] x) => (float[1, 4, 8, 8] y) {
    r = Conv (x, w0)
    c = Conv <pads = [1, 1, 1, 1]> (r, w1)
    s = %s
    d = Conv <pads = [1, 1, 1, 1]> (s, w2)
    y = Relu (d)
}"""


def residual(join: str) -> onnx.ModelProto:
    return net(RESIDUAL % join, **fire_weights())


def test_a_lost_shortcut_is_named_and_the_order_of_a_sum_is_no_difference() -> None:
    found = diff(residual("Add (c, r)"), residual("Identity (c)"))
    assert "Add 's' behind 'c' has no counterpart" in found.details[0].text
    assert found.first_divergence == "d"
    assert diff(residual("Add (c, r)"), residual("Add (r, c)")).ok
    assert diff(residual("Add (c, r)"), residual("Sum (r, c)")).ok


def test_a_shortcut_from_the_wrong_place_is_named() -> None:
    found = diff(residual("Add (c, r)"), residual("Add (c, c)"))
    assert found.first_divergence == "s"


BRANCHES = """g (float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y) {
    r = Exp (x)
    q = ReduceSum <keepdims = 0> (r)
    big = Greater (q, zero)
    y = If (big) <
        then_branch = then () => (float[1, 3, 8, 8] o) { o = Mul (r, k) },
        else_branch = other () => (float[1, 3, 8, 8] p) { p = Neg (r) }
    >
}"""


def test_what_is_captured_by_a_branch_is_read_by_its_node() -> None:
    first = net(BRANCHES, zero=0.0, k=2.0)
    assert diff(first, first).ok
    assert divergence(first, net(BRANCHES, zero=0.0, k=3.0)) == "y"
    wrong = net(BRANCHES.replace("r = Exp (x)", "r = Softplus (x)"), zero=0.0, k=2.0)
    assert divergence(first, wrong) == "r"


def test_each_node_of_the_second_file_is_taken_once() -> None:
    weights = row_weights()
    found = corresponding(net(ROW, **weights), net(ROW, **weights | {"w1": drawn(4, 3, 3, 3, seed=9)}))
    assert len(set(found.same.values())) == len(found.same)
