from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper
from onnxruntime import GraphOptimizationLevel

from onnxvis.baseline import record
from onnxvis.baseline_check import compare
from onnxvis.config import CheckSettings
from onnxvis.fingerprints import Units
from onnxvis.model import load
from tests.models import CONV_NET_SHAPES, conv_net, parsed, random_weights
from tests.twins import FAULTS, Fault, load_source
from tests.twins.conversions import at_opset, optimized_by_onnxruntime, rename_all
from tests.twins.edits import Array, array, editing, making, set_attributes, set_input
from tests.twins.float16 import to_float16
from tests.twins.layouts import channels_last_inside, channels_last_outside
from tests.twins.sources import RESIDUAL, TEXTURES, TEXTURES_INT8

UNITS = [(None, 1), ("relu1", 2)]
OTHER_NET = """
<ir_version: 8, opset_import: ["": 17]>
net (float[N, 3, 16, 16] image) => (float[N, 5] probabilities)
{
    wide = Conv <strides = [2, 2]> (image, w)
    curved = Tanh (wide)
    largest = GlobalMaxPool (curved)
    features = Flatten (largest)
    scores = MatMul (features, m)
    probabilities = Sigmoid (scores)
}
"""
BASIC, EXTENDED = GraphOptimizationLevel.ORT_ENABLE_BASIC, GraphOptimizationLevel.ORT_ENABLE_EXTENDED
WRONG_SCALES = [fault for fault in FAULTS if (fault.source, fault.kind) == (TEXTURES_INT8, "scale off by 2")]
Change = Callable[[ModelProto], ModelProto]
Record = Callable[[str], Path]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """The baselines of some sources, each of one class or filter."""
    folder = tmp_path_factory.mktemp("baseline")
    units: dict[str, Units] = {
        TEXTURES: [("relu2", 1)],
        TEXTURES_INT8: [(None, 0)],
        RESIDUAL: [("scores", 0)],
    }

    def path_of(source: str) -> Path:
        path = folder / f"{source}.json"
        return path if path.exists() else record(load_source(source), units[source]).save(path)

    return path_of


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The baseline of a small network."""
    return record(conv_net(), UNITS).save(tmp_path_factory.mktemp("baseline") / "small.json")


def with_weight(proto: ModelProto, tensor: str, change: Callable[[Array], Array], index: int = 1) -> ModelProto:
    """Change the weights (input 1) or the bias (input 2) of the node that makes a tensor."""
    node = making(proto, tensor)
    set_input(proto, node, index, np.ascontiguousarray(change(array(proto, node.input[index]).copy()), np.float32))
    return proto


def zeroed(weight: Array) -> Array:
    weight[0] = 0
    return weight


def shifted(proto: ModelProto, by: float) -> ModelProto:
    """Add to the bias of the classes."""
    return with_weight(proto, "logits", lambda bias: bias + by, 2)


def changed(path: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a baseline in which something is changed."""
    values = json.loads(path.read_text())
    change(values)
    copy = folder / "changed.json"
    copy.write_text(json.dumps(values))
    return copy


def test_the_same_file_is_as_recorded(recorded: Record) -> None:
    outcome = compare(recorded(TEXTURES), load(load_source(TEXTURES)))
    assert (outcome.check, outcome.status, outcome.details) == ("baseline", "pass", ())
    assert "has changed" not in outcome.text
    assert outcome.seconds > 0


@pytest.mark.parametrize(
    ("source", "twin"),
    [
        (TEXTURES, at_opset(20)),
        (TEXTURES, editing(rename_all)),
        (TEXTURES, editing(to_float16(keep_io=False))),
        (TEXTURES, editing(channels_last_outside)),
        (TEXTURES, editing(channels_last_inside)),
        (TEXTURES_INT8, at_opset(21)),
        (TEXTURES_INT8, optimized_by_onnxruntime(BASIC)),
    ],
    ids=["opset", "renamed", "float16", "channels last", "channels last inside", "int8 at another opset", "int8 fused"],
)
def test_an_honest_twin_is_as_recorded(recorded: Record, source: str, twin: Change) -> None:
    outcome = compare(recorded(source), load(twin(load_source(source))))
    assert outcome.status == "pass", outcome
    assert outcome.text.startswith("the file has changed, its function has not")


def test_an_optimized_twin_is_as_recorded(recorded: Record) -> None:
    outcome = compare(recorded(TEXTURES), load(optimized_by_onnxruntime(EXTENDED)(load_source(TEXTURES))))
    assert outcome.status == "pass", outcome
    assert "fused away" in outcome.text


@pytest.mark.parametrize(
    ("layer", "index", "change"),
    [
        ("conv1", 1, lambda weight: weight[:, ::-1]),
        ("conv2", 1, lambda weight: weight.swapaxes(2, 3)),
        ("conv2", 2, np.zeros_like),
        ("conv3", 1, zeroed),
    ],
    ids=["colors swapped", "kernel transposed", "bias dropped", "filter zeroed"],
)
def test_a_faulty_twin_fails_and_its_layer_is_named(
    recorded: Record, layer: str, index: int, change: Callable[[Array], Array]
) -> None:
    outcome = compare(recorded(TEXTURES), load(with_weight(load_source(TEXTURES), layer, change, index)))
    assert (outcome.status, outcome.layer) == ("fail", layer)
    assert "find out why, or if it is meant, record it anew" in outcome.text


@pytest.mark.parametrize("fault", WRONG_SCALES, ids=lambda fault: fault.id)
def test_a_wrong_scale_of_an_int8_file_fails_although_a_step_is_allowed(recorded: Record, fault: Fault) -> None:
    outcome = compare(recorded(TEXTURES_INT8), load(fault.make(load_source(TEXTURES_INT8))))
    assert (outcome.status, outcome.layer) == ("fail", fault.layer)


def test_another_epsilon_of_a_normalization_fails_at_it(recorded: Record) -> None:
    twin = ModelProto()
    twin.CopyFrom(load_source(RESIDUAL))
    set_attributes(making(twin, "/stem/stem.1/BatchNormalization_output_0"), epsilon=1e-2)
    outcome = compare(recorded(RESIDUAL), load(twin))
    assert (outcome.status, outcome.layer) == ("fail", "stem.1")


def test_a_unit_that_looks_for_something_else_is_shown_before_and_after(small: Path) -> None:
    outcome = compare(small, load(with_weight(conv_net(), "conv1", lambda weight: weight.swapaxes(2, 3))))
    (shown,) = (detail for detail in outcome.details if detail.text.startswith("relu1 filter 2"))
    assert shown.layer == "relu1"
    assert [picture.title.split(":")[0] for picture in shown.pictures] == ["recorded", "now", "difference"]
    assert all(picture.png.startswith(b"\x89PNG") for picture in shown.pictures)
    assert float(shown.figures["likeness"]) < 0.9


def test_an_activation_that_is_not_reached_fails_alone(small: Path, tmp_path: Path) -> None:
    def change(values: dict[str, Any]) -> None:
        values["units"][1]["activation"] *= 3

    outcome = compare(changed(small, tmp_path, change), load(conv_net()))
    assert outcome.status == "fail"
    assert [detail.layer for detail in outcome.details] == ["relu1"]


def exchange_pictures(values: dict[str, Any]) -> None:
    first, second = values["units"]
    first["picture"], second["picture"] = second["picture"], first["picture"]


def test_a_picture_that_differs_alone_fails_and_the_line_says_so(small: Path, tmp_path: Path) -> None:
    outcome = compare(changed(small, tmp_path, exchange_pictures), load(conv_net()))
    assert outcome.status == "fail"
    assert all(len(detail.pictures) == 3 for detail in outcome.details)
    assert "although all tensors answer as recorded; find out why, or if it is meant, record it anew" in outcome.text


def test_programs_that_have_changed_are_named_where_no_tensor_has(small: Path, tmp_path: Path) -> None:
    def change(values: dict[str, Any]) -> None:
        exchange_pictures(values)
        values["versions"]["torch"] = "2.0.0"

    path = changed(small, tmp_path, change)
    assert "as recorded, torch 2.0.0 is now" in compare(path, load(conv_net())).text
    assert not any("torch" in detail.text for detail in compare(path, load(shifted(conv_net(), 3e-3))).details)


def test_a_unit_that_has_died_fails(small: Path) -> None:
    outcome = compare(small, load(conv_net(b1=np.full(4, -1e3, np.float32))))
    assert outcome.layer == "conv1"
    assert any("has no picture any more" in detail.text for detail in outcome.details)


def test_a_batch_that_is_fixed_is_as_recorded(small: Path) -> None:
    twin = conv_net()
    twin.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    twin.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 4
    assert compare(small, load(twin)).status == "pass"


def test_tolerances_can_be_raised_and_not_lowered(small: Path) -> None:
    twin = load(shifted(conv_net(), 3e-3))
    (detail, *_) = compare(small, twin).details
    assert detail.layer == "logits"
    assert compare(small, twin, CheckSettings(tolerances={"float32": 0.5})).status == "pass"
    hardly = load(shifted(conv_net(), 1e-5))
    assert compare(small, hardly, CheckSettings(tolerances={"float32": 0.0})).status == "pass"


def test_a_baseline_of_another_network_is_said_to_be_stale(small: Path) -> None:
    weights = random_weights({"w": (7, 3, 4, 4), "m": (7, 5)})
    outcome = compare(small, load(parsed(OTHER_NET, **weights)))
    assert (outcome.status, len(outcome.details)) == ("fail", 1)
    assert "small.json was recorded from the model with layers of which this file has none" in outcome.text
    assert "record it anew with 'onnxvis baseline" in outcome.text


def test_a_baseline_of_other_weights_fails_at_the_first_layer(small: Path) -> None:
    outcome = compare(small, load(conv_net(**random_weights(CONV_NET_SHAPES, seed=1))))
    assert (outcome.status, outcome.layer) == ("fail", "conv1")


def test_a_baseline_of_a_model_of_another_size_is_said_to_be_one(small: Path) -> None:
    outcome = compare(small, load(load_source(TEXTURES)))
    assert outcome.status == "fail"
    assert "small.json was recorded from the model with an input 'image' (1, 3, 16, 16)" in outcome.text


def test_another_number_of_outputs_is_said(small: Path) -> None:
    twin = conv_net()
    twin.graph.output.append(helper.make_tensor_value_info("relu2", onnx.TensorProto.FLOAT, None))
    outcome = compare(small, load(twin))
    assert outcome.status == "fail"
    assert "outputs 'probabilities'" in outcome.text


def test_what_is_no_baseline_is_an_error_of_one_line(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    path.write_text("[1]")
    outcome = compare(path, load(conv_net()))
    assert outcome.status == "error"
    assert "no baseline" in outcome.text
    assert "\n" not in outcome.text
