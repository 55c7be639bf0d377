"""Inputs of any kind, from the request to the written files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
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
    load,
    visualize,
    visualize_filters,
)
from onnxvis.errors import InputError, SettingError, TargetError
from onnxvis.image_input import ImageInput
from onnxvis.preprocess import Preprocess
from onnxvis.seeds import held_values, seed_values
from tests.models import parsed, random_weights

SIGNAL = """
<ir_version: 8, opset_import: ["": 17]> net (float[N, 2, L] x) => (float[N, 4, M] y)
{ y = Conv <pads = [1, 1]> (x, w, b) }
"""
VOLUME = """
<ir_version: 8, opset_import: ["": 17]> net (float[N, D, H, W, 1] x) => (float[N, 4, D, H, W] y)
{ t = Transpose <perm = [0, 4, 1, 2, 3]> (x)  y = Conv <pads = [1, 1, 1, 1, 1, 1]> (t, w, b) }
"""
FEATURES = """
<ir_version: 8, opset_import: ["": 17]> net (float[N, 6] x) => (float[N, 3] y)
{ h = Gemm <transB = 1> (x, w, b)  y = Tanh (h) }
"""
CHANNELS = """
<ir_version: 8, opset_import: ["": 17]> net (float[1, 7, 9, 9] x) => (float[1, 4, 9, 9] y)
{ y = Conv <pads = [1, 1, 1, 1]> (x, w, b) }
"""
AUDIO = """
<ir_version: 8, opset_import: ["": 17]> net (float[batch, samples] x) => (float[batch, 4, M] y)
{ axes = Constant <value = int64[1] {1}> ()  u = Unsqueeze (x, axes)  y = Conv (u, w, b) }
"""
SEQUENCE = """
<ir_version: 8, opset_import: ["": 17]> net (float[5, 1, 3] x) => (float[5, 1, 1, 4] y)
{ y = LSTM <hidden_size = 4> (x, w, r, b) }
"""
SIX = """
<ir_version: 8, opset_import: ["": 17]> net (float[1, 2, 1, 3, 1, 2] x) => (float[1, 12] y)
{ f = Flatten (x)  y = Tanh (f) }
"""
TWO = """
<ir_version: 8, opset_import: ["": 17]>
net (float[1, 3, 8, 8] image, float[1, 4] context, int64 flag) => (float[1, 4] y)
{
    c = Conv (image, w, b)
    p = GlobalAveragePool (c)
    f = Flatten (p)
    s = Add (f, context)
    n = Cast <to = 1> (flag)
    y = Mul (s, n)
}
"""
SHAPES: dict[str, tuple[tuple[int, ...], dict[str, tuple[int, ...]], dict[str, Any]]] = {
    SIGNAL: ((1, 2, 40), {"w": (4, 2, 3), "b": (4,)}, {"size": (40,)}),
    VOLUME: ((1, 6, 7, 8, 1), {"w": (4, 1, 3, 3, 3), "b": (4,)}, {"size": (6, 7, 8)}),
    FEATURES: ((1, 6), {"w": (3, 6), "b": (3,)}, {}),
    CHANNELS: ((1, 7, 9, 9), {"w": (4, 7, 3, 3), "b": (4,)}, {}),
    AUDIO: ((1, 400), {"w": (4, 1, 5), "b": (4,)}, {"size": 400}),
    SEQUENCE: ((5, 1, 3), {"w": (1, 16, 3), "r": (1, 16, 4), "b": (1, 32)}, {}),
    SIX: ((1, 2, 1, 3, 1, 2), {}, {}),
}


def model(text: str) -> onnx.ModelProto:
    return parsed(text, **random_weights(SHAPES[text][1]))


def by_onnxruntime(proto: onnx.ModelProto, feeds: dict[str, Any]) -> np.ndarray:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["y"], feeds)[0])


@pytest.mark.parametrize("text", SHAPES, ids=["signal", "volume", "features", "channels", "audio", "sequence", "six"])
def test_every_kind_of_input_rises_and_is_written_as_it_was_measured(text: str, tmp_path: Path) -> None:
    shape, _, settings = SHAPES[text]
    chosen = 3 if text == SIX else 1
    axis = {SEQUENCE: 3}.get(text, 1)
    result = visualize(model(text), filter=chosen, steps=12, channel_axis=axis, **settings)
    assert result.array.shape == shape
    assert result.activation > result.seed_activation
    path = result.save(tmp_path / "out.png")
    files = result.files(path)
    assert all(file.is_file() for file in files)
    if text == CHANNELS:
        assert files == (path,)
        fed = result.array
    else:
        assert [file.name for file in files] == ["out.npy", "out.png"]
        fed = np.load(files[0])
        assert np.array_equal(fed, result.array)
    found = np.take(by_onnxruntime(model(text), {"x": fed}), chosen, axis).mean()
    assert result.activation == pytest.approx(float(found), rel=1e-4)
    low, high = result.parts[0].image_input.preprocess.range
    assert low <= fed.min() < fed.max() <= high


@pytest.mark.parametrize("text", [SIGNAL, VOLUME, FEATURES, AUDIO, SIX])
def test_a_written_array_can_be_the_next_seed(text: str, tmp_path: Path) -> None:
    settings = {"filter": 1, "channel_axis": 1, **SHAPES[text][2]}
    first = visualize(model(text), steps=5, **settings)
    first.save(tmp_path / "a.npy")
    again = visualize(model(text), steps=0, seed_image=tmp_path / "a.npy", **settings)
    np.testing.assert_allclose(again.array, first.array, atol=0.003)


def test_a_name_that_ends_in_npy_writes_the_array_of_a_picture_too(tmp_path: Path) -> None:
    result = visualize(model(CHANNELS), filter=1, steps=3)
    assert [file.name for file in result.files(result.save(tmp_path / "a.npy"))] == ["a.npy", "a.png"]
    assert np.array_equal(np.load(tmp_path / "a.npy"), result.array)
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == result.image.size


def two() -> onnx.ModelProto:
    return parsed(TWO, **random_weights({"w": (4, 3, 3, 3), "b": (4,)}))


def run_two(**settings: Any) -> Result:
    return visualize(two(), filter=1, steps=12, **settings)


def test_other_inputs_are_held_at_what_is_given(tmp_path: Path) -> None:
    context = np.array([[1, 2, 3, 4]], np.float32)
    np.save(tmp_path / "context.npy", context)
    result = run_two(inputs={"context": tmp_path / "context.npy", "flag": 2})
    found = by_onnxruntime(two(), {"image": result.array, "context": context, "flag": np.array(2)})[0, 1]
    assert result.activation == pytest.approx(float(found), rel=1e-4)
    assert result.recipe.inputs == {"context": str(tmp_path / "context.npy"), "flag": 2}
    assert not any("held at zero" in note for note in result.notes)
    partly = run_two(inputs={"flag": 2})
    assert "inputs held at zero: context; --input changes it" in partly.notes
    assert partly.recipe.inputs == {"flag": 2}


def test_several_inputs_are_optimized_together(tmp_path: Path) -> None:
    one, both = run_two(inputs={"flag": 1}), run_two(inputs={"flag": 1}, wrt=("image", "context"))
    assert set(both.arrays) == {"image", "context"}
    assert both.arrays["context"][0, 1] > 0.2
    assert both.activation > one.activation
    found = by_onnxruntime(two(), {**both.arrays, "flag": np.array(1)})[0, 1]
    assert both.activation == pytest.approx(float(found), rel=1e-4)
    files = both.files(both.save(tmp_path / "p.png"))
    assert [file.name for file in files] == ["p.png", "p-context.npy", "p-context.png"]
    assert np.array_equal(np.load(tmp_path / "p-context.npy"), both.arrays["context"])
    assert both.recipe.wrt == ("image", "context")


def test_a_constant_condition_takes_its_branch() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]> net (float[1, 3, 8, 8] image, bool flag) => (float[1, 3, 8, 8] y)
    {
        y = If (flag) <then_branch = a () => (float[1, 3, 8, 8] p) { p = Neg (image) },
                       else_branch = b () => (float[1, 3, 8, 8] q) { q = Relu (image) }>
    }
    """
    kept, turned = (visualize(parsed(text), steps=8, channel_axis=1, inputs={"flag": flag}) for flag in (0, 1))
    assert kept.array.mean() > 0
    assert turned.activation == pytest.approx(-float(turned.array.mean()), rel=1e-4)
    assert turned.activation > turned.seed_activation


@pytest.mark.parametrize(
    ("inputs", "settings", "reason"),
    [
        ({"nothing": 1}, {}, r"no input 'nothing'. Its inputs: 'image', 'context', 'flag'"),
        ({"context": np.zeros(3)}, {}, r"'context' has shape \(1, 4\), and was given an array of shape \(3,\)"),
        ({"flag": 1.5}, {}, "'flag' holds integers, and was given float64"),
        ({"image": 0}, {}, "'image' is optimized: it cannot be held"),
        ({"context": "missing.npy"}, {}, "missing.npy"),
        ({}, {"wrt": ("image", "image")}, "'image' is named twice"),
        ({}, {"wrt": "flag"}, "'flag' holds integers or one number"),
    ],
)
def test_what_does_not_fit_is_refused(inputs: dict[str, Any], settings: dict[str, Any], reason: str) -> None:
    with pytest.raises((InputError, SettingError), match=reason):
        run_two(inputs=inputs, **settings)


def test_half_precision_and_unknown_numbers_are_held_in_the_files_type() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]> net (float[1, 4] x, float16[2] h, uint8[2] u) => (float[1, 4] y)
    { y = Relu (x) }
    """
    held, named = held_values(
        load(parsed(text)), {"h": 0.5, "u": 7}, {"x": (1, 4), "h": (2,), "u": (2,)}, optimized=("x",)
    )
    assert held["h"].dtype == np.float16
    assert held["u"].tolist() == [7, 7]
    assert named == {"h": 0.5, "u": 7}


SIGNAL_INPUT = ImageInput("x", (1, 2, 5), Preprocess("", (-2, 2), layout="NCW"), 2, (5,))


def test_seeds_of_signals_are_in_the_models_units() -> None:
    array = np.linspace(-2, 2, 10).reshape(2, 5)
    for given in (array, array[None]):
        values, described = seed_values(given, SIGNAL_INPUT)
        assert values is not None
        np.testing.assert_allclose(values.numpy(), (array + 2) / 4, atol=1e-6)
        assert str(described).startswith("<array")


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((2, 6)), r"has shape \(2, 6\); input 'x' needs \(1, 2, 5\)"),
        (np.full((2, 5), 3.0), "outside the range -2 to 2 of input 'x': give --range"),
        (np.full((2, 5), np.nan), "NaN"),
    ],
)
def test_seeds_that_do_not_fit_a_signal_are_refused(array: np.ndarray, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        seed_values(array, SIGNAL_INPUT)


def test_a_picture_is_no_seed_of_a_signal(tmp_path: Path) -> None:
    Image.new("L", (5, 2)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"cannot seed the signal of input 'x' .*\.npy"):
        seed_values(tmp_path / "a.png", SIGNAL_INPUT)


def test_recipes_with_new_settings_survive_json() -> None:
    recipe = Recipe(
        neuron=(1, 2),
        goal=0.5,
        wrt=("a", "b"),
        inputs={"c": 1.5, "d": "d.npy"},
        size=(9,),
        backprop="guided",
        patience=4,
    )
    assert Recipe.from_dict(recipe.to_dict()) == recipe


@pytest.mark.parametrize("settings", [{"transforms": (Jitter(2),)}, {"parameterization": Fourier()}])
@pytest.mark.parametrize("text", [FEATURES, SIX])
def test_features_have_neither_neighbors_nor_a_spectrum(text: str, settings: dict[str, Any]) -> None:
    result = visualize(model(text), filter=1, channel_axis=1, steps=8, **settings)
    assert result.activation > result.seed_activation


def test_a_layout_says_which_open_axis_is_the_batch() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> net (float[T, N, 3] x) => (float[T, 1, N, 4] y)
    { y = LSTM <hidden_size = 4> (x, w, r, b) }"""
    proto = parsed(text, **random_weights(SHAPES[SEQUENCE][1]))
    result = visualize(proto, filter=1, channel_axis=3, steps=3, size=9, layout="WNC")
    assert result.array.shape == (9, 1, 3)


def test_a_time_step_is_a_position_where_the_first_axis_is_no_batch() -> None:
    result = visualize(model(SEQUENCE), filter=1, channel_axis=3, neuron=(3, 0, 0), steps=5)
    found = by_onnxruntime(model(SEQUENCE), {"x": result.array})
    assert result.activation == pytest.approx(found[3, 0, 0, 1], rel=1e-4)
    with pytest.raises(TargetError, match="give 3 numbers below 5, 1, 1"):
        visualize(model(SEQUENCE), filter=1, channel_axis=3, neuron=(3,), steps=1)


def test_a_position_in_a_fixed_batch_is_that_of_each_image() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> net (float[4, 3, 8, 8] x) => (float[4, 4, 8, 8] y)
    { y = Conv <pads = [1, 1, 1, 1]> (x, w, b) }"""
    proto = parsed(text, **random_weights({"w": (4, 3, 3, 3), "b": (4,)}))
    one = visualize(proto, filter=1, neuron=(2, 3), steps=4)
    assert one.activation == pytest.approx(by_onnxruntime(proto, {"x": one.array})[0, 1, 2, 3], rel=1e-4)
    first, second = visualize_filters(proto, None, [1, 2], neuron=(2, 3), steps=4)
    assert first is not None
    assert second is not None
    assert first.activation == pytest.approx(one.activation, rel=1e-3)


def test_a_layout_that_the_graph_shows_may_be_given() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> net (float[1, 16, 32, 3] x) => (float[1, 4, 32, 3] y)
    { y = Conv <pads = [1, 1, 1, 1]> (x, w, b) }"""
    proto = parsed(text, **random_weights({"w": (4, 16, 3, 3), "b": (4,)}))
    first = visualize(proto, filter=1, steps=2)
    assert first.recipe.layout == "NCHW"
    assert np.array_equal(visualize(proto, recipe=first.recipe).array, first.array)


@pytest.mark.parametrize("layout", ["CHW", "HWC", "NCHW", "NHWC"])
def test_the_array_of_a_picture_can_be_its_next_seed(layout: str, tmp_path: Path) -> None:
    sizes = {"N": 1, "C": 3, "H": 8, "W": 9}
    dims = ", ".join(str(sizes[axis]) for axis in layout)
    text = f'<ir_version: 8, opset_import: ["": 17]> net (float[{dims}] x) => (float[{dims}] y) {{ y = Sin (x) }}'
    settings: dict[str, Any] = {
        "preprocess": "imagenet",
        "layout": layout,
        "channel_axis": layout.index("C"),
        "filter": 1,
    }
    first = visualize(parsed(text), steps=6, **settings)
    first.save(tmp_path / "a.npy")
    again = visualize(parsed(text), steps=0, seed_image=tmp_path / "a.npy", **settings)
    np.testing.assert_allclose(again.array, first.array, atol=0.03)


def test_a_seed_of_different_images_is_refused() -> None:
    several = ImageInput("x", (2, 2, 5), Preprocess("", (-2, 2), layout="NCW"), 2, (5,))
    array = np.zeros((2, 2, 5))
    assert seed_values(array, several)[0] is not None
    array[1] = 1
    with pytest.raises(InputError, match="2 different images"):
        seed_values(array, several)


def test_inputs_of_one_plain_name_have_files_of_their_own(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    net (float[1, 3] x, float[1, 3] "y:0", float[1, 3] y_0) => (float[1, 3] z)
    { a = Add (x, "y:0")  b = Add (a, y_0)  z = Tanh (b) }"""
    proto = parsed(text.replace('"y:0"', "yy"))
    proto.graph.input[1].name = "y:0"
    for node in proto.graph.node:
        node.input[:] = ["y:0" if name == "yy" else name for name in node.input]
    result = visualize(proto, filter=1, wrt=("x", "y:0", "y_0"), steps=3)
    files = result.files(result.save(tmp_path / "p.npy"))
    assert len(set(files)) == len(files) == 6
    starts = [part.start for part in result.parts]
    assert not np.array_equal(starts[0], starts[1])


@pytest.mark.parametrize("name", ["P.PNG", "P.NPY"])
def test_endings_may_be_written_large(name: str, tmp_path: Path) -> None:
    assert visualize(model(CHANNELS), filter=1, steps=1).save(tmp_path / name).is_file()


def test_held_values_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="'context' was given NaN or infinity"):
        run_two(inputs={"context": float("nan")})


def test_a_loss_may_need_an_input_of_its_own() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    net (float[1, 3] a, float[1, 3] b) => (float[1, 3] y, float[1, 3] z)
    { y = Tanh (a)  s = Add (a, b)  z = Sin (s) }"""
    losses = ActivationMaximization((1,), node="y") + ActivationMaximization((2,), node="z")
    result = visualize(parsed(text), losses=losses, wrt=("a", "b"), steps=8)
    assert result.arrays["b"][0, 2] > result.parts[1].start[2] * 2 - 1


def test_models_without_float_inputs_say_so() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> net (uint8[1, 3, 4, 4] x) => (float[1, 3, 4, 4] y)
    { y = Cast <to = 1> (x) }"""
    with pytest.raises(InputError, match="hold integers or one number: x"):
        visualize(parsed(text), filter=1, channel_axis=1)


@pytest.mark.parametrize(
    "settings",
    [
        {"parameterization": "pixel"},
        {"parameterization": Fourier},
        {"transforms": (3,)},
        {"backprop": {}},
        {"bgr": "yes"},
        {"goal": "up"},
        {"neuron": "middle"},
        {"seed": 1.5},
        {"steps": True},
        {"filters": None},
        {"wrt": ()},
        {"losses": 3},
        {"gradient_modifier": 3},
    ],
)
def test_settings_of_the_wrong_kind_are_named(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=f"{next(iter(settings))} cannot be"):
        Recipe(**settings)


def test_numpys_numbers_are_numbers() -> None:
    given: dict[str, Any] = {
        "seed": np.int64(3),
        "goal": np.float32(2),
        "size": np.int64(16),
        "filters": np.int64(2),
        "neuron": [np.int32(1), 2],
        "mean": [np.float64(0.5)],
    }
    assert Recipe(**given) == Recipe(seed=3, goal=2.0, size=(16,), filters=(2,), neuron=(1, 2), mean=(0.5,))
    pixels: Any = np.int64(8)
    assert Jitter(pixels) == Jitter(8)


def test_words_that_json_or_the_recipe_could_mistake_survive() -> None:
    recipe = Recipe(inputs={"python": 2.0, "Pixel": 1.0, "float": 3.0}, lp_p=float("inf"), lp_weight=1.0)
    text = recipe.to_json()
    assert "Infinity" not in text
    assert Recipe.from_dict(json.loads(text)) == recipe


class TotalVariation(Loss):
    """Has a name of the package's own."""

    def __call__(self, scene: Scene) -> Tensor:
        """Return the mean."""
        return scene.image.flatten(1).mean(1)


def test_what_only_has_the_name_of_the_packages_own_is_not_read_back_as_it() -> None:
    written = Recipe(losses=TotalVariation() + 1.0 * ActivationMaximization()).to_dict()
    with pytest.raises(SettingError, match="cannot be read back"):
        Recipe.from_dict(written)
    assert Recipe(gradient_modifier=abs).to_json() == Recipe(gradient_modifier=abs).to_json()


def test_a_second_axis_with_the_batchs_name_is_the_batch() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    net (float[batch, 3] x, float[2, batch, 3] state) => (float[batch, 3] y)
    { sum = ReduceSum <keepdims = 0> (state, zero)  s = Add (x, sum)  y = Tanh (s) }"""
    proto = parsed(text, zero=np.array([0]))
    result = visualize(proto, filter=1, wrt=("x", "state"), steps=3)
    state = result.arrays["state"]
    assert state.shape == (2, 1, 3)
    assert not np.array_equal(state[0], state[1])


def test_what_has_no_effect_is_said() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    net (float[1, 3] x, float[1, 3] idle) => (float[1, 3] y, float[1, 3] z)
    { y = Tanh (x)  z = Sin (idle) }"""
    notes = visualize(parsed(text), "y", inputs={"idle": 1}, steps=1).notes
    assert "the target does not depend on idle" in notes
    assert any(note.startswith("the mean of all 3 filters; --filter picks one") for note in notes)
    assert not any("mean of all" in note for note in visualize(parsed(text), "y", 1, steps=1).notes)


def test_a_mask_is_held_at_one_and_the_output_says_so() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    net (float[1, 3, 8, 8] image, int64[1, 8] attention_mask, int64[1, 8] kind) => (float[1, 3, 8, 8] y)
    {
        m = Cast <to = 1> (attention_mask)
        k = Cast <to = 1> (kind)
        shifted = Add (image, k)
        y = Mul (shifted, m)
    }
    """
    result = visualize(parsed(text), steps=2)
    assert any("held at one: attention_mask" in note for note in result.notes)
    assert any("held at zero: kind" in note for note in result.notes)
    assert result.activation != 0


def test_a_model_of_tokens_alone_says_so_before_it_asks_for_sizes() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]> net (int64[N, L] ids) => (float[N, L, 4] y)
    <float[8, 4] table> { y = Gather (table, ids) }
    """
    table = np.ones((8, 4), np.float32)
    with pytest.raises(InputError, match="export the part behind the embedding"):
        visualize(parsed(text.replace("<float[8, 4] table>", ""), table=table), steps=1)
