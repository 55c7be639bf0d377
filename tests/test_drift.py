from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxvis.drift import TOLERANCES, Drifts, arithmetic, deviation, drifts
from onnxvis.model import load
from onnxvis.tensor_statistics import Statistics, statistics
from tests.models import conv_net, parsed, random_weights

TOLERANCE = TOLERANCES["float32"]
BATCH_NORM_NET = """
<ir_version: 8, opset_import: ["": 17]>
net (float[1, 3, 16, 16] image) => (float[1, 5, 16, 16] y)
{
    conv = Conv <pads = [1, 1, 1, 1]> (image, w, b)
    normal = BatchNormalization (conv, scale, bias, mean, var)
    relu = Relu (normal)
    y = Conv (relu, w2)
}
"""


def batch_norm_net(*, folded: bool = False, name: str = "conv") -> onnx.ModelProto:
    weights = random_weights({"w": (4, 3, 3, 3), "b": (4,), "w2": (5, 4, 1, 1)})
    generator = np.random.default_rng(1)
    scale, bias, mean, var = (generator.uniform(0.5, 2, 4).astype(np.float32) for _ in range(4))
    if not folded:
        return parsed(BATCH_NORM_NET, **weights, scale=scale, bias=bias, mean=mean, var=var)
    factor = scale / np.sqrt(var + 1e-5)
    weights["w"] = weights["w"] * factor[:, None, None, None]
    weights["b"] = (weights["b"] - mean) * factor + bias
    text = BATCH_NORM_NET.replace("normal = BatchNormalization (conv, scale, bias, mean, var)", "")
    return parsed(text.replace("conv =", f"{name} =").replace("Relu (normal)", f"Relu ({name})"), **weights)


def measured(proto: onnx.ModelProto) -> tuple[Statistics, ...]:
    generator = np.random.default_rng(0)
    return statistics(load(proto), [{"image": generator.random((1, 3, 16, 16), np.float32)} for _ in range(2)])


def drifted(before: onnx.ModelProto, after: onnx.ModelProto) -> Drifts:
    outputs = {a.name: b.name for a, b in zip(before.graph.output, after.graph.output, strict=True)}
    return drifts(measured(before), measured(after), outputs, TOLERANCE)


def renamed(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Number all tensors but the inputs and the weights anew, and take the nodes' names."""
    kept = {item.name for item in proto.graph.input} | {item.name for item in proto.graph.initializer}
    names: dict[str, str] = {}
    for node in proto.graph.node:
        node.name = ""
        for listed in (node.input, node.output):
            news = [name if name in kept else names.setdefault(name, str(len(names))) for name in listed]
            del listed[:]
            listed.extend(news)
    for output in proto.graph.output:
        output.name = names[output.name]
    return proto


def test_deviations_are_in_standard_deviations() -> None:
    before = dataclasses.replace(measured(conv_net())[0], channels=())
    after = dataclasses.replace(before, mean=before.mean + 0.5 * before.std)
    found, figure = deviation(before, after)
    assert figure == "mean"
    assert found == pytest.approx(0.5)


@pytest.mark.parametrize(("figure", "allowed"), [("max", 1), ("min", 1), ("mean", 1 / 32), ("std", 1 / 32)])
def test_a_quantized_tensor_may_be_off_by_a_step(figure: str, allowed: float) -> None:
    before = dataclasses.replace(measured(conv_net())[0], shape=(1, 4, 16, 16), channels=(), step=0.5)
    within, beyond = (
        dataclasses.replace(before, **{figure: getattr(before, figure) + steps * before.step})
        for steps in (0.99 * allowed, 1.5 * allowed)
    )
    assert deviation(before, within)[0] == 0
    moved, named = deviation(before, beyond)
    assert moved == pytest.approx(0.25 * allowed / before.spread, rel=1e-4)
    assert named == figure
    # What the second file is rounded to says nothing of the first.
    assert deviation(dataclasses.replace(before, step=0.0), dataclasses.replace(within, step=0.5))[0] > 0


def test_a_filter_of_few_numbers_may_be_off_by_more() -> None:
    before = dataclasses.replace(measured(conv_net())[0], shape=(1, 4, 3, 3), channels=(0.0,) * 4, step=0.3)
    assert deviation(before, dataclasses.replace(before, channels=(0, 0, 0.099, 0)))[0] == 0
    found, figure = deviation(before, dataclasses.replace(before, channels=(0, 0, 0.2, 0)))
    assert found == pytest.approx(0.1 / before.spread)
    assert figure == "mean of filter 2"


def test_the_layout_changes_no_deviation() -> None:
    before = measured(conv_net())[0]
    assert deviation(before, dataclasses.replace(before, shape=(1, 16, 16, 4)))[0] == 0
    assert deviation(before, dataclasses.replace(before, shape=(16, 16, 4)))[0] == 0


def test_a_network_of_other_names_answers_alike() -> None:
    found = drifted(conv_net(), renamed(conv_net()))
    assert found.tensors == ()
    assert len(found.alike) == len(measured(conv_net()))


@pytest.mark.parametrize("name", ["conv", "normal", "other"])
def test_a_folded_normalization_is_no_drift(name: str) -> None:
    found = drifted(batch_norm_net(), batch_norm_net(folded=True, name=name))
    assert found.tensors == ()
    assert found.vanished == ("conv",)
    assert found.alike["normal"] == name


def test_a_fault_behind_a_folded_normalization_is_named_and_not_the_fold() -> None:
    faulty = batch_norm_net(folded=True, name="other")
    (weight,) = (item for item in faulty.graph.initializer if item.name == "w2")
    weight.CopyFrom(numpy_helper.from_array(np.zeros((5, 4, 1, 1), np.float32), "w2"))
    found = drifted(batch_norm_net(), faulty)
    assert [drift.recorded.tensor for drift in found.tensors] == ["y"]
    assert found.vanished == ("conv",)


def test_another_layer_under_the_recorded_name_is_no_drift() -> None:
    twin = conv_net()
    names = {"conv1": "conv2", "conv2": "conv1"}
    for node in twin.graph.node:
        for listed in (node.input, node.output):
            news = [names.get(name, name) for name in listed]
            del listed[:]
            listed.extend(news)
    assert drifted(conv_net(), twin).tensors == ()


@pytest.mark.parametrize("rename", [False, True])
@pytest.mark.parametrize("layer", ["conv1", "conv2", "logits"])
def test_the_layer_whose_bias_is_dropped_is_the_first_that_drifts(layer: str, *, rename: bool) -> None:
    bias = {"conv1": "b1", "conv2": "b2", "logits": "b3"}[layer]
    size = {"b1": 4, "b2": 6, "b3": 5}[bias]
    faulty = conv_net(**{bias: np.zeros(size, np.float32)})
    found = drifted(conv_net(), renamed(faulty) if rename else faulty)
    assert found.tensors[0].recorded.tensor == layer


@pytest.mark.parametrize("rename", [False, True])
def test_a_dropped_rectifier_is_named(*, rename: bool) -> None:
    faulty = conv_net()
    faulty.graph.node[1].op_type = "Identity"
    found = drifted(conv_net(), renamed(faulty) if rename else faulty)
    assert found.tensors[0].recorded.tensor == "relu1"


def test_a_zeroed_filter_is_told_by_its_mean() -> None:
    weights = random_weights({"w2": (6, 4, 3, 3)})["w2"] + 1
    good = conv_net(w2=weights)
    weights = weights.copy()
    weights[3] = 0
    found = drifted(good, conv_net(w2=weights))
    assert found.tensors[0].recorded.tensor == "conv2"
    assert found.tensors[0].figure in {"mean of filter 3", "min", "max"}


def test_an_output_is_compared_although_another_tensor_answers_as_it_did() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    net (float[1, 3, 16, 16] image) => (float[1, 3, 16, 16] y) { a = Exp (image) y = OPERATOR (a) }
    """
    found = drifted(parsed(text.replace("OPERATOR", "Relu")), parsed(text.replace("OPERATOR", "Neg")))
    assert [drift.recorded.tensor for drift in found.tensors] == ["y"]


def test_constants_are_no_evidence_of_what_they_are_computed_from() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    net (float[1, 3, 16, 16] image) => (float[1, 3, 16, 16] y)
    { a = OPERATOR (image) zero = Sub (a, a) y = Add (a, zero) }
    """
    good, faulty = parsed(text.replace("OPERATOR", "Sin")), renamed(parsed(text.replace("OPERATOR", "Cos")))
    assert drifted(good, faulty).tensors[0].recorded.tensor == "a"


def test_arithmetic_is_told_from_the_types() -> None:
    half = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> net (float16[1, 4] x) => (float16[1, 4] y) { y = Relu (x) }'
    )
    assert arithmetic(load(half)) == "float16"
    assert arithmetic(load(conv_net())) == "float32"
