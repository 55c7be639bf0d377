from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from onnxvis.baseline import Baseline, record
from onnxvis.config import CheckSettings
from onnxvis.model import load
from onnxvis.refit import Fit, mismatch
from tests.models import CONV_NET, CONV_NET_SHAPES, conv_net, parsed, random_weights
from tests.twins.conversions import rename_all
from tests.twins.edits import editing
from tests.twins.layouts import channels_last_outside


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    """What a small network answers."""
    return record(conv_net(), [("relu1", 2)])


def channels_last(*, said: str | None = None) -> onnx.ModelProto:
    """The small network with its image in another layout; `said`: what its metadata say of it."""
    twin = editing(channels_last_outside)(conv_net())
    if said is not None:
        helper.set_model_props(twin, {"onnxvis.layout": said})
    return twin


def sized(text: str) -> onnx.ModelProto:
    return parsed(CONV_NET.replace("float[N, 3, 16, 16]", text), **random_weights(CONV_NET_SHAPES))


def test_the_recorded_model_fits_in_its_own_place(baseline: Baseline) -> None:
    model = load(conv_net())
    assert mismatch(baseline, model) is None
    fit = Fit.of(baseline, model, CheckSettings())
    assert fit.inputs == baseline.inputs
    assert (fit.renamed, fit.outputs) == ({"image": "image"}, {"probabilities": "probabilities"})
    assert fit.kind == "float32"


def test_a_model_of_other_names_has_its_inputs_and_outputs_in_the_recorded_order(baseline: Baseline) -> None:
    model = load(editing(rename_all)(conv_net()))
    fit = Fit.of(baseline, model, CheckSettings())
    assert fit.renamed == {"image": model.inputs[0].name}
    assert fit.outputs == {"probabilities": model.outputs[0].name}
    recipe = fit.recipe(baseline.units[0], model.outputs[0].name)
    assert dict(recipe.input_shapes or {}) == {model.inputs[0].name: (1, 3, 16, 16)}


@pytest.mark.parametrize("said", [None, "NCHW", "NHWC"])
def test_the_channels_are_found_wherever_the_file_has_them(baseline: Baseline, said: str | None) -> None:
    fit = Fit.of(baseline, load(channels_last(said=said)), CheckSettings())
    (item,) = fit.inputs
    assert (item.shape, item.image_shape) == ((1, 16, 16, 3), (3, 16, 16))
    assert fit.recipe(baseline.units[0], "relu1").layout == "NHWC"


@pytest.mark.parametrize("text", ["float[1, 3, 16, 16]", "float[8, 3, 16, 16]", "float[a, b, c, d]"])
def test_batches_and_open_sizes_are_no_mismatch(baseline: Baseline, text: str) -> None:
    assert mismatch(baseline, load(sized(text))) is None


def test_other_sizes_are_a_mismatch(baseline: Baseline) -> None:
    found = mismatch(baseline, load(sized("float[1, 3, 20, 16]")))
    assert found is not None
    assert "'image' (1, 3, 16, 16)" in found


def test_another_type_of_an_output_is_a_mismatch(baseline: Baseline) -> None:
    twin = conv_net()
    twin.graph.node.append(helper.make_node("ArgMax", ["probabilities"], ["best"], axis=1))
    twin.graph.output.insert(0, helper.make_tensor_value_info("best", onnx.TensorProto.INT64, None))
    found = mismatch(baseline, load(twin))
    assert found is not None
    assert "outputs 'probabilities' float" in found


def test_the_less_exact_file_sets_the_tolerances(baseline: Baseline) -> None:
    weights = {name: array.astype(np.float16) for name, array in random_weights(CONV_NET_SHAPES).items()}
    twin = parsed(CONV_NET.replace("float[", "float16["), **weights)
    assert Fit.of(baseline, load(twin), CheckSettings()).kind == "float16"
