from typing import Any

import numpy as np
import pytest
import torch

from onnxvis import Fourier, Jitter, Maco, Pixel, RandomAffine, Recipe, visualize
from onnxvis.errors import DeadUnitError, SettingError
from onnxvis.presets import PRESETS, Situation, filled, role_of, settings_of
from onnxvis.sampling import fit
from tests.models import CONV_NET, CONV_NET_SHAPES, conv_net, parsed, random_weights

SIZES = [(28, 28), (64, 48), (224, 320), (4, 64), (1000,), (6, 7, 8), ()]


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("size", SIZES)
def test_a_preset_takes_images_of_every_size(name: str, size: tuple[int, ...]) -> None:
    chosen = settings_of(name, Situation(size))
    shape = (1, 3, *size)
    views = chosen.parameterization.render(chosen.parameterization.start(shape, [torch.Generator()]), shape)
    for transform in chosen.transforms:
        views = transform(views, [torch.Generator()])
    assert fit(views, size).shape == shape


def test_an_unknown_preset_is_refused_with_those_that_exist() -> None:
    with pytest.raises(SettingError, match=r"No preset 'vivid'. There are auto, keras-vis, lucid"):
        visualize(conv_net(), "logits", 1, preset="vivid")


def test_a_preset_fills_what_is_open_and_overrules_nothing() -> None:
    given = Recipe(steps=7, transforms=(Jitter(3),), tv_weight=0.0)
    full = filled(given, settings_of("keras-vis", Situation((32, 32))))
    assert (full.steps, full.transforms, full.tv_weight) == (7, (Jitter(3),), 0.0)
    assert full.parameterization == Pixel()
    assert full.lp_weight > 0


def test_losses_of_ones_own_are_not_added_to() -> None:
    from onnxvis import TotalVariation  # noqa: PLC0415 - of this test alone

    full = filled(Recipe(losses=TotalVariation()), settings_of("keras-vis", Situation((32, 32))))  # type: ignore[arg-type] # read as an objective
    assert full.loss.names == ["total variation"]


def test_every_preset_makes_a_picture_and_says_what_it_chose() -> None:
    for name in PRESETS:
        result = visualize(conv_net(), "relu2", 1, preset=name, steps=2)
        assert result.recipe.steps == 2
        assert result.recipe.parameterization is not None
        assert result.recipe.transforms is not None
        assert result.recipe.views is not None
        assert Recipe.from_dict(result.recipe.to_dict()) == result.recipe


@pytest.mark.parametrize(
    ("shape", "axis", "size", "decides", "role"),
    [
        ((1, 10), 1, (32, 32), True, "class"),
        ((1, 10, 1, 1), 1, (32, 32), True, "class"),
        ((1, 10), 1, (32, 32), False, "deep"),
        ((1, 2), 1, (32, 32), True, "deep"),
        ((1, 8, 16, 16), 1, (32, 32), False, "shallow"),
        ((1, 16, 16, 8), 3, (32, 32), False, "shallow"),
        ((1, 8, 2, 2), 1, (32, 32), False, "deep"),
        ((1, 17, 64), 2, (32, 32), False, "tokens"),
        ((1, 8, 100), 1, (200,), False, "shallow"),
        ((1, 8, 100), None, (200,), False, "deep"),
    ],
)
def test_the_role_of_a_target_is_told_by_its_shape(
    shape: tuple[int, ...], axis: int | None, size: tuple[int, ...], *, decides: bool, role: str
) -> None:
    assert role_of(shape, axis, size, decides=decides) == role


def test_inputs_of_several_kinds_are_each_chosen_for() -> None:
    small, signal = settings_of("auto", Situation((28, 28))), settings_of("auto", Situation((4000,)))
    assert isinstance(small.parameterization, Fourier)
    assert isinstance(signal.parameterization, Fourier)
    assert small.parameterization.decay > signal.parameterization.decay


def test_a_neuron_is_looked_at_through_views_that_do_not_miss_it() -> None:
    mean, neuron = (visualize(conv_net(), "conv2", 1, neuron=place, steps=1) for place in (None, "center"))
    (wide,), (near,) = mean.recipe.transforms or (), neuron.recipe.transforms or ()
    assert isinstance(wide, RandomAffine)
    assert isinstance(near, RandomAffine)
    assert near.shift < wide.shift


def test_classes_of_large_pictures_are_told_from_the_others_and_that_is_said() -> None:
    large = parsed(CONV_NET.replace("16, 16]", "96, 96]"), **random_weights(CONV_NET_SHAPES))
    result = visualize(large, None, 1, steps=2)
    assert result.recipe.objective == "margin"
    assert any("margin over the strongest others" in note for note in result.notes)
    assert result.scores["margin"][1] > result.scores["margin"][0]
    others: list[dict[str, Any]] = [{"goal": "minimize"}, {"goal": 0.5}, {"backprop": "guided"}]
    others.append({"gradient_modifier": "negate"})
    for settings in others:
        assert visualize(large, None, 1, steps=1, **settings).recipe.objective == "activation"
    assert visualize(large, "relu2", 1, steps=1).recipe.objective == "activation"


def test_features_that_no_softmax_follows_are_not_taken_for_classes() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> net (float[1, 3, 96, 96] image) => (float[1, 4] embedding)
    { c = Conv (image, w1, b1)  r = Relu (c)  g = GlobalAveragePool (r)  embedding = Flatten (g) }"""
    result = visualize(parsed(text, **random_weights({"w1": (4, 3, 3, 3), "b1": (4,)})), None, 1, steps=1)
    assert result.recipe.objective == "activation"


def test_logits_behind_an_identity_are_classes_without_a_softmax() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> net (float[1, 3, 96, 96] image) => (float[1, 4] output)
    { g = GlobalAveragePool (image)  f = Flatten (g)  l = Gemm <transB = 1> (f, w1, b1)  output = Identity (l) }"""
    result = visualize(parsed(text, **random_weights({"w1": (4, 3), "b1": (4,)})), None, 1, steps=1)
    assert result.recipe.objective == "margin"


def test_maco_given_as_parameterization_or_as_preset_is_the_same_recipe() -> None:
    first = visualize(conv_net(), "relu2", 1, parameterization=Maco(), steps=2)
    second = visualize(conv_net(), "relu2", 1, preset="maco", steps=2)
    assert np.array_equal(first.array, second.array)
    assert first.transparency is not None


@pytest.mark.parametrize("objective", ["margin", "direction"])
def test_minimizing_turns_an_objective_around_and_its_score_keeps_its_sign(objective: str) -> None:
    settings: dict[str, Any] = {"direction": (1.0, -1, 0, 2, 0, 0)} if objective == "direction" else {"filter": 1}
    if objective == "margin":
        settings["objective"] = "margin"
    node = "relu2" if objective == "direction" else "logits"
    ways: tuple[dict[str, Any], ...] = ({}, {"goal": "minimize"}, {"gradient_modifier": "negate"})
    up, down, negated = (visualize(conv_net(), node, steps=12, **settings, **more) for more in ways)
    assert up.scores[objective][0] == pytest.approx(down.scores[objective][0], rel=1e-3)
    assert down.scores[objective][1] < down.scores[objective][0] < up.scores[objective][1]
    assert negated.scores[objective] == pytest.approx(down.scores[objective])


@pytest.mark.parametrize("objective", ["deepdream", "direction"])
def test_objectives_of_a_whole_layer_take_no_filter(objective: str) -> None:
    more: dict[str, Any] = {"direction": (1.0,) * 6} if objective == "direction" else {}
    with pytest.raises(SettingError, match="leave --filter out"):
        visualize(conv_net(), "relu2", 1, objective=objective, steps=1, **more)


def test_a_dead_unit_is_one_for_every_objective() -> None:
    dead = conv_net(b2=np.full(6, -1e6, np.float32))
    with pytest.raises(DeadUnitError):
        visualize(dead, "relu2", direction=(1.0,) * 6, tv_weight=1.0, steps=2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "beauty"}, "objective must be activation or margin"),
        ({"objective": "direction"}, "needs a vector"),
        ({"objective": "deepdream", "direction": (1.0,)}, "leave one of them out"),
        ({"objective": "deepdream", "goal": 3.0}, "Only an activation can reach a value"),
        ({"views": 0}, "views must be 1 to"),
        ({"anneal": 1.5}, "anneal must be from 0 to 1"),
        ({"settle": -0.1}, "settle must be from 0 to 1"),
        ({"near_weight": -1.0}, "near_weight must be finite"),
        ({"losses": [Jitter], "near": "conv1"}, "losses"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises((SettingError, TypeError), match=message):
        Recipe(**settings)
