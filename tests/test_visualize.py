import base64
import gc
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import Tensor

from onnxvis import (
    ActivationMaximization,
    Fourier,
    Jitter,
    Loss,
    Recipe,
    Result,
    Scene,
    Step,
    TotalVariation,
    VisualizationInterrupted,
    load,
    verify,
    visualize,
    visualize_filters,
)
from onnxvis.errors import (
    FilterError,
    InputError,
    ModelWeightsError,
    NoGradientError,
    NonFiniteLossError,
    SettingError,
    UnknownNodeError,
    UnknownSizeError,
    VerificationError,
)
from onnxvis.ops import table
from onnxvis.prepare import prepare
from onnxvis.render import read_png
from onnxvis.tensors import Precision
from tests.models import CONV_NET_SHAPES, conv_net, parsed, random_weights

QUICK: dict[str, Any] = {"steps": 4}


def by_onnxruntime(proto: onnx.ModelProto, tensor: str, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """What the original model computes at a tensor, without any code of the package."""
    observed = onnx.ModelProto()
    observed.CopyFrom(proto)
    observed.graph.output.append(onnx.ValueInfoProto(name=tensor))
    session = onnxruntime.InferenceSession(observed.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run([tensor], feeds)[0])


def pixels(image: Image.Image) -> np.ndarray:
    """(1, C, H, W) in [0, 1]."""
    array = np.asarray(image, np.float32) / 255
    return (array.transpose(2, 0, 1) if array.ndim == 3 else array[None])[None]


def test_the_activation_is_that_of_the_written_file_by_onnxruntime(tmp_path: Path) -> None:
    proto = conv_net()
    result = visualize(proto, "conv2", 3, **QUICK, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), bgr=True)
    path = result.save(tmp_path / "picture.png")
    fed = pixels(Image.open(path))[:, ::-1]
    fed = (fed - np.array([0.4, 0.5, 0.6]).reshape(1, 3, 1, 1)) / np.array([0.2, 0.3, 0.4]).reshape(1, 3, 1, 1)
    wanted = by_onnxruntime(proto, "conv2", {"image": fed.astype(np.float32)})[:, 3].mean()
    assert result.activation == pytest.approx(wanted, rel=1e-4)
    np.testing.assert_allclose(result.array, fed, atol=1e-5)
    assert result.array.dtype == np.float32


def test_the_activation_of_the_picture_is_higher_than_that_of_the_start() -> None:
    result = visualize(conv_net(), "logits", 2, steps=40)
    assert result.activation > result.seed_activation
    assert result.float_activation == pytest.approx(result.activation, rel=0.05)
    assert len(result.history) == 40
    assert list(result.history[0]) == ["activation"]


def test_the_same_seed_gives_the_same_bytes() -> None:
    first, second = (visualize(conv_net(), "relu2", 1, **QUICK).png() for _ in range(2))
    assert first == second
    assert visualize(conv_net(), "relu2", 1, **QUICK, seed=1).png() != first


def test_softmax_and_sigmoid_outputs_move_to_their_logits() -> None:
    result = visualize(conv_net(), "probabilities", 2, **QUICK)
    assert result.target.tensor == "logits"
    assert any("logits" in note for note in result.notes)
    wanted = by_onnxruntime(conv_net(), "logits", {"image": result.array})[0, 2]
    probability = by_onnxruntime(conv_net(), "probabilities", {"image": result.array})[0, 2]
    assert result.activation == pytest.approx(wanted, rel=1e-4)
    assert result.measurement.output == pytest.approx((probability,), rel=1e-4)
    assert visualize(conv_net(), "probabilities", 2, **QUICK, logits=False).target.tensor == "probabilities"


def test_several_filters_are_maximized_together() -> None:
    result = visualize(conv_net(), "logits", [1, 4], **QUICK)
    values = by_onnxruntime(conv_net(), "logits", {"image": result.array})[0]
    assert result.measurement.by_filter == pytest.approx((values[1], values[4]), rel=1e-4)
    assert result.activation == pytest.approx(values[1] + values[4], rel=1e-4)


def test_without_a_filter_the_whole_tensor_is_maximized() -> None:
    result = visualize(conv_net(), "relu1", **QUICK)
    wanted = by_onnxruntime(conv_net(), "relu1", {"image": result.array}).mean()
    assert result.activation == pytest.approx(wanted, rel=1e-4)


def test_the_default_target_is_the_first_output() -> None:
    assert visualize(conv_net(), filter=0, **QUICK).target.asked == "probabilities"


def test_class_names_of_the_file_stand_for_filters() -> None:
    proto = conv_net()
    proto.metadata_props.append(
        onnx.StringStringEntryProto(key="onnxvis.labels", value='["a", "b", "rings", "c", "d"]')
    )
    assert visualize(proto, "logits", "Rings", **QUICK).target.filters == (2,)


def test_the_png_holds_the_whole_recipe(tmp_path: Path) -> None:
    result = visualize(conv_net(), "conv1", 2, **QUICK, seed=5, tv_weight=0.1)
    image, text = read_png(result.save(tmp_path / "p.png"))
    assert np.array_equal(np.asarray(image), np.asarray(result.image))
    assert Recipe.from_dict(text["recipe"]) == result.recipe
    assert text["model"]["sha256"] == load(conv_net()).sha256
    assert text["measured"]["activation"] == result.activation
    assert text["steps_done"] == 4
    assert text["interrupted"] is False
    assert set(text["versions"]) == {"onnxvis", "torch", "onnxruntime", "onnx", "python"}


def test_a_recipe_makes_the_same_picture_again() -> None:
    first = visualize(conv_net(), "conv1", 2, **QUICK, seed=5, transforms=(Jitter(2),))
    again = visualize(conv_net(), recipe=Recipe.from_dict(json.loads(first.recipe.to_json())))
    assert np.array_equal(np.asarray(again.image), np.asarray(first.image))
    assert again.recipe == first.recipe
    assert again.activation == first.activation


def test_the_recipe_says_what_was_chosen_by_default() -> None:
    recipe = visualize(conv_net(), "conv1", 2, **QUICK).recipe
    assert isinstance(recipe.parameterization, Fourier)
    assert recipe.transforms
    assert recipe.wrt == "image"
    assert recipe.layout == "NCHW"
    assert recipe.mean is not None
    assert len(recipe.mean) == 3


NHWC = """
<ir_version: 8, opset_import: ["": 17]> net (float[1, 16, 16, 3] image) => (float[1, 4, 16, 16] y)
{ t = Transpose <perm = [0, 3, 1, 2]> (image)  y = Conv <pads = [1, 1, 1, 1]> (t, w1, b1) }
"""
GREY = """
<ir_version: 8, opset_import: ["": 17]> net (float[1, 1, 12, 12] image) => (float[1, 4, 12, 12] y)
{ y = Conv <pads = [1, 1, 1, 1]> (image, w, b) }
"""
OPEN = """
<ir_version: 8, opset_import: ["": 17]> net (float[N, 3, H, W] image) => (float[N, 4, H, W] y)
{ y = Conv <pads = [1, 1, 1, 1]> (image, w1, b1) }
"""
HALF = """
<ir_version: 8, opset_import: ["": 17]> net (float16[1, 3, 16, 16] image) => (float16[1, 4, 16, 16] y)
{ y = Conv <pads = [1, 1, 1, 1]> (image, w1, b1) }
"""
FIRST_CONV = {key: CONV_NET_SHAPES[key] for key in ("w1", "b1")}


def test_nhwc_models_are_recognized() -> None:
    result = visualize(parsed(NHWC, **random_weights(FIRST_CONV)), filter=1, **QUICK)
    assert result.array.shape == (1, 16, 16, 3)
    assert result.image.mode == "RGB"


def test_grey_models_make_grey_pictures() -> None:
    result = visualize(parsed(GREY, **random_weights({"w": (4, 1, 3, 3), "b": (4,)})), filter=1, **QUICK)
    assert result.image.mode == "L"
    assert result.image.size == (12, 12)


def test_open_sizes_are_given_by_size() -> None:
    proto = parsed(OPEN, **random_weights(FIRST_CONV))
    assert visualize(proto, filter=1, **QUICK, size=(20, 30)).image.size == (30, 20)
    assert visualize(proto, filter=1, **QUICK, size=24).image.size == (24, 24)
    with pytest.raises(UnknownSizeError, match="--size"):
        visualize(proto, filter=1, **QUICK)
    with pytest.raises(InputError, match="16, 16"):
        visualize(conv_net(), "conv1", 1, **QUICK, size=(20, 30))


def test_a_fixed_batch_is_filled_with_the_picture() -> None:
    proto = parsed(
        OPEN.replace("N, 3, H, W", "4, 3, 16, 16").replace("N, 4, H, W", "4, 4, 16, 16"), **random_weights(FIRST_CONV)
    )
    result = visualize(proto, filter=1, **QUICK)
    assert result.array.shape == (4, 3, 16, 16)
    assert result.image.size == (16, 16)
    wanted = by_onnxruntime(proto, "y", {"image": result.array})[:, 1].mean()
    assert result.activation == pytest.approx(wanted, rel=1e-4)


def test_half_precision_models_are_visualized_in_float32() -> None:
    weights = {name: array.astype(np.float16) for name, array in random_weights(FIRST_CONV).items()}
    result = visualize(parsed(HALF, **weights), filter=1, steps=20)
    assert result.activation > result.seed_activation
    assert any("half precision" in note for note in result.notes)
    assert result.verification.max_rel_error < 1e-2


def test_of_several_inputs_one_is_optimized_and_the_others_are_zero() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    net (float[1, 3, 8, 8] first, float[1, 3, 8, 8] second) => (float[1, 3, 8, 8] y)
    { twice = Add (second, second)  y = Add (first, twice) }
    """
    result = visualize(parsed(text), steps=30, wrt="second", preprocess="unit")
    assert result.activation == pytest.approx(2 * float(result.array.mean()), rel=1e-4)
    assert "inputs held at zero: first; --input changes it" in result.notes
    with pytest.raises(InputError, match="no input 'third'"):
        visualize(parsed(text), **QUICK, wrt="third")


def test_seed_images_are_read_from_files_and_arrays(tmp_path: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    from_file = visualize(conv_net(), "conv1", 1, steps=0, seed_image=tmp_path / "photo.png")
    from_array = visualize(conv_net(), "conv1", 1, steps=0, seed_image=photo)
    for result in (from_file, from_array):
        assert np.abs(np.asarray(result.image).astype(int) - photo).max() <= 1
    assert from_file.recipe.seed_image == str(tmp_path / "photo.png")
    with pytest.raises(InputError, match="shape"):
        visualize(conv_net(), "conv1", 1, **QUICK, seed_image=photo[:8])


class Corner(Loss):
    """A user's own loss, on another layer than the target."""

    node = "conv1"

    def __call__(self, scene: Scene) -> Tensor:
        """Brighten one corner of one channel."""
        return -scene.activations["conv1"][:, 0, 0, 0]


def test_losses_of_ones_own_look_at_any_layer() -> None:
    result = visualize(conv_net(), "logits", 1, losses=[Corner(), (TotalVariation(), 0.5)], steps=20, transforms=())
    assert list(result.history[0]) == ["Corner", "total variation"]
    assert result.history[-1]["Corner"] < result.history[0]["Corner"]


def test_a_loss_of_ones_own_gets_the_tensor_that_it_names_not_the_logits() -> None:
    seen: list[float] = []

    class Total(Loss):
        node = "probabilities"

        def __call__(self, scene: Scene) -> Tensor:
            """Add up what a softmax makes."""
            seen.append(float(scene.activations["probabilities"].detach().sum()))
            return -scene.activations["probabilities"][:, 1]

    visualize(conv_net(), "probabilities", 1, losses=[ActivationMaximization(), Total()], steps=2)
    assert seen == pytest.approx([1.0] * len(seen), rel=1e-5)


def test_losses_on_several_layers_name_their_filters() -> None:
    losses = ActivationMaximization((1,), node="conv1") + ActivationMaximization((2,)) + ActivationMaximization((3,))
    result = visualize(conv_net(), "logits", losses=losses, steps=3)
    assert list(result.history[0]) == ["activation conv1", "activation 1", "activation 2"]


def test_an_interruption_carries_the_measured_result() -> None:
    def stop(step: Step) -> None:
        if step.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(VisualizationInterrupted) as caught:
        visualize(conv_net(), "logits", 1, steps=50, callbacks=stop)
    result = caught.value.result
    assert result.interrupted
    assert len(result.history) == 2
    assert result.to_dict()["interrupted"] is True
    assert "interrupted after 2 steps" in str(result)


def test_a_result_shows_itself_in_a_notebook() -> None:
    result = visualize(conv_net(), "logits", 1, **QUICK)
    shown = result._repr_html_()
    encoded = shown.split("data:image/png;base64,")[1].split('"')[0]
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        assert np.array_equal(np.asarray(image), np.asarray(result.image))


def test_the_callers_model_is_not_changed() -> None:
    proto = conv_net()
    before = proto.SerializeToString(deterministic=True)
    visualize(proto, "logits", 1, **QUICK)
    assert proto.SerializeToString(deterministic=True) == before


def test_what_the_target_does_not_need_is_listed() -> None:
    result = visualize(conv_net(), "relu1", 1, **QUICK)
    assert result.left_out["Softmax"] == 1
    assert sum(result.left_out.values()) == 7


def test_nan_in_a_needed_weight_is_named_and_elsewhere_does_not_matter() -> None:
    bad = np.full((5, 6), np.nan, np.float32)
    with pytest.raises(ModelWeightsError, match="'w3'"):
        visualize(conv_net(w3=bad), "logits", 1, **QUICK)
    assert isinstance(visualize(conv_net(w3=bad), "relu2", 1, **QUICK), Result)


@pytest.mark.parametrize("cut", ["Floor (relu1)", "Cast <to = 1> (whole)", "Sign (relu1)"])
def test_a_path_without_gradient_names_the_cutting_node(cut: str) -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]> net (float[1, 3, 16, 16] image) => (float[1, 4, 16, 16] y)
    {
        conv1 = Conv <pads = [1, 1, 1, 1]> (image, w1, b1)
        relu1 = Relu (conv1)
        whole = Cast <to = 7> (relu1)
        y = CUT
    }
    """.replace("CUT", cut)
    with pytest.raises(NoGradientError, match=r"cut at '(y|whole)' \((Floor|Cast|Sign)\)"):
        visualize(parsed(text, **random_weights(FIRST_CONV)), filter=1, **QUICK)


def test_disagreement_with_onnxruntime_stops_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(X: Tensor) -> Tensor:
        return X.clamp(min=0.01)

    entry = table.Operator("Relu", "", 1, wrong, differentiable=True)
    monkeypatch.setitem(table._TABLE, ("", "Relu"), [entry])
    with pytest.raises(VerificationError, match="'relu1'"):
        visualize(conv_net(), "logits", 1, **QUICK)


def test_wrong_words_are_one_line_each() -> None:
    with pytest.raises(UnknownNodeError, match="conv1"):
        visualize(conv_net(), "conf1", 1, **QUICK)
    with pytest.raises(FilterError, match="0 to 4"):
        visualize(conv_net(), "logits", 5, **QUICK)
    with pytest.raises(SettingError, match="No device"):
        visualize(conv_net(), "logits", 1, **QUICK, device="tpu")
    with pytest.raises(TypeError, match="no setting 'stepz'"):
        visualize(conv_net(), "logits", 1, stepz=3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error() -> None:
    with pytest.raises(SettingError, match="no CUDA device"):
        visualize(conv_net(), "logits", 1, **QUICK, device="cuda")


DOUBLE = """
<ir_version: 8, opset_import: ["": 17]> net (double[1, 3, 8, 8] image) => (double[1, 5] y)
{ shape = Constant <value = int64[2] {1, 192}> ()  flat = Reshape (image, shape)  y = MatMul (flat, w) }
"""
AXES = """
<ir_version: 8, opset_import: ["": 17]> net (float[1, 3, 8, 8] image) => (float[8, 24] boxes, float[3, 1, 8, 8] moved)
{
    shape = Constant <value = int64[2] {8, 24}> ()
    boxes = Reshape (image, shape)
    moved = Transpose <perm = [1, 0, 2, 3]> (image)
}
"""


def test_double_precision_models_are_visualized() -> None:
    weights = np.random.default_rng(0).standard_normal((192, 5))
    result = visualize(parsed(DOUBLE, w=weights), filter=1, steps=20)
    assert result.activation > result.seed_activation
    assert verify(parsed(DOUBLE, w=weights)).ok


@pytest.mark.parametrize("node", ["boxes", "moved"])
def test_targets_whose_first_axis_is_not_the_batch_work(node: str) -> None:
    result = visualize(parsed(AXES), node, steps=20, preprocess="unit")
    wanted = by_onnxruntime(parsed(AXES), node, {"image": result.array}).mean()
    assert result.activation == pytest.approx(wanted, rel=1e-4)
    assert result.activation > result.seed_activation


def test_flags_and_small_integers_are_held_at_zero() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    net (float[1, 3, 8, 8] image, bool[1] flag, uint8[1] level) => (float[1, 3, 8, 8] y)
    { wide = Cast <to = 1> (level)  other = Add (image, wide)  y = Where (flag, image, other) }
    """
    assert verify(parsed(text)).ok
    assert visualize(parsed(text), **QUICK).verification.ok


def test_a_gradient_that_is_nan_is_an_error_and_no_black_picture() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]> net (float[1, 3, 8, 8] image) => (float[1, 3, 8, 8] y)
    { zero = Constant <value = float {0.0}> ()  nothing = Mul (image, zero)  y = Sqrt (nothing) }
    """
    with pytest.raises(NonFiniteLossError, match="gradient of activation"):
        visualize(parsed(text), steps=1, preprocess="unit")


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": "x"},
        {"steps": 2.5},
        {"seed": None},
        {"size": "64"},
        {"range": [0, 255, 1]},
        {"transforms": 3},
        {"tv_weight": -5},
    ],
)
def test_values_of_the_wrong_kind_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=next(iter(wrong))):
        visualize(conv_net(), "conv1", 1, **wrong)


def test_numbers_of_numpy_stand_for_filters() -> None:
    assert visualize(conv_net(), "logits", np.int64(3), **QUICK).recipe.filters == (3,)
    with pytest.raises(SettingError, match="filter"):
        visualize(conv_net(), "logits", 2.5, **QUICK)  # type: ignore[arg-type] # the mistake under test


def test_memory_does_not_grow_with_steps() -> None:
    def tensors() -> int:
        gc.collect()
        return sum(issubclass(type(item), Tensor) for item in gc.get_objects())

    alive: list[int] = []

    def count(step: Step) -> None:
        if step.number in (20, 60):
            alive.append(tensors())

    visualize(conv_net(), "logits", 1, steps=60, callbacks=count)
    assert alive[1] <= alive[0]


def test_a_real_classifier_is_driven_to_its_class(shared_models: Path) -> None:
    result = visualize(shared_models / "cls_mnist_cntk_opset8.onnx", filter=3, steps=64)
    assert result.activation > result.seed_activation + 10
    assert result.image.size == (28, 28)


def test_what_is_measured_is_what_the_losses_name() -> None:
    proto = conv_net()
    own = visualize(proto, "conv2", losses=ActivationMaximization((3,), neuron=(1, 2)), steps=10)
    values = by_onnxruntime(proto, "conv2", {"image": own.array})
    assert own.activation == pytest.approx(values[0, 3, 1, 2], rel=1e-4)
    other = visualize(proto, losses=ActivationMaximization((1,), node="relu1") + 0.1 * TotalVariation(), steps=10)
    assert other.target.tensor == "relu1"
    assert other.activation == pytest.approx(
        by_onnxruntime(proto, "relu1", {"image": other.array})[0, 1].mean(), rel=1e-4
    )


@pytest.mark.parametrize("setting", [{"goal": "minimize"}, {"neuron": (1, 1)}, {"tv_weight": 0.1}, {"lp_weight": 1}])
def test_settings_that_losses_would_drown_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=f"losses and {next(iter(setting))} are given"):
        visualize(conv_net(), "conv2", 1, losses=ActivationMaximization(), **QUICK, **setting)


def test_a_probability_is_reached_itself_and_not_its_logit() -> None:
    result = visualize(conv_net(), "probabilities", 2, goal=0.21, steps=60)
    assert not result.target.moved
    found = by_onnxruntime(conv_net(), "probabilities", {"image": result.array})[0, 2]
    assert found == pytest.approx(0.21, abs=0.003)


def test_guided_passes_ask_for_one_direction_at_a_time() -> None:
    both = ActivationMaximization((1,), node="relu2") + ActivationMaximization((2,), node="conv2", goal="minimize")
    result = visualize(conv_net(), losses=both, backprop="guided", steps=40, transforms=())
    assert result.history[-1]["activation relu2"] < result.history[0]["activation relu2"] - 0.05
    assert result.history[-1]["activation conv2"] < result.history[0]["activation conv2"] - 0.05


def test_a_loss_on_the_input_keeps_its_gradient_beside_a_replaced_backward_pass() -> None:
    def small(scene: Scene) -> Tensor:
        return 100 * scene.input.square().flatten(1).mean(1)

    result = visualize(conv_net(), "relu2", 1, losses=small, backprop="guided", steps=40, transforms=())
    assert result.history[-1]["small"] < 0.5 * result.history[0]["small"]


NAN_FILTER = """
<ir_version: 8, opset_import: ["": 17]> net (float[N, 3, 16, 16] image) => (float[N, 4, 16, 16] y)
{
    c = Conv <pads = [1, 1, 1, 1]> (image, w1, b1)
    squares = Mul (c, c)
    shifted = Add (squares, shift)
    y = Log (shifted)
}
"""


def test_a_filter_that_is_not_a_number_takes_nobody_along() -> None:
    shift = np.array([1, 1, -1e4, 1], np.float32).reshape(1, 4, 1, 1)
    proto = parsed(NAN_FILTER, **random_weights(FIRST_CONV), shift=shift)
    results = visualize_filters(proto, None, "all", steps=4, batch=3)
    assert [result is None for result in results] == [False, False, True, False]
    alone = visualize(proto, None, 0, steps=4)
    assert results[0] is not None
    np.testing.assert_allclose(results[0].array, alone.array, atol=0.01)
    with pytest.raises(NonFiniteLossError):
        visualize(proto, None, 2, steps=4)


def test_an_interrupted_batch_carries_what_there_is() -> None:
    calls: list[int] = []

    def stop(step: Step) -> None:
        calls.append(step.number)
        if len(calls) == 7:
            raise KeyboardInterrupt

    with pytest.raises(VisualizationInterrupted) as caught:
        visualize_filters(conv_net(), "conv2", [0, 1, 2, 3], steps=5, batch=2, callbacks=stop)
    assert [result.interrupted for result in caught.value.results if result is not None] == [False, False, True, True]
    assert caught.value.result is caught.value.results[-1]


def test_filters_can_be_given_in_any_way() -> None:
    proto = conv_net()
    proto.metadata_props.add(key="onnxvis.labels", value='["a", "b", "rings", "b", "e"]')

    def targets(filters: Any) -> list[tuple[int, ...]]:
        return [result.target.filters for result in visualize_filters(proto, "logits", filters, steps=0) if result]

    assert targets("0-1,4") == [(0,), (1,), (4,)]
    assert targets([3, [0, 1], "rings", np.int64(4)]) == [(3,), (0, 1), (2,), (4,)]
    assert targets("rings") == [(2,)]
    assert targets(3) == [(3,)]
    assert visualize(proto, "logits", filters=0, steps=0).target.filters == (0,)
    with pytest.raises(FilterError, match="has 2 classes 'b': give a filter number, 1, 3"):
        targets("b")
    with pytest.raises(SettingError, match="filters is empty"):
        targets([])
    with pytest.raises(SettingError, match="No layer has so many"):
        targets("0-1000000000")


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda X: 2 * X, "change what the network computes"),
        (lambda X: X.mean(), "returns"),
        (lambda X, Y: X + Y, "fails at node"),
        (3, "backprop cannot be"),
    ],
)
def test_backward_passes_of_ones_own_that_do_not_fit_are_refused(function: Any, reason: str) -> None:
    with pytest.raises(SettingError, match=reason):
        visualize(conv_net(), "relu2", 1, backprop={"Relu": function}, **QUICK)


class Gate:
    """An object that is called like a function, and has no name."""

    def __call__(self, X: Tensor) -> Tensor:
        """Return the ReLU, with the gradient of the identity."""
        return X + (X.relu() - X).detach()


def test_a_backward_pass_may_be_any_callable() -> None:
    result = visualize(conv_net(), "relu2", 1, backprop={"Relu": Gate()}, steps=20)
    assert result.activation > result.seed_activation
    assert "replaced backward pass of 2 Relu" in result.notes


def test_a_node_that_a_loss_did_not_name_says_so() -> None:
    def forgetful(scene: Scene) -> Tensor:
        return scene.activations["conv1"].mean((1, 2, 3))

    with pytest.raises(SettingError, match="attribute node = 'conv1'"):
        visualize(conv_net(), "relu2", 1, losses=forgetful, **QUICK)


def test_losses_can_be_subtracted_divided_and_summed() -> None:
    first, second = ActivationMaximization((1,)), TotalVariation()
    assert [weight for _, weight in (first - second / 2).terms] == [1, -0.5]
    assert [weight for _, weight in (-(first + second)).terms] == [-1, -1]
    assert sum([first, second]).terms == (first + second).terms  # type: ignore[union-attr] # the sum is no int
    with pytest.raises(TypeError, match="losses must be a loss"):
        _ = 3 + first


def test_tensors_without_a_batch_look_the_same_to_losses_in_every_batch() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> net (float[1, 3, 16, 16] image) => (float[4, 1, 16, 16] y)
    { c = Conv <pads = [1, 1, 1, 1]> (image, w1, b1)  y = Transpose <perm = [1, 0, 2, 3]> (c) }"""
    seen: list[int] = []

    def watch(scene: Scene) -> Tensor:
        seen.append(scene.activations[""].ndim)
        return -scene.activations[""].flatten(1).mean(1)

    proto = parsed(text, **random_weights(FIRST_CONV))
    visualize_filters(proto, None, [0, 1, 2], channel_axis=0, losses=watch, steps=1, batch=2)
    assert set(seen) == {5}


@pytest.mark.parametrize(
    ("precision", "dtype", "note"),
    [("float32", torch.float32, "gradients vanish"), ("declared", torch.float16, "as asked")],
)
def test_half_precision_is_computed_in_single_unless_asked_otherwise(
    shared_models: Path, precision: Precision, dtype: torch.dtype, note: str
) -> None:
    model = load(shared_models / "in_squeezenet1_1_fp16.onnx")
    prepared = prepare(model, Recipe(node="Conv:1", filters=(3,), precision=precision, steps=2))
    assert any(note in line for line in prepared.notes)
    assert {buffer.dtype for buffer in prepared.units.network.buffers()} == {dtype}


def test_another_precision_is_an_error() -> None:
    with pytest.raises(SettingError, match="precision must be float32 or declared"):
        visualize(conv_net(), precision="half")
