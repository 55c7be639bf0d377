from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from onnxvis import load, verify
from onnxvis.lower import lower
from onnxvis.quantizers import quantizers_of, run_in_pieces
from onnxvis.verify import compare

STEP = 0.0123456

# Means of four integers lie halfway between two as often as not; which way they go is up to the order of a sum.
TIES = f"""
<ir_version: 8, opset_import: ["": 17]> net (float[1, 4, 16, 16] x) => (float[1, 4, 8, 8] y)
<float step = {{{STEP}}}, uint8 zero = {{0}}>
{{
    fine = QuantizeLinear (x, step, zero)
    back = DequantizeLinear (fine, step, zero)
    pooled = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (back)
    coarse = QuantizeLinear (pooled, step, zero)
    seen = DequantizeLinear (coarse, step, zero)
    y = Tanh (seen)
}}
"""


def image() -> np.ndarray:
    return (np.random.default_rng(0).integers(0, 255, (1, 4, 16, 16)) * np.float32(STEP)).astype(np.float32)


def test_ties_that_are_rounded_the_other_way_are_no_disagreement() -> None:
    report = verify(onnx.parser.parse_model(TIES), inputs={"x": image()})
    assert report.ok
    assert report.flips > 0
    assert report.max_rel_error < 1e-6
    assert "rounded the other way" in str(report)


def test_a_wrong_scale_is_found_and_named() -> None:
    model = load(onnx.parser.parse_model(TIES))
    wrong = onnx.parser.parse_model(TIES)
    wrong.graph.initializer.append(numpy_helper.from_array(np.asarray(2 * STEP, np.float32), "other"))
    wrong.graph.node[3].input[1] = "other"
    report = compare(model, lower(load(wrong), ["y"]), ["y"], {"x": image()})
    assert not report.ok
    assert report.first_divergence == "coarse"


def test_what_differs_between_quantizers_is_found() -> None:
    model = load(onnx.parser.parse_model(TIES))
    wrong = lower(load(onnx.parser.parse_model(TIES.replace("Tanh (seen)", "Sin (seen)"))), ["y"])
    report = compare(model, wrong, ["y"], {"x": image()})
    assert not report.ok
    assert report.first_divergence == "y"


def pieces(given: dict[str, np.ndarray], x: np.ndarray) -> tuple[dict[str, int], str | None]:
    """Run the model with these numbers behind its first quantizer: flips, and the first one that is wrong."""
    network = lower(load(onnx.parser.parse_model(TIES)))
    assert quantizers_of(network, ["fine", "coarse", "y"]) == ["fine", "coarse"]
    _, flips, wrong = run_in_pieces(network, [torch.from_numpy(x)], given, 1e-5)
    return flips, wrong


def test_only_ties_may_go_either_way() -> None:
    x = image()
    steps = np.round(x / np.float32(STEP))
    assert pieces({"fine": steps.astype(np.uint8)}, x) == ({"fine": 0}, None)
    x[0, 0, 0, 0] = np.float32(STEP) * 2.5
    for steps[0, 0, 0, 0] in (2, 3):
        flips, wrong = pieces({"fine": steps.astype(np.uint8)}, x)
        assert flips["fine"] <= 1
        assert wrong is None
    steps[0, 0, 0, 0] = 4
    assert pieces({"fine": steps.astype(np.uint8)}, x)[1] == "fine"
    steps[0, 0, 0, 0], steps[0, 0, 0, 1] = 2, steps[0, 0, 0, 1] - 1
    assert pieces({"fine": steps.astype(np.uint8)}, x)[1] == "fine"


@pytest.mark.parametrize("wrongly", [lambda x: torch.round(x) + 1, torch.floor, torch.ceil, torch.trunc])
def test_another_rounding_is_found(wrongly: Callable[[torch.Tensor], torch.Tensor]) -> None:
    text = '<ir_version: 8, opset_import: ["": 17]> net (float[64] x) => (float[64] y) { r = Round (x) y = Neg (r) }'
    model = load(onnx.parser.parse_model(text))
    x = np.random.default_rng(0).uniform(-20, 20, 64).astype(np.float32)
    assert compare(model, lower(model), ["y"], {"x": x}).ok
    report = compare(model, lower(model, replacements={"Round": wrongly}), ["y"], {"x": x})
    assert not report.ok
    assert report.first_divergence == "r"


def test_resized_integers_that_lie_on_a_whole_number_may_go_either_way() -> None:
    text = f"""
    <ir_version: 8, opset_import: ["": 17]> net (float[1, 1, 4, 4] x) => (float[1, 1, N, M] y)
    <float step = {{{STEP}}}, uint8 zero = {{0}}, float[4] scales = {{1.0, 1.0, 3.0, 3.0}}>
    {{
        fine = QuantizeLinear (x, step, zero)
        large = Resize <mode = "linear"> (fine, , scales)
        y = DequantizeLinear (large, step, zero)
    }}
    """
    x = image()[:, :1, :4, :4]
    network = lower(load(onnx.parser.parse_model(text)), ["large"])
    whole = network(torch.from_numpy(x)).detach().numpy()
    # The middle one of three is the element itself: a sum that falls just short of it is cut off to the one below.
    below, off = whole.copy(), whole.copy()
    below[0, 0, 1::3, 1::3] -= below[0, 0, 1::3, 1::3] > 0
    off[0, 0, 0, 0] += 2
    for given, wrong in ((below, None), (off, "large")):
        assert run_in_pieces(network, [torch.from_numpy(x)], {"large": given}, 1e-5)[2] == wrong
