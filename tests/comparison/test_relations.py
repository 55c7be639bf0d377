"""Two files are shown the same image, whatever each wants to be fed; and no such difference is silent."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxvis.comparison.axes import Alignment
from onnxvis.comparison.relations import Relation, declared, image_of, orders
from onnxvis.comparison.sides import Array
from onnxvis.config import DiffSettings
from onnxvis.diff import Difference, diff
from onnxvis.image_input import ImageInput
from onnxvis.preprocess import PRESETS, Preprocess
from tests.comparison import compared, drawn, floats, net

SIZE = {"N": 1, "H": 4, "W": 5}
NUMBERS = st.floats(-2, 2).map(lambda number: round(number, 3))


@st.composite
def inputs(draw: st.DrawFn, channels: int) -> ImageInput:
    """Draw what a file may want of images of so many channels."""
    layouts = ["NCHW", "NHWC", "CHW", "HWC"] + (["NHW"] if channels == 1 else [])
    layout = draw(st.sampled_from(layouts))
    low = draw(NUMBERS) * 100
    count = draw(st.sampled_from([1, channels]))
    preprocess = Preprocess(
        "custom",
        (low, low + draw(st.floats(0.5, 300))),
        tuple(draw(st.lists(NUMBERS, min_size=count, max_size=count))),
        tuple(draw(st.lists(st.floats(0.2, 80), min_size=count, max_size=count))),
        bgr=draw(st.booleans()),
        layout=layout,
    )
    if channels == 3 and draw(st.booleans()):
        preset = PRESETS[draw(st.sampled_from(sorted(PRESETS)))]
        preprocess = Preprocess(preset.name, preset.range, preset.mean, preset.std, bgr=preset.bgr, layout=layout)
    sizes = {**SIZE, "C": channels}
    return ImageInput("x", tuple(sizes[axis] for axis in layout), preprocess, channels, (4, 5))


@settings(max_examples=200)
@given(st.sampled_from([1, 2, 3, 4]).flatmap(lambda count: st.tuples(inputs(count), inputs(count))), st.integers(0, 9))
def test_a_declared_relation_shows_both_files_the_same_image(pair: tuple[ImageInput, ImageInput], seed: int) -> None:
    image = np.random.default_rng(seed).random(pair[0].image_shape, np.float32)
    fed, wanted = (image_of(item, image) for item in pair)
    relations = [declared(pair, alignment) for alignment in orders(pair[0].shape, pair[1].shape)]
    scale = np.abs(wanted).max() + np.abs(fed).max()
    assert any(np.allclose(relation(fed), wanted, rtol=1e-4, atol=1e-4 * scale) for relation in relations)
    assert np.shares_memory(relations[0](fed), fed) or relations[0](fed).flags.c_contiguous


def test_of_the_same_preprocessing_the_relation_is_plain() -> None:
    for preset in PRESETS.values():
        item = ImageInput("x", (1, 3, 4, 5), preset, 3, (4, 5))
        assert declared((item, item), orders(item.shape, item.shape)[0]).is_plain


def test_features_of_a_layout_without_axes_have_one_scale_each() -> None:
    shape = (2, 1, 2, 1, 2, 2)
    pair = tuple(ImageInput("x", shape, Preprocess(range=(0.0, high), layout="FLAT"), 16, ()) for high in (1.0, 255.0))
    image = np.random.default_rng(0).random(16, np.float32)
    relation = declared((pair[0], pair[1]), Alignment((16,), (0,), shape))
    assert np.allclose(relation(image_of(pair[0], image)), image_of(pair[1], image), atol=1e-3)


def test_the_order_of_colors_leaves_a_fourth_channel_where_it_is() -> None:
    values = np.arange(4, dtype=np.float32).reshape(4, 1, 1)
    relation = Relation(Alignment((4,), (0,), (4, 1, 1)), 0, reversed=True)
    assert relation(values).reshape(-1).tolist() == [2, 1, 0, 3]


def test_a_relation_of_many_equal_numbers_is_told_in_short() -> None:
    relation = Relation(Alignment((64,), (0,), (64,)), 0, (2.0,) * 64, (0.0,))
    assert len(str(relation)) < 60


# The same network, that wants [0, 1] normalized outside, or normalizes raw pictures itself.
MEAN, STD = floats(0.485, 0.456, 0.406) * 255, floats(0.229, 0.224, 0.225) * 255
TAIL = "c = Conv (n, w, b)\n r = Relu (c)\n d = Conv (r, v)\n y = Relu (d) }"
PLAIN = f"g (float[1, 3, 9, 8] n) => (float[1, 5, 6, 5] y) {{ {TAIL}"
WEIGHTS = {"w": drawn(6, 3, 3, 3), "b": drawn(6), "v": drawn(5, 6, 2, 2)}
INSIDE: dict[str, tuple[str, dict[str, Any]]] = {
    "Sub, Div": ("m = Sub (x, mean)\n n = Div (m, std)", {"mean": MEAN, "std": STD}),
    "Mul, Add": ("m = Mul (x, k)\n n = Add (o, m)", {"k": 1 / STD, "o": -MEAN / STD}),
    "BatchNormalization": (
        "n = BatchNormalization <epsilon = 0.0> (x, one, zero, mean, var)",
        {"one": np.ones(3, np.float32), "zero": np.zeros(3, np.float32), "mean": MEAN, "var": STD**2},
    ),
    "Cast, one number": ("i = Identity (x)\n j = Sub (i, mean)\n n = Mul (j, k)", {"mean": 127.5, "k": 1 / 127.5}),
}


def normalizing(head: str, weights: dict[str, Any], shape: str = "1, 3, 9, 8") -> onnx.ModelProto:
    """A network that normalizes its input itself."""
    arrays = {
        name: np.reshape(array, (3, 1, 1)) if np.size(array) == 3 and "Batch" not in head else array
        for name, array in weights.items()
    }
    return net(f"g (float[{shape}] x) => (float[1, 5, 6, 5] y) {{ {head}\n {TAIL}", **arrays, **WEIGHTS)


def plain(**changed: Any) -> onnx.ModelProto:
    """The network that wants it done."""
    return net(PLAIN, **{**WEIGHTS, **changed})


def refused_until_accepted(first: onnx.ModelProto, second: onnx.ModelProto) -> Difference:
    """Check that two files differ in what they are fed, and in nothing else."""
    found = diff(first, second)
    assert not found.ok
    assert [detail.status for detail in found.details] == ["fail"]
    assert "--accept preprocessing" in found.details[0].text
    accepted = diff(first, second, settings=DiffSettings(accept=("preprocessing",)))
    assert accepted.ok
    assert accepted.details == ()
    return found


@pytest.mark.parametrize("kind", INSIDE)
@pytest.mark.parametrize("backward", [False, True])
def test_a_normalization_within_the_graph_is_found_and_never_silent(kind: str, backward: bool) -> None:
    models = (plain(), normalizing(*INSIDE[kind]))
    found = refused_until_accepted(*(reversed(models) if backward else models))
    assert "times" in next(iter(found.inputs.values()))


@pytest.mark.parametrize("backward", [False, True])
def test_a_normalization_behind_a_transposition_is_found(backward: bool) -> None:
    head = "t = Transpose <perm = [0, 3, 1, 2]> (x)\n m = Sub (t, mean)\n n = Div (m, std)"
    models = (plain(), normalizing(head, {"mean": MEAN, "std": STD}, "1, 9, 8, 3"))
    refused_until_accepted(*(reversed(models) if backward else models))


@pytest.mark.parametrize("backward", [False, True])
def test_a_normalization_before_a_transposition_is_found(backward: bool) -> None:
    head = "m = Sub (x, mean)\n j = Div (m, std)\n n = Transpose <perm = [0, 3, 1, 2]> (j)"
    text = f"g (float[1, 9, 8, 3] x) => (float[1, 5, 6, 5] y) {{ {head}\n {TAIL}"
    models = (plain(), net(text, mean=MEAN, std=STD, **WEIGHTS))
    refused_until_accepted(*(reversed(models) if backward else models))


@pytest.mark.parametrize("backward", [False, True])
def test_colors_in_the_opposite_order_are_found_and_never_silent(backward: bool) -> None:
    models = (plain(), plain(w=WEIGHTS["w"][:, ::-1].copy()))
    found = refused_until_accepted(*(reversed(models) if backward else models))
    assert "colors in the opposite order" in found.details[0].text


@pytest.mark.parametrize("backward", [False, True])
def test_colors_and_normalization_may_differ_together(backward: bool) -> None:
    head, weights = INSIDE["Sub, Div"]
    turned = {name: array[::-1].copy() for name, array in weights.items()}
    arrays = {name: np.reshape(array, (3, 1, 1)) for name, array in turned.items()}
    text = f"g (float[1, 3, 9, 8] x) => (float[1, 5, 6, 5] y) {{ {head}\n {TAIL}"
    second = net(text, **arrays, **{**WEIGHTS, "w": WEIGHTS["w"][:, ::-1].copy()})
    models = (plain(), second)
    refused_until_accepted(*(reversed(models) if backward else models))


def test_a_normalization_within_the_weights_is_found() -> None:
    std = floats(0.229, 0.224, 0.225).reshape(3, 1, 1)
    mean = floats(0.485, 0.456, 0.406).reshape(3, 1, 1)
    weight = WEIGHTS["w"] / std
    second = plain(w=weight, b=WEIGHTS["b"] - (weight * mean).sum((1, 2, 3)))
    found = refused_until_accepted(plain(), second)
    assert "0.229" in found.details[0].text


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_four_channels_are_normalized_too(channels: int) -> None:
    tail = "c = Conv (n, w)\n y = Relu (c) }"
    shape = f"float[1, {channels}, 9, 8]"
    weights = {"w": drawn(6, channels, 3, 3)}
    first = net(f"g ({shape} n) => (float[1, 6, 7, 6] y) {{ {tail}", **weights)
    head = "m = Sub (x, mean)\n n = Mul (m, k)"
    second = net(f"g ({shape} x) => (float[1, 6, 7, 6] y) {{ {head}\n {tail}", mean=127.5, k=1 / 127.5, **weights)
    refused_until_accepted(first, second)
    refused_until_accepted(second, first)


@pytest.mark.parametrize("shape", ["float[1, 40]", "float[40]", "float[1, 2, 40]", "float[2, 1, 2, 1, 2, 5]"])
def test_inputs_that_are_no_pictures_are_compared_whatever_differs(shape: str) -> None:
    for operator in ("Sigmoid", "Exp"):
        text = f"g ({shape} x) => ({shape} y) {{ a = %s (x)\n y = Mul (a, k) }}"
        found = diff(net(text % "Softplus", k=2.0), net(text % operator, k=2.0))
        assert found.first_divergence == "a"
        assert all(len(detail.text) < 400 for detail in found.details)


def with_metadata(model: onnx.ModelProto, **said: str) -> onnx.ModelProto:
    """Let a file say how it wants pictures."""
    onnx.helper.set_model_props(model, {f"onnxvis.{name}": text for name, text in said.items()})
    return model


def test_what_both_files_declare_is_no_difference() -> None:
    head, weights = INSIDE["Sub, Div"]
    first = with_metadata(plain(), preprocess="imagenet")
    found = diff(first, with_metadata(normalizing(head, weights), preprocess="raw255"))
    assert found.ok
    assert found.details == ()
    relation = compared(first, with_metadata(normalizing(head, weights), preprocess="raw255")).feeds.relation
    assert relation.source == "declared"
    assert np.allclose(relation.scale, STD, rtol=1e-4)
    assert np.allclose(relation.offset, MEAN, rtol=1e-4)


def test_what_only_one_file_declares_is_a_difference() -> None:
    head, weights = INSIDE["Sub, Div"]
    assert not diff(with_metadata(plain(), preprocess="imagenet"), normalizing(head, weights)).ok
    assert not diff(plain(), with_metadata(normalizing(head, weights), preprocess="raw255")).ok


def test_files_that_declare_different_things_and_compute_the_same_are_not_the_same() -> None:
    first, second = (with_metadata(plain(), preprocess=name) for name in ("imagenet", "raw255"))
    assert diff(first, second).status in ("warn", "fail")


def test_what_is_given_of_both_is_as_good_as_what_they_declare() -> None:
    head, weights = INSIDE["Sub, Div"]
    given = DiffSettings(preprocess_a={"preset": "imagenet"}, preprocess_b={"preset": "raw255"})
    found = diff(plain(), normalizing(head, weights), settings=given)
    assert found.ok
    assert found.details == ()


def test_the_second_file_gets_what_it_declares_also_in_another_layout() -> None:
    text = f"g (float[1, 9, 8, 3] x) => (float[1, 5, 6, 5] y) {{ n = Transpose <perm = [0, 3, 1, 2]> (x)\n {TAIL}"
    found = diff(plain(), net(text, **WEIGHTS))
    assert found.ok
    assert found.details == ()
    assert "axes" in found.inputs["n"]


def test_torch_and_the_relation_agree_on_a_transposition() -> None:
    array = np.arange(60, dtype=np.float32).reshape(1, 3, 4, 5)
    relation = Relation(orders((1, 3, 4, 5), (1, 4, 5, 3))[0])
    wanted: Array = torch.from_numpy(array).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(relation(array), wanted)
