from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import onnxruntime
import pytest

from onnxvis.errors import InputError
from onnxvis.model import load
from onnxvis.tensor_statistics import Statistics, statistics
from tests.models import conv_net, parsed


def measured() -> tuple[Statistics, ...]:
    """What a small network answers to noise."""
    return statistics(load(conv_net()), [{"image": np.random.default_rng(0).random((1, 3, 16, 16), np.float32)}])


def test_figures_are_those_of_all_elements_of_all_probes() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    net (float[1, 2, 3] x) => (float[1, 2, 3] y) { y = Relu (x) }
    """
    feeds = [{"x": np.random.default_rng(seed).standard_normal((1, 2, 3)).astype(np.float32)} for seed in (1, 2)]
    (found,) = statistics(load(parsed(text)), feeds)
    answers = np.maximum(np.concatenate([feed["x"] for feed in feeds]), 0).astype(np.float64)
    assert found.shape == (1, 2, 3)
    for name in ("mean", "std", "min", "max"):
        assert getattr(found, name) == pytest.approx(getattr(answers, name)(), rel=1e-6)
    assert found.zeros == pytest.approx((answers == 0).mean())


def test_channels_have_the_means_that_onnxruntime_gives() -> None:
    feed = {"image": np.random.default_rng(3).random((1, 3, 16, 16), np.float32)}
    proto = conv_net()
    (found,) = (item for item in statistics(load(proto), [feed]) if item.tensor == "relu2")
    proto.graph.output.append(onnx.ValueInfoProto(name="relu2"))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (answer,) = session.run(["relu2"], feed)
    assert found.channels == pytest.approx(answer.mean(axis=(0, 2, 3), dtype=np.float64).tolist(), rel=1e-5)


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    text = '<ir_version: 8, opset_import: ["": 17]> net (float[1, 4] x) => (float[1, 4] y) { y = Log (x) }'
    (found,) = statistics(load(parsed(text)), [{"x": np.array([[0, 1, 1, -1]], np.float32)}])
    assert (found.finite, found.mean, found.max) == (0.5, 0.0, 0.0)


def test_sources_are_the_nearest_measured_tensors() -> None:
    found = {item.tensor: item.sources for item in measured()}
    assert found["relu1"] == ("conv1",)
    assert found["conv1"] == ()


def test_statistics_come_back_from_plain_values() -> None:
    for item in measured():
        assert Statistics.from_dict(dataclasses.asdict(item)) == item


def test_damaged_statistics_are_refused() -> None:
    with pytest.raises(InputError, match="damaged"):
        Statistics.from_dict({"name": "conv1"})


def test_a_quantized_tensor_has_the_steps_of_its_scale() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    net (float[1, 4] x, float[1, 4] z) => (float[1, 4] y)
    {
        whole = QuantizeLinear (x, scale, zero)
        kept = Reshape (whole, sizes)
        back = DequantizeLinear (kept, scale, zero)
        moved = Reshape (back, sizes)
        y = Add (moved, z)
    }
    """
    weights: dict[str, np.ndarray] = {
        "scale": np.array(0.25, np.float32),
        "zero": np.array(0, np.int8),
        "sizes": np.array([1, 4]),
    }
    found = statistics(load(parsed(text, **weights)), [{name: np.ones((1, 4), np.float32) for name in "xz"}])
    assert {item.tensor: item.step for item in found} == {"whole": 1, "kept": 1, "back": 0.25, "moved": 0.25, "y": 0}
