from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper, version_converter

from onnxvis.baseline import Baseline, record
from onnxvis.baseline_check import compare
from onnxvis.config import CheckSettings
from onnxvis.errors import InputError, OnnxvisError, OutputError
from onnxvis.model import load
from tests.models import conv_net, parsed, random_weights

UNITS = [(None, 1), ("relu1", 2)]
OPEN = """
<ir_version: 8, opset_import: ["": 17]>
net (float[N, 3, H, W] image) => (float[N, 4, H, W] y) { y = Conv <pads = [1, 1, 1, 1]> (image, w) }
"""
NHWC = """
<ir_version: 8, opset_import: ["": 17]>
net (float[1, 16, 16, 3] image) => (float[1, 5] probabilities)
{
    moved = Transpose <perm = [0, 3, 1, 2]> (image)
    conv1 = Conv <pads = [1, 1, 1, 1]> (moved, w1, b1)
    relu1 = Relu (conv1)
    pool1 = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (relu1)
    conv2 = Conv <pads = [1, 1, 1, 1]> (pool1, w2, b2)
    relu2 = Relu (conv2)
    pooled = GlobalAveragePool (relu2)
    features = Flatten (pooled)
    logits = Gemm <transB = 1> (features, w3, b3)
    probabilities = Softmax <axis = 1> (logits)
}
"""
Change = Callable[[onnx.ModelProto], onnx.ModelProto]


@pytest.fixture(scope="module")
def textures(root: Path) -> Path:
    return root / "samples" / "textures.onnx"


@pytest.fixture(scope="module")
def recorded(textures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The baseline of a sample."""
    return record(textures, [(None, "bricks"), ("relu2", 1)]).save(
        tmp_path_factory.mktemp("baseline") / "baseline.json"
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The baseline of a small network."""
    return record(conv_net(), UNITS).save(tmp_path_factory.mktemp("baseline") / "small.json")


def other_opset(proto: onnx.ModelProto) -> onnx.ModelProto:
    return version_converter.convert_version(proto, 20)


def optimized(proto: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "optimized.onnx")


def renamed(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Name all tensors anew, inputs and outputs too."""
    weights = {item.name for item in proto.graph.initializer}
    for node in proto.graph.node:
        node.name = ""
        for listed in (node.input, node.output):
            news = [name if name in weights or not name else f"of {name}" for name in listed]
            del listed[:]
            listed.extend(news)
    for item in (*proto.graph.input, *proto.graph.output):
        item.name = f"of {item.name}"
    del proto.graph.value_info[:]
    return proto


def in_half(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Store the weights with half precision, and compute with it."""
    for item in proto.graph.initializer:
        if item.data_type == onnx.TensorProto.FLOAT:
            item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item).astype(np.float16), item.name))
    for info in (*proto.graph.input, *proto.graph.output):
        info.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    del proto.graph.value_info[:]
    return proto


def with_weight(proto: onnx.ModelProto, name: str, change: Callable[[np.ndarray], np.ndarray]) -> onnx.ModelProto:
    (item,) = (item for item in proto.graph.initializer if item.name == name)
    changed = np.ascontiguousarray(change(numpy_helper.to_array(item).copy()), np.float32)
    item.CopyFrom(numpy_helper.from_array(changed, name))
    return proto


def zeroed(weight: np.ndarray) -> np.ndarray:
    weight[0] = 0
    return weight


def test_a_baseline_comes_back_from_its_file(recorded: Path) -> None:
    baseline = Baseline.load(recorded)
    assert baseline.save(recorded.with_name("again.json")).read_text() == recorded.read_text()


def test_classes_and_filters_of_several_layers_are_chosen(textures: Path) -> None:
    units = record(textures).units
    assert [unit.tensor for unit in units] == ["probabilities", "probabilities", "relu1", "relu2", "pool3"]
    assert all(unit.activation > unit.seed_activation for unit in units)


def test_the_file_is_small_and_has_short_lines_for_people(recorded: Path) -> None:
    text = recorded.read_text()
    assert len(text) < 100_000
    assert re.search(r'"shape": \[1, \d+, \d+, \d+\]', text)


def test_the_same_file_is_as_recorded(recorded: Path, textures: Path) -> None:
    outcome = compare(recorded, load(textures))
    assert (outcome.check, outcome.status, outcome.details) == ("baseline", "pass", ())
    assert "has changed" not in outcome.text
    assert outcome.seconds > 0


@pytest.mark.parametrize("twin", [other_opset, renamed, in_half])
def test_an_honest_twin_is_as_recorded(recorded: Path, textures: Path, twin: Change) -> None:
    outcome = compare(recorded, load(twin(onnx.load(textures))))
    assert outcome.status == "pass", outcome
    assert outcome.text.startswith("the file has changed, its function has not")


def test_an_optimized_twin_is_as_recorded(recorded: Path, textures: Path, tmp_path: Path) -> None:
    outcome = compare(recorded, load(optimized(onnx.load(textures), tmp_path)))
    assert outcome.status == "pass", outcome
    assert "fused away" in outcome.text


@pytest.mark.parametrize(
    ("layer", "weight", "fault"),
    [
        ("conv1", "conv1.weight", lambda weight: weight[:, ::-1]),
        ("conv2", "conv2.weight", lambda weight: weight.swapaxes(2, 3)),
        ("conv2", "conv2.bias", np.zeros_like),
        ("conv3", "conv3.weight", zeroed),
    ],
)
def test_a_faulty_twin_fails_and_its_layer_is_named(
    recorded: Path, textures: Path, layer: str, weight: str, fault: Callable[[np.ndarray], np.ndarray]
) -> None:
    outcome = compare(recorded, load(with_weight(onnx.load(textures), weight, fault)))
    assert (outcome.status, outcome.layer) == ("fail", layer)
    assert "find out why, or if it is meant, record it anew" in outcome.text


def test_a_unit_that_looks_for_something_else_is_shown_before_and_after(small: Path) -> None:
    outcome = compare(small, load(with_weight(conv_net(), "w1", lambda weight: weight.swapaxes(2, 3))))
    (shown,) = (detail for detail in outcome.details if detail.text.startswith("relu1 filter 2"))
    assert shown.layer == "relu1"
    assert [picture.title.split(":")[0] for picture in shown.pictures] == ["recorded", "now", "difference"]
    assert all(picture.png.startswith(b"\x89PNG") for picture in shown.pictures)
    assert float(shown.figures["likeness"]) < 0.9


def test_an_activation_that_is_not_reached_fails_alone(small: Path, tmp_path: Path) -> None:
    values = json.loads(small.read_text())
    values["units"][1]["activation"] *= 3
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(values))
    outcome = compare(changed, load(conv_net()))
    assert outcome.status == "fail"
    assert [detail.layer for detail in outcome.details] == ["relu1"]


def test_a_picture_that_differs_alone_is_a_warning(small: Path, tmp_path: Path) -> None:
    values = json.loads(small.read_text())
    first, second = values["units"]
    first["picture"], second["picture"] = second["picture"], first["picture"]
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(values))
    assert compare(changed, load(conv_net())).status == "warn"
    drifted = compare(changed, load(with_weight(conv_net(), "b3", lambda bias: bias + 3e-3)))
    assert [detail.status for detail in drifted.details if detail.pictures] == ["fail", "fail"]


def test_a_unit_that_has_died_fails(small: Path) -> None:
    outcome = compare(small, load(conv_net(b1=np.full(4, -1e3, np.float32))))
    assert outcome.layer == "conv1"
    assert any("has no picture any more" in detail.text for detail in outcome.details)


def test_another_layout_of_the_input_is_as_recorded(small: Path) -> None:
    weights = random_weights({"w1": (4, 3, 3, 3), "b1": (4,), "w2": (6, 4, 3, 3), "b2": (6,), "w3": (5, 6), "b3": (5,)})
    outcome = compare(small, load(parsed(NHWC, **weights)))
    assert outcome.status == "pass", outcome


def test_a_batch_that_is_fixed_is_as_recorded(small: Path) -> None:
    twin = conv_net()
    twin.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    twin.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 4
    assert compare(small, load(twin)).status == "pass"


def test_tolerances_can_be_raised_and_not_lowered(small: Path) -> None:
    twin = load(with_weight(conv_net(), "b3", lambda bias: bias + 3e-3))
    (detail, *_) = compare(small, twin).details
    assert detail.layer == "logits"
    assert compare(small, twin, CheckSettings(tolerances={"float32": 0.5})).status == "pass"
    hardly = load(with_weight(conv_net(), "b3", lambda bias: bias + 1e-5))
    assert compare(small, hardly, CheckSettings(tolerances={"float32": 0.0})).status == "pass"


def test_a_baseline_of_another_model_is_said_to_be_one(small: Path, textures: Path) -> None:
    outcome = compare(small, load(textures))
    assert outcome.status == "fail"
    assert "small.json was recorded from the model with" in outcome.text
    assert "record it anew with 'onnxvis baseline" in outcome.text


def test_another_number_of_outputs_is_said(small: Path) -> None:
    twin = conv_net()
    twin.graph.output.append(helper.make_tensor_value_info("relu2", onnx.TensorProto.FLOAT, None))
    outcome = compare(small, load(twin))
    assert outcome.status == "fail"
    assert "outputs 'probabilities'" in outcome.text


def test_open_sizes_are_recorded_small() -> None:
    baseline = record(parsed(OPEN, **random_weights({"w": (4, 3, 3, 3)})), [(None, 0)])
    assert baseline.inputs[0].shape == (1, 3, 64, 64)


def test_given_sizes_and_preprocessing_are_recorded() -> None:
    settings = CheckSettings(size=(24, 32), range=(0, 255), bgr=True)
    baseline = record(parsed(OPEN, **random_weights({"w": (4, 3, 3, 3)})), [(None, 0)], settings=settings)
    assert baseline.inputs[0].shape == (1, 3, 24, 32)
    assert (baseline.units[0].recipe.range, baseline.units[0].recipe.bgr) == ((0, 255), True)


def test_a_model_without_a_gradient_has_statistics_alone() -> None:
    text = '<ir_version: 8, opset_import: ["": 17]> net (float[1, 8] x) => (float[1, 8] y) { y = Floor (x) }'
    baseline = record(parsed(text))
    assert (baseline.units, len(baseline.tensors)) == ((), 1)


def test_a_named_unit_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(OnnxvisError, match="99"):
        record(conv_net(), [("relu1", 99)])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "Cannot read"),
        ("[1]", "no baseline"),
        ('{"format": "onnxvis-check-1"}', "no baseline"),
        ('{"format": "onnxvis-baseline-2"}', "of format onnxvis-baseline-2"),
        ('{"format": "onnxvis-baseline-1", "model": {}}', "damaged"),
    ],
)
def test_what_is_no_baseline_is_refused_in_one_line(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(content)
    with pytest.raises(InputError, match=words) as caught:
        Baseline.load(path)
    assert "\n" not in str(caught.value)
    outcome = compare(path, load(conv_net()))
    assert (outcome.status, outcome.text) == ("error", str(caught.value))


def test_a_missing_baseline_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No baseline"):
        Baseline.load(tmp_path / "none.json")


def test_a_baseline_is_a_json_file(small: Path) -> None:
    with pytest.raises(OutputError, match=r"json"):
        Baseline.load(small).save(small.with_suffix(".txt"))
