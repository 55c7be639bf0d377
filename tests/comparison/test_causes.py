"""Each fault is called by its name, and by no other's."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from onnxvis.comparison.causes import Evidence, cause_of
from onnxvis.comparison.sides import Array
from onnxvis.diff import diff
from tests.comparison import NET, compared, drawn, ints, net, net_weights, row_weights
from tests.comparison.test_structure import FIRE, NORMALIZED, RESIDUAL, fire_weights, normalization

PHRASES = {
    "swapped": "height and width are swapped",
    "flipped": "the kernel is flipped$",
    "flipped in height": "the kernel is flipped in height",
    "flipped in width": "the kernel is flipped in width",
    "axes": "first two axes are swapped",
    "colors": "channels are in the opposite order",
    "reversed": "filters are in the opposite order",
    "mixed up": "channels and places are mixed up",
    "weight factor": "the weight is .* times as large",
    "zero": "only zero weights",
    "other weights": "other weights",
    "factor": "its values are .* times as large",
    "some units": "only filters? .* differs?",
    "bias": r"a bias\?",
    "normalization": r"a normalization\?",
    "border": "only at the border",
    "operator": "it is .* instead of",
    "no bias": "it has no bias",
    "lost": "has no counterpart",
    "added": "is not in the first file",
    "order": "the same filters in another order",
    "finite": "it holds (NaN|infinity)",
    "shape": "its shape is",
    "pads": "^pads is",
    "epsilon": "^epsilon is",
}


def reasons(first: onnx.ModelProto, second: onnx.ModelProto) -> tuple[str | None, tuple[str, ...]]:
    """Return the layer that is to blame, and why."""
    found = compared(first, second)
    assert found.roots
    known = Evidence(found.sides, found.recordings, found.correspondence, found.pairs)
    cause = cause_of(known, found.roots[0], found.limits.sharp)
    layer = None if cause.node is None else cause.node.outputs[0].name
    return layer, cause.reasons


def phrases(texts: tuple[str, ...]) -> set[str]:
    return {name for name, phrase in PHRASES.items() if any(re.search(phrase, text) for text in texts)}


def weights(**changes: Callable[[Array], Array]) -> dict[str, Array]:
    given = net_weights()
    return given | {name: np.ascontiguousarray(change(given[name])) for name, change in changes.items()}


def one_filter(array: Array, factor: float) -> Array:
    changed = array.copy()
    changed[3] *= np.float32(factor)
    return changed


def kernels_last(array: Array) -> Array:
    return np.moveaxis(array.reshape(10, 8, 9), 1, 2).reshape(array.shape)


BASE = net(NET, **net_weights())
WRONG: dict[str, tuple[dict[str, Any], str, set[str]]] = {
    "swapped": ({"w2": lambda w: w.swapaxes(2, 3)}, "c2", {"swapped"}),
    "flipped": ({"w2": lambda w: w[..., ::-1, ::-1]}, "c2", {"flipped"}),
    "flipped in height": ({"w2": lambda w: w[..., ::-1, :]}, "c2", {"flipped in height"}),
    "flipped in width": ({"w2": lambda w: w[..., ::-1]}, "c2", {"flipped in width"}),
    "opposite channels": ({"w2": lambda w: w[:, ::-1]}, "c2", {"colors"}),
    "opposite filters": ({"w2": lambda w: w[::-1]}, "c2", {"reversed"}),
    "opposite filters and biases": ({"w2": lambda w: w[::-1], "b2": lambda b: b[::-1]}, "c2", {"order"}),
    "mixed up": ({"w2": kernels_last}, "c2", {"mixed up"}),
    "twice the weight": ({"w2": lambda w: 2 * w}, "c2", {"weight factor"}),
    "twice everything": ({"w2": lambda w: 2 * w, "b2": lambda b: 2 * b}, "c2", {"weight factor", "factor"}),
    "a zero filter": ({"w2": lambda w: one_filter(w, 0)}, "c2", {"zero", "some units"}),
    "another filter": ({"w2": lambda w: one_filter(w, -1)}, "c2", {"other weights", "some units"}),
    "another bias": ({"b2": lambda b: b * 0}, "c2", {"bias"}),
    "one bias": ({"b2": lambda b: one_filter(b, 5)}, "c2", {"some units"}),
    "other weights": ({"w2": lambda w: drawn(*w.shape, seed=77)}, "c2", {"other weights"}),
    "a matrix": ({"w3": lambda w: w[::-1]}, "y", {"reversed"}),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_weight_is_named_for_what_it_is(case: str) -> None:
    changes, layer, expected = WRONG[case]
    blamed, texts = reasons(BASE, net(NET, **weights(**changes)))
    assert blamed == layer
    assert phrases(texts) == expected, texts


def test_a_square_matrix_that_is_transposed_is_named() -> None:
    text = NET.replace("float[1, 5]", "float[1, 10]")
    given = net_weights() | {"w3": drawn(10, 10), "b3": drawn(10)}
    blamed, texts = reasons(net(text, **given), net(text, **given | {"w3": given["w3"].T.copy()}))
    assert blamed == "y"
    assert phrases(texts) == {"axes"}


EDITS: dict[str, tuple[str, str, str, set[str]]] = {
    "other pads": ("c2 = Conv <pads = [1, 1, 1, 1]>", "c2 = Conv <pads = [0, 0, 2, 2]>", "c2", {"pads"}),
    "another operator": ("r1 = Relu (c1)", "r1 = Sigmoid (c1)", "r1", {"operator"}),
    "a lost bias": ("(r1, w2, b2)", "(r1, w2)", "c2", {"no bias", "bias"}),
    "another shape": ("c2 = Conv <pads = [1, 1, 1, 1]>", "c2 = Conv <pads = [0, 0, 0, 0]>", "c2", {"pads"}),
    "another pooling": ("GlobalAveragePool", "GlobalMaxPool", "p", {"operator"}),
}


@pytest.mark.parametrize("case", EDITS)
def test_a_wrong_node_is_named_for_what_it_is(case: str) -> None:
    old, new, layer, expected = EDITS[case]
    text = NET.replace(old, new)
    assert text != NET
    given = {name: array for name, array in net_weights().items() if re.search(rf"\b{name}\b", text)}
    blamed, texts = reasons(BASE, net(text, **given))
    assert blamed == layer
    assert phrases(texts) == expected, texts


def test_a_change_of_the_normalization_is_named() -> None:
    first = net(NORMALIZED, **net_weights(), **normalization())
    text = NORMALIZED.replace("BatchNormalization (", "BatchNormalization <epsilon = 0.1> (")
    blamed, texts = reasons(first, net(text, **net_weights(), **normalization()))
    assert (blamed, phrases(texts)) == ("n1", {"epsilon"})
    blamed, texts = reasons(first, net(NORMALIZED, **net_weights(), **normalization() | {"o": drawn(8, seed=99)}))
    assert blamed == "n1"
    assert phrases(texts) == {"bias"}
    blamed, texts = reasons(first, net(NORMALIZED, **net_weights(), **normalization() | {"g": drawn(8, seed=99)}))
    assert phrases(texts) == {"normalization"}


def test_a_normalization_that_is_lost_or_added_is_named() -> None:
    first = net(NORMALIZED, **net_weights(), **normalization())
    _, texts = reasons(first, BASE)
    assert phrases(texts) >= {"lost"}
    assert "BatchNormalization 'n1' behind 'c1' has no counterpart" in texts
    blamed, texts = reasons(BASE, first)
    assert blamed == "n1"
    assert "BatchNormalization 'n1' is not in the first file" in texts


@pytest.mark.parametrize(("number", "word"), [(np.nan, "NaN"), (np.inf, "infinity")])
def test_numbers_that_are_not_finite_are_named_without_a_warning(number: float, word: str) -> None:
    wrong = net_weights()
    wrong["w2"][3, 0, 1, 1] = number
    blamed, texts = reasons(BASE, net(NET, **wrong))
    assert blamed == "c2"
    # An infinite weight times zero is NaN.
    assert any("it holds NaN" in text or f"it holds {word}" in text for text in texts)


def test_an_error_at_the_border_is_seen_where_pads_are_inputs() -> None:
    text = """g (float[1, 3, 12, 12] x) => (float[1, 4, 12, 12] y) {
        e = Exp (x)
        p = Pad <mode = "%s"> (e, pads)
        y = Conv (p, w)
    }"""
    given = {"pads": ints(0, 0, 1, 1, 0, 0, 1, 1), "w": drawn(4, 3, 3, 3)}
    found = diff(net(text % "constant", **given), net(text % "edge", **given))
    assert found.first_divergence == "p"
    assert "mode is edge instead of constant" in found.details[0].text


def test_inputs_in_another_order_are_told_and_not_the_weights_behind_them() -> None:
    blamed, texts = reasons(net(FIRE, **fire_weights()), net(FIRE.replace("(ar, br)", "(br, ar)"), **fire_weights()))
    assert blamed == "y"
    assert phrases(texts) <= {"order"}
    assert not any("weight" in text for text in texts)


def test_a_node_that_reads_another_tensor_is_named_itself() -> None:
    first = net(RESIDUAL % "Sub (c, r)", **fire_weights())
    blamed, _ = reasons(first, net(RESIDUAL % "Sub (r, c)", **fire_weights()))
    assert blamed == "s"


def test_what_holds_the_same_in_another_order_of_axes_is_followed_back() -> None:
    text = """g (float[1, 3, 6, 6] x) => (float[1, 8] y) {
        c = Conv (x, w)
        %s
        f = Flatten (t)
        y = Gemm (f, v)
    }"""
    given = {"w": drawn(4, 3, 1, 1), "v": drawn(144, 8)}
    first = net(text % "t = Relu (c)", **given)
    second = net(text % "r = Relu (c)\n t = Transpose <perm = [0, 1, 3, 2]> (r)", **given)
    blamed, texts = reasons(first, second)
    assert blamed in ("t", "f", "y")
    assert not any("weight" in text for text in texts)


def test_gates_of_a_recurrent_layer_are_not_called_filters() -> None:
    text = """g (float[6, 1, 3] x) => (float[6, 1, 1, 4] y) {
        e = Tanh (x)
        y = LSTM <hidden_size = 4> (e, w, r)
    }"""
    given = {"w": drawn(1, 16, 3), "r": drawn(1, 16, 4)}
    wrong = given | {"w": given["w"][:, ::-1].copy()}
    blamed, texts = reasons(net(text, **given), net(text, **wrong))
    assert blamed == "y"
    assert phrases(texts).isdisjoint({"reversed", "colors", "other weights", "zero"})


def test_the_first_of_two_faults_is_the_one_that_is_told_first() -> None:
    wrong = weights(w1=lambda w: w[..., ::-1, ::-1], w2=lambda w: w.swapaxes(2, 3))
    found = diff(BASE, net(NET, **wrong))
    assert found.first_divergence == "c1"
    assert "flipped" in found.details[0].text


def test_a_cause_is_one_line_of_words() -> None:
    given = row_weights()
    assert given
    for changes, _, _ in WRONG.values():
        found = diff(BASE, net(NET, **weights(**changes)))
        for detail in found.details:
            assert "\n" not in detail.text
            assert detail.text.endswith(".")
            assert "numbers instead of" not in detail.text
            assert "1 times as large" not in detail.text
