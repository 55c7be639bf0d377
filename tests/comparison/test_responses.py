"""Tensors are matched by what they hold, whatever they are called, in whatever order and layout."""

from __future__ import annotations

import re
from typing import Any

import onnx

from onnxvis.comparison.responses import Match, match_responses
from tests.comparison import NET, ROW, drawn, net, net_weights, row_weights, run_both


def matched(first: onnx.ModelProto, second: onnx.ModelProto, limit: float = 1e-4, **given: Any) -> dict[str, Match]:
    return match_responses(*run_both(first, second), limit, **given)


def names(found: dict[str, Match]) -> dict[str, str]:
    return {name: match.tensor for name, match in found.items()}


def test_each_tensor_of_a_model_is_itself() -> None:
    model = net(NET, **net_weights())
    assert names(matched(model, model)) == {name: name for name in ("c1", "r1", "c2", "r2", "p", "f", "y")}


def test_names_do_not_matter() -> None:
    text = re.sub(r"\b(c1|r1|c2|r2|p|f)\b", r"other_\1", NET)
    found = names(matched(net(NET, **net_weights()), net(text, **net_weights())))
    assert found == {**{name: f"other_{name}" for name in ("c1", "r1", "c2", "r2", "p", "f")}, "y": "y"}


def test_names_that_lie_are_not_believed() -> None:
    weights = row_weights()
    swapped = ROW.replace("a =", "tmp =").replace("(a)", "(tmp)").replace("b =", "a =").replace("(b)", "(a)")
    swapped = swapped.replace("tmp", "b")
    found = names(matched(net(ROW, **weights), net(swapped, **weights)))
    assert (found["a"], found["b"], found["c"]) == ("b", "a", "c")


def test_a_tensor_in_the_other_layout_is_found_with_its_alignment() -> None:
    weights = {"w": drawn(5, 3, 3, 3)}
    first = "g (float[1, 3, 8, 9] x) => (float[1, 5, 6, 7] y) { c = Conv (x, w)\n y = Relu (c) }"
    second = """g (float[1, 3, 8, 9] x) => (float[1, 6, 7, 5] y) {
        c = Conv (x, w)
        t = Transpose <perm = [0, 2, 3, 1]> (c)
        y = Relu (t)
    }"""
    found = matched(net(first, **weights), net(second, **weights))
    assert names(found) == {"c": "c", "y": "y"}
    assert found["c"].alignment.is_identity
    assert found["y"].alignment.order == (1, 2, 0)


def test_constants_and_zeros_say_nothing() -> None:
    text = """g (float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y) {
        z = Mul (x, zero)
        one = Add (z, k)
        e = Exp (x)
        y = Add (e, one)
    }"""
    model = net(text, zero=0.0, k=1.0)
    assert names(matched(model, model)) == {"e": "e", "y": "y"}


def test_the_limit_is_that_which_is_given() -> None:
    text = "g (float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y) { s = Exp (x)\n y = Mul (s, k) }"
    first, second = net(text, k=1.5), net(text, k=1.515)
    assert names(matched(first, second, 1e-3)) == {"s": "s"}
    found = matched(first, second, 2e-2)
    assert names(found) == {"s": "s", "y": "y"}
    assert 5e-3 < found["y"].errors.relative < 2e-2


def test_of_equal_tensors_each_has_its_own_partner() -> None:
    text = """g (float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y) {
        e = Exp (x)
        i = Identity (e)
        d = Relu (e)
        y = Add (i, d)
    }"""
    model = net(text)
    assert names(matched(model, model)) == {"e": "e", "i": "i", "d": "d", "y": "y"}


def test_only_the_asked_tensors_are_looked_at() -> None:
    model = net(NET, **net_weights())
    assert names(matched(model, model, names=["c2"])) == {"c2": "c2"}


def test_nan_and_infinity_at_the_same_places_are_the_same() -> None:
    text = "g (float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y) { s = Sub (x, k)\n y = %s (s) }"
    with_nan, with_infinity = net(text % "Log", k=0.1), net(text % "Reciprocal", k=0.0)
    assert names(matched(with_nan, with_nan)) == {"s": "s", "y": "y"}
    assert names(matched(with_nan, net(text % "Log", k=0.5))) == {}
    assert "y" in names(matched(with_infinity, with_infinity))
