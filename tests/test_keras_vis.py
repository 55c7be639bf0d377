"""keras-vis's numbers: recorded runs of the real one, slow twins of its definitions, and its quirks one by one."""

from __future__ import annotations

import inspect
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from onnxvis import Scene, keras_vis, load
from onnxvis.errors import (
    InputError,
    NonFiniteLossError,
    OnnxvisError,
    OutputError,
    SettingError,
    UnknownNodeError,
    VerificationError,
)
from onnxvis.keras_vis.steps import RMSprop, l2_normalized
from tests.models import conv_net, parsed, random_weights

Array = np.ndarray[Any, Any]

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT.parent / "shared" / "keras_vis_reference"
SAMPLE = ROOT / "samples" / "textures.onnx"
_INDEX = REFERENCE / "index.json"
RECORDED = (
    [pytest.param(entry, id=entry["name"]) for entry in json.loads(_INDEX.read_text(encoding="utf-8"))]
    if _INDEX.exists()
    else [
        pytest.param(
            {}, marks=pytest.mark.skip("needs ../shared/keras_vis_reference, which is no part of the repository")
        )
    ]
)
SETTINGS = (
    "filter_indices",
    "backprop_modifier",
    "grad_modifier",
    "act_max_weight",
    "lp_norm_weight",
    "tv_weight",
)


class Recorder(keras_vis.OptimizerCallback):
    """Remembers all that it is told."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.names: list[str] = []
        self.losses: list[list[float]] = []
        self.overall: list[float] = []
        self.grads: list[Array] = []
        self.inputs: list[Array] = []
        self.ended = 0

    def callback(  # noqa: D102 - the base class says it
        self, i: int, named_losses: Any, overall_loss: np.float32, grads: Array, wrt_value: Array
    ) -> None:
        assert not self.ended
        self.numbers.append(i)
        self.names = [name for name, _ in named_losses]
        self.losses.append([float(value) for _, value in named_losses])
        self.overall.append(float(overall_loss))
        self.grads.append(grads)
        self.inputs.append(wrt_value)

    def on_end(self) -> None:  # noqa: D102 - likewise
        self.ended += 1


def recorded_losses(entry: dict[str, Any]) -> list[tuple[Any, float]]:
    """Return the losses of a run of `visualize_activation_with_losses`."""
    found: list[tuple[Any, float]] = []
    for kind, *arguments, weight in entry["losses"]:
        match kind:
            case "act":
                found.append((keras_vis.ActivationMaximization(*arguments), weight))
            case "lp":
                found.append((keras_vis.LPNorm(float(arguments[0])), weight))
            case "tv":
                found.append((keras_vis.TotalVariation(*arguments), weight))
    return found


def repeated(entry: dict[str, Any], seed: Array) -> tuple[Array, Recorder]:
    """Make a recorded run again."""
    recorder = Recorder()
    model, shared = REFERENCE / f"{entry['model']}.onnx", {"max_iter": entry["max_iter"], "callbacks": [recorder]}
    ends = tuple(entry["input_range"])
    if "losses" in entry:
        losses = recorded_losses(entry)
        return keras_vis.visualize_activation_with_losses(model, losses, None, seed, ends, **shared), recorder
    settings = {name: entry[name] for name in SETTINGS}
    image = keras_vis.visualize_activation(
        model, entry["layer"], seed_input=seed, input_range=ends, **settings, **shared
    )
    return image, recorder


def errors(found: Any, wanted: Array) -> Array:
    """Return relative errors, of small numbers in units of 1e-3."""
    errors: Array = np.abs(np.asarray(found) - wanted) / np.maximum(np.abs(wanted), 1e-3)
    return errors


@pytest.mark.parametrize("entry", RECORDED)
def test_a_recorded_run_comes_out_again(entry: dict[str, Any]) -> None:
    with np.load(REFERENCE / f"{entry['name']}.npz") as file:
        recorded = dict(file)
    image, found = repeated(entry, recorded["seed"])
    assert found.names == entry["loss_names"]
    # Where a sum passes by zero, rounding counts more: the recorded float32 numbers themselves are up to 1.5e-4 away
    # from the same run in double precision.
    near_zero = np.abs(recorded["overall"]) < 0.05
    assert (errors(found.overall, recorded["overall"]) < np.where(near_zero, 3e-4, 1e-4)).all()
    assert (errors(found.losses, recorded["losses"]) < np.where(near_zero, 3e-4, 1e-4)[:, None]).all()
    for place, iteration in enumerate((0, 1, 2, entry["max_iter"] - 1)):
        for arrays, wanted in ((found.inputs, recorded["inputs"]), (found.grads, recorded["grads"])):
            assert arrays[iteration].shape == wanted[place].shape
            distance = np.linalg.norm(arrays[iteration] - wanted[place])
            assert distance <= 1e-4 * np.linalg.norm(wanted[place])
    assert image.dtype == recorded["image"].dtype
    assert image.shape == recorded["image"].shape
    low, high = entry["input_range"]
    levels = np.abs(image.astype(np.float64) - recorded["image"]) / (high - low) * 255
    assert levels.max() <= 2


# Slow twins of the definitions.


def scene(image: Array) -> Scene:
    tensor = torch.from_numpy(image.astype(np.float32))
    return Scene(tensor, tensor, {})


@pytest.mark.parametrize("beta", [1.5, 2.0, 3.0])
@pytest.mark.parametrize("shape", [(1, 2, 7), (1, 3, 4, 5), (1, 2, 3, 4, 5)])
def test_total_variation_is_its_sum_over_the_number_of_all_values(shape: tuple[int, ...], beta: float) -> None:
    image = np.random.default_rng(0).normal(0, 3, shape)
    total = 0.0
    for channel in range(shape[1]):
        values = image[0, channel]
        for place in np.ndindex(*(size - 1 for size in values.shape)):
            squares = 0.0
            for axis in range(values.ndim):
                beside = tuple(index + (axis == other) for other, index in enumerate(place))
                squares += (values[beside] - values[place]) ** 2
            total += squares ** (beta / 2)
    found = keras_vis.TotalVariation(beta)(scene(image))
    assert float(found) == pytest.approx(total / image.size, rel=1e-5)


@pytest.mark.parametrize("p", [1, 2.0, 6.0])
def test_the_lp_norm_is_over_all_values_and_divided_by_their_number(p: float) -> None:
    image = np.random.default_rng(0).normal(0, 3, (1, 2, 3, 4))
    total = sum(abs(value) ** p for value in image.flatten()) ** (1 / p)
    assert float(keras_vis.LPNorm(p)(scene(image))) == pytest.approx(total / 24, rel=1e-5)


def test_the_norm_of_infinity_is_the_largest_value_and_not_the_largest_absolute_value() -> None:
    image = np.array([-9.0, 1.0, 4.0]).reshape(1, 1, 3)
    assert float(keras_vis.LPNorm(math.inf)(scene(image))) == pytest.approx(4 / 3)


def test_the_losses_are_called_as_in_keras_vis() -> None:
    losses = [keras_vis.ActivationMaximization("conv1", 0), keras_vis.LPNorm(), keras_vis.TotalVariation()]
    assert [loss.name for loss in losses] == ["ActivationMax Loss", "L-6.0 Norm Loss", "TV(2.0) Loss"]
    assert keras_vis.LPNorm(math.inf).name == "L-inf Norm Loss"


def test_rmsprop_is_that_of_the_definition() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=5).astype(np.float32)
    gradients = generator.normal(0, 0.01, (4, 5)).astype(np.float32)
    parameter = torch.from_numpy(x.copy()).requires_grad_()
    optimizer = RMSprop([parameter])
    cache = np.zeros(5)
    for gradient in gradients:
        parameter.grad = torch.from_numpy(gradient)
        optimizer.step()
        cache = 0.95 * cache + 0.05 * gradient.astype(np.float64) ** 2
        x = x - gradient / np.sqrt(cache + 1e-7)
    np.testing.assert_allclose(parameter.detach().numpy(), x, rtol=1e-5)


def test_a_gradient_is_normalized_over_all_axes_unless_it_vanishes() -> None:
    gradient = np.random.default_rng(0).normal(size=(1, 2, 3)).astype(np.float32)
    length = math.sqrt(sum(float(value) ** 2 for value in gradient.flatten()))
    np.testing.assert_allclose(l2_normalized(torch.from_numpy(gradient)), gradient / length, rtol=1e-5)
    np.testing.assert_allclose(l2_normalized(torch.full((4,), 1e-8)), 1e-2, rtol=1e-5)
    assert not l2_normalized(torch.zeros(4)).any()


def test_deprocess_input_whitens_to_the_middle_of_the_range() -> None:
    array = np.random.default_rng(0).normal(7, 3, (5, 6, 3))
    values = (array - array.mean()) / (array.std() + 1e-7) * 0.1 + 0.5
    found = keras_vis.deprocess_input(array, (-1.0, 3.0))
    np.testing.assert_allclose(found, np.clip(values, 0, 1) * 4 - 1, rtol=1e-4)
    assert found.dtype == np.float32


def test_the_noise_is_what_numpys_global_generator_gives_in_keras_vis() -> None:
    np.random.seed(3)  # noqa: NPY002 - what a user of keras-vis does
    drawn = np.random.random((4, 5))  # noqa: NPY002 - what keras-vis does
    np.random.seed(3)  # noqa: NPY002
    found = keras_vis.random_array((4, 5), mean=10, std=2)
    np.testing.assert_allclose(found, (drawn - drawn.mean()) / drawn.std() * 2 + 10, rtol=1e-6)


# Runs of a small model, whose input is (1, 3, 16, 16).


@pytest.fixture(name="model")
def small_model() -> Any:
    return load(conv_net())


def seed_of(shape: tuple[int, ...] = (16, 16, 3)) -> Array:
    return np.random.default_rng(1).normal(128, 20, shape).astype(np.float32)


def run(model: Any, layer: Any = "conv2", filters: Any = 1, **settings: Any) -> tuple[Array, Recorder]:
    recorder = Recorder()
    given: dict[str, Any] = {"seed_input": seed_of(), "max_iter": 3, "callbacks": [recorder], **settings}
    return keras_vis.visualize_activation(model, layer, filters, **given), recorder


def activation(tensor: str, seed: Array) -> Array:
    """Return a tensor of the small model by onnxruntime."""
    proto = conv_net()
    proto.graph.output.add().name = tensor
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    found: Array = session.run([tensor], {"image": seed.transpose(2, 0, 1)[None]})[0]
    return found


@pytest.mark.parametrize("filters", [None, 2, -1, [0, 3]])
def test_the_activation_is_minus_the_mean_of_each_filter_summed(model: Any, filters: Any) -> None:
    _, found = run(model, "conv2", filters, lp_norm_weight=0, tv_weight=0)
    output = activation("conv2", seed_of())
    chosen = [output] if filters is None else [output[:, index] for index in np.atleast_1d(filters)]
    assert found.overall[0] == pytest.approx(-sum(float(part.mean()) for part in chosen), rel=1e-4)


def test_a_softmax_is_maximized_as_it_is(model: Any) -> None:
    _, found = run(model, "probabilities", 2, lp_norm_weight=0, tv_weight=0)
    assert found.overall[0] == pytest.approx(-float(activation("probabilities", seed_of())[0, 2]), rel=1e-4)


def test_callbacks_get_arrays_with_the_channels_last(model: Any) -> None:
    image, found = run(model)
    assert image.shape == (16, 16, 3)
    assert {array.shape for array in found.grads + found.inputs} == {(1, 16, 16, 3)}
    assert found.numbers == [0, 1, 2]
    assert found.ended == 1
    np.testing.assert_array_equal(found.inputs[0][0], seed_of())
    assert np.linalg.norm(found.grads[1]) == pytest.approx(1, rel=1e-5)
    assert found.overall[1] == pytest.approx(sum(found.losses[1]), rel=1e-6)


def test_any_function_is_a_callback(model: Any) -> None:
    numbers: list[int] = []
    run(model, callbacks=[lambda i, *_: numbers.append(i)])
    assert numbers == [0, 1, 2]


def test_the_defaults_are_those_of_keras_vis(model: Any) -> None:
    weights = {"act_max_weight": 1, "lp_norm_weight": 10, "tv_weight": 10}
    assert run(model)[1].overall == run(model, **weights, input_range=(0, 255))[1].overall
    recorder = Recorder()
    keras_vis.Optimizer(model, [(keras_vis.LPNorm(), 1)]).minimize(callbacks=[recorder], verbose=False)
    assert len(recorder.overall) == 200


def test_a_step_is_made_from_the_gradient_that_callbacks_get(model: Any) -> None:
    _, found = run(model)
    first = found.grads[0] / np.sqrt(0.05 * found.grads[0] ** 2 + 1e-7)
    np.testing.assert_allclose(found.inputs[1], found.inputs[0] - first, rtol=1e-5)


def test_the_gradient_is_as_it_is_where_it_is_not_to_be_normalized(model: Any) -> None:
    losses = [(keras_vis.LPNorm(2), 5.0)]
    _, gradient, value = keras_vis.Optimizer(model, losses, norm_grads=False).minimize(
        seed_of(), max_iter=1, verbose=False
    )
    np.testing.assert_array_equal(value[0], seed_of())
    np.testing.assert_allclose(gradient, 5 * value / np.linalg.norm(value) / value.size, rtol=1e-4)


def test_a_layer_is_found_by_name_index_and_node_name(model: Any) -> None:
    index = keras_vis.find_layer_idx(model, "relu2")
    assert model.nodes[index].tensor == "relu2"
    names = ("relu2", index, index - len(model.nodes), np.int64(index), "Relu:1")
    losses = [run(model, name)[1].overall for name in names]
    assert all(each == losses[0] for each in losses)
    assert run(model, "relu1")[1].overall != losses[0]


def test_losses_of_several_layers_are_made_small_together(model: Any) -> None:
    recorder = Recorder()
    losses = [
        (keras_vis.ActivationMaximization("conv1", 0), 1),
        (keras_vis.ActivationMaximization("probabilities", [1, 2]), 2),
        (keras_vis.TotalVariation(), 0),
        (keras_vis.LPNorm(), None),
    ]
    keras_vis.visualize_activation_with_losses(model, losses, seed_input=seed_of(), max_iter=1, callbacks=[recorder])
    assert recorder.names == ["ActivationMax Loss"] * 2
    first, second = activation("conv1", seed_of())[:, 0].mean(), activation("probabilities", seed_of())[0, 1:3].sum()
    assert recorder.losses[0] == pytest.approx([-first, -2 * second], rel=1e-4)


def test_a_loss_of_ones_own_sees_the_raw_values(model: Any) -> None:
    class Sum(keras_vis.Loss):
        name = "sum"

        def __call__(self, scene: Scene) -> torch.Tensor:
            return scene.image.flatten(1).sum(1)

    recorder = Recorder()
    keras_vis.visualize_activation_with_losses(
        model, [(Sum(), 2.0)], seed_input=seed_of(), max_iter=1, callbacks=[recorder]
    )
    assert recorder.names == ["sum"]
    assert recorder.overall[0] == pytest.approx(2 * float(seed_of().sum()), rel=1e-5)


# Quirks.


def dead_model() -> Any:
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    net (float[N, 1, 8, 8] image) => (float[N, 2, 8, 8] y) { c = Conv (image, w, b) y = Relu (c) }
    """
    weights = {"w": np.ones((2, 1, 1, 1), np.float32), "b": np.full(2, -1e4, np.float32)}
    return parsed(text, **weights)


def test_quirk_a_gradient_of_zero_returns_the_seed() -> None:
    seed = seed_of((8, 8, 1))
    image, found = run(dead_model(), "y", 0, seed_input=seed, lp_norm_weight=0, tv_weight=0, input_range=(0.0, 1.0))
    assert not np.any(found.grads)
    np.testing.assert_array_equal(image, keras_vis.deprocess_input(seed, (0.0, 1.0)))


def test_quirk_the_image_is_one_step_further_than_the_lowest_loss(model: Any) -> None:
    image, found = run(model, grad_modifier="negate", input_range=(0.0, 1.0), max_iter=5)
    assert found.overall == sorted(found.overall)
    np.testing.assert_array_equal(image, keras_vis.deprocess_input(found.inputs[1][0], (0.0, 1.0)))


def test_quirk_two_ints_make_eight_bits_of_any_range(model: Any) -> None:
    image, _ = run(model, input_range=(-1, 1), max_iter=1)
    assert image.dtype == np.uint8
    assert set(np.unique(image)) <= {0, 1, 255}
    precise, _ = run(model, input_range=(-1.0, 1.0), max_iter=1)
    assert precise.dtype == np.float32
    assert precise.mean() == pytest.approx(0, abs=1e-3)
    assert precise.std() == pytest.approx(0.2, abs=1e-3)


def test_quirk_guided_kills_every_gradient_at_a_relu_itself(model: Any) -> None:
    off = {"lp_norm_weight": 0, "tv_weight": 0}
    for name in ("guided", "rectified", "relu", "deconv"):
        assert not np.any(run(model, "relu2", backprop_modifier=name, **off)[1].grads)
    assert np.any(run(model, "relu2", **off)[1].grads)
    assert np.any(run(model, "conv2", backprop_modifier="guided", **off)[1].grads)


def test_quirk_a_model_without_relu_has_its_usual_gradient() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    net (float[N, 3, 8, 8] image) => (float[N, 4, 8, 8] y) { c = Conv (image, w) y = LeakyRelu (c) }
    """
    proto = parsed(text, **random_weights({"w": (4, 3, 1, 1)}))
    seed = seed_of((8, 8, 3)) / 255
    losses = [run(proto, "y", 0, seed_input=seed, backprop_modifier=name)[1].overall for name in (None, "guided")]
    assert losses[0] == losses[1]


def test_quirk_steps_do_not_know_the_range(model: Any) -> None:
    off = {"lp_norm_weight": 0, "tv_weight": 0}
    _, found = run(model, input_range=(0.0, 1.0), seed_input=seed_of() / 255, max_iter=30, **off)
    assert np.abs(found.inputs[-1]).max() > 10


# Modifiers.


def test_input_modifiers_are_called_before_each_step_in_order_and_after_it_in_reverse(model: Any) -> None:
    calls: list[str] = []

    class Named(keras_vis.InputModifier):
        def __init__(self, name: str) -> None:
            self.name = name

        def pre(self, inp: Array) -> Array:
            assert inp.shape == (1, 16, 16, 3)
            calls.append(f"pre {self.name}")
            return inp + 1

        def post(self, inp: Array) -> Array:
            calls.append(f"post {self.name}")
            return inp - 1

    _, found = run(model, input_modifiers=[Named("f"), Named("g")], max_iter=2)
    assert calls == ["pre f", "pre g", "post g", "post f"] * 2
    np.testing.assert_allclose(found.inputs[0][0], seed_of() + 2, rtol=1e-6)
    _, plain = run(model, seed_input=seed_of() + 2, max_iter=2)
    np.testing.assert_allclose(found.inputs[1], plain.inputs[1], rtol=1e-5)


def test_jitter_rolls_by_up_to_so_many_pixels_along_each_axis() -> None:
    array = np.arange(2 * 40 * 30, dtype=np.float32).reshape(1, 40, 30, 2)
    np.random.seed(0)  # noqa: NPY002 - Jitter's generator
    seen = set()
    for _ in range(200):
        rolled = keras_vis.Jitter((0.05, 3)).pre(array)
        (place,) = np.argwhere(rolled[0, :, :, 0] == 0)
        seen.add(((place[0] + 20) % 40 - 20, (place[1] + 15) % 30 - 15))
        np.testing.assert_array_equal(np.roll(array, tuple(place), (1, 2)), rolled)
    assert seen == {(y, x) for y in range(-2, 3) for x in range(-3, 4)}


def test_a_jitter_of_less_than_a_pixel_is_none() -> None:
    array = seed_of()[None]
    np.testing.assert_array_equal(keras_vis.Jitter(0.05).pre(array), array)


def test_jitter_needs_an_offset_for_each_axis_that_is_not_negative() -> None:
    with pytest.raises(ValueError, match="positive"):
        keras_vis.Jitter(-1)
    with pytest.raises(SettingError, match="3 offsets, and the input 2 spatial axes"):
        keras_vis.Jitter((1, 2, 3)).pre(seed_of()[None])


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("negate", lambda g: -g),
        ("absolute", np.abs),
        ("invert", lambda g: 1 / (g + 1e-7)),
        ("relu", lambda g: np.maximum(g, 0)),
        ("small_values", lambda g: np.abs(1 / (g + 1e-7))),
        (lambda g: g[:, ::-1] * 2, lambda g: g[:, ::-1] * 2),
    ],
)
def test_a_gradient_modifier_changes_the_normalized_gradient_of_the_whole_loss(
    model: Any, name: Any, twin: Any
) -> None:
    (plain,) = run(model, max_iter=1)[1].grads
    (found,) = run(model, max_iter=1, grad_modifier=name)[1].grads
    np.testing.assert_allclose(found, twin(plain), rtol=1e-5)


# What is printed and written.


def test_verbose_prints_a_line_for_each_iteration(model: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run(model, max_iter=2)
    assert capsys.readouterr().out == ""
    callbacks: list[Any] = []
    _, found = run(model, max_iter=2, verbose=True, callbacks=callbacks), callbacks
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(",")[0] for line in lines] == ["Iteration: 1", "Iteration: 2"]
    assert "('L-6.0 Norm Loss', " in lines[0]
    assert found == []


@pytest.mark.parametrize("shape", [(1, 6, 5, 3), (1, 6, 5, 1), (1, 4, 6, 5, 2), (1, 20, 4), (1, 9)])
def test_a_gif_shows_each_iteration_of_an_input_of_any_kind(shape: tuple[int, ...], tmp_path: Path) -> None:
    generator = keras_vis.GifGenerator(str(tmp_path / "run"))
    for number in range(3):
        generator.callback(number, [], np.float32(0), np.zeros(shape), np.random.default_rng(number).normal(size=shape))
    generator.on_end()
    with Image.open(tmp_path / "run.gif") as image:
        assert getattr(image, "n_frames", 1) == 3


def test_a_gif_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no folder"):
        keras_vis.GifGenerator(tmp_path / "nowhere" / "run.gif")


# Seeds, inputs and what can be wrong.


def test_without_a_seed_numpys_seed_makes_a_run_repeatable(model: Any) -> None:
    runs = []
    for seed in (5, 5, 6):
        np.random.seed(seed)  # noqa: NPY002 - what a user of keras-vis does
        runs.append(run(model, seed_input=None, input_range=(0, 100))[1].inputs[0])
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.any(runs[0] != runs[2])
    assert runs[0].mean() == pytest.approx(50, abs=1e-3)
    assert runs[0].std() == pytest.approx(5, abs=1e-3)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("batch", [False, True])
def test_a_seed_may_have_its_channels_first_and_a_batch(model: Any, axes: tuple[int, ...], batch: bool) -> None:
    seed = seed_of().transpose(axes)
    _, found = run(model, seed_input=seed[None] if batch else seed, max_iter=1)
    np.testing.assert_array_equal(found.inputs[0][0], seed_of())


def test_the_input_to_optimize_is_named() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    net (float[N, 5] a, float[N, 3] b) => (float[N, 2] y)
    { both = Concat <axis = 1> (a, b) y = Gemm (both, w) }
    """
    proto = parsed(text, **random_weights({"w": (8, 2)}))
    shared = {"tv_weight": 0, "seed_input": None}
    assert run(proto, "y", 0, wrt_tensor="b", **shared)[0].shape == (3,)
    assert run(proto, "y", 0, **shared)[0].shape == (5,)
    with pytest.raises(InputError, match="no input 'both'"):
        run(proto, "y", 0, wrt_tensor="both", **shared)


def test_the_network_is_compared_with_onnxruntime_before_the_first_step(model: Any) -> None:
    optimizer = keras_vis.Optimizer(model, [(keras_vis.ActivationMaximization("conv2", 1), 1)])
    for weight in optimizer.units.network.buffers():
        weight.mul_(1.01)
    with pytest.raises(VerificationError, match="disagrees"):
        optimizer.minimize(seed_of(), max_iter=1, verbose=False)


def broken_callback(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"layer": 99}, UnknownNodeError, "No layer 99 in the model: it has 9"),
        ({"layer": "nothing"}, UnknownNodeError, "No node matches 'nothing'"),
        ({"layer": 1.5}, TypeError, "float"),
        ({"filters": 77}, OnnxvisError, "out of range"),
        ({"seed_input": seed_of((8, 8, 3))}, InputError, r"shape \(8, 8, 3\); input 'image' needs \(16, 16, 3\)"),
        ({"backprop_modifier": "nothing"}, SettingError, "No backward pass 'nothing'"),
        ({"grad_modifier": "nothing"}, SettingError, "No gradient modifier 'nothing'"),
        ({"grad_modifier": lambda gradient: gradient[:, :1]}, SettingError, "gradient modifier made"),
        ({"max_iter": 0}, SettingError, "at least 1"),
        ({"steps": 3}, TypeError, "steps"),
        ({"act_max_weight": 0, "lp_norm_weight": 0, "tv_weight": 0}, SettingError, "nothing to optimize"),
        ({"seed_input": np.full((16, 16, 3), np.nan)}, NonFiniteLossError, "NaN"),
        ({"callbacks": [broken_callback]}, KeyboardInterrupt, None),
    ],
)
def test_what_is_wrong_is_said(
    model: Any, settings: dict[str, Any], error: type[BaseException], message: str | None
) -> None:
    with pytest.raises(error, match=message):
        run(model, **settings)


def test_a_norm_below_one_and_an_input_tensor_in_place_of_a_number_are_refused() -> None:
    with pytest.raises(ValueError, match="should range between"):
        keras_vis.LPNorm(0.5)
    for loss in (keras_vis.LPNorm, keras_vis.TotalVariation):
        with pytest.raises(TypeError, match="no input tensor"):
            loss("model.input")  # type: ignore[arg-type] # what keras-vis took


# Helpers.


def test_the_logits_are_what_a_softmax_is_made_from(model: Any) -> None:
    assert model.nodes[keras_vis.find_logits(model)].tensor == "logits"
    assert model.nodes[keras_vis.find_logits(model, "conv1")].tensor == "conv1"


def test_pictures_are_stitched_row_by_row_on_black() -> None:
    pictures = [np.full((2, 3, 1), value, np.uint8) for value in (1, 2, 3)]
    sheet = keras_vis.stitch_images(pictures, margin=1, cols=2)
    rows = ["1110222", "1110222", "0000000", "3330000", "3330000"]
    assert sheet is not None
    assert ["".join(map(str, row)) for row in sheet[:, :, 0]] == rows
    assert keras_vis.stitch_images([]) is None


def test_text_is_drawn_on_a_copy_where_it_is_wanted() -> None:
    picture = np.full((40, 60, 1), 200, np.uint8)
    drawn = keras_vis.draw_text(picture, "x", (30, 20), color=(255, 0, 0))
    assert drawn.shape == (40, 60, 3)
    assert (picture == 200).all()
    rows, columns = np.nonzero((drawn != 200).any(-1))
    assert rows.min() >= 20
    assert columns.min() >= 28  # some letters start a little to the left
    with pytest.raises(InputError, match="no picture"):
        keras_vis.draw_text(np.zeros((4, 5, 2)), "x")


def test_a_picture_is_read_and_resized(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    np.testing.assert_array_equal(keras_vis.load_img(tmp_path / "a.png"), picture)
    assert keras_vis.load_img(tmp_path / "a.png", target_size=(3, 4)).shape == (3, 4, 3)
    assert keras_vis.load_img(tmp_path / "a.png", grayscale=True).shape == (6, 8)
    with pytest.raises(InputError, match="Cannot read"):
        keras_vis.load_img(tmp_path / "b.png")


# The page for users who move.

PAGE = ROOT / "docs" / "from-keras-vis.md"


def test_the_pages_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for code in blocks:
        exec(compile(code, PAGE.name, "exec"), namespace)  # noqa: S102 - our own page
    assert len(blocks) == 4
    assert (tmp_path / "run.gif").exists()
    assert (tmp_path / "rings-onnxvis.png").exists()


def test_every_public_name_and_setting_is_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    parameters = [*inspect.signature(keras_vis.visualize_activation).parameters]
    parameters += inspect.signature(keras_vis.Optimizer.minimize).parameters
    names = [*keras_vis.__all__, *parameters]
    own = {"InputModifier", "OptimizerCallback", "Loss", "self", "model", "optimizer_params"}
    assert [name for name in names if name not in text and name not in own] == []


@pytest.mark.parametrize(
    ("weights", "loss", "span"),
    [({}, 0, 15), ({"lp_norm_weight": 0, "tv_weight": 0}, 199, 239)],
)
def test_the_pages_figures_of_the_sample_are_true(weights: dict[str, Any], loss: int, span: float) -> None:
    np.random.seed(0)  # noqa: NPY002 - as a user of keras-vis does
    recorder = Recorder()
    keras_vis.visualize_activation(SAMPLE, "logits", 11, input_range=(-1.0, 1.0), callbacks=[recorder], **weights)
    assert np.argmin(recorder.overall) == loss
    assert np.abs(recorder.inputs).max() == pytest.approx(span, rel=0.2)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"input_range": 5}, "input_range is a lower and a higher number"),
        ({"input_range": (1, 0)}, "input_range is a lower and a higher number"),
        ({"input_modifiers": ["a"]}, "has the methods pre and post"),
        ({"callbacks": [3]}, "A callback is a function"),
    ],
)
def test_settings_that_are_none_are_one_line(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(SettingError, match=reason):
        keras_vis.visualize_activation(conv_net(), "logits", 1, max_iter=1, **settings)
