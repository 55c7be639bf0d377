from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from onnxvis.image_input import find_image_input
from onnxvis.measure import Meter
from onnxvis.model import load
from onnxvis.saturation import saturated
from onnxvis.sizes import input_shapes
from onnxvis.target import resolve
from tests.models import parsed

HEAD = '<ir_version: 8, opset_import: ["": 17]> net (float[1, 2, 4, 5] x) => (float[1, 2, 4, 5] y) '
IMAGE = torch.arange(40.0).view(2, 4, 5) / 40


def share(body: str, filters: Any = None, head: str = HEAD, **constants: Any) -> float:
    proto = parsed(head + body, **{name: np.array(value, np.float32) for name, value in constants.items()})
    model = load(proto)
    target = resolve(model, "y", filters, logits=False)
    item = find_image_input(model, input_shapes(model, None), overrides={"range": (0.0, 1.0), "layout": "NCHW"})
    return saturated(model, target, Meter.of(model, target, {"x": item}, {}), {"x": IMAGE})


@pytest.mark.parametrize("body", ["{ y = Clip (x, low, high) }", "{ y = Min (high, x) }"])
def test_what_reaches_the_ceiling_is_saturated_and_the_floor_is_not(body: str) -> None:
    assert share(body, low=0.1, high=0.75) == pytest.approx(float((IMAGE >= 0.75).float().mean()))


@pytest.mark.parametrize(("channel", "wanted"), [(0, 0.0), (1, 0.5)])
def test_the_channels_of_the_unit_count_alone(channel: int, wanted: float) -> None:
    weight: dict[str, Any] = {"w": np.eye(2, dtype=np.float32)[:, :, None, None]}
    body = "{ c = Conv (x, w)  y = Clip (c, low, high) }"
    assert share(body, channel, low=0.1, high=0.75, **weight) == pytest.approx(wanted)


def test_the_bound_of_an_old_clip_is_its_attribute() -> None:
    assert share("{ y = Clip <min = 0.0, max = 0.75> (x) }", head=HEAD.replace("17", "6")) == pytest.approx(0.25)


def test_a_clip_without_a_ceiling_is_never_saturated() -> None:
    assert share("{ y = Clip (x, low) }", low=0.1) == 0


@pytest.mark.parametrize("operator", ["Sigmoid", "Tanh"])
def test_sigmoids_are_saturated_at_both_ends(operator: str) -> None:
    found = share(f"{{ a = Mul (x, scale)  b = Sub (a, shift)  y = {operator} (b) }}", scale=40.0, shift=20.0)
    values = 40 * IMAGE.numpy().astype(np.float64) - 20
    slopes = 1 / (2 + np.exp(values) + np.exp(-values)) if operator == "Sigmoid" else np.cosh(values) ** -2
    assert found == pytest.approx(np.mean(slopes < 1e-4))
    assert 0.2 < found < 0.9


def test_other_operators_are_never_saturated() -> None:
    assert share("{ y = Relu (x) }") == 0
