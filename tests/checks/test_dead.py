from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxvis.checks.dead import check_dead
from onnxvis.config import CheckSettings
from onnxvis.inspection import Inspection
from onnxvis.outcomes import Outcome
from tests.checks.inspected import drawn, inspected, of
from tests.models import CONV_NET_SHAPES, conv_net, random_weights

WEIGHTS = random_weights(CONV_NET_SHAPES)


def outcome(inspection: Inspection) -> Outcome:
    return check_dead(inspection, inspection.settings)


def zeroed(name: str, *filters: int) -> dict[str, np.ndarray]:
    array = WEIGHTS[name].copy()
    array[list(filters)] = 0
    return {name: array}


def biased(name: str, value: float, *filters: int) -> dict[str, np.ndarray]:
    array = WEIGHTS[name].copy()
    array[list(filters)] = value
    return {name: array}


def test_a_good_model_has_no_dead_unit() -> None:
    assert outcome(of(conv_net())).status == "pass"


def test_a_filter_of_zeros_is_named() -> None:
    found = outcome(of(conv_net(**zeroed("w2", 3))))
    assert (found.status, found.layer, len(found.details)) == ("warn", "conv2", 1)
    assert found.text == "filter 3 of 'conv2' (1 of 6) has only zero weights: prune or train again"


def test_a_gemm_s_row_of_zeros_is_named() -> None:
    found = outcome(of(conv_net(**zeroed("w3", 0, 4))))
    assert found.text.startswith("filters 0, 4 of 'logits' (2 of 5) have only zero weights")


@pytest.mark.parametrize(("limit", "status"), [(0.5, "fail"), (0.51, "warn")])
def test_from_a_share_of_the_layer_on_it_is_a_failure(limit: float, status: str) -> None:
    assert outcome(of(conv_net(**zeroed("w2", 0, 1, 5)), max_dead=limit)).status == status


def test_a_rectifier_that_is_closed_for_good_is_dead() -> None:
    found = outcome(of(conv_net(**biased("b2", -1e3, 2))))
    assert (found.status, found.layer) == ("warn", "relu2")
    assert found.text.startswith("filter 2 of 'relu2' (1 of 6) never varied on 10 probes")


def test_a_quantized_filter_of_zeros_is_dead_and_a_closed_one_silent() -> None:
    text = """g (float[1, 3, 8, 8] x) => (uint8[1, 4, 8, 8] y)
        <float s = {0.01}, float t = {0.02}, uint8 z = {0}, int8 zero = {0}>
        { q = QuantizeLinear(x, s, z) y = QLinearConv(q, s, z, w, s, zero, t, z, b) }"""
    weights = np.random.default_rng(0).integers(-99, 99, (4, 3, 1, 1)).astype(np.int8)
    weights[1] = 0
    bias = np.array([0, 9, -99999, 0], np.int32)
    found = outcome(inspected(text, CheckSettings(range=(0.0, 1.0)), w=weights, b=bias))
    assert found.text == "filter 1 of 'y' (1 of 4) has only zero weights: prune or train again"
    assert int(found.details[0].figures["silent"]) >= 2


def test_a_rectifier_that_is_merely_silent_is_not_dead() -> None:
    found = outcome(of(conv_net(**biased("b2", -8.0, 2))))
    assert found.status == "pass"
    assert "17% silent on all probes ('relu2')" in found.text


def test_a_layer_that_lets_nothing_through_fails() -> None:
    found = outcome(of(conv_net(**biased("b2", -8.0, *range(6)))))
    assert (found.status, found.layer) == ("fail", "relu2")


def test_what_is_dead_is_told_once_and_not_of_every_layer_behind() -> None:
    text = """g (float[1, 3, 8, 8] x) => (float[1, 4, 8, 8] y)
        { a = Conv (x, w) n = BatchNormalization(a, s, b, m, v) r = Relu(n) d = Conv <group = 4> (r, k) y = Relu(d) }"""
    weights: dict[str, Any] = {"w": drawn(4, 3, 1, 1), "k": np.abs(drawn(4, 1, 1, 1)), "s": np.ones(4, np.float32)}
    weights["w"][1] = 0
    more: dict[str, Any] = {"b": np.ones(4, np.float32), "m": np.zeros(4, np.float32), "v": np.ones(4, np.float32)}
    found = outcome(inspected(text, **weights, **more))
    assert [(detail.status, detail.layer) for detail in found.details] == [("warn", "a")]


def test_the_layer_with_the_largest_share_comes_first() -> None:
    found = outcome(of(conv_net(**zeroed("w2", 0), **zeroed("w1", 1, 2, 3)), max_dead=0.9))
    assert [detail.layer for detail in found.details] == ["conv1", "conv2"]


def test_without_channels_there_is_nothing_to_check() -> None:
    assert outcome(inspected("g (float[2, 3] x) => (float[2, 3] y) { y = Neg(x) }")).status == "skip"


@pytest.mark.parametrize("name", ["cls_mobilenetv2_050_128_st", "face_mesh_landmark_nhwc"])
def test_real_models_have_at_most_some_dead_units(name: str, shared_models: Path) -> None:
    assert outcome(of(str(shared_models / f"{name}.onnx"))).status in ("pass", "warn")


def test_the_settings_are_those_of_the_call() -> None:
    inspection = of(conv_net(**zeroed("w2", 3)))
    assert check_dead(inspection, CheckSettings(max_dead=0.1)).status == "fail"


def test_a_clip_at_its_upper_bound_is_constant_and_not_closed() -> None:
    text = "g (float[1, 4, 8, 8] x) => (float[1, 4, 8, 8] y) { a = Conv(x, w, k) c = Clip(a, low, high) y = Mul(x, c) }"
    bounds: dict[str, Any] = {"w": drawn(4, 4, 1, 1), "low": np.array(0, np.float32), "high": np.array(6, np.float32)}
    found = outcome(inspected(text, **bounds, k=np.full(4, 99, np.float32)))
    assert (found.status, found.text) == (
        "warn",
        "'c' is constant: all 4 units are at the upper bound on all 10 probes",
    )
    assert outcome(inspected(text, **bounds, k=np.full(4, -99, np.float32))).status == "fail"
