"""The page of a comparison is whole, safe and readable, and says what the comparison says."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pytest

from onnxvis.comparison.portraits import Portrait
from onnxvis.diff import Difference, LayerAgreement, diff
from onnxvis.diff_page import diff_page
from onnxvis.outcomes import Detail, Picture
from onnxvis.recipe import Recipe
from tests.comparison import NET, drawn, net, net_weights
from tests.test_pages import CSS, Tree, browse, checked, png

__all__ = ["browse"]
NASTY = "<script>alert(1)</script> & \"quoted\" 'name'"
LAYERS = (
    LayerAgreement(
        "conv1", "block/conv1", ("Conv", "Conv"), (1, 8, 16, 16), "response", "agrees", 0.0, 0.0, 0.0, 1.0, 1.0
    ),
    LayerAgreement(NASTY, "x" * 120, ("Relu", "Clip"), (1, 8), "structure", "differs", 3.0, 0.5, 0.4, 0.7, 0.9),
    LayerAgreement("lost", None, ("Relu", ""), ()),
    LayerAgreement("shape", "shape", ("Conv", "Conv"), (1,), "structure", "shape", math.inf, math.inf, math.inf),
    LayerAgreement("same", "same", ("Conv", "Conv"), (1, 4), "structure", "permuted", 1.0, 1.0, 1.0, 0.1, 1.0),
)
FOUND = Difference(
    "models/first.onnx",
    NASTY,
    {"image": "pixels: axes (3, 8, 8) -> (1, 8, 8, 3)", NASTY: "the same"},
    "relative error 0.0001",
    LAYERS,
    (
        Detail("fail", f"The files part at {NASTY}.", NASTY, "t", {"max_error": 3.0, "cosine": math.nan, "of": NASTY}),
        Detail("warn", "Something is told otherwise.", "conv1", "c"),
    ),
    (
        Portrait(
            "conv1:3", ("conv1", NASTY), (3, 3), (1.5, 2.5), 0.42, (Picture(NASTY, png()), Picture("b", png("blue")))
        ),
        Portrait(
            "conv1:4", ("conv1", "conv1"), (4, 4), (1.5, math.nan), math.nan, (Picture("c", png()), Picture("d", b""))
        ),
    ),
    (f"the size of {NASTY} is open",),
)
GOOD = Difference("a.onnx", "b.onnx", {"x": "x: the same"}, "relative error 0.0001", LAYERS[:1], ())


def said(tree: Tree) -> str:
    return " ".join(" ".join(tree.texts).split())


def test_the_page_is_whole_and_names_are_texts() -> None:
    text = diff_page(FOUND)
    tree = checked(text)
    assert "<script>" not in text
    words = said(tree)
    for name in (NASTY, "models/first.onnx", "lost", "relative error 0.0001", "The files part at", "axes (3, 8, 8)"):
        assert " ".join(name.split()) in words


def test_the_heading_says_whether_they_are_the_same() -> None:
    assert said(checked(diff_page(GOOD))).count("The same network") >= 1
    words = said(checked(diff_page(FOUND)))
    assert "Not the same network, first at" in words


def test_every_layer_is_a_row_with_its_verdict() -> None:
    tree = checked(diff_page(FOUND))
    words = said(tree)
    for layer in FOUND.layers:
        assert layer.verdict in words
    assert [cell["style"] for cell in tree.of("td") if "style" in cell][-2:] == ["--share: 100.0%", "--share: 100.0%"]
    assert len(tree.of("tr")) == 1 + len(FOUND.layers)


def test_long_lists_of_what_agrees_are_folded_and_no_others() -> None:
    many = Difference("a", "b", {}, "", LAYERS[:1] * 60, ())
    assert len(checked(diff_page(many)).of("details")) == 1
    bad = Difference("a", "b", {}, "", LAYERS[:2] * 60, (Detail("fail", "They part."),))
    assert len(checked(diff_page(bad)).of("details")) == 0


def test_pictures_stand_side_by_side_with_what_they_are() -> None:
    tree = checked(diff_page(FOUND))
    assert [image["alt"] for image in tree.of("img")] == [NASTY, "b", "c"]
    words = said(tree)
    assert "pictures is 0.42" in words
    assert not re.search(r"\bnan\b", words)


def test_the_style_knows_every_class_of_the_page() -> None:
    used = {name for _, attributes in checked(diff_page(FOUND)).found for name in attributes.get("class", "").split()}
    assert {name for name in used if f".{name}" not in CSS} == set()


def test_a_page_without_anything_is_a_page() -> None:
    checked(diff_page(Difference("", "", {}, "", (), ())))


@pytest.mark.parametrize(("width", "scheme"), [(400, "light"), (1200, "dark")])
def test_a_browser_shows_all_of_it(width: int, scheme: str, browse: Callable[..., dict[str, Any]]) -> None:
    seen = browse(diff_page(FOUND), width, scheme)
    assert (seen["images"], seen["decoded"]) == (3, 3)
    assert not seen["wide"]
    assert seen["cut"] == 0
    assert (seen["back"] == "rgb(255, 255, 255)") == (scheme == "light")


def test_a_real_comparison_is_a_page() -> None:
    wrong = net(NET, **net_weights() | {"w2": drawn(10, 8, 3, 3, seed=9)})
    found = diff(net(NET, **net_weights()), wrong, units=[("c2", 3)], recipe=Recipe(steps=4))
    tree = checked(diff_page(found))
    assert len(tree.of("img")) == 2
    assert "c2" in said(tree)
    assert "nan" not in said(tree).lower().split()
