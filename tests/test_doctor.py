from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image
from torch import Tensor

from onnxvis.doctor import Diagnosis, diagnose
from onnxvis.errors import UnknownNodeError
from onnxvis.losses import ActivationMaximization
from onnxvis.recipe import Recipe
from onnxvis.transforms import Jitter
from tests.models import CONV_NET_SHAPES, conv_net, parsed, random_weights

SAMPLES = Path(__file__).parents[1] / "samples"
TEXTURES = SAMPLES / "textures.onnx"
UNIT: dict[str, Any] = {"range": (0.0, 1.0), "mean": (0.0,), "std": (1.0,)}
HEAD = '<ir_version: 8, opset_import: ["": 17]> net (float[1, 3, 16, 16] x) => (float[1, 4, 14, 14] y) '
CONV = HEAD + "{ c = Conv (x, w, b)  y = Relu (c) }"
CLIP = HEAD + "{ c = Conv (x, w, b)  y = Clip (c, low, high) }"
SIGMOID = HEAD + "{ c = Conv (x, w, b)  y = Sigmoid (c) }"
SCALED = HEAD + "{ c = Conv (x, w, b)  y = Mul (c, scale) }"
LOG = HEAD + "{ c = Conv (x, w, b)  y = Log (c) }"
BRIGHT = """<ir_version: 8, opset_import: ["": 17]> net (float[1, 3, 16, 16] x) => (float[1, 3, 1, 1] y)
{ m = GlobalAveragePool (x)  h = HardSigmoid <alpha = 5.0, beta = -3.0> (m)  y = Add (h, h) }"""
FEATURES = """<ir_version: 8, opset_import: ["": 17]> net (float[1, 8] x) => (float[1, 4] y)
{ c = Gemm (x, w, b)  y = Relu (c) }"""


def weight(*shape: int) -> np.ndarray[Any, Any]:
    return (np.random.default_rng(0).standard_normal(shape) / 5).astype(np.float32)


def conv(text: str, *bias: float, **more: float) -> onnx.ModelProto:
    constants = {name: np.array(value, np.float32) for name, value in more.items()}
    biases = np.array(bias if len(bias) > 1 else (bias or (0,)) * 4, np.float32)
    return parsed(text, w=weight(4, 3, 3, 3), b=biases, **constants)


def diagnosed(model: Any, *, images: Path | None = None, seed_image: Any = None, **settings: Any) -> Diagnosis:
    settings = {"filters": (0,), "transforms": (), **settings}
    return diagnose(model, Recipe(**settings), device="cpu", images=images, seed_image=seed_image)


def causes(found: Diagnosis) -> list[str]:
    return [item.cause for item in found.findings]


@pytest.mark.parametrize("name", ["textures", "grey", "keras_nhwc", "signals", "volumes", "blobs"])
def test_nothing_is_in_the_way_of_the_samples(name: str) -> None:
    found = diagnose(SAMPLES / f"{name}.onnx", Recipe(filters=(0,)), device="cpu")
    assert found.findings == ()
    assert found.ok
    assert found.verdict.startswith("Nothing is in the way: 32 steps move the activation from ")


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("textures", {"node": "relu1", "filters": (2,)}),
        ("textures", {"node": "relu5", "filters": (), "objective": "deepdream"}),
        ("textures", {"goal": "minimize"}),
        ("textures", {"logits": False}),
        ("grey", {"preset": "fast"}),
        ("grey", {"preset": "keras-vis"}),
        ("blobs", {"goal": 3.0, "filters": ()}),
        ("signals", {"preset": "fast"}),
    ],
)
def test_nothing_is_in_the_way_of_other_recipes(name: str, settings: dict[str, Any]) -> None:
    found = diagnose(SAMPLES / f"{name}.onnx", Recipe(**{"filters": (0,), **settings}), device="cpu")
    assert found.findings == ()


def test_a_dead_unit_is_a_finding_that_names_the_living_and_the_tensor_before() -> None:
    found = diagnosed(conv(CONV, -1e6, 0, 0, 0), node="y", **UNIT)
    assert causes(found) == ["dead"]
    assert "Take 'c' as --node, the input of this Relu." in found.findings[0].remedy
    assert "unlike filters 1, 2, 3:" in found.findings[0].remedy
    assert dict(found.facts)["starts"] == "0 of 4 have a gradient as they are, 4 have none"
    assert found.verdict == "In the way: dead."
    assert not found.ok
    assert diagnosed(conv(CONV, -1e6, 0, 0, 0), node="c", **UNIT).ok


def test_a_dead_unit_that_answers_to_a_photo_should_start_from_it(tmp_path: Path) -> None:
    for name, level in (("dark", 40), ("bright", 190)):
        Image.new("RGB", (16, 16), (level, level, level)).save(tmp_path / f"{name}.png")
    found = diagnosed(parsed(BRIGHT), node="y", images=tmp_path, **UNIT)
    assert causes(found)[0] == "dead"
    assert "--from bright.png" in found.findings[0].remedy
    assert "dead" not in causes(diagnosed(parsed(BRIGHT), node="y", seed_image=tmp_path / "bright.png", **UNIT))


def test_a_unit_that_is_dead_at_one_seed_gets_another() -> None:
    narrow = parsed(BRIGHT.replace("alpha = 5.0, beta = -3.0", "alpha = 400.0, beta = -197.6"))
    found = diagnosed(narrow, node="y", **UNIT)
    assert causes(found) == ["dead"]
    assert found.findings[0].remedy == "Give --seed 3, at which it has one."
    assert "dead" not in causes(diagnosed(narrow, node="y", seed=3, **UNIT))


def test_dead_features_of_assumed_range_need_the_real_one() -> None:
    proto = parsed(FEATURES, w=weight(8, 4), b=np.full(4, -1e6, np.float32))
    found = diagnosed(proto, node="y")
    assert causes(found) == ["dead", "silent layer"]
    assert "Give the real --range" in found.findings[0].remedy


def test_a_unit_at_its_ceiling_is_saturated() -> None:
    found = diagnosed(conv(CLIP, 100.0, low=0, high=6), node="y", **UNIT)
    assert causes(found) == ["saturated"]
    assert found.findings[0].text == "The unit is saturated: at the start its Clip has no slope in 100 % of its values."
    assert found.findings[0].remedy.startswith("Take 'c' as --node")
    assert diagnosed(conv(CLIP, 1.0, low=0, high=6), node="y", **UNIT).ok


def test_a_sigmoid_at_its_end_is_saturated_unless_the_target_moves_to_the_logits() -> None:
    assert causes(diagnosed(conv(SIGMOID, 12.0), node="y", logits=False, **UNIT)) == ["saturated"]
    assert diagnosed(conv(SIGMOID, 12.0), node="y", **UNIT).ok


def test_a_wrong_assumption_about_the_input_is_found_and_a_right_one_is_not() -> None:
    drawn = random_weights(CONV_NET_SHAPES)
    trained_on_bytes = conv_net(w1=drawn["w1"] / 300, b1=np.array([0.3, 0.5, 0.4, 0.2], np.float32))
    found = diagnosed(trained_on_bytes, node="logits")
    assert causes(found) == ["preprocessing"]
    assert "; 8 % with caffe, 4 % with raw255." in found.findings[0].text
    assert "by an assumption (imagenet)" in found.findings[0].text
    assert "Find out how the model was trained" in found.findings[0].remedy
    labels = [label for label, _ in found.facts]
    assert "if fed as" in labels
    assert diagnosed(conv_net(), node="logits").ok
    assert "preprocessing" not in causes(diagnosed(trained_on_bytes, node="logits", preprocess="raw255"))


def test_not_a_number_is_a_finding() -> None:
    found = diagnosed(conv(LOG), node="y", **UNIT)
    assert causes(found) == ["not finite"]
    assert "the model itself gives NaN or infinity for noise" in found.findings[0].text
    assert diagnosed(conv(LOG, 30.0), node="y", **UNIT).ok


def test_a_gradient_that_adam_loses_has_vanished() -> None:
    found = diagnosed(conv(SCALED, scale=1e-8), node="y", **UNIT)
    assert causes(found) == ["vanishing gradient"]
    assert "losses=1e8 * ActivationMaximization()" in found.findings[0].remedy
    assert diagnosed(conv(SCALED, scale=1e-8), node="y", losses=1e8 * ActivationMaximization(), **UNIT).ok
    assert diagnosed(conv(SCALED, scale=1e-3), node="y", **UNIT).ok


@pytest.mark.parametrize(
    ("setting", "weight", "flag", "term"),
    [("tv_weight", 1e5, "--tv-weight", "total variation"), ("lp_weight", 100.0, "--lp-weight", "L6 norm")],
)
def test_a_regularizer_that_outweighs_has_a_better_weight(setting: str, weight: float, flag: str, term: str) -> None:
    heavy: dict[str, Any] = {setting: weight}
    found = diagnosed(TEXTURES, **heavy)
    assert causes(found) == ["outweighed"]
    assert found.findings[0].text.startswith(f"The picture stays grey because {term} outweighs activation")
    assert found.findings[0].remedy.startswith(f"Lower {flag} from {weight:g} to about ")
    heavy[setting] = float(found.findings[0].remedy.rstrip(".").rpartition(" ")[2])
    assert diagnosed(TEXTURES, **heavy).ok


def test_small_steps_have_a_better_size() -> None:
    found = diagnosed(TEXTURES, learning_rate=1e-5)
    assert causes(found) == ["small steps"]
    words = found.findings[0].remedy.split()
    assert words[:4] == ["Raise", "--learning-rate", "from", "1e-05"]
    assert diagnosed(TEXTURES, learning_rate=float(words[6].rstrip(","))).ok


def test_large_steps_have_a_better_size() -> None:
    found = diagnosed(TEXTURES, learning_rate=10.0)
    assert causes(found) == ["large steps"]
    words = found.findings[0].remedy.split()
    assert words[:4] == ["Lower", "--learning-rate", "from", "10"]
    assert diagnosed(TEXTURES, learning_rate=float(words[5].rstrip(","))).ok


def test_a_gradient_that_leads_astray_gains_nothing() -> None:
    def turned(gradient: Tensor) -> Tensor:
        return -gradient

    found = diagnosed(TEXTURES, gradient_modifier=turned)
    assert causes(found) == ["no gain"]
    assert "--gradient-modifier" in found.findings[0].remedy


def test_a_gain_in_the_views_alone_is_none_of_the_picture() -> None:
    given: dict[str, Any] = {"node": "relu1", "neuron": "center", "settle": 0.0, "anneal": 0.0}
    found = diagnosed(SAMPLES / "signals.onnx", transforms=(Jitter(0.05),), **given)
    assert causes(found) == ["misleading views"]
    assert "Without them 32 steps move the activation from 0.518" in found.findings[0].text
    assert diagnosed(SAMPLES / "signals.onnx", **given).ok


def test_a_layer_that_is_mostly_silent_is_a_finding_though_the_unit_is_not() -> None:
    found = diagnosed(conv(CONV, 0, -1e6, -1e6, 0), node="y", **UNIT)
    assert causes(found) == ["silent layer"]
    assert "such as filter 0, 3" in found.findings[0].remedy
    assert diagnosed(conv(CONV, 0, 0, -1e6, 0), node="y", **UNIT).ok


def test_wrong_words_are_an_error_as_everywhere() -> None:
    with pytest.raises(UnknownNodeError):
        diagnosed(conv(CONV), node="nowhere", **UNIT)


def test_a_diagnosis_is_plain_values_and_reads_as_lines() -> None:
    found = diagnosed(conv(CONV, -1e6, 0, 0, 0), node="y", **UNIT)
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["ok"] is False
    assert plain["findings"][0]["cause"] == "dead"
    assert plain["facts"][0] == {"label": "target", "text": "y filter 0 of the model"}
    lines = str(found).splitlines()
    assert lines[0].startswith("target      y filter 0 of ")
    assert lines[-2:] == [str(found.findings[0]), found.verdict]
    healed = dataclasses.replace(found, findings=())
    assert healed.ok


def test_the_same_request_has_the_same_diagnosis() -> None:
    first, second = (diagnosed(conv(CONV), node="y", **UNIT) for _ in range(2))
    assert first == second
