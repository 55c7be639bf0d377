from typing import Any

import pytest
import torch

from onnxvis import Fourier, Jitter, Pixel, Recipe, visualize
from onnxvis.errors import SettingError
from onnxvis.presets import PRESETS, Situation, filled, role_of, settings_of
from onnxvis.sampling import fit
from tests.models import conv_net

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
