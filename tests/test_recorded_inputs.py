from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from onnxvis.config import CheckSettings
from onnxvis.errors import OnnxvisError
from onnxvis.model import load
from onnxvis.recorded_inputs import RecordedInput, copies, feeds, open_shapes, recorded_inputs
from tests.models import conv_net, parsed, random_weights

OPEN = """
<ir_version: 8, opset_import: ["": 17]>
net (float[N, 3, H, W] image) => (float[N, 4, H, W] y) { y = Conv <pads = [1, 1, 1, 1]> (image, w) }
"""
LAST = """
<ir_version: 8, opset_import: ["": 17]>
net (float[4, 16, 12, 3] image) => (float[4, 16, 12, 3] y) { y = Relu (image) }
"""
TWO = """
<ir_version: 8, opset_import: ["": 17]>
net (float[1, 3, 16, 16] image, float scale) => (float[1, 3, 16, 16] y) { y = Mul (image, scale) }
"""


def inputs_of(text: str, settings: CheckSettings) -> tuple[RecordedInput, ...]:
    model = load(parsed(text))
    return recorded_inputs(model, open_shapes(model, settings), settings)


def test_inputs_come_back_from_json() -> None:
    for item in inputs_of(TWO, CheckSettings(range=(0, 255), mean=(1, 2, 3), bgr=True)):
        assert RecordedInput.from_dict(json.loads(json.dumps(dataclasses.asdict(item)))) == item


def test_open_sizes_are_small() -> None:
    model = load(parsed(OPEN, **random_weights({"w": (4, 3, 3, 3)})))
    assert open_shapes(model, CheckSettings()) == {"image": (1, 3, 64, 64)}
    assert open_shapes(model, CheckSettings(size=(24, 32))) == {"image": (1, 3, 24, 32)}


def test_open_sizes_that_are_too_small_are_passed_over() -> None:
    text = OPEN.replace("pads = [1, 1, 1, 1]", "kernel_shape = [100, 100]")
    model = load(parsed(text, **random_weights({"w": (4, 3, 100, 100)})))
    assert open_shapes(model, CheckSettings()) == {"image": (1, 3, 128, 128)}


def test_an_image_is_recorded_without_its_batch_and_its_layout() -> None:
    (item,) = inputs_of(LAST, CheckSettings())
    assert (item.shape, item.image_shape) == ((4, 16, 12, 3), (3, 16, 12))
    assert item.preprocess["layout"] == "NHWC"
    assert copies([item]) == 4


def test_the_same_seed_draws_the_same_probes() -> None:
    model = load(conv_net())
    inputs = recorded_inputs(model, {"image": (1, 3, 16, 16)}, CheckSettings())
    first, again, other = (feeds(model, inputs, None, seed) for seed in (0, 0, 1))
    for a, b, c in zip(first, again, other, strict=True):
        assert np.array_equal(a["image"], b["image"])
        assert not np.array_equal(a["image"], c["image"])


def test_probes_are_white_noise_and_smooth_noise() -> None:
    model = load(conv_net())
    inputs = recorded_inputs(model, {"image": (1, 3, 16, 16)}, CheckSettings(range=(0, 255)))
    white, smooth = (feed["image"] for feed in feeds(model, inputs, None, 0))
    for image in (white, smooth):
        assert image.min() >= 0
        assert 100 < image.max() <= 255
    # Neighbors of white noise have nothing in common.
    correlations = [np.corrcoef(x[..., 1:].ravel(), x[..., :-1].ravel())[0, 1] for x in (white, smooth)]
    assert abs(correlations[0]) < 0.1
    assert correlations[1] > 0.5


def test_the_layout_moves_the_axes_of_a_probe_and_nothing_else() -> None:
    first = load(parsed(LAST.replace("4, 16, 12, 3", "1, 16, 12, 3")))
    last = feeds(first, recorded_inputs(first, {"image": (1, 16, 12, 3)}, CheckSettings()), None, 0)
    second = load(parsed(LAST.replace("4, 16, 12, 3", "1, 3, 16, 12")))
    usual = feeds(second, recorded_inputs(second, {"image": (1, 3, 16, 12)}, CheckSettings()), None, 0)
    for a, b in zip(last, usual, strict=True):
        assert np.array_equal(a["image"].transpose(0, 3, 1, 2), b["image"])


def test_an_input_is_held_at_its_value() -> None:
    model = load(parsed(TWO))
    inputs = recorded_inputs(model, {"image": (1, 3, 16, 16), "scale": ()}, CheckSettings())
    assert [feed["scale"].item() for feed in feeds(model, inputs, {"scale": 0.25}, 0)] == [0.25, 0.25]
    with pytest.raises(OnnxvisError, match="nothing"):
        feeds(model, inputs, {"nothing": 0.25}, 0)
