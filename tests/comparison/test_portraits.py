"""One unit by both files: the same picture where the files are the same, whatever their layout and order."""

from __future__ import annotations

import io
import json

import numpy as np
import onnx
import pytest
from PIL import Image

from onnxvis.comparison.portraits import Portrait
from onnxvis.config import DiffSettings
from onnxvis.diff import diff
from onnxvis.errors import TargetError
from onnxvis.recipe import Recipe
from tests.comparison import drawn, floats, net

QUICK = Recipe(steps=12)
TAIL = "c = Conv (n, w, b)\n r = Relu (c)\n d = Conv (r, v)\n y = Relu (d) }"
WEIGHTS = {"w": drawn(6, 3, 3, 3), "b": drawn(6), "v": drawn(5, 6, 2, 2)}
PLAIN = f"g (float[1, 3, 14, 16] n) => (float[1, 5, 11, 13] y) {{ {TAIL}"
CHANNELS_LAST = (
    f"g (float[1, 14, 16, 3] x) => (float[1, 5, 11, 13] y) {{ n = Transpose <perm = [0, 3, 1, 2]> (x)\n {TAIL}"
)


def portrait(
    second: onnx.ModelProto, unit: tuple[str, int | str] = ("c", 2), settings: DiffSettings | None = None
) -> Portrait:
    found = diff(net(PLAIN, **WEIGHTS), second, units=[unit], recipe=QUICK, settings=settings)
    assert len(found.portraits) == 1
    return found.portraits[0]


def pixels(item: Portrait, number: int) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(item.pictures[number].png)).convert("RGB"), np.float64)


def test_of_the_same_file_both_pictures_are_the_same() -> None:
    item = portrait(net(PLAIN, **WEIGHTS))
    assert item.likeness == pytest.approx(1, abs=1e-6)
    assert item.activations[0] == pytest.approx(item.activations[1], rel=1e-6)
    assert (item.layers, item.filters) == (("c", "c"), (2, 2))
    assert np.array_equal(pixels(item, 0), pixels(item, 1))
    assert len({picture.title for picture in item.pictures}) <= 2


def test_the_twin_of_the_other_layout_has_the_same_picture() -> None:
    item = portrait(net(CHANNELS_LAST, **WEIGHTS))
    assert item.likeness > 0.999
    assert pixels(item, 0).shape == pixels(item, 1).shape
    assert np.abs(pixels(item, 0) - pixels(item, 1)).mean() < 2


def test_a_filter_that_is_elsewhere_is_pictured_where_it_is() -> None:
    order = [3, 0, 5, 1, 2, 4]
    second = net(PLAIN, w=WEIGHTS["w"][order], b=WEIGHTS["b"][order], v=WEIGHTS["v"][:, order].copy())
    item = portrait(second)
    assert item.filters == (2, order.index(2))
    assert item.likeness > 0.999


def test_colors_in_the_opposite_order_make_the_same_picture() -> None:
    item = portrait(net(PLAIN, **WEIGHTS | {"w": WEIGHTS["w"][:, ::-1].copy()}))
    assert item.likeness > 0.99
    assert np.abs(pixels(item, 0) - pixels(item, 1)).mean() < 3


def test_a_normalization_within_the_graph_makes_the_same_picture() -> None:
    mean = floats(123.675, 116.28, 103.53).reshape(3, 1, 1)
    std = floats(58.395, 57.12, 57.375).reshape(3, 1, 1)
    text = f"g (float[1, 3, 14, 16] x) => (float[1, 5, 11, 13] y) {{ m = Sub (x, mean)\n n = Div (m, std)\n {TAIL}"
    item = portrait(net(text, mean=mean, std=std, **WEIGHTS))
    assert item.likeness > 0.99
    assert item.activations[0] == pytest.approx(item.activations[1], rel=1e-2)


def test_a_preprocessing_that_is_given_is_that_of_the_pictures() -> None:
    given = {"range": (0.0, 255.0)}
    settings = DiffSettings(preprocess_a=given, preprocess_b=given)
    large, usual = portrait(net(PLAIN, **WEIGHTS), settings=settings), portrait(net(PLAIN, **WEIGHTS))
    assert large.activations[0] > 10 * usual.activations[0]


def test_another_unit_has_another_picture() -> None:
    item = portrait(net(PLAIN, **WEIGHTS | {"w": drawn(6, 3, 3, 3, seed=9)}))
    assert item.likeness < 0.9


def test_a_unit_without_a_picture_in_one_file_is_told_in_valid_json() -> None:
    wrong = WEIGHTS["w"].copy()
    wrong[2] = 0
    second = net(PLAIN, **WEIGHTS | {"w": wrong, "b": WEIGHTS["b"] * 0})
    found = diff(net(PLAIN, **WEIGHTS), second, units=[("r", 2)], recipe=QUICK)
    json.dumps(found.to_dict(), allow_nan=False)


def test_what_one_file_has_not_cannot_be_pictured_by_both() -> None:
    other = net("g (float[1, 3, 14, 16] n) => (float[1, 3, 14, 16] y) { y = Exp (n) }")
    with pytest.raises(TargetError, match="counterpart"):
        portrait(other, ("r", 2))
    with pytest.raises(TargetError, match="nowhere"):
        portrait(net(PLAIN, **WEIGHTS), ("nowhere", 2))
    with pytest.raises(TargetError, match="99"):
        portrait(net(PLAIN, **WEIGHTS), ("c", 99))


def test_a_portrait_is_plain_values() -> None:
    said = portrait(net(PLAIN, **WEIGHTS)).to_dict()
    assert json.loads(json.dumps(said, allow_nan=False)) == said
    assert said["unit"] == "c:2"
