from __future__ import annotations

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


@pytest.mark.parametrize(("off", "wrong"), [(0, None), (1, None), (2, "fine")])
def test_one_step_is_allowed(off: int, wrong: str | None) -> None:
    network = lower(load(onnx.parser.parse_model(TIES)))
    names = quantizers_of(network, {"fine": True, "coarse": True, "y": False})
    assert names == ["fine", "coarse"]
    x = image()
    given = {"fine": np.round(x / np.float32(STEP)).astype(np.uint8)}
    given["fine"][0, 0, 0, 0] += off
    _, flips, found = run_in_pieces(network, [torch.from_numpy(x)], given)
    assert found == wrong
    assert flips["fine"] == (off > 0)
