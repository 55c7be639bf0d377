import dataclasses
import json
from typing import Any

import pytest

from onnxvis.errors import SettingError
from onnxvis.images import Fourier, Pixel
from onnxvis.losses import ActivationMaximization, LpNorm, TotalVariation
from onnxvis.recipe import Recipe
from onnxvis.transforms import Jitter


def test_a_recipe_survives_json() -> None:
    recipe = Recipe(
        node="conv5",
        filters=(12, "rings"),
        size=(224, 320),
        input_shapes={"x": (1, 3, 224, 320)},
        mean=(0.5, 0.5, 0.5),
        range=(-1.0, 1.0),
        parameterization=Pixel(std=0.1),
        transforms=(Jitter(8),),
        losses=ActivationMaximization((3,)) + 0.1 * TotalVariation(1.5),
        seed=7,
    )
    assert Recipe.from_dict(json.loads(recipe.to_json())) == recipe


def test_the_default_recipe_survives_json() -> None:
    assert Recipe.from_dict(json.loads(Recipe().to_json())) == Recipe()


def test_a_users_own_loss_is_written_as_text() -> None:
    written = Recipe(losses=TotalVariation() + LpNorm()).to_dict()["losses"]
    assert written[0] == {"weight": 1.0, "loss": {"TotalVariation": {"beta": 2.0}}}


def test_weights_of_zero_leave_a_loss_out() -> None:
    assert Recipe().loss.names == ["activation"]
    assert Recipe(tv_weight=2, lp_weight=1).loss.names == ["activation", "total variation", "L6 norm"]


def test_an_unknown_setting_of_another_version_is_named() -> None:
    with pytest.raises(SettingError, match="'blur'"):
        Recipe.from_dict({"blur": 3})


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": -1},
        {"steps": 10**12},
        {"learning_rate": 0},
        {"learning_rate": float("nan")},
        {"seed": -1},
        {"lp_p": 0.5},
        {"tv_beta": 0},
        {"size": (0, 3)},
    ],
)
def test_settings_out_of_their_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=next(iter(settings))):
        Recipe(**settings)


def test_every_setting_is_documented() -> None:
    documentation = str(Recipe.__doc__)
    missing = [item.name for item in dataclasses.fields(Recipe) if f"        {item.name}: " not in documentation]
    assert missing == []


def test_recipes_compare_by_value() -> None:
    assert Recipe(parameterization=Fourier()) == Recipe(parameterization=Fourier())
    assert Recipe(seed=1) != Recipe()
