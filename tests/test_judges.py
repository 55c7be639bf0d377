from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from PIL import Image

from onnxvis.errors import InputError, OnnxvisError, SettingError, UnknownSizeError
from onnxvis.judges import Guess, Judge, Verdict
from onnxvis.render import read_photo
from tests.meters import metered
from tests.models import conv_net, parsed

COLORS = ["red", "green", "blue"]
BODY = "{ p = GlobalAveragePool (x)  f = Flatten (p)  END }"


def colors(end: str = "y = MatMul (f, w)", size: str = "8, 8", labels: list[str] | None = None) -> onnx.ModelProto:
    """A judge of what color a picture has."""
    text = f'<ir_version: 8, opset_import: ["": 17]> net (float[1, 3, {size}] x) => (float[1, 3] y)'
    proto = parsed(f"{text} {BODY.replace('END', end)}", w=10 * np.eye(3, dtype=np.float32))
    if labels is not None:
        helper.set_model_props(proto, {"onnxvis.labels": json.dumps(labels)})
    return proto


def filled(*color: float, size: tuple[int, int] = (8, 8)) -> torch.Tensor:
    return torch.tensor(color)[:, None, None].expand(len(color), *size)


def judged(proto: onnx.ModelProto, image: torch.Tensor, wanted: int | None = None, **given: Any) -> Verdict:
    return Judge.of(proto, preprocess="unit", **given).judge(image, wanted)


SOFTMAX = np.exp([2, 8, 4]) / np.exp([2, 8, 4]).sum()


@pytest.mark.parametrize(
    "end",
    [
        "y = MatMul (f, w)",
        "l = MatMul (f, w)  y = Softmax <axis = 1> (l)",
        "l = MatMul (f, w)  y = LogSoftmax <axis = 1> (l)",
        "l = MatMul (f, w)  e = Exp (l)  s = ReduceSum <keepdims = 1> (e)  y = Div (e, s)",
    ],
)
def test_logits_and_probabilities_are_read_alike(end: str) -> None:
    verdict = judged(colors(end), filled(0.2, 0.8, 0.4), 2, labels=COLORS)
    assert (verdict.classes, verdict.wanted, verdict.rank) == (3, 2, 2)
    assert verdict.probability == pytest.approx(SOFTMAX[2], rel=0.02)
    assert [(guess.index, guess.label) for guess in verdict.top] == [(1, "green"), (2, "blue"), (0, "red")]


def test_a_sigmoid_gives_each_class_a_probability_of_its_own() -> None:
    verdict = judged(colors("l = MatMul (f, w)  y = Sigmoid (l)"), filled(0.2, 0.8, 0.4), 0)
    assert verdict.probability == pytest.approx(1 / (1 + np.exp(-2)), rel=0.01)
    assert verdict.rank == 3


def test_a_picture_for_no_single_class_gets_names_alone() -> None:
    verdict = judged(colors(), filled(0.2, 0.8, 0.4))
    assert (verdict.rank, verdict.probability) == (None, None)
    assert verdict.top[0].index == 1


def test_what_the_judge_sees_is_the_picture_resized_with_antialiasing() -> None:
    judge = Judge.of(colors(), preprocess="unit")
    image = (torch.rand((3, 20, 31), generator=torch.Generator().manual_seed(0)) * 255).round() / 255
    levels = (image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    expected = np.asarray(Image.fromarray(levels).resize((8, 8), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    np.testing.assert_array_equal((judge._fitted(image) * 255).round(), expected)
    np.testing.assert_allclose(judge._fitted(image).mean(), image.mean(), atol=0.02)


def test_grey_pictures_are_shown_in_color_and_colored_ones_in_grey() -> None:
    judge = Judge.of(colors(), preprocess="unit")
    torch.testing.assert_close(judge._fitted(filled(0.4, size=(8, 9))), filled(0.4, 0.4, 0.4))
    text = """<ir_version: 8, opset_import: ["": 17]> net (float[1, 1, 8, 8] x) => (float[1, 2] y)
    { f = Flatten (x)  y = MatMul (f, w) }"""
    grey = Judge.of(parsed(text, w=np.ones((64, 2), np.float32)), preprocess="unit")
    brightness = 0.299 * 0.2 + 0.587 * 0.4 + 0.114 * 0.6
    torch.testing.assert_close(grey._fitted(filled(0.2, 0.4, 0.6)), filled(brightness), atol=1 / 255, rtol=0)


def test_the_judges_own_preprocessing_layout_and_range_hold() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> net (float[1, 8, 8, 3] x) => (float[1, 3] y)
    { t = Transpose <perm = [0, 3, 1, 2]> (x)  p = GlobalAveragePool (t)  f = Flatten (p)  y = MatMul (f, w) }"""
    proto = parsed(text, w=np.eye(3, dtype=np.float32))
    judge = Judge.of(proto, preprocess="caffe")
    assert judge.image_input.preprocess.layout == "NHWC"
    image = filled(0.2, 0.8, 0.4)
    # Blue, green, red in 0 to 255, minus the mean.
    expected = np.array([0.4, 0.8, 0.2]) * 255 - [103.939, 116.779, 123.68]
    np.testing.assert_allclose(judge._answers(image), expected, rtol=1e-4)


def test_classes_are_found_by_number_where_there_are_as_many() -> None:
    _, target = metered(colors(labels=COLORS), "y", "green")
    assert Judge.of(colors(), labels=["a", "b", "c"]).index_of(target, 3) == 1


def test_classes_are_found_by_name_where_both_models_have_names() -> None:
    _, target = metered(colors(labels=COLORS), "y", "green")
    assert Judge.of(colors(labels=["Blue", "Green", "x"])).index_of(target, 3) == 1
    assert Judge.of(colors(labels=["x", "y", "GREEN"])).index_of(target, 99) == 2


def test_a_picture_for_several_classes_was_made_for_no_one() -> None:
    _, target = metered(colors(labels=COLORS), "y", (0, 2))
    assert Judge.of(colors()).index_of(target, 3) is None
    assert Judge.of(colors(labels=COLORS)).index_of(target, 3) is None


def test_another_number_of_classes_is_one_clear_error() -> None:
    _, target = metered(conv_net(), "conv2", 3)
    with pytest.raises(
        SettingError, match=r"the model has 3 classes, and 'conv2' has 6: there is no telling"
    ) as raised:
        Judge.of(colors()).index_of(target, 6)
    assert "\n" not in str(raised.value)


def test_a_name_that_the_judge_does_not_know_is_an_error() -> None:
    _, target = metered(colors(labels=COLORS), "y", "green")
    with pytest.raises(SettingError, match="knows no class 'green'"):
        Judge.of(colors(labels=["x", "y", "z"])).index_of(target, 3)


def test_a_model_without_classes_is_no_judge() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> net (float[1, 3, 8, 8] x) => (float[1, 1] y)
    { f = Flatten (x)  y = MatMul (f, w) }"""
    with pytest.raises(SettingError, match="has no output of classes"):
        Judge.of(parsed(text, w=np.ones((192, 1), np.float32)))


def test_open_sizes_are_given_and_fixed_ones_stay() -> None:
    with pytest.raises(UnknownSizeError):
        Judge.of(colors(size="H, W"))
    assert Judge.of(colors(size="H, W"), size=(12, 10)).image_input.size == (12, 10)
    assert Judge.of(colors(), size=(12, 10)).image_input.size == (8, 8)


def test_an_image_of_another_kind_is_refused_in_one_line() -> None:
    judge = Judge.of(colors())
    for image in (torch.rand(3, 100), torch.rand(2, 8, 8), torch.rand(5)):
        with pytest.raises(InputError, match="cannot be shown"):
            judge.judge(image)


def test_signals_are_judged_as_they_are() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> net (float[1, 2, 32] x) => (float[1, 2] y)
    { p = GlobalAveragePool (x)  f = Flatten (p)  y = MatMul (f, w) }"""
    judge = Judge.of(parsed(text, w=np.eye(2, dtype=np.float32)), overrides={"range": (0.0, 1.0)})
    image = torch.stack([torch.zeros(32), torch.ones(32)])
    assert judge.judge(image, 1).rank == 1


def test_a_judge_that_is_no_model_is_an_error() -> None:
    with pytest.raises(OnnxvisError):
        Judge.of(b"no model")


def test_a_verdict_reads_as_a_sentence() -> None:
    top = (Guess(1, "goldfish", 0.724), Guess(327, "", 0.0444))
    verdict = Verdict("other.onnx", 1000, 1, 1, 0.724, top)
    assert str(verdict) == "other.onnx ranks it 1 of 1000 with 72.4 %; it says goldfish 72.4 %, 327 4.44 %"
    assert str(Verdict("other.onnx", 1000, None, None, None, top)) == "other.onnx says goldfish 72.4 %, 327 4.44 %"


@pytest.mark.parametrize(
    ("model", "preprocess"),
    [("squeezenet1_1_fp32_upcast", "caffe"), ("shufflenet_v2_12_dequantized", "imagenet")],
)
def test_real_classifiers_know_real_photos(model: str, preprocess: str, shared: Path) -> None:
    synset = (shared / "images" / "imagenet_synset.txt").read_text(encoding="utf-8").splitlines()
    labels = [line.split(" ", 1)[1].split(",")[0] for line in synset]
    judge = Judge.of(shared / "models" / f"{model}.onnx", preprocess=preprocess, labels=labels)
    assert judge.classes == 1000
    for name in ("goldfish", "pelican", "hummingbird", "bald_eagle"):
        photo = read_photo(shared / "images" / f"{name}.jpg", 3, (224, 224))
        verdict = judge.judge(photo, labels.index(name.replace("_", " ")))
        assert verdict.rank == 1
        assert verdict.top[0].label == name.replace("_", " ")
