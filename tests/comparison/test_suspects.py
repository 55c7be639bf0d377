"""What nodes are told differently is told, whether or not it shows; what is only written differently is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from onnxvis.comparison.suspects import Suspect, suspects
from onnxvis.config import DiffSettings
from onnxvis.diff import diff
from tests.comparison import NET, compared, drawn, net, net_weights
from tests.comparison.test_parameters import EQUAL
from tests.comparison.test_structure import NORMALIZED, normalization


def suspected(first: onnx.ModelProto, second: onnx.ModelProto) -> list[Suspect]:
    found = compared(first, second)
    return list(suspects(found.sides, found.pairs, found.correspondence))


def epsilon(number: float) -> onnx.ModelProto:
    text = NORMALIZED.replace("BatchNormalization (", f"BatchNormalization <epsilon = {number}> (")
    return net(text, **net_weights(), **normalization())


def test_of_equal_files_nothing_is_suspected() -> None:
    assert suspected(epsilon(0.001), epsilon(0.001)) == []


@pytest.mark.parametrize("opset", [11, 13, 18, 20])
def test_another_opset_is_no_difference(opset: int) -> None:
    text = """g (float[1, 3, 12, 12] x) => (float[1, 4] y) {
        c = Conv (x, w)
        r = Clip (c, lo, hi)
        p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)
        f = Flatten (p)
        g = Gemm (f, v)
        y = Softmax <axis = 1> (g)
    }"""
    weights = {"w": drawn(4, 3, 3, 3), "v": drawn(100, 4), "lo": 0.0, "hi": 1.0}
    found = diff(net(text, 17, **weights), net(text, opset, **weights))
    assert found.ok
    assert found.details == ()


@pytest.mark.parametrize("case", EQUAL)
def test_what_means_the_same_is_reported_nowhere(case: str) -> None:
    found = diff(*EQUAL[case])
    assert found.ok
    assert [detail.text for detail in found.details] == []


def test_an_epsilon_that_shows_is_named_with_its_numbers() -> None:
    found = diff(epsilon(0.00001), epsilon(0.01))
    assert found.first_divergence == "n1"
    assert "epsilon is 0.01 instead of 1e-05" in found.details[0].text


def test_an_epsilon_that_shows_only_further_on_is_named_where_it_is() -> None:
    found = diff(epsilon(0.00001), epsilon(0.000012))
    first = diff(epsilon(0.00001), epsilon(0.00002))
    assert found.ok or found.first_divergence == "n1"
    assert first.first_divergence == "n1"
    assert "epsilon" in first.details[0].text


POOL = """g (float[1, 3, %s] x) => (float[1, 3, a, b] y) {
    r = Softplus (x)
    y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]%s> (r)
}"""


def pool(size: str, more: str = "") -> onnx.ModelProto:
    return net(POOL % (size, more))


def test_a_rounding_of_sizes_without_effect_is_told_and_accepted() -> None:
    first, second = pool("8, 8"), pool("8, 8", ", ceil_mode = 1")
    found = diff(first, second)
    assert (found.status, found.ok) == ("warn", True)
    assert found.details[0].layer == "y"
    assert "ceil_mode is 1 instead of 0" in found.details[0].text
    assert diff(first, second, settings=DiffSettings(accept=("attributes",))).details == ()
    assert not diff(first, second, settings=DiffSettings(fail_on="warn")).ok


def test_where_sizes_are_open_it_is_a_failure() -> None:
    found = diff(pool("h, w"), pool("h, w", ", ceil_mode = 1"), settings=DiffSettings(size=(8, 8)))
    assert (found.status, found.ok) == ("fail", False)


def clipped(*bounds: float) -> onnx.ModelProto:
    text = "g (float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y) { r = Softplus (x)\n y = Clip (r, %s) }"
    given: dict[str, Any] = dict(zip(("lo", "hi"), bounds, strict=False))
    return net(text % ", ".join(given), **given)


def test_another_bound_without_effect_is_told() -> None:
    found = diff(clipped(0.0, 60.0), clipped(0.0, 90.0))
    assert found.first_divergence == "y"
    assert "max is 90 instead of 60" in found.details[0].text


@pytest.mark.parametrize("backward", [False, True])
def test_a_bound_that_is_lost_without_effect_is_told(backward: bool) -> None:
    models = (clipped(0.0, 60.0), clipped(0.0))
    found = diff(*(reversed(models) if backward else models))
    assert [detail.layer for detail in found.details] == ["y"]
    assert "max" in found.details[0].text


def test_weights_that_no_probe_reaches_are_told() -> None:
    text = "g (int64[1, 6] ids) => (float[1, 6, 4] y) { e = Gather (table, ids)\n y = Relu (e) }"
    table = drawn(10, 4)
    wrong = table.copy()
    wrong[7] = 0
    assert diff(net(text, table=table), net(text, table=table)).details == ()
    found = diff(net(text, table=table), net(text, table=wrong))
    assert [detail.layer for detail in found.details][:1] == ["e"]


def test_what_is_told_of_a_part_that_differs_anyway_is_not_told_twice() -> None:
    found = diff(epsilon(0.00001), epsilon(0.1))
    assert len([detail for detail in found.details if "epsilon" in detail.text]) == 1


def test_a_change_that_makes_an_error_is_fresh_there_and_not_behind() -> None:
    found = suspected(epsilon(0.00001), epsilon(0.01))
    assert [suspect.pair.first for suspect in found] == ["n1"]
    assert found[0].fresh == pytest.approx(found[0].pair.errors.relative, rel=0.2)


def test_sizes_of_another_layout_are_no_difference() -> None:
    first = """g (float[1, 3, 8, 9] x) => (float[1, 2, 8, 9] y) {
        c = Conv (x, w)
        a, b = Split <axis = 1> (c)
        y = Add (a, b)
    }"""
    second = """g (float[1, 3, 8, 9] x) => (float[1, 8, 9, 2] y) {
        c = Conv (x, w)
        t = Transpose <perm = [0, 2, 3, 1]> (c)
        a, b = Split <axis = 3> (t)
        y = Add (a, b)
    }"""
    found = diff(net(first, w=drawn(4, 3, 1, 1)), net(second, w=drawn(4, 3, 1, 1)))
    assert found.ok
    assert found.details == ()


def test_a_network_without_any_change_has_no_suspects_at_another_layout_of_a_matrix() -> None:
    weights = net_weights()
    second = net(NET.replace("<transB = 1> ", ""), **weights | {"w3": np.ascontiguousarray(weights["w3"].T)})
    found = diff(net(NET, **weights), second)
    assert found.ok
    assert [detail.text for detail in found.details] == []


def test_weights_that_make_up_for_those_before_them_are_no_difference() -> None:
    """A rectifier hands a scale on: what one layer is multiplied by, the next may be divided by."""
    text = """g (float[1, 8] x) => (float[1, 4] y) {
        h = MatMul (x, v)
        r = Relu (h)
        y = MatMul (r, w)
    }"""
    generator = np.random.default_rng(3)
    first, second = (generator.standard_normal(shape).astype(np.float32) for shape in ((8, 16), (16, 4)))
    scaled = net(text, v=4 * first, w=second / 4)
    assert diff(net(text, v=first, w=second), scaled).status == "pass"
