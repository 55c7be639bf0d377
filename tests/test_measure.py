from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from onnxvis.model import load
from onnxvis.oracle import Oracle
from tests.meters import metered
from tests.models import conv_net, parsed

IMAGE = torch.rand((3, 16, 16), generator=torch.Generator().manual_seed(0))
TOKENS = (
    """<ir_version: 8, opset_import: ["": 17]> net (float[1, 4, 5] x) => (float[1, 4, 6] y) { y = MatMul (x, w) }"""
)
FIXED = (
    """<ir_version: 8, opset_import: ["": 17]> net (float[2, 1, 4, 4] x) => (float[2, 3, 4, 4] y) { y = Conv (x, w) }"""
)
NHWC = """<ir_version: 8, opset_import: ["": 17]> net (float[1, 8, 8, 3] x) => (float[1, 8, 8, 4] y)
{ t = Transpose <perm = [0, 3, 1, 2]> (x)  c = Conv (t, w)  y = Transpose <perm = [0, 2, 3, 1]> (c) }"""
TWO = """<ir_version: 8, opset_import: ["": 17]> net (float[1, 3] a, float[1, 3] b) => (float[1, 2] y)
{ s = Add (a, b)  y = MatMul (s, w) }"""


def weight(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_all_units_of_a_layer_are_the_means_over_its_positions() -> None:
    meter, target = metered(conv_net(), "conv2", 3)
    found = meter.observe(meter.feeds({"image": IMAGE}))
    raw = Oracle(load(conv_net()), ["conv2"]).run({"image": IMAGE[None].numpy()})["conv2"]
    np.testing.assert_allclose(meter.answers(found, target), raw.mean((0, 2, 3)), rtol=1e-5)


@pytest.mark.parametrize("node", ["conv1", "relu2", "features", "probabilities"])
@pytest.mark.parametrize("filters", [0, (1, 3), None])
def test_what_is_measured_is_one_of_the_answers(node: str, filters: Any) -> None:
    meter, target = metered(conv_net(), node, filters)
    found = meter.observe(meter.feeds({"image": IMAGE}))
    answers, measured = meter.answers(found, target), meter.measure(found, target)
    expected = answers[list(target.filters)] if target.filters else [answers.mean()]
    np.testing.assert_allclose(measured.by_filter, expected, rtol=1e-6)
    assert measured.activation == pytest.approx(sum(expected), rel=1e-6)


@pytest.mark.parametrize("neuron", ["center", (2, 5)])
def test_the_answers_at_a_neuron_are_those_of_one_position(neuron: Any) -> None:
    meter, target = metered(conv_net(), "conv1", 1, neuron=neuron)
    found = meter.observe(meter.feeds({"image": IMAGE}))
    at = (8, 8) if neuron == "center" else neuron
    np.testing.assert_array_equal(meter.answers(found, target), found["conv1"][0, :, *at])


def test_several_images_are_answered_like_each_alone() -> None:
    meter, target = metered(conv_net(), "relu2", 1)
    images = [{"image": torch.rand((3, 16, 16))} for _ in range(3)]
    rows = [meter.answers(meter.observe(meter.feeds(image)), target) for image in images]
    np.testing.assert_array_equal(meter.answers_to(images, target), rows)


def test_tokens_have_their_channels_last() -> None:
    meter, target = metered(parsed(TOKENS, w=weight(5, 6)), "y", 2)
    image = torch.rand(next(iter(meter.inputs.values())).image_shape)
    found = meter.observe(meter.feeds({"x": image}))
    np.testing.assert_allclose(meter.answers(found, target), found["y"][0].mean(0), rtol=1e-5)


def test_channels_that_are_moved_to_the_end_are_found() -> None:
    meter, target = metered(parsed(NHWC, w=weight(4, 3, 1, 1)), "y", 2)
    found = meter.observe(meter.feeds({"x": torch.rand(3, 8, 8)}))
    np.testing.assert_allclose(meter.answers(found, target), found["y"].mean((0, 1, 2)), rtol=1e-5)


def test_one_image_fills_a_fixed_batch() -> None:
    meter, target = metered(parsed(FIXED, w=weight(3, 1, 1, 1)), "y", 2)
    image = torch.rand(1, 4, 4)
    expected = weight(3, 1, 1, 1)[:, 0, 0, 0] * float(image.mean())
    np.testing.assert_allclose(meter.answers_to([{"x": image}], target)[0], expected, rtol=1e-5)


def test_inputs_that_are_not_optimized_are_held() -> None:
    held = {"b": np.array([[1, 2, 3]], np.float32)}
    meter, target = metered(parsed(TWO, w=weight(3, 2)), "y", 0, wrt=("a",), held=held)
    answers = meter.answers_to([{"a": torch.zeros(3)}], target)[0]
    np.testing.assert_allclose(answers, held["b"][0] @ weight(3, 2), rtol=1e-5)


def test_a_tensor_whose_channels_are_not_known_has_one_answer() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> net (float[1, 3, 4, 4] x) => (float[48] y)
    { s = Constant <value_ints = [48]> ()  y = Reshape (x, s) }"""
    meter, target = metered(parsed(text), "y")
    image = torch.rand(3, 4, 4)
    assert target.channel_axis is None
    np.testing.assert_allclose(meter.answers_to([{"x": image}], target), [[float(image.mean())]], rtol=1e-6)
